"""Paying through Core Lightning, and the record of a payment, as a real node answered."""

from __future__ import annotations

import pytest

from coinos.errors import NodeUnavailable
from coinos.nodes.base import PaymentRecord, PayReply
from tests.nodes.asking import create, pay, pending_trace, trace
from tests.nodes.replay import (
    Error,
    Late,
    Raw,
    Result,
    answer_of,
)

# --- one sat is "1000msat", whatever the call (F07) ------------------------------------------


def test_one_sat_is_1000msat_in_an_invoice(lightning, lightningd):
    lightningd.will(invoice=answer_of(trace("invoice: fixed amount")))
    create(lightning, amount_msat=1_000)
    assert lightningd.params("invoice")["amount_msat"] == "1000msat"


def test_one_sat_is_1000msat_in_a_payment_and_in_its_fee_limit(lightning, lightningd):
    """F01: the node gets the same maximum fee that is held."""
    lightningd.will(xpay=answer_of(trace("xpay: amountless with amount")))
    pay(lightning, amount_msat=1_000, max_fee_msat=1_000)
    assert lightningd.params("xpay") == {
        "invstring": "lnbcrt1",
        "amount_msat": "1000msat",
        "maxfee": "1000msat",
        "retry_for": 0,
        "maxdelay": 1008,
        "label": "payment-1",
    }


def test_a_payment_of_a_fixed_invoice_names_no_amount(lightning, lightningd):
    lightningd.will(xpay=answer_of(trace("xpay: direct peer")))
    pay(lightning)
    assert "amount_msat" not in lightningd.params("xpay")


def test_one_sat_is_1000msat_when_an_invoice_is_fetched(lightning, lightningd):
    lightningd.will(fetchinvoice=answer_of(trace("fetchinvoice from carol's offer")))
    lightning.fetch_invoice(offer="lno1", amount_msat=1_000)
    assert lightningd.params("fetchinvoice")["amount_msat"] == "1000msat"


def test_one_sat_is_1000msat_in_an_offer(lightning, lightningd):
    lightningd.will(offer=answer_of(trace("offer: any amount")))
    lightning.create_offer(amount_msat=1_000, description="a sat", label="offer-1")
    assert lightningd.params("offer")["amount"] == "1000msat"


@pytest.mark.parametrize("amount", [-1, 2**63, 1.0, True, "1000"])
def test_an_amount_that_is_none_never_reaches_the_node(lightning, lightningd, amount):
    """F08"""
    with pytest.raises((ValueError, TypeError)):
        pay(lightning, amount_msat=amount)
    with pytest.raises((ValueError, TypeError)):
        create(lightning, amount_msat=amount)

    assert lightningd.calls == []


# --- paying ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scenario",
    [
        "xpay: direct peer",
        "xpay: one hop, maxfee 5000 msat",
        "xpay: amountless with amount",
        "xpay: bolt12 invoice",
    ],
)
def test_a_payment_that_arrived_returns_its_preimage(lightning, lightningd, scenario):
    entry = trace(scenario)
    lightningd.will(xpay=answer_of(entry))

    assert pay(lightning) == PayReply(
        returned=True,
        never_sent=False,
        preimage=entry["result"]["payment_preimage"],
        reason=None,
    )


@pytest.mark.parametrize(
    ("entry", "returned", "never_sent"),
    [
        (trace("xpay: nonsense"), True, True),
        (trace("xpay: amountless without amount"), True, True),
        (trace("xpay: amount given for a fixed invoice"), True, True),
        (trace("xpay: expired"), True, True),
        (trace("xpay: beyond capacity"), True, False),
        (trace("xpay: one hop, maxfee 0"), True, False),
        (trace("xpay: recipient does not know the hash"), True, False),
        (pending_trace("xpay: receiver holds 6 s then rejects"), True, False),
        (pending_trace("xpay: right after our only peer dropped"), True, False),
        (trace("xpay: already paid"), False, False),
        (trace("xpay: two at once (2)"), False, False),
        (pending_trace("xpay again while held"), False, False),
        (pending_trace("xpay: own lightningd is killed while held"), False, False),
    ],
    ids=lambda value: value["scenario"] if isinstance(value, dict) else "",
)
def test_only_errors_that_xpay_gives_on_purpose_count_as_returned(
    lightning, lightningd, entry, returned, never_sent
):
    """M07, M10: what the call said is advice; unlisted and broken answers are no answer."""
    lightningd.will(xpay=answer_of(entry))

    reply = pay(lightning)

    assert (reply.returned, reply.never_sent, reply.preimage) == (
        returned,
        never_sent,
        None,
    )


@pytest.mark.parametrize("code", [-1, -4, -5, 200, 201, 219, 999])
def test_an_unlisted_code_is_no_answer(lightning, lightningd, code):
    lightningd.will(xpay=Error({"code": code, "message": "?"}))

    assert pay(lightning) == PayReply(False, False, None, None)


def test_the_reason_for_the_user_does_not_tell_our_capacity(lightning, lightningd):
    lightningd.will(xpay=answer_of(trace("xpay: beyond capacity")))

    assert pay(lightning).reason == "No route to the recipient for this amount"


def test_a_payment_held_beyond_our_patience_is_no_answer(lightning, lightningd):
    lightningd.will(xpay=Late(2, answer_of(trace("xpay: direct peer"))))

    assert pay(lightning) == PayReply(False, False, None, None)


# --- the node's record of a payment ----------------------------------------------------------

HELD = "51ce290b3e34f0e0a8cd6508577f971e6fc49c306e8152707adb4c46fdeb760e"
NOTHING = Result({"pays": []})


def record_of(lightning, lightningd, pays, parts, payment_hash) -> PaymentRecord:
    lightningd.will(listpays=pays, listsendpays=parts)
    return lightning.payment_record(payment_hash)


def test_a_held_payment_has_a_pending_part(lightning, lightningd):
    record = record_of(
        lightning,
        lightningd,
        answer_of(pending_trace("listpays while held (after retry_for passed)")),
        answer_of(pending_trace("listsendpays while held")),
        HELD,
    )

    assert record == PaymentRecord(0, 1, 0, 0, 0, None, in_progress=True, last_part=18)
    assert lightningd.calls == [("listsendpays", {"payment_hash": HELD})]


def test_a_payment_that_settled_after_a_restart_is_complete(lightning, lightningd):
    record = record_of(
        lightning,
        lightningd,
        answer_of(pending_trace("listpays when it settled after the restart")),
        answer_of(pending_trace("listsendpays when it settled after the restart")),
        "f621eef8ff52a4d62eb47a9e403938131ddccbe061d0565fc4a294561ab46c0f",
    )

    assert (record.complete, record.pending, record.in_progress) == (1, 0, False)
    assert (record.sent_msat, record.delivered_msat) == (113_000, 113_000)
    assert record.preimage == "e851572cac1bf5489ec81194e6e3122d64ad6481898187835ce2cd833286bfa5"


def test_the_fee_is_what_complete_parts_sent_beyond_what_they_delivered(lightning, lightningd):
    part = trace("listsendpays: last 3 by created index")["result"]["payments"][1]
    failed = {**part, "status": "failed", "partid": 2}
    record = record_of(
        lightning,
        lightningd,
        answer_of(trace("listpays after: xpay one hop")),
        Result({"payments": [part, failed, part]}),
        part["payment_hash"],
    )

    assert (record.complete, record.failed) == (2, 1)
    assert (record.sent_msat, record.delivered_msat) == (2_000_200, 2_000_000)


def test_a_failed_payment_is_in_progress_while_the_summary_says_pending(lightning, lightningd):
    """M10: xpay said 209, every part has failed, and the attempt still lives."""
    part = pending_trace("listsendpays while held")["result"]["payments"][0]
    pays = pending_trace("listpays after rejection")["result"]["pays"]
    payment_hash = pays[0]["payment_hash"]
    record = record_of(
        lightning,
        lightningd,
        Result({"pays": pays}),
        Result({"payments": [part | {"status": "failed", "payment_hash": payment_hash}]}),
        payment_hash,
    )

    assert record == PaymentRecord(0, 0, 1, 0, 0, None, in_progress=True, last_part=18)
    # The parts that count were read after the summary, or one could have been sent in between.
    assert [method for method, _ in lightningd.calls] == [
        "listsendpays",
        "listpays",
        "listsendpays",
    ]


def test_a_payment_that_never_left_has_no_parts(lightning, lightningd):
    record = record_of(
        lightning,
        lightningd,
        answer_of(trace("listpays: unknown invoice")),
        Result({"payments": []}),
        "11" * 32,
    )

    assert record == PaymentRecord(0, 0, 0, 0, 0, None, in_progress=False)


def test_parts_that_came_after_the_summary_count_as_in_progress(lightning, lightningd):
    part = pending_trace("listsendpays while held")["result"]["payments"][0]
    record = record_of(
        lightning,
        lightningd,
        NOTHING,
        Result({"payments": [part | {"status": "failed"}]}),
        HELD,
    )

    assert record.in_progress


def test_parts_of_another_payment_are_not_believed(lightning, lightningd):
    """M09: an answer about the wrong hash is no answer."""
    held = answer_of(pending_trace("listsendpays while held"))

    with pytest.raises(NodeUnavailable):
        record_of(lightning, lightningd, NOTHING, held, "11" * 32)


def test_a_lookup_that_fails_is_never_an_empty_record(lightning, lightningd):
    """M11"""
    for answer in (Error({"code": -32601, "message": "Unknown command"}), Raw(None)):
        with pytest.raises(NodeUnavailable):
            record_of(lightning, lightningd, NOTHING, answer, HELD)


TO_US_MSAT = 7_998_148_293
CLOSE_FEE_MSAT = 1_411_000
LEFT_MSAT = TO_US_MSAT - CLOSE_FEE_MSAT


def the_channel(**fields):
    """The recorded channel with other fields, in an answer."""
    return trace("listpeerchannels")["result"]["channels"][0] | fields


def balance_of(lightning, lightningd, *channels, outputs=(), moves=()):
    lightningd.will(
        listpeerchannels=Result({"channels": list(channels)}),
        listfunds=Result({"outputs": list(outputs)}),
        listchainmoves=Result({"chainmoves": list(moves)}),
    )
    return lightning.balance()


def test_the_balance_tells_outgoing_htlcs_apart(lightning, lightningd):
    balance = balance_of(lightning, lightningd, the_channel())

    assert balance.ours_msat == balance.channels_msat == TO_US_MSAT
    assert (balance.spendable_msat, balance.receivable_msat) == (
        7_833_787_288,
        7_841_851_707,
    )
    assert balance.outgoing_msat == {
        "6baed3d7e99adb26bca59f5e09708def77e358a525bb5f2e429e74d97282f821": 55_005
    }


# Every state of lightningd/channel_state.h that a listed channel can be in.
STATES = {
    "CHANNELD_NORMAL": (TO_US_MSAT, 0),
    "CHANNELD_AWAITING_SPLICE": (TO_US_MSAT, 0),
    "CHANNELD_AWAITING_LOCKIN": (TO_US_MSAT, 0),
    "DUALOPEND_AWAITING_LOCKIN": (TO_US_MSAT, 0),
    "DUALOPEND_OPEN_INIT": (0, 0),
    "DUALOPEND_OPEN_COMMITTED": (0, 0),
    "DUALOPEND_OPEN_COMMIT_READY": (0, 0),
    "CHANNELD_SHUTTING_DOWN": (0, LEFT_MSAT),
    "CLOSINGD_SIGEXCHANGE": (0, LEFT_MSAT),
    "CLOSINGD_COMPLETE": (0, LEFT_MSAT),
    "AWAITING_UNILATERAL": (0, LEFT_MSAT),
    "FUNDING_SPEND_SEEN": (0, LEFT_MSAT),
    "ONCHAIN": (0, LEFT_MSAT),
    "CLOSED": (0, 0),
}


@pytest.mark.parametrize("state", STATES)
def test_a_channel_is_ours_until_its_coins_have_reached_the_wallet(lightning, lightningd, state):
    """money-H10; and A12: none of it is spendable once it closes."""
    balance = balance_of(lightning, lightningd, the_channel(state=state))
    assert (balance.channels_msat, balance.closing_msat) == STATES[state]
    assert (balance.spendable_msat > 0) == (
        state in ("CHANNELD_NORMAL", "CHANNELD_AWAITING_SPLICE")
    )


def test_what_a_peer_pushes_into_a_new_channel_is_not_ours_yet(lightning, lightningd):
    funding = {"local_funds_msat": 0, "remote_funds_msat": 16_000_000_000}
    pushed = the_channel(state="CHANNELD_AWAITING_LOCKIN", funding=funding)
    assert balance_of(lightning, lightningd, pushed).ours_msat == 0


def test_the_close_of_a_channel_that_the_peer_opened_costs_us_nothing(lightning, lightningd):
    theirs = the_channel(state="CLOSINGD_COMPLETE", opener="remote")
    assert balance_of(lightning, lightningd, theirs).closing_msat == TO_US_MSAT


def test_a_channel_whose_newest_state_we_have_lost_is_worth_nothing(lightning, lightningd):
    lost = the_channel(state="AWAITING_UNILATERAL", lost_state=True)
    assert balance_of(lightning, lightningd, lost).ours_msat == 0


def test_the_wallet_counts_what_is_confirmed_and_free(lightning, lightningd):
    outputs = [
        {"amount_msat": 1_000, "status": "confirmed", "reserved": False},
        {"amount_msat": 20_000, "status": "confirmed", "reserved": True},
        {"amount_msat": 300_000, "status": "unconfirmed", "reserved": False},
        {"amount_msat": 4_000_000, "status": "immature", "reserved": False},
    ]
    balance = balance_of(lightning, lightningd, the_channel(), outputs=outputs)
    assert (balance.wallet_msat, balance.ours_msat) == (1_000, TO_US_MSAT + 1_000)


@pytest.mark.parametrize(
    "status",
    [
        ["ONCHAIN:Tracking mutual close transaction"],
        [
            "ONCHAIN:Tracking our own unilateral close",
            "ONCHAIN:All outputs resolved: waiting 99 more blocks before forgetting channel",
        ],
    ],
)
def test_a_channel_with_nothing_on_its_way_is_counted_in_the_wallet(lightning, lightningd, status):
    closed = the_channel(state="ONCHAIN", status=status)
    assert balance_of(lightning, lightningd, closed).closing_msat == 0


CLOSING, SWEEP, OTHER = "c1" * 32, "5e" * 32, "07" * 32


def move(account, tag, utxo, credit_msat=0, **more):
    named = {"account_id": account, "primary_tag": tag, "utxo": utxo}
    return named | {"credit_msat": credit_msat} | more


def moves_of(channel):
    """The close, a sweep of one of its outputs, and money of another kind."""
    name = channel["channel_id"]
    return [
        move("wallet", "deposit", f"{OTHER}:0", 9_000_000),
        move(name, "channel_close", f"{channel['funding_txid']}:0", spending_txid=CLOSING),
        move(name, "to_wallet", f"{CLOSING}:1", spending_txid=SWEEP),
        move("wallet", "withdrawal", f"{OTHER}:0", spending_txid=OTHER),
    ]


def test_what_of_a_close_has_reached_the_wallet_is_not_counted_twice(lightning, lightningd):
    """Some outputs come with the close or its first sweep, while others still wait."""
    channel = the_channel(state="ONCHAIN", status=["ONCHAIN:Tracking their unilateral close"])
    moves = moves_of(channel)
    assert balance_of(lightning, lightningd, channel, moves=moves).closing_msat == LEFT_MSAT
    moves.append(move("wallet", "deposit", f"{CLOSING}:0", 5_000_000_000))
    arrived = balance_of(lightning, lightningd, channel, moves=moves)
    assert arrived.closing_msat == LEFT_MSAT - 5_000_000_000
    moves.append(move("wallet", "deposit", f"{SWEEP}:0", 2_000_000_000))
    arrived = balance_of(lightning, lightningd, channel, moves=moves)
    assert arrived.closing_msat == LEFT_MSAT - 7_000_000_000


def incoming(state, amount_msat=600_000):
    return {
        "direction": "in",
        "id": 1,
        "amount_msat": amount_msat,
        "expiry": 200,
        "payment_hash": OTHER,
        "state": state,
    }


@pytest.mark.parametrize(
    "state",
    ["SENT_REMOVE_HTLC", "SENT_REMOVE_COMMIT", "RCVD_REMOVE_REVOCATION", "RCVD_REMOVE_ACK_COMMIT"],
)
def test_an_incoming_htlc_that_the_node_has_answered_is_told(lightning, lightningd, state):
    channel = the_channel(htlcs=[incoming(state)])
    assert balance_of(lightning, lightningd, channel).incoming_msat == {OTHER: 600_000}


@pytest.mark.parametrize("state", ["RCVD_ADD_COMMIT", "RCVD_ADD_ACK_REVOCATION"])
def test_one_that_it_has_not_answered_is_not(lightning, lightningd, state):
    channel = the_channel(htlcs=[incoming(state)])
    assert balance_of(lightning, lightningd, channel).incoming_msat == {}


def test_an_htlc_that_was_claimed_on_the_chain_is_not_counted_twice(lightning, lightningd):
    channel = the_channel(
        state="ONCHAIN",
        status=["ONCHAIN:Tracking their unilateral close"],
        htlcs=[incoming("SENT_REMOVE_HTLC")],
    )
    moves = moves_of(channel)
    moves.append(move("wallet", "deposit", f"{CLOSING}:0", LEFT_MSAT))
    assert balance_of(lightning, lightningd, channel, moves=moves).incoming_msat == {OTHER: 600_000}
    moves.append(move("wallet", "deposit", f"{SWEEP}:0", 500_000))
    assert balance_of(lightning, lightningd, channel, moves=moves).incoming_msat == {OTHER: 100_000}
