"""money-H8: what the database lets the role of the running server do with the books, around Python.

Whoever takes over a process has its role. The role runs functions that name one kind of movement
each, and every movement needs the row that it is for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction

from accounts import ledger
from accounts.books import CHECKS, check_books
from accounts.ledger import House
from accounts.models import Activity, User
from coinos.db import as_operator
from invoices.models import Invoice, LightningRequest
from payments.models import Payment
from tests import causes
from tests.cast import available_sat, fund, make_user
from tests.database import Database

OWNERS, SERVERS, TRIGGER = "the owner's", "the server's", "a trigger's"

FUNCTIONS = {
    # What takes any account or kind, or spends the operator's own money or what nobody owns.
    "ledger_post": OWNERS,
    "ledger_receive": OWNERS,
    "ledger_receive_each": OWNERS,
    "ledger_hold": OWNERS,
    "ledger_settle": OWNERS,
    "ledger_void": OWNERS,
    "ledger_reverse": OWNERS,
    "ledger_repay": OWNERS,
    "ledger_forgive": OWNERS,
    "ledger_credit_from_suspense": OWNERS,
    # What they are made of.
    "ledger_require": OWNERS,
    "ledger_require_spent": OWNERS,
    "ledger_account_of": OWNERS,
    "ledger_kind_fits": OWNERS,
    # One kind of movement each.
    "ledger_open": SERVERS,
    "ledger_receive_lightning": SERVERS,
    "ledger_receive_onchain": SERVERS,
    "ledger_receive_unmatched": SERVERS,
    "ledger_reverse_onchain": SERVERS,
    "ledger_repay_shortfall": SERVERS,
    "ledger_move_internal": SERVERS,
    "ledger_make_gift": SERVERS,
    "ledger_take_gift": SERVERS,
    "ledger_return_gift": SERVERS,
    "ledger_hold_payment": SERVERS,
    "ledger_settle_payment": SERVERS,
    "ledger_release_payment": SERVERS,
    "ledger_return_withdrawal": SERVERS,
    "ledger_correct_payment": SERVERS,
    "ledger_raise_fee": SERVERS,
    # Nobody can call these.
    "ledger_refuse_change": TRIGGER,
    "ledger_check_gift": TRIGGER,
    "ledger_require_kind": TRIGGER,
    "ledger_require_cause": TRIGGER,
    "accounts_count_authenticators": TRIGGER,
    "accounts_note_name": TRIGGER,
    "operator_act_guard": TRIGGER,
    "webhook_refuse_old_secret": TRIGGER,
}


def test_every_function_of_the_database_is_somebodys_and_no_others_run_it(db: None) -> None:
    """A new function fails here until somebody has decided whose it is."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT proname, CASE WHEN prorettype = 'trigger'::regtype THEN %s
                WHEN has_function_privilege(current_user, oid, 'EXECUTE') THEN %s ELSE %s END
            FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            """,
            [TRIGGER, SERVERS, OWNERS],
        )
        assert dict(cursor.fetchall()) == FUNCTIONS


# --- Refused at once -----------------------------------------------------------------------------


@pytest.fixture
def app(cloned_db: Database) -> Iterator[psycopg.Connection[Any]]:
    """The server's role, with nothing of ours around it."""
    with psycopg.connect(cloned_db.url, autocommit=True) as connection_of_app:
        yield connection_of_app


@pytest.fixture
def victim(cloned_db: Database) -> User:
    user = make_user("alice")
    fund(user, 1000)
    return user


@pytest.fixture
def thief(cloned_db: Database) -> User:
    return make_user("mallory")


@pytest.mark.parametrize("debit", House)
def test_h8_nobody_but_the_owner_books_between_any_accounts(
    app: psycopg.Connection[Any], thief: User, debit: House
) -> None:
    account = ledger.account_of(thief.id)
    for kind in ("operator.credit", "operator.match", "internal", "receive.lightning"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute(
                "SELECT ledger_post(%s, %s, 100000000000, %s, 'x', 'operator', 'x')",
                [int(debit), account, kind],
            )
    assert available_sat(thief) == 0


def test_h8_the_operators_own_money_and_suspense_are_the_owners(
    app: psycopg.Connection[Any], thief: User
) -> None:
    account = ledger.account_of(thief.id)
    for statement, values in [
        ("SELECT ledger_credit_from_suspense(%s, 1000, 'x', 'x')", [thief.id]),
        ("SELECT ledger_forgive(%s, 1000, 'x', 'operator', 'x')", [account]),
        ("SELECT ledger_repay(%s, 1000, 'x', 'x', 'operator', 'x')", [account]),
    ]:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute(statement, values)


def test_what_arrived_for_nobody_is_given_away_once(victim: User) -> None:
    with transaction.atomic():
        ledger.receive_unmatched(
            source=House.LIGHTNING,
            external_id="lightning:aa",
            amount_msat=5500,
            cause=ledger.Cause("receipt", "x"),
        )

    def give(sats: int, name: str) -> bool:
        with as_operator(), transaction.atomic():
            return ledger.credit_from_suspense(
                user_id=victim.id, amount_msat=sats * 1000, external_id=name, reason="his"
            )

    with pytest.raises(IntegrityError, match="more than arrived"):
        give(6, "a")
    assert (give(5, "b"), give(5, "b")) == (True, False)
    with pytest.raises(IntegrityError, match="more than arrived"):
        give(1, "c")
    assert available_sat(victim) == 1005


# --- Refused for want of a cause -----------------------------------------------------------------


def no_cause(victim: User, thief: User) -> dict[str, tuple[str, list[Any]]]:
    """A call of every function that moves money to a user or away from one, for nothing."""
    new, hold = uuid.uuid4(), "SELECT ledger_hold_payment(%s, 1, 1000, %s)"
    return {
        "a payment of the victim's": (
            "SELECT ledger_move_internal(%s, %s, 1000000, 'x', %s)",
            [victim.id, thief.id, str(new)],
        ),
        "a receipt of no invoice": (
            "SELECT ledger_receive_lightning(%s, %s, %s, %s)",
            [[thief.id], [1_000_000], ["aa"], [str(new)]],
        ),
        "a deposit that was not seen": (
            "SELECT ledger_receive_onchain(%s, %s, %s, %s)",
            [[thief.id], [1_000_000], ["aa:0"], [str(new)]],
        ),
        "a reversal": (
            "SELECT ledger_reverse_onchain(%s, 1000, 'aa:0', %s)",
            [victim.id, str(new)],
        ),
        "a gift that was not made": ("SELECT ledger_take_gift(%s, 1000, %s)", [thief.id, new]),
        "a gift out of nowhere": ("SELECT ledger_return_gift(%s, 1000, %s)", [thief.id, new]),
        "a gift without its row": ("SELECT ledger_make_gift(%s, 1000, %s)", [victim.id, new]),
        "a hold without a payment": (hold, [victim.id, new]),
        "a withdrawal that was not made": (
            "SELECT ledger_return_withdrawal(%s, 1000, 0, %s)",
            [thief.id, new],
        ),
        "what a payee did not take": (
            "SELECT ledger_receive_unmatched(1, 1000, %s, 'payment', %s)",
            [f"unclaimed:{new}", str(new)],
        ),
        "another external id": (
            "SELECT ledger_receive_unmatched(1, 1000, 'x', 'receipt', 'x')",
            [],
        ),
    }


def test_h8_nothing_is_booked_without_the_row_that_it_is_for(
    app: psycopg.Connection[Any], victim: User, thief: User
) -> None:
    calls = no_cause(victim, thief)
    assert [name for name, call in calls.items() if not is_refused(app, *call)] == []
    assert (available_sat(victim), available_sat(thief)) == (1000, 0)


def is_refused(app: psycopg.Connection[Any], statement: str, values: list[Any]) -> bool:
    try:
        app.execute(statement, values)
    except psycopg.errors.ForeignKeyViolation:
        return True
    return False


def test_h8_nor_for_a_row_of_another_user_or_amount(
    app: psycopg.Connection[Any], victim: User, thief: User
) -> None:
    bystander = make_user("bob")
    paid = causes.line(bystander, victim, 5)
    receipt = causes.receipt(victim, "aa" * 32, 5000)
    deposit = causes.deposit(victim, "bb:0", 5)
    gift = causes.gift(victim, 5)
    wrong: list[tuple[str, list[Any]]] = [
        ("ledger_move_internal(%s, %s, 5000, 'x', %s)", [victim.id, thief.id, paid.id]),
        ("ledger_receive_lightning(%s, %s, %s, %s)",
         [[thief.id], [5000], [receipt.ref], [receipt.cause.id]]),
        ("ledger_receive_lightning(%s, %s, %s, %s)",
         [[victim.id], [6000], [receipt.ref], [receipt.cause.id]]),
        ("ledger_receive_onchain(%s, %s, %s, %s)",
         [[thief.id], [5000], [deposit.ref], [deposit.cause.id]]),
        ("ledger_receive_onchain(%s, %s, %s, %s)",
         [[victim.id], [6000], [deposit.ref], [deposit.cause.id]]),
        ("ledger_receive_onchain(%s, %s, %s, %s)",  # credited once so far
         [[victim.id], [5000], [f"{deposit.ref}:1"], [deposit.cause.id]]),
        ("ledger_make_gift(%s, 6000, %s)", [victim.id, gift]),
    ]  # fmt: skip
    passed = [call for call in wrong if not is_refused(app, f"SELECT {call[0]}", call[1])]
    assert passed == []
    assert (available_sat(victim), available_sat(thief)) == (1000, 0)


def test_h8_a_hold_ends_as_its_payment_did(app: psycopg.Connection[Any], victim: User) -> None:
    """An undecided payment is neither booked nor given back, nor is another."""
    payment_id, other = uuid.uuid4(), uuid.uuid4()
    with transaction.atomic():
        hold_id = ledger.hold_for_payment(
            user_id=victim.id, through=House.LIGHTNING, amount_msat=5000, payment_id=payment_id
        )
        causes.payment(victim, payment_id, hold_id, 5, House.LIGHTNING)
    Payment.objects.update(state="sending")
    for call, values in [
        ("ledger_settle_payment(%s, 5000, 0, %s)", [hold_id, payment_id]),
        ("ledger_release_payment(%s, %s)", [hold_id, payment_id]),
        ("ledger_release_payment(%s, %s)", [hold_id, other]),
    ]:
        assert is_refused(app, f"SELECT {call}", values)
    assert ledger.balance_of(victim.id) == ledger.Balance(995, 5)


def test_h8_a_settled_payment_costs_at_least_its_amount(
    app: psycopg.Connection[Any], victim: User
) -> None:
    """While its fee is not final, its hold could be settled for a sat and the rest be free."""
    payment_id = uuid.uuid4()
    with transaction.atomic():
        hold_id = ledger.hold_for_payment(
            user_id=victim.id, through=House.LIGHTNING, amount_msat=5000, payment_id=payment_id
        )
        causes.payment(victim, payment_id, hold_id, 5, House.LIGHTNING)
    Payment.objects.update(state="settled", preimage="00", amount_sat=4, amount_msat=4000)
    call = "SELECT ledger_settle_payment(%s, %s, 0, %s)"
    assert is_refused(app, call, [hold_id, 1000, payment_id])
    assert not is_refused(app, call, [hold_id, 4000, payment_id])


def test_h8_what_a_payment_took_in_the_end_is_what_a_row_says(
    app: psycopg.Connection[Any], thief: User, victim: User
) -> None:
    """Neither does a thief have the sats of a withdrawal again, nor does a victim lose more."""
    fund(thief, 1000)
    for user in (thief, victim):
        payment_id = uuid.uuid4()
        with transaction.atomic():
            hold_id = ledger.hold_for_payment(
                user_id=user.id, through=House.ONCHAIN, amount_msat=600_000, payment_id=payment_id
            )
            causes.payment(user, payment_id, hold_id, 600, House.ONCHAIN)
            ledger.settle_payment(
                hold_id=hold_id, spent_msat=600_000, platform_fee_msat=0, payment_id=payment_id
            )
        for function, msat in [("correct_payment", 1000), ("raise_fee", 900_000)]:
            assert is_refused(app, f"SELECT ledger_{function}(%s, %s)", [hold_id, msat])
        assert available_sat(user) == 400


def test_not_even_the_owner_books_a_payment_without_a_line(
    cloned_db: Database, victim: User, thief: User
) -> None:
    accounts = [ledger.account_of(victim.id), ledger.account_of(thief.id)]
    with (
        psycopg.connect(cloned_db.owner_url, autocommit=True) as owner,
        pytest.raises(psycopg.errors.ForeignKeyViolation, match="has no cause"),
    ):
        owner.execute(
            "SELECT ledger_post(%s, %s, 1000, 'internal', 'x', 'payment', %s)",
            [*accounts, str(uuid.uuid4())],
        )


# --- And what check_ledger shows when the rows are changed afterwards ----------------------------


def found() -> list[str]:
    return [finding.check for finding in check_books() if finding.differences]


def test_h8_a_line_that_is_changed_afterwards_is_found(victim: User, thief: User) -> None:
    with transaction.atomic():
        ledger.move_internal(
            from_user_id=victim.id,
            to_user_id=thief.id,
            amount_msat=5000,
            external_id="x",
            cause=causes.line(victim, thief, 5),
        )
    check = "every payment between users has its payer's line"
    assert check not in found()
    Activity.objects.update(counterparty=victim)
    assert check in found()


def test_h8_a_receipt_whose_invoice_changes_hands_is_found(victim: User, thief: User) -> None:
    check = "every receipt went to the owner of its invoice"
    with transaction.atomic():
        ledger.receive_lightning([causes.receipt(thief, "aa" * 32, 5000)])
        ledger.receive_onchain([causes.deposit(thief, "bb:0", 5)])
    assert check not in found()
    Invoice.objects.filter(type="bitcoin").update(user=victim)
    assert check in found()
    Invoice.objects.update(user=thief)
    LightningRequest.objects.update(payment_hash="cc" * 32)
    assert check in found()


def test_h8_a_movement_by_an_operator_without_an_act_is_found(victim: User) -> None:
    check = "every movement by an operator has the act that it was carried out for"
    assert check in CHECKS
    assert check not in found()
    with as_operator(), transaction.atomic():
        ledger.fund_from_equity(
            user_id=victim.id, amount_msat=5000, external_id="y", reason="because"
        )
    assert check in found()
