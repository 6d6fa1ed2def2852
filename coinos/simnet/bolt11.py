"""BOLT 11: real, signed Lightning invoices (github.com/lightning/bolts, 11-payment-encoding).

pyln-proto encodes neither payment secrets nor features nor the final CLTV delta, so the tagged
fields are packed here; bech32 and secp256k1 come from it and its coincurve.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import coincurve
from coincurve.ecdsa import cdata_to_der, deserialize_recoverable, recoverable_convert
from pyln.proto.bech32 import CHARSET, bech32_decode, bech32_encode

DEFAULT_EXPIRY_S = 3600
DEFAULT_FINAL_CLTV = 18
FINAL_CLTV = 10
FEATURES = "02024100"  # var_onion, payment_secret, basic_mpp, route blinding: what CLN announces
# What Core Lightning knows of BOLT 9 in an invoice; another one that is even is refused.
KNOWN_FEATURES = {8, 14, 16, 24, 48}

# Multiplier letter of the amount -> tenths of a millisatoshi (1 pBTC = 0.1 msat).
_TENTH_MSAT = {"m": 10**9, "u": 10**6, "n": 10**3, "p": 1, "": 10**12}
_SIGNATURE_GROUPS = 104
FIELDS = "pshdnxcfr9m"
P2PKH, P2SH = 17, 18  # versions of a fallback; below them are witness programs


class Bolt11Error(ValueError):
    """The string is not a valid BOLT 11 invoice; the message is what Core Lightning says."""


@dataclass(frozen=True)
class RouteHint:
    """The last hop to a payee whose channel is not announced."""

    pubkey: str
    short_channel_id: str
    fee_base_msat: int
    fee_proportional_millionths: int
    cltv_expiry_delta: int

    def to_bytes(self) -> bytes:
        block, transaction, output = map(int, self.short_channel_id.split("x"))
        return (
            bytes.fromhex(self.pubkey)
            + (block << 40 | transaction << 16 | output).to_bytes(8, "big")
            + self.fee_base_msat.to_bytes(4, "big")
            + self.fee_proportional_millionths.to_bytes(4, "big")
            + self.cltv_expiry_delta.to_bytes(2, "big")
        )

    @classmethod
    def from_bytes(cls, raw: bytes) -> RouteHint:
        scid = int.from_bytes(raw[33:41], "big")
        return cls(
            pubkey=raw[:33].hex(),
            short_channel_id=f"{scid >> 40}x{scid >> 16 & 0xFFFFFF}x{scid & 0xFFFF}",
            fee_base_msat=int.from_bytes(raw[41:45], "big"),
            fee_proportional_millionths=int.from_bytes(raw[45:49], "big"),
            cltv_expiry_delta=int.from_bytes(raw[49:51], "big"),
        )

    def as_rpc(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Bolt11:
    """A decoded invoice. Amounts in msat, times in seconds; None: the field is absent."""

    currency: str
    amount_msat: int | None
    created_at: int
    expiry: int
    payee: str
    payment_hash: str
    description: str | None
    description_hash: str | None
    min_final_cltv_expiry: int
    payment_secret: str | None
    features: str
    routes: tuple[tuple[RouteHint, ...], ...]
    fallbacks: tuple[bytes, ...]  # scripts
    payment_metadata: str | None
    extra: tuple[tuple[str, str], ...]  # fields that are passed over: letter and data
    signature: str

    @property
    def expires_at(self) -> int:
        return self.created_at + self.expiry


def encode(
    *,
    secret_key: bytes,
    currency: str,
    payment_hash: str,
    payment_secret: str,
    created_at: int,
    expiry: int,
    amount_msat: int | None = None,
    description: str | None = None,
    description_hash: str | None = None,
    routes: tuple[RouteHint, ...] = (),
) -> str:
    """Make and sign an invoice. Give either a description or a description_hash (hex)."""
    if (description is None) == (description_hash is None):
        raise ValueError("give either description or description_hash")
    data = _groups(created_at, 7)
    data += _tagged("s", bytes.fromhex(payment_secret))
    data += _tagged("p", bytes.fromhex(payment_hash))
    if description is not None:
        data += _tagged("d", description.encode())
    else:
        data += _tagged("h", bytes.fromhex(description_hash or ""))
    if expiry != DEFAULT_EXPIRY_S:
        data += _tagged_int("x", expiry)
    data += _tagged_int("c", FINAL_CLTV)
    for hint in routes:
        data += _tagged("r", hint.to_bytes())
    data += _tag("9", _groups(int(FEATURES, 16), 6))
    hrp = f"ln{currency}{_amount_text(amount_msat)}"
    key = coincurve.PrivateKey(secret_key)
    signature = key.sign_recoverable(hrp.encode() + _to_bytes(data, pad=True))
    return bech32_encode(hrp, bytes(data + _from_bytes(signature)))


def decode(invoice: str) -> Bolt11:
    """Read an invoice and recover its payee from the signature. Raises Bolt11Error."""
    try:
        hrp, groups = bech32_decode(invoice)
    except ValueError:
        raise Bolt11Error("Bad bech32 string") from None
    prefix = re.fullmatch(r"ln(bcrt|bc|tbs|tb)(?:(\d+)([munp]?))?", hrp)
    if prefix is None:
        raise Bolt11Error("Prefix does not start with ln")
    if len(groups) < _SIGNATURE_GROUPS + 7:
        raise Bolt11Error("Too short")
    currency, digits, multiplier = prefix.groups()
    data, tail = list(groups[:-_SIGNATURE_GROUPS]), groups[-_SIGNATURE_GROUPS:]
    signature = _to_bytes(list(tail), pad=False)
    signed = hrp.encode() + _to_bytes(data, pad=True)
    fields, extra = _fields(data[7:])
    payee, signature_der = _verify(signature, signed, fields)
    if "p" not in fields or ("d" in fields) == ("h" in fields):
        raise Bolt11Error("Missing or doubled required field")
    if "s" not in fields:
        raise Bolt11Error("Missing required payment secret (s field)")
    features = fields["9"][0] if "9" in fields else []
    for bit in range(0, len(features) * 5, 2):
        if _to_int(features) >> bit & 1 and bit not in KNOWN_FEATURES:
            raise Bolt11Error(f"9: unknown feature bit {bit}")
    try:
        description = _trim(fields["d"][0]).decode() if "d" in fields else None
    except UnicodeDecodeError:
        raise Bolt11Error("d: invalid utf8") from None
    return Bolt11(
        currency=currency,
        amount_msat=_amount_msat(digits, multiplier) if digits else None,
        created_at=_to_int(data[:7]),
        expiry=_to_int(fields["x"][0]) if "x" in fields else DEFAULT_EXPIRY_S,
        payee=payee,
        payment_hash=_trim(fields["p"][0]).hex(),
        description=description,
        description_hash=_trim(fields["h"][0]).hex() if "h" in fields else None,
        min_final_cltv_expiry=_to_int(fields["c"][0]) if "c" in fields else DEFAULT_FINAL_CLTV,
        payment_secret=_trim(fields["s"][0]).hex() if "s" in fields else None,
        features=_features(features) if features else "",
        routes=tuple(_hints(_trim(route)) for route in fields.get("r", ())),
        fallbacks=tuple(_fallback(groups) for groups in fields.get("f", ())),
        payment_metadata=_trim(fields["m"][0]).hex() if "m" in fields else None,
        extra=extra,
        signature=signature_der,
    )


def _verify(signature: bytes, signed: bytes, fields: dict[str, list[list[int]]]) -> tuple[str, str]:
    """The payee's public key and the signature in DER, both hex."""
    try:
        recoverable = deserialize_recoverable(signature)
        der = cdata_to_der(recoverable_convert(recoverable))
        if "n" in fields:
            key = coincurve.PublicKey(_trim(fields["n"][0]))
            if not key.verify(der, signed):
                raise ValueError("signature does not match")
        else:
            key = coincurve.PublicKey.from_signature_and_message(signature, signed)
    except Exception as exc:  # coincurve raises a bare Exception for a bad recovery id
        raise Bolt11Error("signature recovery failed") from exc
    return key.format().hex(), der.hex()


def _fields(
    groups: list[int],
) -> tuple[dict[str, list[list[int]]], tuple[tuple[str, str], ...]]:
    """Tagged fields by letter, in order; and those that BOLT 11 has passed over: of another letter,
    of a wrong fixed length, or a fallback of a version to come."""
    lengths = {"p": 52, "h": 52, "s": 52, "n": 53}
    found: dict[str, list[list[int]]] = {}
    extra: list[tuple[str, str]] = []
    position = 0
    while position < len(groups):
        if position + 3 > len(groups):
            raise Bolt11Error("truncated field")
        letter = CHARSET[groups[position]]
        length = groups[position + 1] * 32 + groups[position + 2]
        value = groups[position + 3 : position + 3 + length]
        if len(value) != length:
            raise Bolt11Error(f"{letter}: truncated field")
        is_known = letter in FIELDS and lengths.get(letter, length) == length
        if is_known and not (letter == "f" and value[:1] > [P2SH]):
            found.setdefault(letter, []).append(value)
        else:
            extra.append((letter, "".join(CHARSET[group] for group in value)))
        position += 3 + length
    return found, tuple(extra)


def _fallback(groups: list[int]) -> bytes:
    """The script of a fallback address."""
    version, program = groups[0], _trim(groups[1:])
    if version == P2PKH:
        return b"\x76\xa9\x14" + program + b"\x88\xac"
    if version == P2SH:
        return b"\xa9\x14" + program + b"\x87"
    return bytes([version + 0x50 if version else 0, len(program)]) + program


def _hints(raw: bytes) -> tuple[RouteHint, ...]:
    return tuple(RouteHint.from_bytes(raw[i : i + 51]) for i in range(0, len(raw) - 50, 51))


def _features(groups: list[int]) -> str:
    value = _to_int(groups)
    return value.to_bytes((len(groups) * 5 + 7) // 8, "big").hex()


def _amount_text(amount_msat: int | None) -> str:
    if amount_msat is None:
        return ""
    tenths = amount_msat * 10
    for letter in ("", "m", "u", "n", "p"):
        if tenths % _TENTH_MSAT[letter] == 0:
            return f"{tenths // _TENTH_MSAT[letter]}{letter}"
    raise AssertionError("unreachable: every msat is ten pico")


def _amount_msat(digits: str, multiplier: str) -> int:
    tenths = int(digits) * _TENTH_MSAT[multiplier]
    if tenths % 10:
        raise Bolt11Error("Invalid sub-millisatoshi amount")
    return tenths // 10


def _groups(value: int, count: int) -> list[int]:
    return [value >> 5 * i & 31 for i in reversed(range(count))]


def _tag(letter: str, groups: list[int]) -> list[int]:
    return [CHARSET.index(letter), len(groups) // 32, len(groups) % 32, *groups]


def _tagged(letter: str, raw: bytes) -> list[int]:
    return _tag(letter, _from_bytes(raw))


def _tagged_int(letter: str, value: int) -> list[int]:
    return _tag(letter, _groups(value, max(1, (value.bit_length() + 4) // 5)))


def _to_int(groups: list[int]) -> int:
    value = 0
    for group in groups:
        value = value << 5 | group
    return value


def _from_bytes(raw: bytes) -> list[int]:
    count = (len(raw) * 8 + 4) // 5
    return _groups(int.from_bytes(raw, "big") << (count * 5 - len(raw) * 8), count)


def _to_bytes(groups: list[int], *, pad: bool) -> bytes:
    bits = len(groups) * 5
    value = _to_int(groups)
    size = (bits + 7) // 8 if pad else bits // 8
    shift = size * 8 - bits
    return (value << shift if shift >= 0 else value >> -shift).to_bytes(size, "big")


def _trim(groups: list[int]) -> bytes:
    return _to_bytes(groups, pad=False)
