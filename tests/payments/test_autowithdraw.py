"""Alice has a till: what is above her reserve leaves by itself, once for each receipt."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.models import Max
from django.utils import timezone

from accounts import services
from accounts.books import check_books
from accounts.models import Activity, AuditEvent, Event, Transfer, User
from coinos.simnet.control import Control
from payments.models import AutoWithdraw, AutoWithdrawRun, Payment
from payments.services.autowithdraw_runs import run_due
from tests.cast import PASSWORD, fund, give_password, give_pin
from tests.database import ROOT, Database
from tests.payments.conftest import Person
from tests.payments.lnurl_service import Service
from tests.payments.test_claims import at_once
from tests.payments.test_lightning import until_resolved

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def ask(person: Person, **wanted: Any) -> Any:
    """POST /user with the password, which the person has."""
    give_password(person.user)
    return person.api.post("/user", {"current_password": PASSWORD} | wanted)


def switch_on(
    person: Person, destination: str, threshold: int = 50_000, reserve: int = 20_000
) -> Any:
    answer = ask(
        person,
        autowithdraw=True,
        threshold=threshold,
        reserve=reserve,
        destination=destination,
    )
    assert answer.status_code == 200, answer.body
    return answer.body["user"]


def ring() -> int:
    """The bell, as if all pauses were over."""
    let_older_transactions_end()
    AutoWithdraw.objects.update(next_at=timezone.now())
    return run_due()


def let_older_transactions_end() -> None:
    """An event counts once no older transaction runs, and other tests share the server."""
    deadline = time.monotonic() + 60
    while True:
        newest = Event.objects.aggregate(newest=Max("transaction_id"))["newest"] or 0
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            if cursor.fetchone()[0] > newest:
                return
        assert time.monotonic() < deadline, "some transaction has run for a minute"
        time.sleep(0.02)


def pay(payer: Person, payee: Person, amount: int) -> None:
    sent = payer.api.post("/send", {"username": payee.user.username, "amount": amount})
    assert sent.status_code == 200, sent.body


def order_of(person: Person) -> AutoWithdraw:
    return AutoWithdraw.objects.get(user=person.user)


def sent_by(person: Person) -> list[int]:
    lines = Activity.objects.filter(user=person.user, amount_sat__lt=0).order_by("created")
    return list(lines.values_list("amount_sat", flat=True))


def books_are_right() -> bool:
    return not any(found.differences for found in check_books())


# --- What it does --------------------------------------------------------------------------------


def test_what_is_above_the_reserve_goes_to_a_user_here(
    alice: Person, bob: Person, charlie: Person
) -> None:
    shown = switch_on(alice, "bob")
    assert (shown["autowithdraw"], shown["threshold"], shown["reserve"]) == (True, 50_000, 20_000)
    assert shown["destination"] == "bob"
    ring()
    assert (alice.available_sat, bob.available_sat) == (20_000, 80_000)
    pay(charlie, alice, 30_000)
    ring()
    assert alice.available_sat == 50_000, "not above the threshold"
    pay(charlie, alice, 1)
    ring()
    assert (alice.available_sat, bob.available_sat) == (20_000, 110_001)
    assert sent_by(alice) == [-80_000, -30_001]
    assert books_are_right()


def test_one_receipt_sets_off_one_run_however_often_the_bell_rings(
    alice: Person, bob: Person, charlie: Person
) -> None:
    """M29: money that comes back otherwise is no receipt, and a receipt counts once."""
    switch_on(alice, "bob")
    ring()
    fund(alice.user, 100_000)  # an operator's correction writes no line: no receipt
    for _ in range(3):
        ring()
    assert alice.available_sat == 120_000
    pay(charlie, alice, 1)
    for _ in range(3):
        ring()
    assert alice.available_sat == 20_000
    assert AutoWithdrawRun.objects.count() == 2


def test_twenty_bells_at_once_pay_once(alice: Person, bob: Person) -> None:
    """M27, M29"""
    switch_on(alice, "bob")
    AutoWithdraw.objects.update(next_at=timezone.now())
    at_once(run_due, 20)
    assert Transfer.objects.filter(kind="internal").count() == 1
    assert (alice.available_sat, bob.available_sat) == (20_000, 80_000)


def test_a_worker_that_was_away_pays_nothing_again(alice: Person, bob: Person) -> None:
    """M29: two hold the same run at once, after the first one's claim has run out."""
    from payments.services import autowithdraw_runs as runs

    switch_on(alice, "bob")
    order = runs._claim()
    assert order
    run = runs._begin(order)
    assert run
    at_once(lambda: runs._turn(AutoWithdraw.objects.select_related("user").get()), 10)
    assert Transfer.objects.filter(kind="internal").count() == 1
    assert bob.available_sat == 80_000


def test_a_lightning_address_elsewhere_is_paid_and_fees_fit(
    alice: Person, service: Service, network: Control
) -> None:
    switch_on(alice, service.lnurl)
    ring()
    payment = Payment.objects.get()
    assert payment.state == Payment.State.SETTLED
    assert payment.recipient, "the history says who"
    assert payment.held_sat <= 80_000
    assert alice.available_sat == 100_000 - payment.amount_sat - (payment.fee_sat or 0) >= 20_000
    assert payment.amount_sat + payment.max_fee_sat > 79_990, "as much as fits"
    assert AutoWithdrawRun.objects.get().bolt11 == payment.destination


def test_an_address_gets_all_but_the_fee(alice: Person, network: Control) -> None:
    network.mine(1)
    address = network.address()
    switch_on(alice, address)
    ring()
    payment = Payment.objects.get()
    assert payment.state == Payment.State.BROADCAST
    assert payment.amount_sat + (payment.fee_sat or 0) == 80_000
    assert alice.available_sat == 20_000
    assert AutoWithdrawRun.objects.get().state == AutoWithdrawRun.State.PAID


def test_too_little_waits_for_more(alice: Person, charlie: Person, service: Service) -> None:
    """The other side's minimum is respected; the next receipt looks again."""
    service.terms = {"minSendable": 100_000_000}
    switch_on(alice, service.lnurl)
    ring()
    assert service.asked == []
    assert "too small or too large" in order_of(alice).reason
    pay(charlie, alice, 50_000)
    ring()
    assert Payment.objects.get().state == Payment.State.SETTLED


def test_a_receipt_beside_an_older_transaction_waits_for_its_end_and_is_not_lost(
    alice: Person, bob: Person, charlie: Person, cloned_db: Database
) -> None:
    switch_on(alice, "bob")
    ring()
    with psycopg.connect(cloned_db.url) as older:
        older.execute("SELECT pg_current_xact_id()")
        pay(charlie, alice, 50_000)
        AutoWithdraw.objects.update(next_at=timezone.now())
        run_due()
        assert alice.available_sat == 70_000
    ring()
    assert (alice.available_sat, bob.available_sat) == (20_000, 130_000)


def test_of_a_link_the_address_of_this_network_is_kept(alice: Person, network: Control) -> None:
    """input-B5"""
    address = network.address()
    link = f"bitcoin:bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4?bcrt={address}"
    assert switch_on(alice, link)["destination"] == address


def test_dust_is_not_sent(alice: Person, network: Control) -> None:
    """F12"""
    network.mine(1)
    switch_on(alice, network.address(), threshold=99_500, reserve=99_500)
    ring()
    assert not Payment.objects.exists()
    assert "at least 546" in order_of(alice).reason
    assert alice.available_sat == 100_000


# --- Circles -------------------------------------------------------------------------------------


def test_to_oneself_is_refused_when_saved(alice: Person, network: Control) -> None:
    """M29"""
    own = alice.api.post("/invoice", {"invoice": {"type": "bitcoin"}}).body
    for destination in ("alice", "@Alice", f"alice@{domain()}", own["hash"]):
        refused = ask(alice, autowithdraw=True, threshold=5, reserve=0, destination=destination)
        assert (refused.status_code, refused.body["code"]) == (400, "self_payment"), destination
        assert refused.body["errors"][0]["pointer"] == "#/destination"
    assert not AutoWithdraw.objects.exists()
    assert not Transfer.objects.exclude(kind="operator.credit").exists()


def test_to_oneself_is_refused_when_it_is_paid(
    alice: Person, service: Service, network: Control
) -> None:
    """M29: another server resolves to an invoice of her own; not a row moves, and she reads why."""

    def own_invoice(amount_msat: int) -> dict[str, Any]:
        made = alice.api.post("/invoice", {"invoice": {"amount": amount_msat // 1000}}).body
        return {"pr": made["hash"]}

    service.invoice = own_invoice
    switch_on(alice, service.lnurl)
    for _ in range(3):
        ring()
    assert not Transfer.objects.exclude(kind="operator.credit").exists()
    assert len(service.asked) == 1, "one invoice, kept"
    order = order_of(alice)
    assert order.failures == 3
    assert order.reason
    assert order.next_at > timezone.now() + timedelta(minutes=3)


def domain() -> str:
    from django.conf import settings

    return settings.DOMAIN


def test_two_users_who_send_to_each_other_come_to_rest(
    alice: Person, bob: Person, charlie: Person
) -> None:
    """M29: to another user with auto-withdraw back: terminates."""
    switch_on(alice, "bob", threshold=1000, reserve=0)
    switch_on(bob, "alice", threshold=1000, reserve=0)
    for _ in range(10):
        ring()
    before = Transfer.objects.filter(kind="internal").count()
    pay(charlie, alice, 5000)
    for _ in range(10):
        ring()
    moved = Transfer.objects.filter(kind="internal").count() - before - 1
    assert moved == 2, "once by alice, once by bob, for one receipt"
    assert alice.available_sat + bob.available_sat == 105_000
    assert books_are_right()


def test_a_chain_passes_the_sats_on(alice: Person, bob: Person, charlie: Person) -> None:
    """Her till empties into Bob's account, and his into Charlie's."""
    switch_on(alice, "bob", threshold=1000, reserve=0)
    switch_on(bob, "charlie", threshold=1000, reserve=0)
    for _ in range(3):
        ring()
    assert (alice.available_sat, bob.available_sat, charlie.available_sat) == (0, 0, 150_000)


# --- Failures ------------------------------------------------------------------------------------


def test_a_failed_attempt_waits_longer_each_time_and_says_why(
    alice: Person, service: Service, network: Control
) -> None:
    switch_on(alice, service.lnurl)
    service.terms = {"status": "ERROR", "reason": "closed for today"}
    pauses = []
    for _ in range(3):
        ring()
        pauses.append(order_of(alice).next_at - timezone.now())
    assert [round(pause.total_seconds() / 60) for pause in pauses] == [1, 2, 4]
    assert "closed for today" in order_of(alice).reason
    service.terms = {}
    ring()
    order = order_of(alice)
    assert (order.failures, order.reason) == (0, "")
    assert Payment.objects.count() == 1


def test_a_payment_that_failed_for_certain_is_tried_again_with_the_same_invoice(
    alice: Person, service: Service, network: Control
) -> None:
    """M23: another attempt, the same hash."""
    switch_on(alice, service.lnurl)
    network.set_faults([{"method": "xpay", "kind": "drop_before"}])
    ring()
    network.clear_faults()
    assert until_resolved(alice).state == "failed"
    assert alice.available_sat == 100_000
    ring()  # notes the failure
    order = order_of(alice)
    assert (order.failures, bool(order.reason)) == (1, True)
    ring()  # pays
    hashes = Payment.objects.values_list("payment_hash", flat=True)
    assert (len(hashes), len(set(hashes))) == (2, 1)
    assert network.payment(str(hashes[0]))["status"] == "settled"
    assert len(service.asked) == 1
    assert AutoWithdrawRun.objects.get().attempt == 2
    assert books_are_right()


def test_an_unknown_outcome_is_waited_for_and_nothing_more_is_paid(
    alice: Person, charlie: Person, service: Service, network: Control
) -> None:
    """M07, M29: unknown stays unknown."""
    switch_on(alice, service.lnurl, threshold=21_000)
    network.set_faults([{"method": "xpay", "kind": "drop_before"}])
    ring()
    network.clear_faults()
    pay(charlie, alice, 40_000)
    for _ in range(3):
        ring()
    assert Payment.objects.get().state == "sending"
    assert AutoWithdrawRun.objects.get().state == AutoWithdrawRun.State.OPEN
    assert order_of(alice).failures == 0
    assert len(service.asked) == 1


def test_the_kill_switch_and_the_limits_hold_it_back(
    alice: Person, service: Service, network: Control, settings: Any, tmp_path: Any
) -> None:
    """M02, P08: the same gate as every spend."""
    settings.STOP_FILE = tmp_path / "stop-sends"
    settings.STOP_FILE.write_text("test")
    switch_on(alice, service.lnurl)
    ring()
    assert "paused" in order_of(alice).reason
    settings.STOP_FILE.unlink()
    settings.SEND_LIMIT_USER_SAT = 1000
    ring()
    assert "limit" in order_of(alice).reason
    assert not Payment.objects.exists()
    settings.SEND_LIMIT_USER_SAT = 0
    ring()
    assert Payment.objects.get().state == Payment.State.SETTLED
    assert len(service.asked) == 1


def test_a_frozen_account_sends_nothing(alice: Person, bob: Person) -> None:
    """P20"""
    switch_on(alice, "bob")
    services.freeze(alice.user, actor="operator", reason="test")
    ring()
    assert (alice.available_sat, bob.available_sat) == (100_000, 0)


def test_the_reserve_is_left_even_when_she_spends_at_the_same_moment(
    alice: Person, bob: Person, charlie: Person, monkeypatch: Any
) -> None:
    """The balance is read, she pays Charlie, the run sends what it had read: refused."""
    from payments.services import autowithdraw_runs as runs

    switch_on(alice, "bob")
    read = runs.balance_of

    def read_and_spend(user_id: Any) -> Any:
        balance = read(user_id)
        pay(alice, charlie, 10)
        return balance

    monkeypatch.setattr(runs, "balance_of", read_and_spend)
    ring()
    assert bob.available_sat == 0
    assert alice.available_sat == 99_990
    monkeypatch.undo()
    ring()
    assert (alice.available_sat, bob.available_sat) == (20_000, 79_990)


# --- kill -9 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failpoint",
    ["auto.begun", "auto.resolved", "ln.accepted", "ln.held", "ln.before_call", "auto.paid"],
)
def test_whoever_is_killed_pays_once_and_asks_for_one_invoice(
    alice: Person, service: Service, network: Control, cloned_db: Database, failpoint: str
) -> None:
    """M14, M23, M29, input-I08: one hash, one payment, and what was given for it."""
    service.more = {"successAction": {"tag": "message", "message": "Thanks!"}}
    switch_on(alice, service.lnurl)
    environment = cloned_db.environment | {
        "COINOS_FAILPOINT": failpoint,
        "LIGHTNING_RPC": network.lightning_rpc,
        "BITCOIN_RPC_URL": network.bitcoin_rpc_url,
        "ALLOW_PRIVATE_URLS": "127.0.0.0/8",
    }
    code = (
        "import django; django.setup();"
        "from payments.services.autowithdraw_runs import run_due; run_due()"
    )
    died = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, timeout=60, capture_output=True
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()[-2000:]
    for _ in range(2):
        ring()
        finish_payments()
    ring()
    assert len(service.asked) == 1
    payment = Payment.objects.get()
    if failpoint == "ln.before_call":  # nobody can say yet; the deadline decides, not the bell
        assert payment.state in ("sending", "failed")
        return
    assert payment.state == Payment.State.SETTLED
    assert network.payment(str(payment.payment_hash))["status"] == "settled"
    run = AutoWithdrawRun.objects.get()
    assert (run.state, run.activity_id) == (AutoWithdrawRun.State.PAID, payment.id)
    given = Activity.objects.get(id=payment.id).success_action
    assert given == {"tag": "message", "message": "Thanks!"}
    assert books_are_right()


def finish_payments() -> None:
    from payments.services.lightning import send

    for payment in Payment.objects.filter(state=Payment.State.CREATED):
        send(payment.id)


# --- Setting it up -------------------------------------------------------------------------------


def test_it_needs_the_password_and_the_pin(alice: Person, bob: Person) -> None:
    """P21, P22: later nobody can be asked."""
    give_pin(alice.user)
    wish = {"autowithdraw": True, "threshold": 5, "reserve": 0, "destination": "bob"}
    assert ask(alice, **wish).body["code"] == "invalid_pin"
    assert ask(alice, **wish, pin="000000").body["code"] == "invalid_pin"
    wrong = ask(alice, **wish, pin="123456", current_password="guess")
    assert (wrong.status_code, wrong.body["errors"][0]["pointer"]) == (403, "#/current_password")
    without = alice.api.post("/user", wish | {"pin": "123456"})
    assert without.status_code == 403
    user = User.objects.get(id=alice.user.id)
    assert (user.autowithdraw, user.destination) == (False, "")
    assert ask(alice, **wish, pin="123456").status_code == 200
    assert AuditEvent.objects.filter(user=alice.user, action="autowithdraw.on").count() == 1


def test_one_member_alone_needs_it_too_and_the_same_again_does_not(
    alice: Person, bob: Person
) -> None:
    """P21: an app that sends the whole user back is not asked for a password."""
    switch_on(alice, "bob")
    for change in ({"destination": "charlie"}, {"threshold": 60_000}, {"reserve": 1}):
        assert alice.api.post("/user", change).status_code == 403
    same = {"autowithdraw": True, "threshold": 50_000, "reserve": 20_000, "destination": "bob"}
    assert alice.api.post("/user", same | {"display": "A"}).status_code == 200
    assert alice.api.post("/user", {"autowithdraw": False}).status_code == 200
    ring()
    assert bob.available_sat == 0
    assert alice.api.post("/user", {"autowithdraw": True}).status_code == 403


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"destination": "nobody"}, "#/destination"),
        ({"destination": ""}, "#/destination"),
        ({"destination": "not a destination at all"}, "#/destination"),
        ({"destination": ADDRESS.replace("080", "081")}, "#/destination"),
        ({"destination": "lnbcrt1" + "q" * 60}, "#/destination"),
        ({"threshold": -1}, "#/threshold"),
        ({"threshold": 10, "reserve": 11}, "#/reserve"),
        ({"reserve": 10**18}, "#/reserve"),
        ({"currency": "XXX"}, "#/currency"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_saved(
    alice: Person, bob: Person, network: Control, changes: dict[str, Any], pointer: str
) -> None:
    wish = {"autowithdraw": True, "threshold": 5, "reserve": 0, "destination": "bob"}
    refused = ask(alice, **(wish | changes))
    assert 400 <= refused.status_code < 500
    assert refused.body["errors"][0]["pointer"] == pointer
    user = User.objects.get(id=alice.user.id)
    assert (user.autowithdraw, user.threshold_sat, user.destination) == (False, None, "")
    assert not AutoWithdraw.objects.exists()


def test_a_service_that_does_not_answer_is_refused_when_saved(
    alice: Person, service: Service
) -> None:
    service.terms = {"tag": "withdrawRequest"}
    refused = ask(alice, autowithdraw=True, threshold=5, reserve=0, destination=service.lnurl)
    assert refused.body["code"] == "remote_refused"


def test_a_recipient_who_is_renamed_is_still_the_recipient(
    alice: Person, bob: Person, charlie: Person
) -> None:
    """P20: and nobody else gets the old name, or anything by it (sec-12)."""
    switch_on(alice, "bob")
    assert bob.api.post("/user", {"username": "robert"}).status_code == 200
    assert charlie.api.post("/user", {"username": "bob"}).status_code == 409
    assert ask(alice, threshold=60_000).status_code == 200
    ring()
    assert (bob.available_sat, charlie.available_sat) == (80_000, 50_000)


def test_the_old_destination_gets_nothing_after_a_change(
    alice: Person, bob: Person, service: Service, network: Control
) -> None:
    switch_on(alice, service.lnurl)
    service.terms = {"status": "ERROR", "reason": "later"}
    ring()
    assert ask(alice, destination="bob").status_code == 200
    service.terms = {}
    ring()
    assert bob.available_sat == 80_000
    assert service.asked == []
