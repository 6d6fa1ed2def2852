"""BOLT 12 in a simplified encoding of our own: prefixes, field names and types are the real ones,
the bytes are not. The payload is compressed JSON in the bech32 alphabet without a checksum; the
signature is an ECDSA signature by the issuer over it, so that tampering shows. A real node cannot
read these strings, nor can this module read a real node's.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import zlib
from typing import Any

import coincurve
from pyln.proto.bech32 import CHARSET, convertbits

# The regtest genesis block hash in wire order: `offer_chains`, `invreq_chain`.
REGTEST_CHAIN = "06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f"
RELATIVE_EXPIRY_S = 7200


class Bolt12Error(ValueError):
    """The string is not one of our offers or invoices, or it was changed."""


def encode_offer(
    *, secret_key: bytes, amount_msat: int | None, description: str, issuer: str | None = None
) -> tuple[str, str]:
    """Make an offer; return it and its offer_id. The same arguments give another offer each
    time, as with a node whose offers carry blinded paths."""
    fields: dict[str, Any] = {"offer_chains": [REGTEST_CHAIN]}
    if amount_msat is not None:
        fields["offer_amount_msat"] = amount_msat
    fields["offer_description"] = description
    if issuer is not None:
        fields["offer_issuer"] = issuer
    issuer_id = coincurve.PrivateKey(secret_key).public_key.format().hex()
    fields["offer_paths"] = [_blinded_path(issuer_id)]
    fields["offer_issuer_id"] = issuer_id
    offer_id = hashlib.sha256(json.dumps(fields).encode()).hexdigest()
    return _encode("lno", {"offer_id": offer_id} | fields, secret_key), offer_id


def encode_invoice(
    *,
    secret_key: bytes,
    offer: dict[str, Any],
    amount_msat: int,
    payment_hash: str,
    created_at: int,
    payer_note: str | None,
) -> str:
    """The invoice an issuer answers to an invoice request for `offer` (decoded)."""
    fields = {k: v for k, v in offer.items() if k.startswith("offer_")}
    fields |= {
        "invreq_metadata": secrets.token_hex(16),
        "invreq_payer_id": coincurve.PrivateKey().public_key.format().hex(),
        "invreq_chain": REGTEST_CHAIN,
        "invreq_amount_msat": amount_msat,
        "invreq_features": "",
    }
    if payer_note is not None:
        fields["invreq_payer_note"] = payer_note
    payinfo = {
        "fee_base_msat": 0,
        "fee_proportional_millionths": 0,
        "cltv_expiry_delta": 10,
        "htlc_minimum_msat": 0,
        "htlc_maximum_msat": 2_100_000_000_000_000_000,
        "features": "",
    }
    path = _blinded_path(offer["offer_issuer_id"])
    fields |= {
        "invoice_paths": [
            {
                "first_node_id": path["first_node_id"],
                "first_path_key": path["first_path_key"],
                "payinfo": payinfo,
                "path": path["path"],
            }
        ],
        "invoice_created_at": created_at,
        "invoice_relative_expiry": RELATIVE_EXPIRY_S,
        "invoice_payment_hash": payment_hash,
        "invoice_amount_msat": amount_msat,
        "invoice_features": "020000",
        "invoice_node_id": offer["offer_issuer_id"],
    }
    return _encode("lni", fields, secret_key)


def decode(text: str) -> dict[str, Any]:
    """The fields of an offer or invoice, in the order and with the types of `decode`, from
    `type` to `valid`. Raises Bolt12Error."""
    lowered = text.lower()
    prefix, data = lowered[:4], lowered[4:]
    if prefix not in ("lno1", "lni1"):
        raise Bolt12Error("Unparsable string")
    try:
        raw = convertbits([CHARSET.index(letter) for letter in data], 5, 8, False)
        payload = zlib.decompress(bytes(raw or ()))
        fields: dict[str, Any] = json.loads(payload)
        signature = bytes.fromhex(fields.pop("signature"))
        signer = coincurve.PublicKey(bytes.fromhex(fields["offer_issuer_id"]))
        genuine = signer.verify(signature, json.dumps(fields).encode())
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise Bolt12Error("Unparsable string") from error
    if not genuine:
        raise Bolt12Error("Invalid signature")
    if prefix == "lno1":
        return {"type": "bolt12 offer"} | fields | {"valid": True}
    return {"type": "bolt12 invoice"} | fields | {"signature": signature.hex(), "valid": True}


def _encode(prefix: str, fields: dict[str, Any], secret_key: bytes) -> str:
    signature = coincurve.PrivateKey(secret_key).sign(json.dumps(fields).encode())
    payload = json.dumps(fields | {"signature": signature.hex()}, separators=(",", ":"))
    groups = convertbits(zlib.compress(payload.encode(), 9), 8, 5)
    return f"{prefix}1" + "".join(CHARSET[group] for group in groups or ())


def _blinded_path(first_node_id: str) -> dict[str, Any]:
    return {
        "first_node_id": first_node_id,
        "first_path_key": coincurve.PrivateKey().public_key.format().hex(),
        "path": [
            {
                "blinded_node_id": coincurve.PrivateKey().public_key.format().hex(),
                "encrypted_recipient_data": secrets.token_hex(50),
            }
        ],
    }
