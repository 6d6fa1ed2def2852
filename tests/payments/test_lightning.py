"""Alice pays invoices of other servers through the node; simnet knows what really happened."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.utils import timezone
from psycopg import sql

from accounts import ledger
from accounts.models import Transfer
from coinos import nodes
from coinos.celery import app
from coinos.leases import only_one
from coinos.nodes.base import Failed
from coinos.simnet.control import Control
from payments import tasks
from payments.models import Payment
from payments.services import resolution, resolve_due
from payments.services.lightning import dispatch_waiting
from tests.database import administrator
from tests.payments.conftest import Person


def pay(person: Person, payreq: str, **body: Any) -> Any:
    return person.api.post("/payments", {"payreq": payreq, **body})


def let_the_resolver_look() -> None:
    Payment.objects.update(next_look_at=timezone.now())
    resolve_due()


def until_resolved(person: Person, seconds: float = 10) -> Payment:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        let_the_resolver_look()
        payment = person.payment()
        if payment.state in ("settled", "failed") and (payment.fee_final or payment.failure):
            break
        time.sleep(0.1)
    return person.payment()


def test_an_outside_invoice_is_paid_and_the_unused_reserve_comes_back(
    alice: Person, network: Control
) -> None:
    bolt11 = network.invoice(5_000_000, description="lunch")
    paid = pay(alice, bolt11)
    assert paid.status_code == 200, paid.body
    body = paid.body
    truth = network.payment(body["payment_hash"])
    assert truth["status"] == "settled"
    assert (body["status"], body["confirmed"], body["amount"]) == ("settled", True, -5000)
    assert body["ref"] == truth["preimage"]
    assert body["hash"] == bolt11
    fee_sat = -(-truth["fee_msat"] // 1000)
    assert body["fee"] == fee_sat
    assert alice.available_sat == 100_000 - 5000 - fee_sat
    assert ledger.balance_of(alice.user.id).held_sat == 0


@pytest.mark.parametrize("written", [str.upper, str.lower, lambda b: f"  lightning:{b} "])
def test_an_invoice_may_be_written_in_any_case(
    alice: Person, network: Control, written: Any
) -> None:
    """A09"""
    bolt11 = network.invoice(1_000_000)
    assert pay(alice, written(bolt11)).body["status"] == "settled"
    assert alice.payment().destination == bolt11


def test_an_amount_is_asked_for_only_where_the_invoice_has_none(
    alice: Person, network: Control
) -> None:
    open_invoice = network.invoice(None)
    assert pay(alice, open_invoice).body["code"] == "invalid_amount"
    fixed = network.invoice(1_000_000)
    assert pay(alice, fixed, amount=999).body["code"] == "invalid_amount"
    assert pay(alice, fixed, amount=1000).body["status"] == "settled"
    assert pay(alice, open_invoice, amount=300).body["amount"] == -300


def test_an_invoice_is_paid_once_on_the_whole_site(
    alice: Person, charlie: Person, network: Control
) -> None:
    """M28"""
    bolt11 = network.invoice(1_000_000)
    assert pay(alice, bolt11).status_code == 200
    for person in (alice, charlie):
        again = pay(person, bolt11)
        assert (again.status_code, again.body["code"]) == (409, "invoice_already_paid")
    assert charlie.available_sat == 50_000


def test_twenty_payments_of_one_invoice_at_once_hold_and_pay_once(
    alice: Person, network: Control
) -> None:
    """M34"""
    bolt11 = network.invoice(1_000_000)
    codes: list[int] = []

    def run() -> None:
        codes.append(pay(alice, bolt11).status_code)
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200] + [409] * 11
    assert Transfer.objects.filter(kind="send.hold").count() == 1


@pytest.mark.parametrize(
    ("payreq", "code"),
    [
        ("nonsense", "invalid_payment_request"),
        ("lnbcrt1qqqq", "invalid_payment_request"),
        ("", "invalid_payment_request"),
        (7, "invalid_request"),
        (["lnbc"], "invalid_request"),
    ],
)
def test_nonsense_is_refused(alice: Person, network: Control, payreq: Any, code: str) -> None:
    refused = pay(alice, payreq)
    assert (refused.status_code, refused.body["code"]) == (400, code)


def test_an_invoice_without_an_amount_is_not_paid_without_one(
    alice: Person, network: Control
) -> None:
    """input-C8"""
    for body in ({}, {"amount": None}):
        refused = alice.api.post("/payments", {"payreq": network.invoice(None)} | body)
        assert (refused.status_code, refused.body["code"]) == (400, "invalid_amount")
        assert refused.body["message"] == "This invoice names no amount: choose one"
        assert refused.body["errors"][0]["pointer"] == "#/amount"
    assert not Payment.objects.exists()


def test_an_expired_invoice_is_refused_before_anything_is_held(
    alice: Person, network: Control
) -> None:
    bolt11 = network.invoice(1_000_000, expiry=1)
    time.sleep(1.1)
    assert pay(alice, bolt11).body["code"] == "invoice_expired"
    assert not Payment.objects.exists()


def test_a_payment_that_certainly_failed_gives_everything_back(
    alice: Person, network: Control
) -> None:
    refused = pay(alice, network.invoice(1_000_000, node="fail"))
    assert (refused.status_code, refused.body["code"]) == (400, "payment_failed")
    assert alice.payment().state == "failed"
    assert alice.available_sat == 100_000
    listed = alice.api.get("/payments").body
    assert listed["count"] == 0
    failed = alice.api.get("/payments?status=all").body["payments"]
    assert [(p["status"], p["amount"], p["fee"]) for p in failed] == [("failed", -1000, 0)]


def test_a_failure_that_is_replayed_says_so(alice: Person, network: Control) -> None:
    """input-I17l: nothing is tried a second time."""
    body = {"payreq": network.invoice(1_000_000, node="fail")}
    first = alice.api.post("/payments", body, Idempotency_Key="rent")
    assert (first.status_code, first.body["code"]) == (400, "payment_failed")
    assert "Idempotent-Replayed" not in first.headers
    again = alice.api.post("/payments", body, Idempotency_Key="rent")
    assert (again.status_code, again.body) == (400, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Content-Type"] == "application/problem+json"
    assert Payment.objects.count() == 1


def test_a_fee_limit_below_the_route_fails_without_a_loss(alice: Person, network: Control) -> None:
    refused = pay(alice, network.invoice(50_000_000), fee=0)
    assert refused.body["code"] == "payment_failed"
    assert alice.available_sat == 100_000


def test_without_an_answer_the_payment_is_pending_and_the_hold_stays(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M07, M33"""
    monkeypatch.setattr("payments.services.lightning.ANSWER_WITHIN_S", 0.5)
    bolt11 = network.invoice(1_000_000)
    network.set_faults([{"method": "xpay", "kind": "hold"}])
    unknown = pay(alice, bolt11)
    assert unknown.status_code == 200
    assert (unknown.body["status"], unknown.body["confirmed"]) == ("pending", False)
    assert "ref" not in unknown.body
    assert ledger.balance_of(alice.user.id).held_sat == 1000 + 5
    network.release(unknown.body["payment_hash"])
    assert until_resolved(alice).state == "settled"


def test_a_payment_whose_answer_is_late_settles(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payments.services.lightning.ANSWER_WITHIN_S", 0.5)
    network.set_faults([{"method": "xpay", "kind": "delay", "seconds": 1.5}])
    assert pay(alice, network.invoice(1_000_000)).body["status"] in ("settled", "pending")
    assert until_resolved(alice).state == "settled"


def test_a_reply_that_is_lost_after_the_payment_is_no_refund(
    alice: Person, network: Control
) -> None:
    """M07, M08, M11: executed, then the connection drops."""
    bolt11 = network.invoice(1_000_000)
    network.set_faults([{"method": "xpay", "kind": "exec_then_drop"}])
    answer = pay(alice, bolt11)
    assert answer.status_code == 200
    network.clear_faults()
    payment = until_resolved(alice)
    assert payment.state == "settled"
    assert network.payment(payment.payment_hash or "")["status"] == "settled"


def test_a_payment_under_way_is_pending_when_the_database_goes_away(
    alice: Person, network: Control, cloned_db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M11: an error would invite her to pay again."""
    bolt11 = network.invoice(1_000_000)
    monkeypatch.setattr(
        "payments.services.lightning.failpoint",
        lambda name: let_in(cloned_db, False) if name == "ln.held" else None,
    )
    try:
        answer = pay(alice, bolt11)
    finally:
        let_in(cloned_db, True)
    assert (answer.status_code, answer.body["status"]) == (200, "pending")
    Payment.objects.update(created=timezone.now() - timedelta(minutes=1))
    monkeypatch.undo()
    dispatch_waiting()
    assert until_resolved(alice).state == "settled"


def let_in(database: Any, yes: bool) -> None:
    """Whether the database takes new connections; those that are there stay."""
    with administrator() as postgres:
        name = sql.Identifier(database.name)
        postgres.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(name, sql.Literal(yes))
        )


def test_an_error_after_success_is_no_refund(alice: Person, network: Control) -> None:
    """M10"""
    network.set_faults([{"method": "xpay", "kind": "exec_then_error", "code": 209}])
    assert pay(alice, network.invoice(1_000_000)).status_code == 200
    network.clear_faults()
    assert until_resolved(alice).state == "settled"


def test_a_call_that_never_reached_the_node_is_released_after_its_deadline(
    alice: Person, network: Control
) -> None:
    """M09: no record is not a failure before the deadline has passed."""
    network.set_faults([{"method": "xpay", "kind": "drop_before"}])
    assert pay(alice, network.invoice(1_000_000)).body["status"] == "pending"
    network.clear_faults()
    let_the_resolver_look()
    assert alice.payment().state == "sending"
    assert until_resolved(alice).state == "failed"
    assert alice.available_sat == 100_000


def test_a_node_that_was_away_gets_its_time_again_before_nothing_counts_as_not_sent(
    alice: Person, network: Control, settings: Any, tmp_path: Any
) -> None:
    """M08: a node that hung has our call before it, unread, and pays when it wakes."""
    network.set_faults([{"method": "xpay", "kind": "drop_before"}])
    assert pay(alice, network.invoice(1_000_000)).body["status"] == "pending"
    settings.LIGHTNING_RPC = str(tmp_path / "nobody")
    Payment.objects.update(deadline=timezone.now() - timedelta(hours=1))
    let_the_resolver_look()
    settings.LIGHTNING_RPC = network.lightning_rpc
    let_the_resolver_look()
    assert alice.payment().state == "sending"
    assert until_resolved(alice).state == "failed"


def test_after_a_pause_of_the_resolver_nothing_counts_as_not_sent_at_once(
    alice: Person, network: Control
) -> None:
    """M08: a machine that was paused wakes the resolver and the node at the same moment."""
    network.set_faults([{"method": "xpay", "kind": "drop_before"}])
    assert pay(alice, network.invoice(1_000_000)).body["status"] == "pending"
    an_hour_ago = timezone.now() - timedelta(hours=1)
    Payment.objects.update(deadline=an_hour_ago, next_look_at=an_hour_ago)
    cache.set(resolution.ANSWERED_AT, an_hour_ago)
    resolve_due()
    assert alice.payment().state == "sending"
    assert until_resolved(alice).state == "failed"


def test_looks_that_each_come_a_ring_late_still_end_a_payment(
    alice: Person, network: Control
) -> None:
    """I11: a late bell is no pause, or a busy worker would start the deadline again for ever."""
    network.set_faults([{"method": "xpay", "kind": "drop_before"}])
    assert pay(alice, network.invoice(1_000_000)).body["status"] == "pending"
    Payment.objects.update(
        deadline=timezone.now() - resolution.MARGIN,
        next_look_at=timezone.now() - resolution.MARGIN - timedelta(seconds=5),
    )
    resolve_due()
    assert alice.payment().state == "failed"


def test_looks_that_are_late_because_the_round_is_long_still_end_a_payment(
    alice: Person, charlie: Person, network: Control
) -> None:
    """I11: with a slow node and many undecided payments each look is late, and none is a pause."""
    network.set_faults([{"method": "xpay", "kind": "drop_before"}])
    for person in (alice, charlie):
        assert pay(person, network.invoice(1_000_000)).body["status"] == "pending"
    let_the_resolver_look()
    late = timezone.now() - resolution.AWAY - timedelta(minutes=1)
    Payment.objects.update(deadline=late, next_look_at=late)
    resolve_due()
    assert [person.payment().state for person in (alice, charlie)] == ["failed", "failed"]


def test_a_pause_in_the_middle_of_a_round_gives_every_payment_its_time_again(
    alice: Person, charlie: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M08: the node was paused with us, and has not done yet what it was asked before."""
    network.set_faults([{"method": "xpay", "kind": "drop_before"}])
    for person in (alice, charlie):
        assert pay(person, network.invoice(1_000_000)).body["status"] == "pending"
    an_hour_ago = timezone.now() - timedelta(hours=1)
    Payment.objects.update(deadline=an_hour_ago, next_look_at=an_hour_ago)
    original = resolution._look_again

    def look(payment: Payment, **how: Any) -> bool:
        cache.set(resolution.ANSWERED_AT, an_hour_ago)  # the pause is just before this look
        return original(payment, **how)

    monkeypatch.setattr(resolution, "_look_again", look)
    resolve_due()
    assert [person.payment().state for person in (alice, charlie)] == ["sending", "sending"]


def test_a_payment_that_cannot_be_looked_at_holds_up_no_others(
    alice: Person, charlie: Person, network: Control
) -> None:
    """money-L5"""
    network.set_faults([{"method": "xpay", "kind": "drop_before"}])
    for person in (alice, charlie):
        assert pay(person, network.invoice(1_000_000)).body["status"] == "pending"
    Payment.objects.update(call_returned=True, next_look_at=timezone.now())
    Payment.objects.filter(user=alice.user).update(
        payment_hash=None, next_look_at=timezone.now() - timedelta(seconds=1)
    )
    resolve_due()
    assert (alice.payment().state, charlie.payment().state) == ("sending", "failed")


def test_a_record_that_cannot_be_read_holds_up_no_others(
    alice: Person, charlie: Person, network: Control
) -> None:
    """money-L5: the node is asked whether it is away, else the round goes on."""
    network.set_faults([{"method": "xpay", "kind": "drop_before"}])
    for person in (alice, charlie):
        assert pay(person, network.invoice(1_000_000)).body["status"] == "pending"
    Payment.objects.update(call_returned=True, next_look_at=timezone.now())
    network.set_faults([{"method": "listpays", "kind": "garbage", "times": 1}])
    resolve_due()
    assert sorted(person.payment().state for person in (alice, charlie)) == ["failed", "sending"]


def test_a_payment_that_was_settled_is_not_given_back_by_who_comes_late(
    alice: Person, network: Control
) -> None:
    """M08: its hold is still there while a part is pending; whoever found it failed before looks
    again under lock."""
    network.set_faults([{"kind": "partial_mpp", "method": "xpay", "how": "pending", "times": 1}])
    paid = pay(alice, network.invoice(3_000_000)).body
    payment = alice.payment()
    assert (payment.state, payment.fee_final) == ("settled", False)
    payment.state = Payment.State.SENDING  # as another process had read it
    resolution._apply(payment, Failed("The payment did not arrive; nothing was paid"))
    assert alice.payment().state == "settled"
    assert ledger.balance_of(alice.user.id).held_sat == 3015
    network.release(paid["payment_hash"])
    assert until_resolved(alice).fee_final


def test_every_ring_of_the_bell_finds_a_payment_due(alice: Person, network: Control) -> None:
    """I11: rings are never exactly one period apart; one that is early would be for nothing."""
    network.set_faults([{"method": "xpay", "kind": "drop_before"}])
    assert pay(alice, network.invoice(1_000_000)).body["status"] == "pending"
    let_the_resolver_look()
    ring = timedelta(seconds=app.conf.beat_schedule["resolve payments"]["schedule"])
    assert alice.payment().next_look_at < timezone.now() + ring - timedelta(milliseconds=500)


def test_a_round_of_the_resolver_is_left_to_the_one_that_is_running(
    alice: Person, network: Control
) -> None:
    """O04, M27: rounds that wait for a node that hangs do not take every worker."""
    network.set_faults([{"method": "xpay", "kind": "drop_before"}])
    assert pay(alice, network.invoice(1_000_000)).body["status"] == "pending"
    Payment.objects.update(next_look_at=timezone.now(), call_returned=True)
    with only_one("resolve payments"):
        tasks.resolve()
    assert alice.payment().state == "sending"
    tasks.resolve()
    assert alice.payment().state == "failed"


def test_a_lookup_that_breaks_keeps_the_hold(alice: Person, network: Control) -> None:
    """M11, F11"""
    network.set_faults(
        [
            {"method": "xpay", "kind": "exec_then_drop"},
            {"method": "listsendpays", "kind": "garbage"},
        ]
    )
    assert pay(alice, network.invoice(1_000_000)).body["status"] == "pending"
    let_the_resolver_look()
    assert alice.payment().state == "sending"
    network.clear_faults()
    assert until_resolved(alice).state == "settled"


def test_a_held_invoice_is_pending_until_the_receiver_decides(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M33, A01"""
    monkeypatch.setattr("payments.services.lightning.ANSWER_WITHIN_S", 0.5)
    bolt11 = network.invoice(1_000_000)
    decoded = alice.api.get(f"/decode/{bolt11}").body
    network.hold(decoded["payment_hash"])
    assert pay(alice, bolt11).body["status"] == "pending"
    let_the_resolver_look()
    assert alice.payment().state == "sending"
    network.release(decoded["payment_hash"], settle=False)
    assert until_resolved(alice).state == "failed"
    assert alice.available_sat == 100_000


def test_an_invoice_that_failed_can_be_paid_again_and_one_that_settled_cannot(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """input-C6: two payments of one invoice, of which one took money."""
    monkeypatch.setattr("payments.services.lightning.ANSWER_WITHIN_S", 0.5)
    bolt11 = network.invoice(4_000_000)
    payment_hash = alice.api.get(f"/decode/{bolt11}").body["payment_hash"]
    for settles, state in ((False, "failed"), (True, "settled")):
        network.hold(payment_hash)
        paid = pay(alice, bolt11)
        assert paid.body["status"] == "pending"
        network.release(payment_hash, settle=settles)
        of_this = Payment.objects.get(id=paid.body["id"])
        deadline = time.monotonic() + 20
        while of_this.state == "sending" and time.monotonic() < deadline:
            let_the_resolver_look()
            of_this.refresh_from_db()
            time.sleep(0.05)
        assert of_this.state == state
    again = pay(alice, bolt11)
    assert again.status_code == 409
    truth = network.payment(payment_hash)
    cost_msat = truth["amount_msat"] + truth["fee_msat"]
    assert alice.available_sat == 100_000 - -(-cost_msat // 1000)


def test_the_whole_balance_cannot_be_spent_without_room_for_the_fee(
    alice: Person, network: Control
) -> None:
    """F05"""
    refused = pay(alice, network.invoice(100_000_000))
    assert refused.body["code"] == "insufficient_funds"
    assert refused.body["message"] == "Insufficient funds ⚡️100000 / 100500"


def test_the_kill_switch_stops_what_goes_out_and_nothing_else(
    alice: Person, bob: Person, network: Control, settings: Any, tmp_path: Any
) -> None:
    """O02"""
    settings.STOP_FILE = tmp_path / "stop"
    settings.STOP_FILE.touch()
    refused = pay(alice, network.invoice(1_000_000))
    assert (refused.status_code, refused.body["code"]) == (403, "withdrawals_paused")
    assert alice.api.post("/send", {"amount": 1, "username": "bob"}).status_code == 200


def test_a_node_that_is_away_is_503_and_holds_nothing(
    alice: Person, network: Control, settings: Any, tmp_path: Any
) -> None:
    bolt11 = network.invoice(1_000_000)
    settings.LIGHTNING_RPC = str(tmp_path / "nobody")
    away = pay(alice, bolt11)
    assert (away.status_code, away.body["code"]) == (503, "node_unavailable")
    assert away.headers["Retry-After"]
    assert alice.available_sat == 100_000


@pytest.mark.parametrize("how", ["lost", "in_flight"])
def test_parts_that_outlive_an_error_are_not_refunded(
    alice: Person, network: Control, how: str
) -> None:
    """M10: error 209 while parts complete, or are still in flight."""
    network.set_faults([{"kind": "partial_mpp", "method": "xpay", "how": how, "times": 1}])
    paid = pay(alice, network.invoice(3_000_000))
    assert paid.status_code == 200
    if how == "in_flight":
        assert paid.body["status"] == "pending"
        network.release(paid.body["payment_hash"])
    assert until_resolved(alice).state == "settled"
    assert ledger.differences() == []


def test_a_payment_with_a_part_still_pending_is_settled_but_keeps_its_hold(
    alice: Person, network: Control
) -> None:
    network.set_faults([{"kind": "partial_mpp", "method": "xpay", "how": "pending", "times": 1}])
    paid = pay(alice, network.invoice(3_000_000)).body
    assert (paid["status"], paid["confirmed"]) == ("settled", True)
    assert paid["ref"]
    assert not alice.payment().fee_final
    assert ledger.balance_of(alice.user.id).held_sat == 3015
    network.release(paid["payment_hash"])
    assert until_resolved(alice).fee_final
    assert ledger.balance_of(alice.user.id).held_sat == 0


def test_what_a_payee_leaves_unclaimed_goes_to_suspense(alice: Person, network: Control) -> None:
    """Found by T4: a payee fails two parts of three, then claims the last: the preimage is out.

    The user has paid the invoice; the ledger still agrees with the node to the msat."""
    network.set_faults([{"kind": "partial_mpp", "method": "xpay", "how": "pending", "times": 1}])
    paid = pay(alice, network.invoice(3_000_000, node="fail")).body
    assert paid["status"] == "pending"
    network.release(paid["payment_hash"], settle=True)
    assert until_resolved(alice).state == "settled"
    truth = network.payment(paid["payment_hash"])
    assert truth["amount_msat"] == 1_000_000
    went_out_msat = truth["amount_msat"] + truth["fee_msat"]
    assert ledger.house_balance_msat(ledger.House.LIGHTNING) == went_out_msat
    assert ledger.house_balance_msat(ledger.House.SUSPENSE) == 2_000_000
    assert ledger.differences() == []


@pytest.mark.parametrize("how", ["missing", "string", "float", "nan", "negative"])
@pytest.mark.parametrize("field", ["amount_sent_msat", "amount_msat", "status", "payment_preimage"])
def test_an_unreadable_record_keeps_the_hold(
    alice: Person, network: Control, field: str, how: str
) -> None:
    """F11"""
    network.set_faults(
        [{"kind": "wrong_type", "method": "listsendpays", "field": field, "how": how}]
    )
    assert pay(alice, network.invoice(1_000_000)).body["status"] == "pending"
    network.clear_faults()
    assert until_resolved(alice).state == "settled"


def test_the_same_key_does_not_pay_an_invoice_twice(alice: Person, network: Control) -> None:
    bolt11 = network.invoice(1_000_000)
    body = {"payreq": bolt11}
    first = alice.api.post("/payments", body, Idempotency_Key="k1")
    again = alice.api.post("/payments", body, Idempotency_Key="k1")
    assert again.body["id"] == first.body["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    other = alice.api.post("/payments", {"payreq": network.invoice(1)}, Idempotency_Key="k1")
    assert other.status_code == 422


def test_sub_sat_amounts_are_ceiled_for_the_user_and_exact_in_the_books(
    alice: Person, network: Control
) -> None:
    """F06"""
    paid = pay(alice, network.invoice(1_000_500)).body
    assert paid["amount"] == -1001
    truth = network.payment(paid["payment_hash"])
    post = Transfer.objects.get(kind="send.post")
    assert post.amount_msat == truth["amount_msat"] + truth["fee_msat"]
    assert ledger.differences() == []


@pytest.mark.parametrize(("amount_msat", "amount_sat"), [(1, 1), (999, 1), (1001, 2)])
def test_the_smallest_invoices_cost_whole_sats(
    alice: Person, network: Control, amount_msat: int, amount_sat: int
) -> None:
    """input-C5: rounded up, and what the rounding leaves is booked."""
    paid = pay(alice, network.invoice(amount_msat))
    assert (paid.body["status"], paid.body["amount"]) == ("settled", -amount_sat)
    assert alice.available_sat == 100_000 - amount_sat - paid.body["fee"]
    assert network.payment(paid.body["payment_hash"])["amount_msat"] == amount_msat
    assert ledger.differences() == []


def test_while_the_first_request_is_being_answered_the_same_key_is_told_so(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that lost patience must not read "pending" as the answer to its second try."""
    begun, may_end = threading.Event(), threading.Event()

    def is_over(done: Any) -> bool:
        begun.set()
        assert may_end.wait(30)
        done.result(30)
        return True

    monkeypatch.setattr("payments.services.lightning._is_over", is_over)
    bolt11, answers = network.invoice(1_000_000), []

    def first() -> None:
        answers.append(alice.api.post("/payments", {"payreq": bolt11}, Idempotency_Key="rent"))
        connection.close()

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(30)
    early = alice.api.post("/payments", {"payreq": bolt11}, Idempotency_Key="rent")
    may_end.set()
    thread.join()
    assert (early.status_code, early.body["code"]) == (409, "idempotency_in_progress")
    assert early.headers["Retry-After"] == "2"
    assert answers[0].body["status"] == "settled"
    again = alice.api.post("/payments", {"payreq": bolt11}, Idempotency_Key="rent")
    assert (again.body["id"], again.body["status"]) == (answers[0].body["id"], "settled")
    assert Payment.objects.count() == 1


def test_an_invoice_of_our_own_node_that_no_user_owns_is_refused(
    alice: Person, network: Control
) -> None:
    """M15: the node never pays itself, and who would be credited?"""
    own = nodes.lightning().create_invoice(
        label="by-the-operator", amount_msat=1_000_000, description="", expiry_s=3600
    )
    refused = pay(alice, own.bolt11)
    assert (refused.status_code, refused.body["code"]) == (400, "self_payment")
    assert "belongs to this server itself" in refused.body["message"]
    assert not Payment.objects.exists()
    assert alice.available_sat == 100_000
