"""What the nodes hold is counted wherever it lies, once, and compared with what is owed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from pyln.client import LightningRpc

from coinos import alarms, killswitch, nodes
from coinos.errors import NodeUnavailable
from coinos.models import Alarm
from coinos.simnet.channels import CLOSE_FEE_MSAT, FORGOTTEN_AFTER, TO_SELF_DELAY
from coinos.simnet.control import Control
from invoices.services.lightning import watch_lightning
from payments import reconciliation
from payments.models import Payment, Reading
from payments.reconciliation import APART, ONCHAIN_GOOD_FOR, reconcile, solvency
from tests.cast import fund
from tests.payments.conftest import Person
from tests.payments.test_lightning import pay
from tests.simnet_fixtures import SimnetProcess

SAT = 1000


@pytest.fixture(autouse=True)
def own_stop_file(settings: Any, tmp_path: Path, redis: Any) -> None:
    settings.STOP_FILE = tmp_path / "stop-sends"


@pytest.fixture
def world(own_simnet: SimnetProcess, settings: Any) -> Iterator[Control]:
    """A simnet whose channel may be closed."""
    network = own_simnet.control
    settings.LIGHTNING_RPC = network.lightning_rpc
    settings.BITCOIN_RPC_URL = network.bitcoin_rpc_url
    yield network
    network.withhold(False)
    network.syncing(False)
    network.open_channel()


def spend_the_margin(alice: Person, leave_sats: int) -> None:
    """Owe so much that the nodes hold only so many sats more."""
    fund(alice.user, -solvency().missing_msat // SAT - leave_sats)
    assert not solvency().is_short


def two_readings() -> None:
    reconcile()
    Alarm.objects.update(first_seen=F("first_seen") - APART)
    reconcile()


@pytest.mark.parametrize("how", ["mutual", "unilateral"])
def test_a_closing_channel_is_ours_all_the_way_to_the_wallet(
    alice: Person, world: Control, how: str
) -> None:
    """money-H10: its coins were counted nowhere, and sends stopped though nothing was missing."""
    open_msat = solvency().channels_msat
    spend_the_margin(alice, 10_000)
    left_msat = open_msat - CLOSE_FEE_MSAT
    world.close_channel(how)
    places = []
    for _ in range(TO_SELF_DELAY + 2):
        reading = solvency()
        places.append((reading.channels_msat, reading.closing_msat > 0, reading.wallet_msat > 0))
        assert left_msat - SAT < reading.closing_msat + reading.wallet_msat <= left_msat
        two_readings()
        assert not killswitch.is_stopped()
        world.mine(1)
    waits = 1 if how == "mutual" else 1 + TO_SELF_DELAY
    assert places[: waits + 1] == [(0, True, False)] * waits + [(0, False, True)]
    world.mine(FORGOTTEN_AFTER)
    assert LightningRpc(world.lightning_rpc).listpeerchannels()["channels"] == []
    assert left_msat - SAT < solvency().wallet_msat <= left_msat


def test_a_node_that_has_just_started_is_asked_later(alice: Person, world: Control) -> None:
    """It takes the last blocks back and reads them again: a recent coin is unconfirmed meanwhile,
    and a node that reads slowly would stop all sends."""
    world.close_channel()
    world.mine(1)
    before = solvency()
    spend_the_margin(alice, 10_000)
    world.syncing()
    assert nodes.lightning().balance().wallet_msat == 0
    for _ in range(2):
        with pytest.raises(NodeUnavailable):
            two_readings()
    world.syncing(False)
    two_readings()
    assert solvency().wallet_msat == before.wallet_msat > 0
    assert not Alarm.objects.exists()
    assert not killswitch.is_stopped()


def test_a_peer_that_withholds_its_commitment_raises_no_alarm(
    alice: Person, bob: Person, world: Control
) -> None:
    """What he has paid is credited at once; the channel's balance grows when he pleases."""
    request = {"amount": 500_000, "type": "lightning"}
    bolt11 = bob.api.post("/invoice", {"invoice": request}).body["text"]
    spend_the_margin(alice, 10_000)
    world.withhold()
    world.pay(bolt11)
    before = solvency()
    assert before.arriving_msat == 0  # nothing is booked: nothing is owed for it
    watch_lightning(seconds=20, stopped=lambda: bob.available_sat > 0)
    assert bob.available_sat == 500_000
    after = solvency()
    assert (after.channels_msat, after.arriving_msat) == (before.channels_msat, 500_000 * SAT)
    two_readings()
    assert not killswitch.is_stopped()
    world.withhold(False)
    assert solvency().missing_msat == after.missing_msat
    assert solvency().arriving_msat == 0


def test_what_a_peer_withholds_counts_for_no_more_than_was_booked(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second payment of a paid invoice is refused, and stands in the same list meanwhile."""
    monkeypatch.setattr(reconciliation.ledger, "received_msat", lambda hashes: {"aa": 1_000})
    assert reconciliation._arriving_msat({"aa": 5_000, "bb": 7_000}) == 1_000


def test_a_bitcoin_node_that_is_away_for_a_while_stops_no_payment_over_lightning(
    alice: Person, network: Control, settings: Any
) -> None:
    spend_the_margin(alice, 10_000)
    before = solvency()
    settings.BITCOIN_RPC_URL = "http://simnet:simnet@127.0.0.1:9"
    reading = solvency()
    assert (reading.onchain_msat, reading.onchain_at) == (before.onchain_msat, before.onchain_at)
    two_readings()
    assert not killswitch.is_stopped()
    assert pay(alice, network.invoice(1_000_000)).status_code == 200


def test_what_was_sent_since_the_bitcoin_node_went_away_is_taken_off(
    alice: Person, network: Control, settings: Any
) -> None:
    before = solvency()
    sent = alice.api.post("/bitcoin/send", {"amount": 20_000, "address": network.address()})
    assert sent.status_code == 200
    payment = Payment.objects.get()
    assert payment.fee_sat is not None
    settings.BITCOIN_RPC_URL = "http://simnet:simnet@127.0.0.1:9"
    for _ in range(2):  # and once only
        reading = solvency()
        left_msat = before.assets_msat - (20_000 + payment.fee_sat) * SAT
        assert reading.assets_msat == left_msat


def test_a_bitcoin_node_that_is_away_for_long_leaves_no_reading(
    alice: Person, network: Control, settings: Any
) -> None:
    """So that sends stop: lightningd has seen no blocks for as long."""
    solvency()
    Reading.objects.update(onchain_at=F("onchain_at") - ONCHAIN_GOOD_FOR)
    settings.BITCOIN_RPC_URL = "http://simnet:simnet@127.0.0.1:9"
    with pytest.raises(NodeUnavailable):
        reconcile()
    assert not alarms.standing().exists()
