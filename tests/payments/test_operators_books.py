"""money-M10: what arrived for nobody finds its user, a wrong is put right, a loss is borne by the
operator, and a closed account's money reaches its owner. Olga and Oscar are operators."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError
from django.db import transaction

from accounts import ledger, services
from accounts.books import check_books
from accounts.ledger import House
from accounts.models import Activity, AuditEvent, Transfer, User
from coinos import embedded, nodes
from coinos.errors import CoinosError
from coinos.simnet.control import Control
from invoices.services.lightning import sweep_lightning
from payments import operations
from payments.models import OperatorAct
from tests import causes
from tests.cast import PASSWORD, office_of
from tests.payments.conftest import Person
from tests.payments.operators import by, make_operator, press, run
from tests.payments.test_claims import at_once


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


@pytest.fixture
def item(network: Control, cloned_db: Any) -> Transfer:
    """2,000.5 sats that were paid to the node past us."""
    sweep_lightning()
    made = nodes.lightning().create_invoice(
        label=f"made by hand, {uuid.uuid4()}",
        amount_msat=2_000_500,
        description="by hand",
        expiry_s=3600,
    )
    network.pay(made.bolt11)
    sweep_lightning()
    return Transfer.objects.get(external_id=f"lightning:{made.payment_hash}")


def books_are_right() -> None:
    assert [finding for finding in check_books() if finding.differences] == []


def test_what_arrived_for_nobody_is_credited_to_its_user(bob: Person, item: Transfer) -> None:
    """In parts, never more than there is, and no half sat."""
    assert f"{item.id}  2,000 sats open" in run("suspense")
    with pytest.raises(CommandError, match="Only 2,000 sats"):
        run("credit", str(item.id), "bob", "2001", "--reason", "x")
    assert run("credit", str(item.id), "bob", "1500", "--reason", "x") == (
        "Done: bob has 1,500 sats more.\n"
    )
    assert "500 sats open" in run("suspense")
    with pytest.raises(CommandError, match="Only 500 sats"):
        run("credit", str(item.id), "bob", "501", "--reason", "x")
    run("credit", str(item.id), "bob", "--reason", "the rest of it")
    assert f"{item.id}  " not in run("suspense")
    with pytest.raises(CommandError, match="no open item"):
        run("credit", str(item.id), "bob", "--reason", "x")
    assert bob.available_sat == 2_000
    books_are_right()


def test_the_user_reads_in_the_statement_what_it_was(bob: Person, item: Transfer) -> None:
    run("credit", str(item.id), "bob", "--reason", "screenshot of the payer, ticket 9")
    line = bob.line()
    assert (line.amount_sat, line.status, line.type) == (2_000, "settled", "internal")
    assert line.reason == "Arrived before, and was found to be yours"
    assert "ticket" not in line.memo + line.reason
    act = OperatorAct.objects.get()
    moved = Transfer.objects.get(kind="operator.match")
    assert moved.external_id == f"suspense:{item.id}:{act.id}"
    event = AuditEvent.objects.get(action="operator.carried_out")
    assert (event.user, event.object) == (bob.user, f"act {act.id}")


def test_twenty_hands_give_an_item_away_once(bob: Person, charlie: Person, item: Transfer) -> None:
    def credit(name: str) -> str:
        try:
            act = operations.ask(
                "credit", {"item": item.id, "username": name}, by=operations.By("test"), reason="x"
            )
            return act.outcome
        except CoinosError as error:
            return error.message

    said = at_once(lambda: credit("bob"), 6) + at_once(lambda: credit("charlie"), 2)
    assert len([words for words in said if "more" in words]) == 1
    assert Transfer.objects.filter(kind="operator.match").count() == 1
    assert (bob.available_sat, charlie.available_sat) == (2_000, 50_000)


def test_a_correction_and_a_loss_come_out_of_the_operators_own(
    bob: Person, network: Control
) -> None:
    before_msat = ledger.house_balance_msat(House.EQUITY)
    assert "bob has 700 sats more" in run("correct", "bob", "700", "--reason", "ticket 3")
    assert bob.available_sat == 700
    assert bob.line().reason == "A correction by the operator"
    assert "written off" in run("write-off", "lightning", "300", "--reason", "a closing fee")
    assert ledger.house_balance_msat(House.EQUITY) == before_msat - 1_000_000
    assert ledger.house_balance_msat(House.LIGHTNING) == 300_000
    books_are_right()


def test_a_debt_of_a_user_is_forgiven_and_no_more_than_there_is(alice: Person, bob: Person) -> None:
    """What a deposit that was undone had paid for, and the user does not have any more."""
    with transaction.atomic():
        assert ledger.receive_onchain([causes.deposit(bob.user, "ab:0", 9000)]) == [True]
    assert bob.api.post("/send", {"username": "alice", "amount": 7_000}).status_code == 200
    with transaction.atomic():
        ledger.reverse_onchain(
            user_id=bob.user.id,
            outpoint="ab:0",
            amount_msat=9_000_000,
            cause=causes.reversed_deposit("ab:0"),
        )
    assert ledger.owed_by_msat(bob.user.id) == 7_000_000
    with pytest.raises(CommandError, match="bob owes 7,000 sats"):
        run("forgive", "bob", "7001", "--reason", "x")
    assert "owes 7,000 sats less" in run("forgive", "bob", "7000", "--reason", "x")
    assert ledger.owed_by_msat(bob.user.id) == 0
    assert ledger.house_balance_msat(House.BAD_DEBT) == 0


@pytest.mark.parametrize("wrong", ["0", "-5", "1.5", "many", "2100000000000001"])
def test_only_whole_sats_are_moved(bob: Person, wrong: str) -> None:
    with pytest.raises(CommandError, match="whole number of sats"):
        run("correct", "bob", "--reason", "x", "--", wrong)
    assert not OperatorAct.objects.exists()


def test_one_operator_moves_so_much_a_day_and_then_needs_another(
    bob: Person, olga: User, oscar: User, settings: Any
) -> None:
    """Small amounts add up: cutting one into pieces changes nothing. Another operator has a limit
    of his own, and an act that was refused does not count."""
    settings.OPERATOR_APPROVAL_SAT = 1_000

    def correct(sats: int, who: User) -> OperatorAct:
        arguments = {"username": "bob", "sats": sats}
        return operations.ask("correct", arguments, by=by(who), reason="x")

    assert correct(600, olga).state == "carried out"
    assert correct(400, olga).state == "carried out"
    waits = correct(1, olga)
    assert (waits.state, bob.available_sat) == ("waits for approval", 1_000)
    assert correct(1_000, oscar).state == "carried out"
    with pytest.raises(CommandError, match="say which operator asks"):
        run("correct", "bob", "1001", "--reason", "x")
    operations.approve(waits.id, by=by(oscar), reason="y")
    operations.carry_out(waits.id, by=by(oscar))
    assert bob.available_sat == 2_001


def test_a_closed_account_is_paid_out_to_another_of_its_owner(
    alice: Person, bob: Person, olga: User, oscar: User
) -> None:
    with pytest.raises(CommandError, match="alice is open"):
        run("pay-out", "alice", "bob", "--reason", "x", "--operator", "olga", typed=PASSWORD)
    services.evict(alice.user, actor="test", reason="x")
    with pytest.raises(CommandError, match="say which operator asks"):
        run("pay-out", "alice", "bob", "--reason", "x")
    run("pay-out", "alice", "bob", "--reason", "x", "--operator", "olga", typed=PASSWORD)
    act = OperatorAct.objects.get()
    said = run("approve", str(act.id), "--operator", "oscar", "--reason", "y", typed=PASSWORD)
    assert said == "Done: bob has 100,000 sats more, alice nothing.\n"
    assert (alice.available_sat, bob.available_sat) == (0, 100_000)
    out, into = alice.line(), bob.line()
    assert (out.amount_sat, into.amount_sat) == (-100_000, 100_000)
    assert (out.counterparty, into.counterparty) == (bob.user, alice.user)
    assert out.reason == "Paid out by the operator from an account that was closed"
    books_are_right()


def test_where_the_owners_address_is_not_given_the_admin_says_what_to_run(
    bob: Person, olga: User, item: Transfer, monkeypatch: Any
) -> None:
    """The web process of a larger installation cannot touch the operator's money: H8."""
    office = office_of(olga)
    monkeypatch.setitem(django_settings.DATABASE_OWNER, "USER", embedded.APP_ROLE)
    page = press(office, "suspenseitem", "credit", item, username="bob")
    act = OperatorAct.objects.get()
    assert f"On the server: manage.py operator carry-out {act.id}" in page
    assert (act.state, bob.available_sat) == ("ready", 0)
    monkeypatch.undo()
    assert run("carry-out", str(act.id)) == "Done: bob has 2,000 sats more.\n"
    assert bob.available_sat == 2_000


def test_the_same_after_an_approval_there(
    bob: Person, olga: User, oscar: User, settings: Any, monkeypatch: Any
) -> None:
    settings.OPERATOR_APPROVAL_SAT = 0
    monkeypatch.setitem(django_settings.DATABASE_OWNER, "USER", embedded.APP_ROLE)
    press(office_of(olga), "bookaccount", "correct", bob.user.ledger_account, sats="11")
    act = OperatorAct.objects.get()
    page = press(office_of(oscar), "operatoract", "approve", act)
    assert f"On the server: manage.py operator carry-out {act.id}" in page
    monkeypatch.undo()
    assert "11 sats more" in run("carry-out", str(act.id))


def test_the_books_in_the_admin(
    alice: Person, bob: Person, olga: User, oscar: User, item: Transfer
) -> None:
    hers, his = office_of(olga), office_of(oscar)
    page = hers.get("/admin/payments/suspenseitem/").content.decode()
    assert item.external_id[:20] in page
    assert "no account nobody" in press(hers, "suspenseitem", "credit", item, username="nobody")
    press(hers, "suspenseitem", "credit", item, username="bob", sats="1,500")
    assert bob.available_sat == 1_500
    account = bob.user.ledger_account
    assert "more" in press(hers, "bookaccount", "correct", account, sats="11")
    assert bob.available_sat == 1_511
    assert "write lightning or onchain" in press(
        hers, "bookaccount", "write_off", account, sats="11"
    )
    services.evict(alice.user, actor="test", reason="x")
    page = press(hers, "bookaccount", "pay_out", alice.user.ledger_account, username="bob")
    assert "another operator has to approve" in page
    act = OperatorAct.objects.latest("created")
    assert "alice nothing" in press(his, "operatoract", "approve", act)
    assert Activity.objects.filter(user=bob.user).count() == 3
    books_are_right()
