"""What a broken Core Lightning may say, and that none of it is believed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest

from coinos.errors import NodeUnavailable
from coinos.nodes.base import NodeRefused, PayReply
from coinos.nodes.cln import CoreLightning
from tests.nodes.asking import create, eventually, pay, trace
from tests.nodes.replay import (
    SPOILS,
    Error,
    Late,
    Raw,
    Result,
    answer_of,
    fields_of,
    spoiled,
)

HELD = "51ce290b3e34f0e0a8cd6508577f971e6fc49c306e8152707adb4c46fdeb760e"

# --- broken answers --------------------------------------------------------------------------

BROKEN = {
    "closed without a word": Raw(None),
    "empty": Raw(b"\n\n"),
    "not JSON": Raw(b"<html>no</html>\n\n"),
    "half JSON": Raw(b'{"jsonrpc":"2.0","id":"co'),
    "half JSON, ended": Raw(b'{"jsonrpc":"2.0","id":"co\n\n'),
    "not UTF-8": Raw(b'{"result": "\xff\xfe"}\n\n'),
    "a list": Raw(b"[1]\n\n"),
    "a deep nest": Raw(b"[" * 100_000 + b"\n\n"),
    "nobody's reply": Raw(b'{"jsonrpc":"2.0","id":"other","result":{}}\n\n'),
    "a reply without id": Raw(b'{"jsonrpc":"2.0","result":{}}\n\n'),
    "result null": Result(None),
    "result a text": Result("ok"),
    "result a list": Result([{}]),
    "an empty result": Result({}),
    "an error nobody expects": Error({"code": -1, "message": "?"}),
    "error a text": Error("Connection to RPC server lost."),
    "error null": Error(None),
    "error without code": Error({"message": "?"}),
    "error code a text": Error({"code": "203", "message": "?"}),
    "error code true": Error({"code": True, "message": "?"}),
    "too late": Late(1.2, answer_of(trace("getinfo"))),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_makes_the_node_unavailable(lightning, lightningd, broken):
    lightningd.will(getinfo=broken, listsendpays=broken, waitanyinvoice=broken)

    for read in (
        lightning.info,
        lambda: lightning.payment_record(HELD),
        lambda: lightning.next_receipt(after_pay_index=0, timeout_s=0),
    ):
        with pytest.raises(NodeUnavailable):
            read()


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_to_a_payment_is_unknown_and_asked_once(lightning, lightningd, broken):
    """M07"""
    lightningd.will(xpay=broken)

    assert pay(lightning) == PayReply(False, False, None, None)
    eventually(lambda: lightningd.calls)  # on a busy machine our deadline may be over before
    assert len(lightningd.calls) == 1


def test_a_node_that_is_down_is_unavailable_and_a_payment_to_it_unknown(lightning, lightningd):
    lightningd.close()

    with pytest.raises(NodeUnavailable):
        lightning.info()
    assert pay(lightning) == PayReply(False, False, None, None)


def test_an_answer_that_trickles_does_not_outlive_the_deadline(lightning, lightningd):
    """A03: the deadline is over the whole call, not over each read."""
    lightningd.will(getinfo=Late(0.4, Raw(b'{"jsonrpc"')))

    with pytest.raises(NodeUnavailable):
        lightning.info()


def test_a_socket_path_longer_than_an_address_is_reached(lightning, lightningd, tmp_path):
    directory = tmp_path / ("d" * 120)
    directory.symlink_to(lightningd.path.parent)
    lightningd.will(getinfo=answer_of(trace("getinfo")))

    assert CoreLightning(directory / "lightning-rpc").info().alias == "alice"


def test_the_log_never_holds_a_payload(lightning, lightningd, caplog):
    caplog.set_level(logging.DEBUG)
    lightningd.will(
        waitanyinvoice=answer_of(trace("waitanyinvoice: paid")),
        xpay=Error("secret-text"),
    )

    receipt = lightning.next_receipt(after_pay_index=0, timeout_s=0)
    pay(lightning, payment_request="lnbcrt1request")

    assert "lightning waitanyinvoice ok" in caplog.text
    for secret in (
        receipt.preimage,
        receipt.payment_hash,
        "lnbcrt1request",
        "secret-text",
    ):
        assert secret not in caplog.text


def test_only_listed_methods_are_called(lightning, lightningd):
    with pytest.raises(ValueError, match="withdraw"):
        lightning._call("withdraw")

    assert lightningd.calls == []


# --- every field, spoilt in every way (F11) --------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """A call, the replies it needs, the one whose fields are spoilt, and what it reads there."""

    ask: Callable[[CoreLightning], Any]
    replies: dict[str, Any]
    method: str
    needed: str
    optional: str = ""


PART = trace("listsendpays: last 3 by created index")["result"]["payments"][1]
RECORD = {
    "listpays": trace("listpays after: xpay one hop")["result"],
    "listsendpays": {"payments": [PART]},
}
CLOSING = trace("listpeerchannels")["result"]["channels"][0] | {
    "state": "ONCHAIN",
    "status": ["ONCHAIN:Tracking their unilateral close"],
}
BALANCE = {
    "listpeerchannels": {"channels": [CLOSING]},
    "listfunds": trace("listfunds")["result"],
    "listchainmoves": {
        "chainmoves": [
            {
                "account_id": "wallet",
                "primary_tag": "deposit",
                "utxo": f"{'c1' * 32}:0",
                "credit_msat": 5_000_000,
            },
        ]
    },
}

READINGS = {
    "create_invoice": Reading(
        create,
        {"invoice": trace("invoice: fixed amount")["result"]},
        "invoice",
        needed="bolt11 payment_hash expires_at",
    ),
    "next_receipt": Reading(
        lambda node: node.next_receipt(after_pay_index=0, timeout_s=0),
        {"waitanyinvoice": trace("waitanyinvoice: paid")["result"]},
        "waitanyinvoice",
        needed="label payment_hash status amount_received_msat payment_preimage paid_at pay_index",
    ),
    "invoice_by_label": Reading(
        lambda node: node.invoice_by_label("fixed-fbc69d"),
        {"listinvoices": trace("listinvoices: paid")["result"]},
        "listinvoices",
        needed="invoices invoices.label invoices.payment_hash invoices.status invoices.expires_at "
        "invoices.amount_received_msat invoices.paid_at invoices.payment_preimage "
        "invoices.pay_index invoices.created_index",
        optional="invoices.bolt11 invoices.description invoices.amount_msat invoices.updated_index",
    ),
    "decode": Reading(
        lambda node: replace(node.decode("lnbcrt1"), raw={}),
        {"decode": trace("decode: bolt11")["result"]},
        "decode",
        needed="type valid payment_hash payee created_at expiry currency",
        optional="description amount_msat",
    ),
    "listsendpays": Reading(
        lambda node: node.payment_record(PART["payment_hash"]),
        RECORD,
        "listsendpays",
        needed="payments payments.payment_hash payments.status payments.amount_msat "
        "payments.amount_sent_msat payments.payment_preimage",
    ),
    "listpays": Reading(
        lambda node: node.payment_record(PART["payment_hash"]),
        RECORD | {"listsendpays": {"payments": [PART | {"status": "failed"}]}},
        "listpays",
        needed="pays pays.payment_hash pays.status",
    ),
    "getinfo": Reading(
        lambda node: node.info(),
        {"getinfo": trace("getinfo")["result"]},
        "getinfo",
        needed="id network version color blockheight num_peers num_active_channels "
        "num_inactive_channels num_pending_channels fees_collected_msat address",
        optional="alias our_features our_features.init our_features.node our_features.channel "
        "our_features.invoice",
    ),
    "balance: channels": Reading(
        lambda node: node.balance(),
        BALANCE | {"listpeerchannels": trace("listpeerchannels")["result"]},
        "listpeerchannels",
        needed="channels channels.state channels.to_us_msat channels.spendable_msat "
        "channels.receivable_msat channels.htlcs channels.htlcs.direction "
        "channels.htlcs.amount_msat channels.htlcs.payment_hash",
    ),
    "balance: wallet": Reading(
        lambda node: node.balance(),
        BALANCE,
        "listfunds",
        needed="outputs outputs.status outputs.reserved outputs.amount_msat",
    ),
    "balance: moves": Reading(
        lambda node: node.balance(),
        BALANCE,
        "listchainmoves",
        needed="chainmoves chainmoves.account_id chainmoves.primary_tag chainmoves.utxo "
        "chainmoves.credit_msat",
        optional="chainmoves.spending_txid",
    ),
}
# Where another text is as good a text; other texts must be one of a few, or hex.
PLAIN_TEXTS = {"label", "bolt11", "description", "payee", "currency", "id", "network"}
PLAIN_TEXTS |= {
    "version",
    "color",
    "alias",
    "state",
    "init",
    "node",
    "channel",
    "invoice",
    "account_id",
    "primary_tag",
    "utxo",
}


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
@pytest.mark.parametrize("how", SPOILS)
def test_a_spoilt_field_makes_an_answer_unusable_or_does_not_matter(
    lightning, lightningd, reading, how
):
    """F11: whatever the node gets wrong, the result is the true one or none."""
    good = reading.replies[reading.method]
    lightningd.will(**{method: Result(reply) for method, reply in reading.replies.items()})
    truth = reading.ask(lightning)
    seen = set()

    for path, value in fields_of(good):
        name = ".".join(key for key in path if isinstance(key, str))
        seen.add(name)
        if how == "missing" and name in reading.optional.split():
            continue
        if how == "string" and isinstance(value, str) and path[-1] in PLAIN_TEXTS:
            continue
        lightningd.will(**{reading.method: Result(spoiled(good, path, how))})
        if name in reading.needed.split():
            with pytest.raises((NodeUnavailable, NodeRefused)):
                pytest.fail(f"{name} was believed: {reading.ask(lightning)}")
        else:
            with suppress(NodeUnavailable, NodeRefused):
                assert reading.ask(lightning) == truth, name

    assert seen >= set(reading.needed.split())
