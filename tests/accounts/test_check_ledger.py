"""`manage.py check_ledger`: silent differences are found, by line and by exit code (O07)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from accounts import ledger
from accounts.books import CHECKS
from accounts.ledger import Cause, House
from accounts.models import Activity, User
from coinos import embedded
from invoices.models import Address, Deposit, Invoice, LightningRequest
from payments.models import Payment
from tests.cast import Api, api_of, fund

BALANCES = "every balance is the sum of its transfers"


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


def failing() -> list[str]:
    """The checks that found a difference; the command's exit code must agree."""
    output = StringIO()
    try:
        call_command("check_ledger", stdout=output)
        code = 0
    except CommandError as error:
        code = error.returncode
    lines = output.getvalue().splitlines()
    checks = [line for line in lines if not line.startswith(" ")]
    assert [line[4:] for line in checks] == [BALANCES, *CHECKS]
    found = [line[4:] for line in checks if line.startswith("NO ")]
    assert code == (1 if found else 0)
    assert len(lines) - len(checks) >= len(found)
    return found


def by_hand(statement: str, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


@pytest.fixture
def busy(alice: User, bob: User) -> Api:
    """A small house in which something of every kind has happened."""
    fund(alice, 10_000)
    api = api_of(alice)
    assert api.post("/send", {"username": "bob", "amount": 500}).status_code == 200
    lightning_receipt(alice, 1_234_567)
    deposit(alice, 4000)
    payment(alice, state="sending", fee_sat=None)
    payment(alice, state="settled", fee_sat=3)
    payment(alice, state="failed", fee_sat=None)
    # As a COMMIT does. What a test breaks afterwards is not refused any more.
    by_hand("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
    return api


def invoice_of(user: User, **fields: Any) -> Invoice:
    return Invoice.objects.create(user=user, currency="USD", expiry_s=3600, **fields)


def lightning_receipt(user: User, msat: int) -> Invoice:
    invoice = invoice_of(user, type="lightning", received_sat=msat // 1000)
    payment_hash = uuid.uuid4().hex * 2
    LightningRequest.objects.create(
        invoice=invoice, state="paid", payment_hash=payment_hash, received_msat=msat
    )
    with transaction.atomic():
        cause = Cause("invoice", str(invoice.id))
        ledger.receive_lightning([ledger.Arrived(user.id, payment_hash, msat, cause)])
    return invoice


def deposit(user: User, sats: int) -> Deposit:
    invoice = invoice_of(user, type="bitcoin", received_sat=sats)
    address = Address.objects.create(address=uuid.uuid4().hex, invoice=invoice)
    row = Deposit.objects.create(
        address=address,
        txid=uuid.uuid4().hex * 2,
        vout=0,
        amount_sat=sats,
        state="credited",
        sequence=1,
        confirmations_required=1,
    )
    with transaction.atomic():
        cause = Cause("deposit", str(row.id))
        ledger.receive_onchain([ledger.Arrived(user.id, row.outpoint, sats * 1000, cause)])
    return row


def payment(user: User, *, state: str, fee_sat: int | None) -> Payment:
    payment_id = uuid.uuid4()
    with transaction.atomic():
        hold_id = ledger.hold_for_payment(
            user_id=user.id,
            through=House.LIGHTNING,
            amount_msat=110_000,
            payment_id=payment_id,
        )
        if state == "settled":
            assert fee_sat is not None
            ledger.settle_payment(
                hold_id=hold_id,
                spent_msat=100_000 + fee_sat * 1000,
                platform_fee_msat=0,
                payment_id=payment_id,
            )
        if state == "failed":
            ledger.release_payment(hold_id=hold_id, payment_id=payment_id)
    return Payment.objects.create(
        id=payment_id,
        user=user,
        type="lightning",
        state=state,
        destination="lnbcrt1",
        amount_sat=100,
        amount_msat=100_000,
        max_fee_sat=10,
        fee_sat=fee_sat,
        hold_id=hold_id,
        payment_hash=payment_id.hex * 2,
        preimage="00" * 32 if state == "settled" else None,
        fee_final=state == "settled",
    )


def test_books_that_add_up_are_left_in_peace(busy: Api) -> None:
    assert failing() == []


def test_empty_books_add_up(db: None) -> None:
    assert failing() == []


def test_a_balance_that_was_raised_by_a_sat_is_found(owner_role: None, busy: Api) -> None:
    by_hand(
        "UPDATE ledger_account SET posted_msat = posted_msat + 1000 WHERE id = (SELECT min(id)"
        " FROM ledger_account WHERE id >= 1000)"
    )
    assert failing() == [BALANCES, "all accounts together are zero"]


def test_a_hold_that_was_taken_away_is_found(owner_role: None, busy: Api) -> None:
    by_hand("UPDATE ledger_account SET held_msat = 0")
    assert failing() == [BALANCES]


def test_a_transfer_that_was_deleted_is_found(owner_role: None, busy: Api) -> None:
    by_hand("ALTER TABLE ledger_transfer DISABLE TRIGGER USER")
    by_hand("DELETE FROM ledger_transfer WHERE kind = 'receive.lightning'")
    assert failing() == [
        BALANCES,
        "all accounts together are zero",
        "every invoice has received what was credited for it",
    ]


def test_a_user_without_books_is_found(busy: Api) -> None:
    User.objects.create(username="dave")
    assert failing() == ["every user has one account, never below zero and in whole sats"]


@pytest.mark.parametrize("state", ["failed", "settled"])
def test_a_payment_that_ended_without_its_hold_is_found(busy: Api, state: str) -> None:
    Payment.objects.filter(state="sending").update(
        state=state, preimage="00" * 32, fee_final=True, fee_sat=3
    )
    expected = ["every open hold is of an undecided payment, and the other way round"]
    if state == "settled":
        expected.append("every payment cost its user what its line says")
    assert failing() == expected


def test_a_payment_that_waits_for_a_hold_that_is_gone_is_found(busy: Api) -> None:
    Payment.objects.filter(state="failed").update(state="sending")
    assert failing() == ["every open hold is of an undecided payment, and the other way round"]


def test_a_payment_that_cost_something_else_is_found(busy: Api) -> None:
    Payment.objects.filter(state="settled").update(fee_sat=2)
    assert failing() == ["every payment cost its user what its line says"]


def test_an_invoice_that_claims_more_than_it_received_is_found(busy: Api) -> None:
    Invoice.objects.filter(type="lightning").update(received_sat=1235)
    assert failing() == ["every invoice has received what was credited for it"]


@pytest.mark.parametrize("state", ["seen", "reversed", "conflicted"])
def test_a_credit_for_a_deposit_that_has_not_come_is_found(busy: Api, state: str) -> None:
    Deposit.objects.update(state=state)
    assert failing() == ["every credited deposit is credited once, and no other is"]


def test_a_reversed_deposit_leaves_nothing(busy: Api, alice: User) -> None:
    row = Deposit.objects.get()
    with transaction.atomic():
        ledger.reverse_onchain(
            user_id=alice.id,
            outpoint=row.outpoint,
            amount_msat=row.amount_sat * 1000,
            cause=Cause("deposit", str(row.id)),
        )
    Deposit.objects.update(state="reversed")
    Invoice.objects.filter(type="bitcoin").update(received_sat=0)
    assert failing() == []


def test_a_receipt_that_was_also_booked_to_suspense_is_found(busy: Api) -> None:
    """M04, M21"""
    request = LightningRequest.objects.get()
    with transaction.atomic():
        ledger.receive_unmatched(
            source=House.LIGHTNING,
            external_id=f"lightning:{request.payment_hash}",
            amount_msat=1000,
            cause=Cause("receipt", "x"),
        )
    assert failing() == ["nothing that arrived was booked under two names"]


def test_a_line_that_the_days_totals_do_not_count_is_found(busy: Api) -> None:
    Activity.objects.filter(amount_sat=-500).update(amount_sat=-499)
    assert failing() == [
        "every payment between users has its payer's line",
        "every day's totals are the sum of its lines",
    ]
