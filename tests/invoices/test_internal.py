"""An invoice of ours, paid by another user here."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import transaction

from accounts import ledger, statement
from accounts.models import Activity, User
from coinos.errors import InvalidAmount
from coinos.simnet.control import Control, ControlError
from invoices import services
from invoices.errors import InvoiceAlreadyPaid, InvoiceExpired, InvoiceNotFound
from invoices.models import Invoice, LightningRequest
from invoices.selectors import find
from invoices.services import Payable
from tests import causes
from tests.cast import Api, available_sat, fund, make_user
from tests.invoices.helpers import new_invoice, receive, seen, statement_of
from tests.invoices.test_lightning_receipts import in_threads


@ledger.atomic
def pay(payer: User, ref: str, amount_sat: int | None = None, **options: Any) -> Payable:
    """What payments does: lock, move and record, tell."""
    found = find(ref)
    if found is None:
        raise InvoiceNotFound()
    payable = services.lock_for_internal_payment(found, **options)
    amount_sat = amount_sat or payable.amount_sat
    payment_id = uuid.uuid4()
    receipt = services.internal_receipt(
        payable, payer=payer, amount_sat=amount_sat, tip_sat=payable.tip_sat, memo="lunch"
    )
    ledger.move_internal(
        from_user_id=payer.id,
        to_user_id=payable.user_id,
        amount_msat=(amount_sat + payable.tip_sat) * 1000,
        external_id=f"send:{payment_id}",
        cause=causes.line(payer, payable.user, amount_sat + payable.tip_sat),
        then=[*receipt.queries, statement.writing([receipt.line])],
    )
    receipt.tell()
    return payable


def test_bob_pays_alices_invoice_inside(world: Control, alice: User, bob: User) -> None:
    fund(bob, 2_000)
    invoice = new_invoice(alice, amount=1000, tip=50)
    pay(bob, invoice["hash"].upper())
    assert (available_sat(alice), available_sat(bob)) == (1050, 950)
    after = seen(invoice)
    assert (after["received"], after["status"]) == (1050, "paid")
    assert "preimage" not in after  # the node never paid
    [line] = statement_of(alice)
    assert (line.type, line.status) == ("internal", "settled")
    assert (line.amount_sat, line.tip_sat, line.memo) == (1000, 50, "lunch")
    assert (line.ref, line.counterparty) == (str(bob.id), bob)
    assert line.hash == invoice["hash"]


@pytest.mark.parametrize("amount", [1000, 0])
def test_m35_an_invoice_is_paid_inside_at_most_once(
    world: Control, alice: User, bob: User, amount: int
) -> None:
    fund(bob, 5_000)
    invoice = new_invoice(alice, amount=amount)
    pay(bob, invoice["paymentHash"], 1000)
    for name in ("hash", "paymentHash", "id"):
        with pytest.raises(InvoiceAlreadyPaid) as refusal:
            pay(bob, invoice[name], 1000)
        assert refusal.value.status == 409
    assert (available_sat(alice), available_sat(bob)) == (1000, 4000)


def test_m16_an_invoice_paid_inside_cannot_be_paid_again_from_outside(
    world: Control, alice: User, bob: User
) -> None:
    fund(bob, 1_000)
    invoice = new_invoice(alice, amount=1000)
    pay(bob, invoice["hash"])
    assert services.withdraw_node_invoices() == 1
    with pytest.raises(ControlError):
        world.pay(invoice["hash"])
    assert LightningRequest.objects.get().state == LightningRequest.State.CLOSED
    assert services.withdraw_node_invoices() == 0


@pytest.mark.parametrize("noticed_by", ["the withdrawal", "the sweep"])
def test_m16_an_outside_payment_that_was_faster_is_real_money(
    world: Control, alice: User, bob: User, noticed_by: str
) -> None:
    fund(bob, 1_000)
    invoice = new_invoice(alice, amount=1000)
    pay(bob, invoice["hash"])
    world.pay(invoice["hash"])
    if noticed_by == "the withdrawal":
        services.withdraw_node_invoices()
    receive()
    services.withdraw_node_invoices()
    assert available_sat(alice) == 2000
    after = seen(invoice)
    assert (after["received"], after["status"]) == (2000, "overpaid")
    assert LightningRequest.objects.get().state == LightningRequest.State.PAID
    assert [line.type for line in statement_of(alice)] == ["internal", "lightning"]


def test_an_invoice_paid_from_outside_is_not_paid_again_inside(
    world: Control, alice: User, bob: User
) -> None:
    fund(bob, 1_000)
    invoice = new_invoice(alice, amount=1000)
    world.pay(invoice["hash"])
    receive()
    with pytest.raises(InvoiceAlreadyPaid):
        pay(bob, invoice["hash"])
    assert available_sat(bob) == 1000


def test_m17_the_earlier_bolt11_costs_what_it_said(
    world: Control, alice: User, bob: User, anyone: Api
) -> None:
    fund(bob, 5_000)
    invoice = new_invoice(alice, amount=1000)
    anyone.post(f"/invoice/{invoice['id']}", {"invoice": {"tip": 900}})
    payable = pay(bob, invoice["hash"])
    assert (payable.amount_sat, payable.tip_sat) == (1000, 0)
    assert (available_sat(alice), available_sat(bob)) == (1000, 4000)


def test_another_sum_than_the_invoice_named_moves_nothing(
    world: Control, alice: User, bob: User
) -> None:
    fund(bob, 5_000)
    invoice = new_invoice(alice, amount=1000)
    with pytest.raises(InvalidAmount), transaction.atomic():
        pay(bob, invoice["hash"], 999)
    assert (available_sat(alice), available_sat(bob)) == (0, 5000)
    assert seen(invoice)["received"] == 0


def test_unknown_and_expired_invoices_are_refused(world: Control, alice: User, bob: User) -> None:
    from datetime import timedelta

    from django.utils import timezone

    fund(bob, 5_000)
    with pytest.raises(InvoiceNotFound):
        pay(bob, "0" * 64, 5)
    invoice = new_invoice(alice, amount=1000, expiry=60)
    Invoice.objects.update(created=timezone.now() - timedelta(seconds=61))
    with pytest.raises(InvoiceExpired):
        pay(bob, invoice["hash"])


def test_coins_may_be_sent_to_an_address_again(world: Control, alice: User, bob: User) -> None:
    fund(bob, 5_000)
    invoice = new_invoice(alice, type="bitcoin", amount=1000)
    pay(bob, invoice["hash"])
    with pytest.raises(InvoiceAlreadyPaid):
        pay(bob, invoice["hash"])
    pay(bob, invoice["hash"], 700, reuse_address=True)
    assert available_sat(alice) == 1700
    assert seen(invoice)["received"] == 1700


def test_m35_fifty_payers_at_once_pay_it_once(
    simnet_nodes: Control, cloned_db: Any, redis: Any
) -> None:
    alice = make_user("alice")
    payers = [make_user(f"payer{n}") for n in range(20)]
    for payer in payers:
        fund(payer, 1000)
    invoice = new_invoice(alice, amount=1000)
    waiting = iter(payers)
    raised = in_threads(20, lambda: pay(next(waiting), invoice["hash"]))
    assert len(raised) == 19
    assert {type(error) for error in raised} == {InvoiceAlreadyPaid}
    assert available_sat(alice) == 1000
    assert sum(available_sat(payer) for payer in payers) == 19_000
    assert Activity.objects.filter(user=alice).count() == 1
