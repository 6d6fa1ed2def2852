"""The books. Each money rule is tested twice: Python refuses, and the database refuses when
Python is bypassed (with the application's role, and with the owner's)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.utils import ProgrammingError

from accounts import ledger
from accounts.errors import HoldExceeded, InsufficientFunds
from accounts.ledger import House
from accounts.models import LedgerAccount, Transfer, User
from coinos import embedded
from tests import causes
from tests.cast import available_sat, fund


def held_sat(user: User) -> int:
    return ledger.balance_of(user.id).held_sat


def hold(user: User, sats: int, through: House = House.LIGHTNING) -> tuple[uuid.UUID, int]:
    payment_id = uuid.uuid4()
    with transaction.atomic():
        hold_id = ledger.hold_for_payment(
            user_id=user.id,
            through=through,
            amount_msat=sats * 1000,
            payment_id=payment_id,
        )
        causes.payment(user, payment_id, hold_id, sats, through)
    return payment_id, hold_id


def rows(kind: str) -> list[int]:
    return list(Transfer.objects.filter(kind=kind).values_list("amount_msat", flat=True))


# --- Stories -------------------------------------------------------------------------------------


def test_a_receipt_credits_whole_sats_and_books_the_rest_to_rounding(
    alice: User,
) -> None:
    with transaction.atomic():
        [credited] = ledger.receive_lightning([causes.receipt(alice, "aa", 1_234_567)])
    assert credited == 1_234_000
    assert available_sat(alice) == 1234
    assert rows("rounding.receive.lightning") == [567]


def test_a_receipt_below_one_sat_credits_nothing_and_is_booked_once(
    alice: User,
) -> None:
    """F06"""
    for expected in (0, None):
        with transaction.atomic():
            [credited] = ledger.receive_lightning([causes.receipt(alice, "aa", 999)])
        assert credited == expected
    assert available_sat(alice) == 0
    assert rows("rounding.receive.lightning") == [999]


def test_the_same_payment_hash_is_credited_once(alice: User) -> None:
    """M04, M06"""
    for expected in (5000, None):
        with transaction.atomic():
            [credited] = ledger.receive_lightning([causes.receipt(alice, "aa", 5000)])
        assert credited == expected
    assert available_sat(alice) == 5


def test_what_one_pays_is_what_the_other_gets(alice: User, bob: User) -> None:
    fund(alice, 100)
    with transaction.atomic():
        moved = ledger.move_internal(
            from_user_id=alice.id,
            to_user_id=bob.id,
            amount_msat=30_000,
            external_id="x",
            cause=causes.line(alice, bob, 30),
        )
    assert moved
    assert (available_sat(alice), available_sat(bob)) == (70, 30)


def test_a_commit_that_goes_with_a_payment_does_not_end_a_larger_transaction(
    alice: User, bob: User
) -> None:
    fund(alice, 100)
    with transaction.atomic():
        ledger.atomic(ledger.move_internal)(
            from_user_id=alice.id,
            to_user_id=bob.id,
            amount_msat=30_000,
            external_id="x",
            cause=causes.line(alice, bob, 30),
            commit=True,
        )
        transaction.set_rollback(True)
    assert (available_sat(alice), available_sat(bob)) == (100, 0)


def test_a_settled_payment_gives_back_what_was_not_used(alice: User) -> None:
    fund(alice, 1000)
    payment_id, hold_id = hold(alice, 525)
    assert (available_sat(alice), held_sat(alice)) == (475, 525)
    with transaction.atomic():
        debit = ledger.settle_payment(
            hold_id=hold_id,
            spent_msat=500_100,
            platform_fee_msat=5000,
            payment_id=payment_id,
        )
    assert debit == 506_000  # 500.1 ceiled to 501, plus 5 for the house
    assert (available_sat(alice), held_sat(alice)) == (494, 0)
    assert rows("rounding.send.post") == [900]
    assert rows("fee.platform") == [5000]


def test_a_fee_above_the_hold_is_paid_by_the_house(alice: User) -> None:
    """F01: settlement never raises."""
    fund(alice, 1000)
    payment_id, hold_id = hold(alice, 505)
    with transaction.atomic():
        debit = ledger.settle_payment(
            hold_id=hold_id,
            spent_msat=505_001,
            platform_fee_msat=0,
            payment_id=payment_id,
        )
    assert debit == 505_000
    assert rows("fee.overrun") == [1]
    assert available_sat(alice) == 495


def test_a_hold_is_resolved_once(alice: User) -> None:
    fund(alice, 1000)
    payment_id, hold_id = hold(alice, 500)
    with transaction.atomic():
        assert ledger.release_payment(hold_id=hold_id, payment_id=payment_id)
        assert not ledger.release_payment(hold_id=hold_id, payment_id=payment_id)
        late = ledger.settle_payment(
            hold_id=hold_id,
            spent_msat=500_000,
            platform_fee_msat=0,
            payment_id=payment_id,
        )
    assert late is None
    assert (available_sat(alice), held_sat(alice)) == (1000, 0)


def test_a_reversal_takes_what_is_there_and_bad_debt_covers_the_rest(
    alice: User,
) -> None:
    """M26"""
    with transaction.atomic():
        ledger.receive_onchain([causes.deposit(alice, "t:0", 900)])
    hold(alice, 600)
    for expected in (600_000, None):
        with transaction.atomic():
            shortfall = ledger.reverse_onchain(
                user_id=alice.id,
                outpoint="t:0",
                amount_msat=900_000,
                cause=causes.reversed_deposit("t:0"),
            )
        assert shortfall == expected
    assert available_sat(alice) == 0
    assert rows("reverse.onchain") == [300_000]
    assert rows("reverse.onchain.shortfall") == [600_000]


def undo_deposit(user: User, sats: int, name: str) -> None:
    """A reorganisation takes back a deposit of all that the user has."""
    with transaction.atomic():
        ledger.reverse_onchain(
            user_id=user.id,
            outpoint=f"{name}:0",
            amount_msat=sats * 1000,
            cause=causes.reversed_deposit(f"{name}:0"),
        )


def deposit(user: User, sats: int, name: str = "t") -> None:
    with transaction.atomic():
        ledger.receive_onchain([causes.deposit(user, f"{name}:0", sats)])


def owed_sat(user: User) -> int:
    return ledger.owed_by_msat(user.id) // 1000


def test_k6_what_was_held_when_its_deposit_vanished_is_no_money_when_it_is_released(
    alice: User,
) -> None:
    """money-K6"""
    deposit(alice, 900)
    payment_id, hold_id = hold(alice, 600)
    undo_deposit(alice, 900, "t")
    assert (available_sat(alice), owed_sat(alice)) == (0, 600)
    with transaction.atomic():
        ledger.release_payment(hold_id=hold_id, payment_id=payment_id)
    assert (available_sat(alice), held_sat(alice), owed_sat(alice)) == (0, 0, 0)
    assert rows("repay.send.void") == [600_000]
    assert ledger.house_balance_msat(House.BAD_DEBT) == 0
    assert ledger.differences() == []


def test_k6_a_payment_that_cost_less_than_was_held_repays_with_the_rest(alice: User) -> None:
    """money-K6"""
    deposit(alice, 900)
    payment_id, hold_id = hold(alice, 600)
    undo_deposit(alice, 900, "t")
    with transaction.atomic():
        ledger.settle_payment(
            hold_id=hold_id, spent_msat=500_000, platform_fee_msat=0, payment_id=payment_id
        )
    assert (available_sat(alice), owed_sat(alice)) == (0, 500)
    assert ledger.house_balance_msat(House.BAD_DEBT) == -500_000


def test_k6_a_gift_that_nobody_took_repays(alice: User) -> None:
    """money-K6"""
    deposit(alice, 900)
    gift_id = causes.gift(alice, 400)
    with transaction.atomic():
        ledger.make_gift(user_id=alice.id, amount_msat=400_000, gift_id=gift_id)
    undo_deposit(alice, 900, "t")
    assert owed_sat(alice) == 400
    causes.gift_ends(gift_id, None)
    with transaction.atomic():
        ledger.return_gift(user_id=alice.id, amount_msat=400_000, gift_id=gift_id)
    assert (available_sat(alice), owed_sat(alice)) == (0, 0)


def test_k6_no_more_is_repaid_than_is_owed_and_not_out_of_what_came_since(alice: User) -> None:
    """money-K6"""
    fund(alice, 1000)
    deposit(alice, 100)
    payment_id, hold_id = hold(alice, 1050)
    undo_deposit(alice, 100, "t")  # 50 were there
    fund(alice, 7)
    assert (available_sat(alice), owed_sat(alice)) == (7, 50)
    with transaction.atomic():
        ledger.release_payment(hold_id=hold_id, payment_id=payment_id)
    assert (available_sat(alice), owed_sat(alice)) == (1007, 0)


def test_k6_coins_that_come_after_all_repay_what_is_still_owed_and_once(alice: User) -> None:
    """money-K6: the release has repaid most of it before."""
    deposit(alice, 900)
    payment_id, hold_id = hold(alice, 600)
    spent_id, spent_hold_id = hold(alice, 200)
    undo_deposit(alice, 900, "t")
    with transaction.atomic():
        ledger.release_payment(hold_id=hold_id, payment_id=payment_id)
        ledger.settle_payment(
            hold_id=spent_hold_id, spent_msat=200_000, platform_fee_msat=0, payment_id=spent_id
        )
    assert (available_sat(alice), owed_sat(alice)) == (0, 200)
    for _ in range(2):
        with transaction.atomic():
            again = causes.deposit(alice, "t:0", 900, credits=2)
            ledger.receive_onchain([again])
            ledger.repay_shortfall(user_id=alice.id, outpoint="t:0", cause=again.cause)
        assert (available_sat(alice), owed_sat(alice)) == (700, 0)
    assert ledger.house_balance_msat(House.BAD_DEBT) == 0
    assert ledger.differences() == []


def test_k6_a_debt_that_was_forgotten_is_found(owner_role: None, alice: User) -> None:
    """money-K6"""
    deposit(alice, 900)
    hold(alice, 600)
    undo_deposit(alice, 900, "t")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE ledger_account SET owed_msat = 0 WHERE user_id = %s", [alice.id])
    [wrong] = ledger.differences()
    assert (wrong.owed_msat, wrong.computed_owed_msat) == (0, 600_000)


def test_an_operator_forgives_no_more_than_is_owed(owner_role: None, alice: User) -> None:
    deposit(alice, 900)
    hold(alice, 600)
    undo_deposit(alice, 900, "t")

    def forgive(sats: int) -> bool:
        with transaction.atomic():
            return ledger.forgive_debt(
                user_id=alice.id, amount_msat=sats * 1000, external_id=f"f{sats}", reason="lost"
            )

    with pytest.raises(IntegrityError, match="forgiving 601000"):
        forgive(601)
    assert (forgive(400), forgive(400)) == (True, False)
    assert (available_sat(alice), owed_sat(alice)) == (0, 200)
    assert ledger.house_balance_msat(House.EQUITY) == -400_000
    assert ledger.house_balance_msat(House.BAD_DEBT) == -200_000
    assert ledger.differences() == []


def test_a_withdrawal_that_comes_back_comes_from_where_it_went(alice: User) -> None:
    """Amount and network fee are still in the wallet; the platform fee is with the house."""
    fund(alice, 1000)
    payment_id, hold_id = hold(alice, 525, through=House.ONCHAIN)
    with transaction.atomic():
        ledger.settle_payment(
            hold_id=hold_id, spent_msat=510_000, platform_fee_msat=5000, payment_id=payment_id
        )
        assert ledger.house_balance_msat(House.FEES) == 5000
        for expected in (True, False):
            returned = ledger.return_withdrawal(
                user_id=alice.id, spent_msat=510_000, platform_fee_msat=5000, payment_id=payment_id
            )
            assert returned is expected
    assert available_sat(alice) == 1000
    assert ledger.house_balance_msat(House.FEES) == 0
    assert ledger.house_balance_msat(House.ONCHAIN) == 0


def test_k6_a_withdrawal_that_comes_back_repays(alice: User) -> None:
    """money-K6: it spent the very coins that a reorganisation took away."""
    deposit(alice, 900)
    payment_id, hold_id = hold(alice, 525, through=House.ONCHAIN)
    with transaction.atomic():
        ledger.settle_payment(
            hold_id=hold_id, spent_msat=510_000, platform_fee_msat=5000, payment_id=payment_id
        )
    undo_deposit(alice, 900, "t")
    assert (available_sat(alice), owed_sat(alice)) == (0, 515)
    for expected in (True, False):
        with transaction.atomic():
            returned = ledger.return_withdrawal(
                user_id=alice.id, spent_msat=510_000, platform_fee_msat=5000, payment_id=payment_id
            )
        assert returned is expected
    assert (available_sat(alice), owed_sat(alice)) == (0, 0)
    assert [ledger.house_balance_msat(house) for house in House] == [0] * len(House)


def test_the_second_resolution_of_a_hold_is_refused_by_its_own_index(
    owner_role: None, alice: User
) -> None:
    """Rule: a hold is resolved once. Without the unique index each of these would book again."""
    fund(alice, 1000)
    payment_id, hold_id = hold(alice, 500)
    account = ledger.account_of(alice.id)
    second = {
        "debit": account,
        "credit": int(House.LIGHTNING),
        "amount": 500_000,
        "phase": "void",
        "pending": hold_id,
        "held": 500_000,
    }
    with connection.cursor() as cursor:
        cursor.execute(BY_HAND, second | VOID | {"external": str(payment_id)})
        for kind in (VOID, POST):
            with pytest.raises(IntegrityError, match="hold_resolved_once"), transaction.atomic():
                cursor.execute(BY_HAND, second | kind | {"external": "second"})


def test_a_receipt_is_found_by_either_of_its_rows(alice: User) -> None:
    """Rule: one payment hash books once, whatever amount is named the second time; one that left
    only a row of rounding, too, and one that left only a row of the user's."""
    for ref, first_msat, second_msat in [
        ("below", 500, 1000), ("whole", 1000, 500), ("both", 1500, 2000), ("whole", 1000, 1500),
    ]:  # fmt: skip
        with transaction.atomic():
            ledger.receive_lightning([causes.receipt(alice, ref, first_msat)])
            [again] = ledger.receive_lightning([causes.receipt(alice, ref, second_msat)])
        assert again is None, ref
    assert available_sat(alice) == 2
    assert rows("receive.lightning") == [1000, 1000]
    assert sorted(rows("rounding.receive.lightning")) == [500, 500]


@pytest.mark.parametrize("wrong", ["outpoint", "amount", "user"])
def test_only_what_was_credited_can_be_taken_back(alice: User, bob: User, wrong: str) -> None:
    """Rule: a reversal names the user, the outpoint and the amount of one credit."""
    deposit(alice, 900)
    fund(bob, 900)
    with pytest.raises(IntegrityError, match="there is no credit"), transaction.atomic():
        ledger.reverse_onchain(
            user_id=bob.id if wrong == "user" else alice.id,
            outpoint="other:0" if wrong == "outpoint" else "t:0",
            amount_msat=899_000 if wrong == "amount" else 900_000,
            cause=causes.reversed_deposit("t:0"),
        )
    assert (available_sat(alice), available_sat(bob)) == (900, 900)
    assert rows("reverse.onchain") == []


# --- Python refuses ------------------------------------------------------------------------------


def test_nobody_spends_more_than_he_has(alice: User, bob: User) -> None:
    fund(alice, 100)
    with pytest.raises(InsufficientFunds) as refused, transaction.atomic():
        ledger.move_internal(
            from_user_id=alice.id,
            to_user_id=bob.id,
            amount_msat=101_000,
            external_id="x",
            cause=causes.line(alice, bob, 101),
        )
    assert (refused.value.available_sat, refused.value.needed_sat) == (100, 101)
    assert (available_sat(alice), available_sat(bob)) == (100, 0)


def test_held_money_cannot_be_spent(alice: User) -> None:
    fund(alice, 100)
    hold(alice, 60)
    with pytest.raises(InsufficientFunds):
        hold(alice, 41)


def test_a_settlement_may_not_debit_more_than_was_held(alice: User) -> None:
    fund(alice, 100)
    payment_id, hold_id = hold(alice, 50)
    with pytest.raises(HoldExceeded), transaction.atomic():
        ledger.settle_payment(
            hold_id=hold_id,
            spent_msat=1000,
            platform_fee_msat=50_001,
            payment_id=payment_id,
        )


def test_money_moves_only_inside_a_transaction(alice: User) -> None:
    connection.in_atomic_block = False
    try:
        with pytest.raises(RuntimeError):
            ledger.hold_for_payment(
                user_id=alice.id,
                through=House.LIGHTNING,
                amount_msat=1,
                payment_id=uuid.uuid4(),
            )
    finally:
        connection.in_atomic_block = True


@pytest.fixture
def owner_role(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The test's connection belongs to the role that owns the tables. Ask for it first."""
    ours = connection.settings_dict
    with django_db_blocker.unblock():
        connection.close()
        connection.settings_dict = ours | {"USER": embedded.OWNER_ROLE}
        yield
        connection.close()
        connection.settings_dict = ours


# --- The database refuses ------------------------------------------------------------------------

BY_HAND = """
    INSERT INTO ledger_transfer (debit_id, credit_id, amount_msat, kind, external_id, phase,
        pending_id, pending_amount_msat, cause_kind, cause_id)
    VALUES (%(debit)s, %(credit)s, %(amount)s, %(kind)s, %(external)s, %(phase)s,
        %(pending)s, %(held)s, 'payment', %(external)s)
"""


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_account SET posted_msat = posted_msat + 1000",
        "INSERT INTO ledger_account (id, name) VALUES (99, 'mine')",
        "DELETE FROM ledger_account",
        "UPDATE ledger_transfer SET amount_msat = 1",
        "DELETE FROM ledger_transfer",
        "TRUNCATE ledger_transfer",
        "UPDATE accounts_auditevent SET actor = 'nobody'",
        "DELETE FROM accounts_auditevent",
        "ALTER TABLE ledger_transfer DISABLE TRIGGER ALL",
        "SELECT ledger_require(1000, 1)",
    ],
)
def test_the_web_role_may_not(alice: User, statement: str) -> None:
    """M03: whoever takes over the web process cannot write balances or history."""
    fund(alice, 100)
    with (
        pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE ledger_transfer SET amount_msat = 1", "append-only"),
        ("DELETE FROM ledger_transfer", "append-only"),
        ("TRUNCATE ledger_transfer", "append-only"),
        (
            "UPDATE ledger_account SET posted_msat = -1000 WHERE id >= 1000",
            "available_is_not",
        ),
        (
            "UPDATE ledger_account SET held_msat = -1000 WHERE id >= 1000",
            "held_is_not_negative",
        ),
        (
            "UPDATE ledger_account SET held_msat = 101000 WHERE id >= 1000",
            "available_is_not",
        ),
        (
            "UPDATE ledger_account SET posted_msat = 100500 WHERE id >= 1000",
            "whole_sats",
        ),
        (
            "UPDATE ledger_account SET posted_msat = 1000 WHERE id = 1",
            "house_keeps_no_balance",
        ),
        (
            "UPDATE ledger_account SET user_id = NULL WHERE id >= 1000",
            "belongs_to_user_or_house",
        ),
        ("DELETE FROM accounts_user", "violates foreign key"),
    ],
)
def test_not_even_the_owner_may(owner_role: None, alice: User, statement: str, why: str) -> None:
    fund(alice, 100)
    with (
        pytest.raises(DatabaseError, match=why),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(f"SET CONSTRAINTS ALL IMMEDIATE; {statement}")


POST = {"kind": "send.post", "phase": "post", "credit": int(House.LIGHTNING)}
VOID = POST | {"kind": "send.void", "phase": "void"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"amount": 0}, "amount_is_positive"),
        ({"amount": -1}, "amount_is_positive"),
        ({"credit": "debit"}, "debit_is_not_credit"),
        ({"phase": "maybe"}, "phase_is_known"),
        ({"kind": "gift"}, "goes from account"),
        ({"credit": int(House.ONCHAIN)}, "goes from account"),
        ({"kind": "operator.credit", "external": "used"}, "goes from account"),
        ({"external": "used"}, "credited_once"),
        (POST, "only_resolutions_name_a_hold"),
        ({"pending": "hold", "held": 50_000}, "only_resolutions_name_a_hold"),
        (
            POST | {"pending": "hold", "held": 50_000, "amount": 50_001},
            "posts_no_more",
        ),
        (
            POST | {"pending": "hold", "held": 60_000, "amount": 55_000},
            "matches_its_hold",
        ),
        (
            VOID | {"pending": "hold", "held": 50_000, "amount": 49_000},
            "voids_all",
        ),
        (POST | {"pending": "other", "held": 100_000}, "matches_its_hold"),
        (
            POST | {"pending": "resolved", "held": 10_000},
            "hold_resolved_once",
        ),
    ],
)
def test_a_row_written_by_hand_is_refused(
    owner_role: None, alice: User, change: dict[str, object], why: str
) -> None:
    """M01, M04, M05: the constraints hold without any of our code."""
    fund(alice, 100)
    account = ledger.account_of(alice.id)
    _, open_hold = hold(alice, 50)
    resolved_payment, resolved_hold = hold(alice, 10)
    with transaction.atomic():
        ledger.settle_payment(
            hold_id=resolved_hold,
            spent_msat=5000,
            platform_fee_msat=1000,
            payment_id=resolved_payment,
        )
    posted = Transfer.objects.get(kind="fee.platform")
    row: dict[str, object] = {
        "debit": account,
        "credit": int(House.FEES),
        "amount": 1000,
        "kind": "fee.platform",
        "external": "by hand",
        "phase": "posted",
        "pending": None,
        "held": None,
    } | change
    names = {"hold": open_hold, "resolved": resolved_hold, "other": posted.id}
    row["pending"] = names.get(str(row["pending"]), row["pending"])
    row["external"] = posted.external_id if row["external"] == "used" else row["external"]
    row["credit"] = account if row["credit"] == "debit" else row["credit"]
    with (
        pytest.raises(IntegrityError, match=why),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(BY_HAND, row)


def test_every_balance_equals_the_sum_of_its_transfers(alice: User, bob: User) -> None:
    fund(alice, 500)
    _, _ = hold(alice, 100)
    payment_id, hold_id = hold(alice, 50)
    with transaction.atomic():
        ledger.settle_payment(
            hold_id=hold_id,
            spent_msat=48_500,
            platform_fee_msat=0,
            payment_id=payment_id,
        )
        ledger.move_internal(
            from_user_id=alice.id,
            to_user_id=bob.id,
            amount_msat=9000,
            external_id="x",
            cause=causes.line(alice, bob, 9),
        )
    assert ledger.differences() == []


def test_a_balance_that_was_tampered_with_is_found(owner_role: None, alice: User) -> None:
    """O07"""
    fund(alice, 500)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE ledger_account SET posted_msat = 501000 WHERE id >= 1000")
    found = ledger.differences()
    assert [(d.account, d.posted_msat, d.computed_posted_msat) for d in found] == [
        (LedgerAccount.objects.get(user=alice).id, 501_000, 500_000)
    ]
