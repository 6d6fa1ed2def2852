"""The rows of lightningd's lists: which fields, in which order, present when."""

from __future__ import annotations

from typing import Any

from embit.networks import NETWORKS
from embit.script import Script

from coinos.simnet import bolt11
from coinos.simnet.records import Invoice, Part

Json = dict[str, Any]
NETWORK_OF_CURRENCY = {"bc": "main", "tb": "test", "tbs": "signet", "bcrt": "regtest"}


def invoice_row(invoice: Invoice) -> Json:
    """An entry of `listinvoices`; also what `waitanyinvoice` and `delinvoice` answer."""
    row: Json = {"label": invoice.label}
    row["bolt12" if invoice.local_offer_id else "bolt11"] = invoice.invstring
    row["payment_hash"] = invoice.payment_hash
    row |= _present("amount_msat", invoice.amount_msat)
    row["status"] = invoice.status
    if invoice.status == "paid":
        row |= {
            "pay_index": invoice.pay_index,
            "amount_received_msat": invoice.amount_received_msat,
            "paid_at": invoice.paid_at,
            "payment_preimage": invoice.preimage,
        }
    row |= {"description": invoice.description, "expires_at": invoice.expires_at}
    row |= _present("local_offer_id", invoice.local_offer_id)
    row |= _present("invreq_payer_note", invoice.payer_note)
    row["created_index"] = invoice.created_index
    return row | _present("updated_index", invoice.updated_index)


def sendpay_row(part: Part) -> Json:
    row: Json = {
        "created_index": part.created_index,
        "id": part.created_index,
        "payment_hash": part.payment_hash,
        "groupid": part.groupid,
    }
    row |= _present("updated_index", part.updated_index)
    row |= {
        "partid": part.partid,
        "destination": part.destination,
        "amount_msat": part.amount_msat,
        "amount_sent_msat": part.amount_sent_msat,
        "created_at": part.created_at,
    }
    row |= _present("completed_at", part.completed_at)
    row["status"] = part.status
    row |= _present("payment_preimage", part.preimage)
    row |= _present("label", part.label)
    return row | {_invstring_key(part): part.invstring}


def pay_row(parts: list[Part], live_groups: set[int]) -> Json:
    """An entry of `listpays`: the parts of one group folded together. `pending` also while xpay
    itself still lives, even if every part has failed; there is no amount then."""
    first = parts[0]
    counted = [part for part in parts if part.status != "failed"]
    complete = [part for part in parts if part.status == "complete"]
    alive = first.groupid in live_groups or len(complete) < len(counted)
    row: Json = {_invstring_key(first): first.invstring}
    row |= {
        "destination": first.destination,
        "payment_hash": first.payment_hash,
        "status": "complete" if complete else "pending" if alive else "failed",
    }
    row |= _present("label", first.label)
    row["created_at"] = first.created_at
    if complete:
        row["completed_at"] = max(part.completed_at or 0 for part in complete)
        row["preimage"] = complete[0].preimage
    if counted:
        row["amount_msat"] = sum(part.amount_msat for part in counted)
    row["amount_sent_msat"] = sum(part.amount_sent_msat for part in counted)
    row["created_index"] = first.created_index
    updated = max((part.updated_index or 0 for part in parts), default=0)
    return row | _present("updated_index", updated or None)


def decoded_bolt11(invoice: bolt11.Bolt11) -> Json:
    row: Json = {
        "type": "bolt11 invoice",
        "currency": invoice.currency,
        "created_at": invoice.created_at,
        "expiry": invoice.expiry,
        "payee": invoice.payee,
    }
    row |= _present("amount_msat", invoice.amount_msat)
    row |= _present("description", invoice.description)
    row |= _present("description_hash", invoice.description_hash)
    row["min_final_cltv_expiry"] = invoice.min_final_cltv_expiry
    row |= _present("payment_secret", invoice.payment_secret)
    row["features"] = invoice.features
    row |= _present("payment_metadata", invoice.payment_metadata)
    if invoice.fallbacks:
        row["fallbacks"] = [_fallback(script, invoice.currency) for script in invoice.fallbacks]
    if invoice.routes:
        row["routes"] = [[hint.as_rpc() for hint in route] for route in invoice.routes]
    if invoice.extra:
        row["extra"] = [{"tag": tag, "data": data} for tag, data in invoice.extra]
    row |= {"payment_hash": invoice.payment_hash, "signature": invoice.signature, "valid": True}
    return row


def _fallback(script: bytes, currency: str) -> Json:
    kind, row = Script(script).script_type(), {"hex": script.hex()}
    if kind is None:
        return row
    address = Script(script).address(NETWORKS[NETWORK_OF_CURRENCY[currency]])
    return {"type": kind.upper(), "addr": address} | row


def _present(name: str, value: Any) -> Json:
    return {} if value is None else {name: value}


def _invstring_key(part: Part) -> str:
    return "bolt12" if part.invstring.lower().startswith("lni") else "bolt11"
