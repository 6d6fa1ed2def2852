"""money-M10: what every guard ends in has a way out, with a reason, and two operators where one
must not decide alone. Olga and Oscar are operators."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from accounts.models import AuditEvent, Transfer, User
from coinos import alarms
from coinos.simnet.control import Control
from payments import operations
from payments.models import OperatorAct, Payment
from payments.operations import ActRefused
from tests.cast import PASSWORD, give_password, make_user, office_of
from tests.payments.conftest import Person
from tests.payments.operators import by, make_operator, press, run
from tests.payments.test_claims import at_once
from tests.payments.test_lightning import pay


@pytest.fixture(autouse=True)
def quick(settings: Any, tmp_path: Path, redis: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.STOP_FILE = tmp_path / "stop-sends"


@pytest.fixture
def olga(cloned_db: Any) -> User:
    return make_operator("olga")


@pytest.fixture
def oscar(cloned_db: Any) -> User:
    return make_operator("oscar")


def undecided(person: Person, network: Control) -> Payment:
    """A payment whose call never reached the node."""
    network.set_faults([{"kind": "drop_before", "method": "xpay"}])
    assert pay(person, network.invoice(1_000_000)).body["status"] == "pending"
    network.clear_faults()
    return person.payment()


def long_ago(payment: Payment) -> None:
    Payment.objects.filter(id=payment.id).update(deadline=timezone.now() - timedelta(hours=1))


def of_another_node(payment: Payment) -> None:
    """The node that was asked is gone, and another one has its place: nothing can be proved."""
    long_ago(payment)
    Payment.objects.filter(id=payment.id).update(node_id="02" + "cd" * 32)


def audited() -> list[tuple[str, str, str]]:
    events = AuditEvent.objects.filter(action__startswith="operator.").order_by("id")
    return [(event.action, event.actor, event.detail.get("reason", "")) for event in events]


# --- One operator, and the node's word ------------------------------------------------------------


def test_a_hold_is_released_when_the_node_proves_that_nothing_was_paid(
    alice: Person, network: Control
) -> None:
    payment = undecided(alice, network)
    long_ago(payment)
    said = run("release", str(payment.id), "--reason", "ticket 7")
    assert said == "Done: the node's record ended it: failed.\n"
    assert alice.available_sat == 100_000
    assert alice.line().status == "failed"
    act = OperatorAct.objects.get()
    assert (act.verb, act.reason, act.user) == ("release", "ticket 7", alice.user)
    assert [(action, reason) for action, _, reason in audited()] == [
        ("operator.asked", "ticket 7"),
        ("operator.carried_out", "ticket 7"),
    ]


def test_without_a_proof_the_hold_stays_and_the_row_says_why(
    alice: Person, network: Control
) -> None:
    payment = undecided(alice, network)
    of_another_node(payment)
    with pytest.raises(CommandError, match="does not prove that nothing was paid"):
        run("release", str(payment.id), "--reason", "ticket 7")
    assert alice.payment().state == Payment.State.SENDING
    act = OperatorAct.objects.get()
    assert (act.state, act.dropped_as != "") == ("dropped", True)
    assert "does not prove" in act.problem
    assert not operations.open_acts()


def test_no_reason_no_act(alice: Person, network: Control) -> None:
    payment = undecided(alice, network)
    with pytest.raises(CommandError, match="Write a reason"):
        run("release", str(payment.id), "--reason", "  ")
    assert not OperatorAct.objects.exists()


def test_what_makes_no_sense_is_not_even_asked_for(alice: Person, network: Control) -> None:
    for wrong in ("alice", "7b0c5b0e-5a8e-4b6f-9d6a-0b9d1f7f3c11"):
        with pytest.raises(CommandError, match="payment"):
            run("release", wrong, "--reason", "x")
    assert pay(alice, network.invoice(1_000_000)).body["status"] == "settled"
    with pytest.raises(CommandError, match="and settled"):
        run("release", str(alice.payment().id), "--reason", "x")
    assert not OperatorAct.objects.exists()


def test_what_has_not_left_is_cancelled(alice: Person, network: Control, monkeypatch: Any) -> None:
    network.mine(1)
    monkeypatch.setattr("payments.services.onchain.advance", lambda payment_id: None)
    body = {"address": network.address(), "amount": 5000}
    sent = alice.api.post("/bitcoin/send", body).body["id"]
    monkeypatch.undo()
    assert run("cancel", sent, "--reason", "a typo in the address, ticket 5") == (
        "Done: it never left, and its sats are back.\n"
    )
    assert (alice.available_sat, alice.line().status) == (100_000, "failed")
    with pytest.raises(CommandError, match="may have left"):
        run("cancel", sent, "--reason", "x")


def test_a_dropped_act_asks_nothing_of_the_nodes(alice: Person, network: Control) -> None:
    """What an act does at the nodes comes before its row is locked, so it must look before, too."""
    payment = undecided(alice, network)
    of_another_node(payment)
    with pytest.raises(CommandError, match="does not prove"):
        run("release", str(payment.id), "--reason", "ticket 7")
    act = OperatorAct.objects.get()
    Payment.objects.filter(id=payment.id).update(node_id=payment.node_id)
    with pytest.raises(CommandError, match="was dropped"):
        run("carry-out", str(act.id))
    assert alice.payment().state == Payment.State.SENDING


def test_an_alarm_is_acknowledged_with_a_row(cloned_db: Any) -> None:
    alarm = alarms.note("test", "something is wrong")
    assert f"{alarm.id}  something is wrong" in run("alarms")
    assert run("acknowledge", str(alarm.id), "--reason", "a disk was full") == (
        "Done: no other alarm stops sends.\n"
    )
    assert "a disk was full" in run("alarms")
    assert OperatorAct.objects.get().about == f"acknowledge alarm {alarm.id}: something is wrong"
    with pytest.raises(CommandError, match="No alarm of this number"):
        run("acknowledge", "77", "--reason", "x")


# --- Two operators --------------------------------------------------------------------------------


def test_two_operators_release_what_no_node_can_prove(
    alice: Person, network: Control, olga: User, oscar: User
) -> None:
    payment = undecided(alice, network)
    of_another_node(payment)
    said = run(
        *("release", str(payment.id), "--paid-nothing", "--reason", "node burnt"),
        *("--operator", "olga"),
        typed=f"{PASSWORD}\n",
    )
    act = OperatorAct.objects.get()
    assert "Another operator approves it" in said
    assert "waits for approval, asked by operator olga" in run("list")
    assert alice.payment().state == Payment.State.SENDING

    with pytest.raises(CommandError, match="waits for a second operator"):
        run("carry-out", str(act.id))
    with pytest.raises(CommandError, match="Another operator than the one who asked"):
        run("approve", str(act.id), "--operator", "olga", "--reason", "y", typed=f"{PASSWORD}\n")
    with pytest.raises(CommandError, match="Wrong username or password"):
        run("approve", str(act.id), "--operator", "oscar", "--reason", "y", typed="guess\n")

    said = run(
        "approve", str(act.id), "--operator", "oscar", "--reason", "y", typed=f"{PASSWORD}\n"
    )
    assert said == f"Done: {payment.held_sat:,} sats are back.\n"
    assert alice.available_sat == 100_000
    assert alice.line().reason == "The operator found that nothing was paid"
    assert audited() == [
        ("operator.asked", "operator olga", "node burnt"),
        ("operator.approved", "operator oscar", "y"),
        ("operator.carried_out", "operator oscar", "node burnt"),
    ]
    assert run("list") == "Nothing waits.\n"
    with pytest.raises(CommandError, match="carried out already"):
        run("carry-out", str(act.id))


def test_no_number_of_operators_releases_what_the_node_has_a_record_of(
    alice: Person, network: Control, olga: User, oscar: User, monkeypatch: Any
) -> None:
    """The act stays, with the reason; it may be carried out when the record is gone, or dropped."""
    bolt11 = network.invoice(1_000_000)
    network.hold(alice.api.get(f"/decode/{bolt11}").body["payment_hash"])
    monkeypatch.setattr("payments.services.lightning.ANSWER_WITHIN_S", 0.3)
    assert pay(alice, bolt11).body["status"] == "pending"
    payment = alice.payment()
    long_ago(payment)
    act = operations.ask(
        "release", {"payment": payment.id, "paid_nothing": True}, by=by(olga), reason="x"
    )
    operations.approve(act.id, by=by(oscar), reason="y")
    with pytest.raises(ActRefused, match="has a record"):
        operations.carry_out(act.id, by=by(oscar))
    act.refresh_from_db()
    assert (act.state, "has a record" in act.problem) == ("ready", True)
    assert alice.payment().state == Payment.State.SENDING
    operations.drop(act.id, by=by(olga), reason="it was paid after all")
    network.release(payment.payment_hash or "", settle=True)


def test_whoever_has_the_machine_alone_cannot_stand_for_two_operators(
    alice: Person, network: Control, bob: Person
) -> None:
    payment = undecided(alice, network)
    with pytest.raises(CommandError, match="say which operator asks"):
        run("release", str(payment.id), "--paid-nothing", "--reason", "x")
    give_password(bob.user)
    with pytest.raises(CommandError, match="no operator"):
        run("release", str(payment.id), "--reason", "x", "--operator", "bob", typed=PASSWORD)
    assert not OperatorAct.objects.exists()


def test_twenty_hands_carry_an_act_out_once(
    alice: Person, network: Control, olga: User, oscar: User
) -> None:
    payment = undecided(alice, network)
    of_another_node(payment)
    arguments = {"payment": payment.id, "paid_nothing": True}
    act = operations.ask("release", arguments, by=by(olga), reason="x")
    operations.approve(act.id, by=by(oscar), reason="y")

    def carry_out() -> str:
        try:
            return operations.carry_out(act.id, by=by(oscar)).outcome
        except ActRefused as error:
            return error.message

    assert at_once(carry_out, 20).count(f"{payment.held_sat:,} sats are back") == 1
    assert Transfer.objects.filter(kind="send.void").count() == 1
    assert AuditEvent.objects.filter(action="operator.carried_out").count() == 1
    assert alice.available_sat == 100_000


# --- The database refuses -------------------------------------------------------------------------


def refused(sql: str, *values: object) -> str:
    """The database's words when it refuses this statement."""
    with pytest.raises((DatabaseError, IntegrityError)) as refusal:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql, values)
    return str(refusal.value)


def test_the_database_refuses_what_no_operator_may_do(
    alice: Person, network: Control, olga: User, oscar: User
) -> None:
    """Python bypassed: an approval by whoever asked, an act without one carried out, a changed one,
    a second time, a row that begins approved, a row that disappears."""
    payment = undecided(alice, network)
    arguments = {"payment": payment.id, "paid_nothing": True}
    act = operations.ask("release", arguments, by=by(olga), reason="x")
    update = "UPDATE payments_operatoract SET "
    approve = update + "approved_by_id = %s, approved_at = now()"
    assert "approved_by_another_operator" in refused(approve, olga.id)
    assert "carried_out_with_approval" in refused(update + "carried_out_at = now()")
    for change in ("verb = 'x'", "amount_sat = 0", "needs_approval = false", "asked_by_id = NULL"):
        assert "stays as it was asked for" in refused(update + change)
    assert "stays as it was asked for" in refused(update + "arguments = '{}'")
    assert "append-only" in refused("DELETE FROM payments_operatoract")
    copy = """INSERT INTO payments_operatoract SELECT (json_populate_record(act,
        json_build_object('id', gen_random_uuid(), 'approved_by_id', %s::uuid,
                          'approved_at', now()))).* FROM payments_operatoract act"""
    assert "begins with being asked for" in refused(copy, oscar.id)

    operations.approve(act.id, by=by(oscar), reason="y")
    assert "has been approved" in refused(approve, make_user("oona").id)
    of_another_node(payment)
    operations.carry_out(act.id, by=by(oscar))
    for change in ("carried_out_at = now()", "outcome = ''", "dropped_at = now()"):
        assert "has been carried out or dropped" in refused(update + change)


# --- In the admin ---------------------------------------------------------------------------------


def test_the_same_in_the_admin(alice: Person, network: Control, olga: User, oscar: User) -> None:
    payment = undecided(alice, network)
    of_another_node(payment)
    hers, his = office_of(olga), office_of(oscar)
    assert "does not prove" in press(hers, "payment", "release", payment)
    assert "write a reason" in press(hers, "payment", "release_unproved", payment, " ")
    assert "has to approve" in press(hers, "payment", "release_unproved", payment)
    act = OperatorAct.objects.latest("created")
    page = his.get("/admin/payments/operatoract/").content.decode()
    assert f"payment {payment.id} of alice" in page
    assert "waits for approval" in page
    assert "Another operator than" in press(hers, "operatoract", "approve", act)
    assert alice.payment().state == Payment.State.SENDING
    assert "sats are back" in press(his, "operatoract", "approve", act)
    assert alice.available_sat == 100_000
    assert "carried out already" in press(his, "operatoract", "carry_out", act)
