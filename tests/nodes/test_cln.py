"""Receiving, and reading payment requests, through Core Lightning as a real node answered."""

from __future__ import annotations

import pytest

from coinos.errors import NodeUnavailable
from coinos.nodes.base import CreatedInvoice, NodeCounters, NodeRefused, Receipt
from tests.nodes.asking import create, trace
from tests.nodes.replay import (
    Error,
    Result,
    answer_of,
)

HASH = "3b947a9931bd9461aa706d8fc7be20d01598fa283be847e357210722a9f59083"


# --- what a real node said, in our words -----------------------------------------------------


def test_info_says_who_the_node_is(lightning, lightningd):
    lightningd.will(getinfo=answer_of(trace("getinfo")))

    info = lightning.info()

    assert info.id == "0383bcad711c15961cdd87f3fc9de7c78c724c0ef48fe16f1bcc9dcf836b2beb28"
    assert (info.network, info.version, info.blockheight) == (
        "regtest",
        "v26.06.6",
        133,
    )
    assert (info.num_peers, info.num_active_channels, info.fees_collected_msat) == (
        1,
        1,
        0,
    )
    assert info.synced
    assert info.features["node"] == "808898880a8a59a1"


@pytest.mark.parametrize("warning", ["warning_bitcoind_sync", "warning_lightningd_sync"])
def test_a_node_that_warns_about_its_chain_is_not_synced(lightning, lightningd, warning):
    lightningd.will(getinfo=Result(trace("getinfo")["result"] | {warning: "still loading"}))

    assert not lightning.info().synced


def test_an_invoice_is_created_as_the_recorded_node_was_asked(lightning, lightningd):
    entry = trace("invoice: fixed amount")
    lightningd.will(invoice=answer_of(entry))

    invoice = create(lightning)

    assert lightningd.params("invoice") == entry["params"] | {"amount_msat": "1000000msat"}
    assert invoice == CreatedInvoice(
        bolt11=entry["result"]["bolt11"], payment_hash=HASH, expires_at_s=1795407090
    )


def test_an_invoice_without_amount_is_asked_for_as_any(lightning, lightningd):
    lightningd.will(invoice=answer_of(trace("invoice: any amount")))

    create(lightning, amount_msat=None)

    assert lightningd.params("invoice")["amount_msat"] == "any"


def test_a_description_can_go_into_an_invoice_as_its_hash(lightning, lightningd):
    lightningd.will(invoice=answer_of(trace("invoice: description hash only")))

    create(lightning, description_is_hashed=True)

    assert lightningd.params("invoice")["deschashonly"] is True


def test_a_label_that_exists_gives_the_invoice_made_before(lightning, lightningd):
    lightningd.will(
        invoice=answer_of(trace("invoice: duplicate label")),
        listinvoices=answer_of(trace("listinvoices: by label")),
    )

    invoice = create(lightning)

    assert lightningd.params("listinvoices") == {"label": "fixed-fbc69d"}
    assert invoice == CreatedInvoice(
        bolt11=trace("invoice: fixed amount")["result"]["bolt11"],
        payment_hash=HASH,
        expires_at_s=1795407090,
    )


def test_a_label_that_exists_with_another_amount_is_refused(lightning, lightningd):
    lightningd.will(
        invoice=answer_of(trace("invoice: duplicate label")),
        listinvoices=answer_of(trace("listinvoices: by label")),
    )

    with pytest.raises(NodeRefused):
        create(lightning, amount_msat=2_000_000)


def test_a_refused_invoice_says_why(lightning, lightningd):
    lightningd.will(invoice=answer_of(trace("invoice: zero amount")))

    with pytest.raises(NodeRefused, match="should be positive"):
        create(lightning)


@pytest.mark.parametrize("expiry_s", [0, -1, 31_536_001, 2**63])
def test_an_expiry_that_could_stop_the_node_never_reaches_it(lightning, lightningd, expiry_s):
    """F20"""
    with pytest.raises(ValueError, match="expiry_s"):
        create(lightning, expiry_s=expiry_s)

    assert lightningd.calls == []


def test_an_invoice_is_found_by_its_label(lightning, lightningd):
    lightningd.will(listinvoices=answer_of(trace("listinvoices: paid")))

    invoice = lightning.invoice_by_label("fixed-fbc69d")

    assert (invoice.status, invoice.amount_msat, invoice.received_msat) == (
        "paid",
        1_000_000,
        1_000_000,
    )
    assert (invoice.pay_index, invoice.created_index, invoice.updated_index) == (
        1,
        1,
        1,
    )


def test_an_expired_invoice_has_received_nothing(lightning, lightningd):
    lightningd.will(listinvoices=answer_of(trace("listinvoices: expired")))

    invoice = lightning.invoice_by_label("short-fbc69d")

    assert (invoice.status, invoice.received_msat, invoice.updated_index) == (
        "expired",
        None,
        3,
    )


def test_an_unknown_label_is_none(lightning, lightningd):
    lightningd.will(listinvoices=answer_of(trace("listinvoices: unknown hash")))

    assert lightning.invoice_by_label("nobody") is None


def test_the_next_receipt_is_the_one_after_the_cursor(lightning, lightningd):
    entry = trace("waitanyinvoice: paid any-amount")
    lightningd.will(waitanyinvoice=answer_of(entry))

    receipt = lightning.next_receipt(after_pay_index=1, timeout_s=5)

    assert lightningd.params("waitanyinvoice") == entry["params"]
    assert receipt == Receipt(
        label="any-fbc69d",
        payment_hash="5613e654b88eff987e1af3cfae79602ccb278de9cdc86b7740dedb066b480780",
        received_msat=1_234_567,
        preimage="5ec3726c266d0982cc4eacd9aa4340e68dea3318e5e2a3544bd53be27b7d276e",
        paid_at_s=1795403492,
        pay_index=2,
    )


def test_a_wait_without_receipt_is_none(lightning, lightningd):
    lightningd.will(waitanyinvoice=answer_of(trace("waitanyinvoice: timeout")))

    assert lightning.next_receipt(after_pay_index=0, timeout_s=1) is None


def test_a_deleted_invoice_leaves_a_gap_in_the_cursor(lightning, lightningd):
    lightningd.will(waitanyinvoice=answer_of(trace("waitanyinvoice: index zero after deletion")))

    assert lightning.next_receipt(after_pay_index=0, timeout_s=1).pay_index == 2


def test_a_receipt_at_or_before_the_cursor_is_not_believed(lightning, lightningd):
    lightningd.will(waitanyinvoice=answer_of(trace("waitanyinvoice: paid")))

    with pytest.raises(NodeUnavailable):
        lightning.next_receipt(after_pay_index=1, timeout_s=1)


def test_a_receipt_with_a_foreign_preimage_is_not_believed(lightning, lightningd):
    reply = trace("waitanyinvoice: paid")["result"] | {"payment_preimage": "00" * 32}
    lightningd.will(waitanyinvoice=Result(reply))

    with pytest.raises(NodeUnavailable):
        lightning.next_receipt(after_pay_index=0, timeout_s=1)


def test_updated_invoices_come_in_the_order_of_their_updates(lightning, lightningd):
    lightningd.will(listinvoices=answer_of(trace("listinvoices: index updated")))

    [invoice] = lightning.invoices_updated_since(updated_index=1, limit=500)

    assert lightningd.params("listinvoices") == {
        "index": "updated",
        "start": 1,
        "limit": 500,
    }
    assert (invoice.label, invoice.status) == ("fixed-fbc69d", "paid")


def test_how_far_the_books_have_come_is_told_at_once(lightning, lightningd):
    counted = trace("wait: invoices created, nextvalue 0 gives the current index")
    lightningd.will(
        wait=[
            answer_of(counted),
            Result({"subsystem": "invoices", "updated": 3}),
            answer_of(trace("wait: sendpays created, nextvalue 0")),
        ]
    )

    assert lightning.counters() == NodeCounters(5, 3, 0)
    assert [params for _, params in lightningd.calls] == [
        {"subsystem": "invoices", "indexname": "created", "nextvalue": 0},
        {"subsystem": "invoices", "indexname": "updated", "nextvalue": 0},
        {"subsystem": "sendpays", "indexname": "created", "nextvalue": 0},
    ]


def test_parts_are_listed_by_their_number(lightning, lightningd):
    recorded = trace("listsendpays: last 3 by created index")
    lightningd.will(listsendpays=answer_of(recorded))

    parts = lightning.parts_since(number=1, limit=3)

    assert [part.number for part in parts] == [1, 2, 3]
    assert [part.payment_hash for part in parts] == [
        row["payment_hash"] for row in recorded["result"]["payments"]
    ]
    assert lightningd.calls == [("listsendpays", recorded["params"])]


def test_a_part_below_the_number_that_was_asked_for_is_not_believed(lightning, lightningd):
    lightningd.will(listsendpays=answer_of(trace("listsendpays: last 3 by created index")))

    with pytest.raises(NodeUnavailable):
        lightning.parts_since(number=2, limit=3)


def test_an_unpaid_invoice_is_deleted(lightning, lightningd):
    lightningd.will(delinvoice=Result(trace("listinvoices: by label")["result"]["invoices"][0]))

    assert lightning.delete_unpaid_invoice("fixed-fbc69d")
    assert lightningd.params("delinvoice") == {
        "label": "fixed-fbc69d",
        "status": "unpaid",
    }


@pytest.mark.parametrize("code", [905, 906])
def test_an_invoice_that_is_gone_or_paid_is_not_deleted(lightning, lightningd, code):
    lightningd.will(delinvoice=Error({"code": code, "message": "Invoice status is paid"}))

    assert not lightning.delete_unpaid_invoice("fixed-fbc69d")


# --- reading payment requests ----------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["decode: bolt11", "decode: bolt11 uppercase"])
def test_a_bolt11_invoice_is_read(lightning, lightningd, scenario):
    entry = trace(scenario)
    lightningd.will(decode=answer_of(entry))

    decoded = lightning.decode(entry["params"]["string"])

    assert (decoded.kind, decoded.currency) == ("bolt11 invoice", "bcrt")
    assert (decoded.payment_hash, decoded.amount_msat) == (HASH, 1_000_000)
    assert (decoded.created_at_s, decoded.expiry_s) == (1795403490, 3600)
    assert decoded.payee.startswith("0383bcad")
    assert decoded.description == "one thousand sats"
    assert decoded.raw == entry["result"]


def test_a_bolt11_invoice_without_amount_leaves_it_to_the_payer(lightning, lightningd):
    lightningd.will(decode=answer_of(trace("decode: bolt11 any amount")))

    assert lightning.decode("lnbcrt1").amount_msat is None


def test_an_invoice_for_more_bitcoin_than_there_is_is_refused(lightning, lightningd):
    """F04: the payer's input is at fault, not the node."""
    huge = trace("decode: bolt11")["result"] | {"amount_msat": 2_200_000_000_000_000_000}
    lightningd.will(decode=Result(huge))

    with pytest.raises(NodeRefused):
        lightning.decode("lnbcrt1")


@pytest.mark.parametrize("scenario", ["decode: corrupted bolt11", "decode: nonsense"])
def test_what_the_node_cannot_read_is_refused(lightning, lightningd, scenario):
    lightningd.will(decode=answer_of(trace(scenario)))

    with pytest.raises(NodeRefused):
        lightning.decode("hello")


def test_what_the_node_calls_invalid_is_refused(lightning, lightningd):
    lightningd.will(decode=Result(trace("decode: bolt11")["result"] | {"valid": False}))

    with pytest.raises(NodeRefused):
        lightning.decode("lnbcrt1")


@pytest.mark.parametrize("text", ["x" * 10_000, "lnbcrt1\ud800", "lnbcrt１"])
def test_what_cannot_be_a_request_never_reaches_the_node(lightning, lightningd, text):
    with pytest.raises(NodeRefused):
        lightning.decode(text)

    assert lightningd.calls == []


def test_an_expiry_beyond_the_calendar_ends_with_the_calendar(lightning, lightningd):
    lightningd.will(decode=Result(trace("decode: bolt11")["result"] | {"expiry": 2**62}))

    decoded = lightning.decode("lnbcrt1")

    assert decoded.created_at_s + decoded.expiry_s == 253_402_300_799


def test_an_offer_is_read(lightning, lightningd):
    lightningd.will(decode=answer_of(trace("decode: offer")))

    decoded = lightning.decode("lno1")

    assert (decoded.kind, decoded.currency) == ("bolt12 offer", "bcrt")
    assert (decoded.payment_hash, decoded.amount_msat) == (None, None)
    assert decoded.description == "alice offer fbc69d"


@pytest.mark.parametrize(
    "change",
    [{"offer_currency": "EUR", "offer_amount": 100}, {"offer_chains": ["11" * 32]}],
)
def test_an_offer_in_another_money_is_refused(lightning, lightningd, change):
    lightningd.will(decode=Result(trace("decode: offer")["result"] | change))

    with pytest.raises(NodeRefused):
        lightning.decode("lno1")


def test_a_bolt12_invoice_is_read(lightning, lightningd):
    lightningd.will(decode=answer_of(trace("decode: bolt12 invoice")))

    decoded = lightning.decode("lni1")

    assert (decoded.kind, decoded.currency) == ("bolt12 invoice", "bcrt")
    assert decoded.payment_hash.startswith("6baed3d7e99adb26")
    assert (decoded.amount_msat, decoded.expiry_s) == (55_000, 7200)
    assert decoded.payee.startswith("02b4f96e")


def test_an_invoice_is_fetched_from_an_offer(lightning, lightningd):
    lightningd.will(fetchinvoice=answer_of(trace("fetchinvoice from carol's offer")))

    assert lightning.fetch_invoice(offer="lno1", amount_msat=55_000).startswith("lni1")


def test_a_fetched_invoice_over_another_amount_is_refused(lightning, lightningd):
    reply = {"invoice": "lni1", "changes": {"amount_msat": 60_000}}
    lightningd.will(fetchinvoice=Result(reply))

    with pytest.raises(NodeRefused):
        lightning.fetch_invoice(offer="lno1", amount_msat=55_000)


def test_an_offer_that_needs_an_amount_is_refused_without_one(lightning, lightningd):
    lightningd.will(fetchinvoice=answer_of(trace("fetchinvoice without amount")))

    with pytest.raises(NodeRefused):
        lightning.fetch_invoice(offer="lno1", amount_msat=None)


def test_an_offer_is_created(lightning, lightningd):
    lightningd.will(offer=answer_of(trace("offer: any amount")))

    offer = lightning.create_offer(amount_msat=None, description="tips", label="offer-1")

    assert offer.startswith("lno1")
    assert lightningd.params("offer") == {
        "amount": "any",
        "description": "tips",
        "label": "offer-1",
    }
