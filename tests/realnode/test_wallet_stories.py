"""The wallet's own services against both networks: the same stories, simulated and real.

On simnet they always run, which also keeps them from rotting; with `BITCOIND` and `LIGHTNINGD`
set they run on a private regtest as well.
"""

from __future__ import annotations

import time

import pytest

from accounts.models import User
from invoices.models import Deposit, Invoice
from invoices.services import (
    InvoiceDraft,
    create_invoice,
    scan_bitcoin,
    watch_lightning,
)
from tests.cast import available_sat
from tests.nodes.worlds import WALLET, Simnet, World
from tests.realnode.regtest import AVAILABLE, MISSING, regtest  # noqa: F401

ON_REAL_NODES = [
    pytest.mark.realnode,
    pytest.mark.skipif(not AVAILABLE, reason=MISSING),
]


@pytest.fixture(params=["simnet", pytest.param("regtest", marks=ON_REAL_NODES)])
def world(request: pytest.FixtureRequest, settings) -> World:
    given = request.getfixturevalue(request.param)
    settings.LIGHTNING_RPC = given.lightning_rpc
    settings.BITCOIN_RPC_URL = given.bitcoin_rpc_url
    settings.BITCOIN_WALLET = WALLET
    return Simnet(given) if request.param == "simnet" else given


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
    watch()

    assert available_sat(alice) == 1_000
    assert Invoice.objects.get(id=invoice.id).is_paid


def test_alice_lets_the_payer_choose_and_gets_whole_sats(world, alice):
    invoice = ask(alice, amount_sat=0)

    world.pay(invoice.hash, 1_234_567)
    watch()

    assert available_sat(alice) == 1_234


def test_an_expired_invoice_of_alice_is_not_paid(world, alice):
    invoice = ask(alice, amount_sat=1_000, expiry_s=1)
    time.sleep(2.1)

    with pytest.raises(AssertionError):
        world.pay(invoice.hash)
    watch()
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
