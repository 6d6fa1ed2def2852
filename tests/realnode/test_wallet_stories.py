"""The wallet's own services against both networks: the same stories, simulated and real.

On simnet they always run, which also keeps them from rotting; with `BITCOIND` and `LIGHTNINGD`
set they run on a private regtest as well.
"""

from __future__ import annotations

import time

import pytest
from django.utils import timezone

from accounts.models import User
from coinos.nodes.base import Settled
from coinos.nodes.release import outcome
from invoices.models import Deposit, Invoice
from invoices.services import (
    InvoiceDraft,
    create_invoice,
    scan_bitcoin,
    sweep_lightning,
    watch_lightning,
    withdraw_node_invoices,
)
from payments.models import Payment
from payments.services import resolve_due
from payments.services.withdrawals import advance
from tests.cast import api_of, available_sat, fund


def ask(user: User, **draft) -> Invoice:
    return create_invoice(user, InvoiceDraft(**draft), own=True)


def watch() -> None:
    """Read every receipt that the node has, also those of other tests on the same network."""
    while watch_lightning(seconds=0.1):
        pass


def test_alice_is_paid_over_lightning(world, alice):
    invoice = ask(alice, amount_sat=1_000, memo="coffee")

    world.pay(invoice.hash)
    watch()
    sweep_lightning()

    assert available_sat(alice) == 1_000
    assert Invoice.objects.get(id=invoice.id).is_paid


def test_alice_lets_the_payer_choose_and_gets_whole_sats(world, alice):
    invoice = ask(alice, amount_sat=0)

    world.pay(invoice.hash, 1_234_567)
    sweep_lightning()

    assert available_sat(alice) == 1_234


def test_an_expired_invoice_of_alice_is_not_paid(world, alice):
    invoice = ask(alice, amount_sat=1_000, expiry_s=1)
    time.sleep(2.1)

    with pytest.raises(AssertionError):
        world.pay(invoice.hash)
    sweep_lightning()
    assert available_sat(alice) == 0


def test_alices_deposit_is_credited_in_a_block_and_taken_back_with_it(world, alice):
    """M26"""
    invoice = ask(alice, type=Invoice.Type.BITCOIN)
    world.deposit({invoice.hash: 150_000})
    scan_bitcoin()
    assert (available_sat(alice), Deposit.objects.get().state) == (
        0,
        Deposit.State.SEEN,
    )

    world.mine()
    scan_bitcoin()
    scan_bitcoin()
    assert available_sat(alice) == 150_000

    world.reorganise(1)
    scan_bitcoin()
    assert (available_sat(alice), Deposit.objects.get().state) == (
        0,
        Deposit.State.REVERSED,
    )

    world.mine()
    scan_bitcoin()
    assert available_sat(alice) == 150_000


def pay(user: User, payreq: str, **body):
    return api_of(user).post("/payments", {"payreq": payreq, **body})


def test_alice_pays_an_outside_invoice_and_its_exact_fee(world, alice):
    fund(alice, 10_000)
    bolt11 = world.invoice(5_000_000)

    paid = pay(alice, bolt11)

    assert (paid.status_code, paid.body["status"]) == (200, "settled")
    payment_hash = world.lightning.decode(bolt11).payment_hash
    known = {"call_returned": True, "deadline_passed": True, "nothing_is_lost": True}
    truth = outcome(world.lightning.payment_record(payment_hash), **known)
    assert truth == Settled(fee_msat=500, preimage=paid.body["ref"])
    assert available_sat(alice) == 10_000 - 5_000 - 1


def test_alice_chooses_the_amount_of_an_open_invoice(world, alice):
    fund(alice, 10_000)
    bolt11 = world.invoice(None)

    assert pay(alice, bolt11, amount=300).body["status"] == "settled"

    payment_hash = world.lightning.decode(bolt11).payment_hash
    assert world.lightning.payment_record(payment_hash).delivered_msat == 300_000


def test_alice_pays_bob_inside_the_ledger_and_his_invoice_leaves_the_node(world, alice, bob):
    fund(alice, 10_000)
    invoice = ask(bob, amount_sat=1_000)

    assert pay(alice, invoice.hash).status_code == 200
    withdraw_node_invoices()

    assert (available_sat(alice), available_sat(bob)) == (9_000, 1_000)
    assert world.lightning.payment_record(invoice.payment_hash).parts == 0
    with pytest.raises(AssertionError):
        world.pay(invoice.hash)


@pytest.mark.parametrize(
    ("amount_msat", "expiry_s"),
    [(900_000_000_000, 3600), (1_000_000, 1)],
    ids=["beyond our channels", "expired"],
)
def test_a_payment_that_cannot_arrive_costs_alice_nothing(world, alice, amount_msat, expiry_s):
    fund(alice, 1_000_000_000)
    bolt11 = world.invoice(amount_msat, expiry_s=expiry_s)
    time.sleep(2.1 if expiry_s == 1 else 0)

    failed = pay(alice, bolt11)

    assert 400 <= failed.status_code < 500, failed.body
    assert available_sat(alice) == 1_000_000_000


def test_a_payment_that_is_refused_comes_back_to_alice(world, alice):
    fund(alice, 10_000)

    pay(alice, world.refused_invoice(1_000_000))
    until_resolved()

    assert (Payment.objects.get().state, available_sat(alice)) == (Payment.State.FAILED, 10_000)


def until_resolved() -> None:
    deadline = time.monotonic() + 30
    while Payment.objects.filter(state=Payment.State.SENDING).exists():
        assert time.monotonic() < deadline
        Payment.objects.update(next_look_at=timezone.now())
        resolve_due()
        time.sleep(0.1)


def test_alice_withdraws_and_pays_the_exact_fee(world, alice):
    fund(alice, 100_000)

    sent = api_of(alice).post("/bitcoin/send", {"address": world.address(), "amount": 50_000})

    assert sent.status_code == 200, sent.body
    payment = Payment.objects.get()
    assert world.bitcoin.transaction(payment.txid).in_mempool
    assert available_sat(alice) == 100_000 - 50_000 - payment.fee_sat

    world.mine()
    advance(payment.id)
    payment.refresh_from_db()
    assert payment.confirmations == 1


def test_a_withdrawal_survives_a_reorg_that_it_was_in(world, alice):
    fund(alice, 100_000)
    api_of(alice).post("/bitcoin/send", {"address": world.address(), "amount": 50_000})
    payment = Payment.objects.get()
    world.mine()
    advance(payment.id)

    world.reorganise(1)
    advance(payment.id)
    payment.refresh_from_db()
    assert payment.confirmations == 0

    world.mine(6)
    advance(payment.id)
    payment.refresh_from_db()
    assert payment.state == Payment.State.CONFIRMED
    assert available_sat(alice) == 100_000 - 50_000 - payment.fee_sat
