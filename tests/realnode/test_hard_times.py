"""Hard times on both networks: full blocks, fees bumped by hand, closing channels, lost records.

Like the stories beside them they always run on simnet, and with `BITCOIND` and `LIGHTNINGD` on
real nodes as well.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from django.conf import settings
from pyln.client import LightningRpc

from accounts.models import User
from coinos import killswitch, nodes
from coinos.errors import NodeUnavailable
from invoices.services import sweep_lightning, watch_lightning
from invoices.services.node import NodeChanged, require_known
from payments import reconciliation
from payments.models import Payment, Reading
from payments.services.withdrawals import advance
from tests.cast import api_of, available_sat, fund
from tests.nodes.worlds import Simnet, World
from tests.realnode.conftest import ON_REAL_NODES
from tests.realnode.regtest import Regtest, until
from tests.realnode.test_wallet_stories import ask, watch

ON_REGTEST = pytest.mark.parametrize(
    "world", [pytest.param("regtest", marks=ON_REAL_NODES)], indirect=True
)
CLOSING_FEE_MAX_MSAT = 10_000_000


@pytest.fixture(autouse=True)
def own_stop_file(settings: Any, tmp_path: Any, redis: Any) -> None:
    settings.STOP_FILE = tmp_path / "stop-sends"


def withdraw(user: User, world: World, amount_sat: int) -> Payment:
    body = {"address": world.address(), "amount": amount_sat}
    sent = api_of(user).post("/bitcoin/send", body)
    assert sent.status_code == 200, sent.body
    return Payment.objects.get(id=sent.body["id"])


def test_more_withdrawals_leave_within_a_block_than_the_wallet_has_coins(
    world: World, alice: User
) -> None:
    """money-H2: three on three coins, and more on their change."""
    fund(alice, 1_000_000)

    sent = [withdraw(alice, world, 10_000) for _ in range(8)]

    assert {payment.state for payment in sent} == {Payment.State.BROADCAST}
    world.mine()
    for payment in sent:
        advance(payment.id)
        payment.refresh_from_db()
        assert payment.confirmations == 1
    fees_sat = sum(payment.fee_sat or 0 for payment in sent)
    assert available_sat(alice) == 1_000_000 - 80_000 - fees_sat


def test_a_fee_that_was_bumped_by_hand_is_followed(world: World, alice: User) -> None:
    """money-M1"""
    fund(alice, 100_000)
    payment = withdraw(alice, world, 50_000)
    agreed_sat = payment.fee_sat

    bumped = world.bump(payment.txid or "")
    world.mine(6)
    advance(payment.id)
    advance(payment.id)

    payment.refresh_from_db()
    assert (payment.state, payment.txid) == (Payment.State.CONFIRMED, bumped)
    assert available_sat(alice) == 100_000 - 50_000 - (agreed_sat or 0)
    assert not killswitch.is_stopped()


def test_a_paid_invoice_that_the_node_deletes_is_no_alarm(world: World, alice: User) -> None:
    """money-H11: by hand, or by autoclean."""
    first, second = ask(alice, amount_sat=1_000), ask(alice, amount_sat=2_000)
    world.pay(first.hash)
    watch()
    for label in paid_labels(first.payment_hash):
        node().call("delinvoice", {"label": label, "status": "paid"})

    watch_lightning(seconds=0.1)
    sweep_lightning()
    world.pay(second.hash)
    watch()

    assert available_sat(alice) == 3_000
    assert not killswitch.is_stopped()


def paid_labels(payment_hash: str | None) -> list[str]:
    invoices = node().call("listinvoices", {"payment_hash": payment_hash})["invoices"]
    return [invoice["label"] for invoice in invoices]


def node() -> LightningRpc:
    return LightningRpc(settings.LIGHTNING_RPC)


@pytest.mark.parametrize("world", ["simnet"], indirect=True)
def test_the_channel_that_closes_is_no_loss(world: Simnet, cloned_db: Any) -> None:
    """money-H10: but for the fee of the close, its sats are ours in every state."""
    before_msat = nodes.lightning().balance().ours_msat
    world.control.close_channel()
    for blocks in (1, 6, 3):
        require_nothing_is_lost(before_msat)
        world.mine(blocks)
    require_nothing_is_lost(before_msat)
    world.control.open_channel()


@ON_REGTEST
def test_a_second_channel_that_closes_is_no_loss(world: Regtest, cloned_db: Any) -> None:
    """money-H10"""
    channel = world.open_second_channel()
    before_msat = nodes.lightning().balance().ours_msat
    world.close(channel)
    for blocks in (1, 6, 100):
        world.mine(blocks)
        world.until_synced("alice")
        require_nothing_is_lost(before_msat)


@ON_REGTEST
def test_a_node_that_has_just_started_has_lost_nothing(world: Regtest, cloned_db: Any) -> None:
    """A coin of the last blocks is unconfirmed until it has read these again."""
    world.deposit({world.node("alice").newaddr()["p2tr"]: 1_000_000})
    world.mine()
    world.until_synced("alice")
    before_msat = reconciliation.solvency().wallet_msat

    world.restart("alice")

    readings: list[Reading] = []

    def has_one() -> bool:
        with suppress(NodeUnavailable):
            readings.append(reconciliation.solvency())
        return bool(readings)

    until(has_one, "a reading of the node that has caught up")
    assert readings[0].wallet_msat == before_msat


def require_nothing_is_lost(before_msat: int) -> None:
    assert nodes.lightning().balance().ours_msat > before_msat - CLOSING_FEE_MAX_MSAT
    assert not reconciliation.solvency().is_short


@ON_REGTEST
def test_a_node_that_was_restored_from_an_old_copy_is_refused(world: Regtest, alice: User) -> None:
    """money-H6"""
    require_known(nodes.lightning())
    with world.forgetting():
        for _ in range(3):
            ask(alice, amount_sat=1_000)
        require_known(nodes.lightning())

    with pytest.raises(NodeChanged, match="lost records"):
        require_known(nodes.lightning())
    assert killswitch.is_stopped()
