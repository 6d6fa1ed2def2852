"""The watcher reads the books of one node. What if they are not the same books any more?"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyln.client import LightningRpc

from accounts.models import Transfer, User
from coinos import killswitch
from coinos.errors import Busy
from coinos.leases import only_one
from coinos.nodes import lightning
from coinos.simnet.control import Control
from invoices import services
from invoices.errors import NotThatNode
from invoices.models import Cursor, KnownNode, LightningRequest
from invoices.services import node as known_node
from invoices.services.node import NodeChanged
from tests.cast import available_sat
from tests.invoices.helpers import new_invoice
from tests.simnet_fixtures import SimnetProcess


@pytest.fixture
def own_process(world: Control, settings: Any) -> Iterator[SimnetProcess]:
    """A node of this story alone, and the rest of the `world`."""
    process = SimnetProcess()
    process.start()
    settings.LIGHTNING_RPC = process.control.lightning_rpc
    settings.BITCOIN_RPC_URL = process.control.bitcoin_rpc_url
    yield process
    process.stop()


def books(process: SimnetProcess) -> Path:
    return process.directory / "lightning.jsonl"


def restore(process: SimnetProcess, backup: bytes) -> None:
    process.kill()
    books(process).write_bytes(backup)
    process.start()


def receive(process: SimnetProcess, user: User, sats: int) -> dict[str, Any]:
    """An invoice of the user that is paid from outside; nobody has looked yet."""
    invoice = new_invoice(user, amount=sats)
    process.control.pay(invoice["hash"])
    return invoice


def look() -> None:
    services.watch_lightning(seconds=0.5)
    services.sweep_lightning()


def test_the_newest_paid_invoice_may_be_deleted(
    own_process: SimnetProcess, alice: User, settings: Any
) -> None:
    """money-H11: by autoclean or by hand. What comes later is received as ever."""
    invoice = receive(own_process, alice, 1000)
    look()
    label = str(LightningRequest.objects.get(invoice_id=invoice["id"]).id)
    node = LightningRpc(settings.LIGHTNING_RPC)
    node.call("delinvoice", {"label": label, "status": "paid"})
    look()
    assert not killswitch.is_stopped()
    receive(own_process, alice, 500)
    look()
    assert available_sat(alice) == 1500
    assert not killswitch.is_stopped()


def test_a_node_restored_from_an_old_copy_stops_receiving_and_sending(
    own_process: SimnetProcess, alice: User, settings: Any
) -> None:
    """money-H6: its counters went back."""
    backup = books(own_process).read_bytes()
    receive(own_process, alice, 1000)
    look()
    restore(own_process, backup)
    for refused in (services.watch_lightning, services.sweep_lightning):
        with pytest.raises(NodeChanged):
            refused()
    assert "lost records" in settings.STOP_FILE.read_text()
    assert Cursor.objects.get(name="lightning").value == "1"


def test_receipts_under_numbers_that_we_have_read_are_not_lost_in_silence(
    own_process: SimnetProcess, alice: User, bob: User
) -> None:
    """money-H6: its counters went back and have passed ours again before anybody looked."""
    backup = books(own_process).read_bytes()
    for _ in range(2):
        receive(own_process, alice, 1000)
    look()
    restore(own_process, backup)
    for sats in (101, 102, 103, 104):
        receive(own_process, bob, sats)
    with pytest.raises(NodeChanged, match="its receipt number 2 is another one"):
        look()
    assert killswitch.is_stopped()


def test_changes_under_numbers_that_we_have_read_are_not_lost_in_silence(
    own_process: SimnetProcess, alice: User, bob: User, settings: Any
) -> None:
    """money-H6: the watcher's last receipt says nothing here, what the sweep read last does."""
    backup = books(own_process).read_bytes()
    receive(own_process, alice, 1000)
    look()
    restore(own_process, backup)
    for sats in (100, 101):
        receive(own_process, bob, sats)
    Cursor.objects.filter(name="lightning").update(payment_hash="")
    with pytest.raises(NodeChanged, match="its change of an invoice number 1 is another one"):
        look()


def test_a_node_that_was_refused_stays_refused_when_it_has_caught_up(
    own_process: SimnetProcess, alice: User
) -> None:
    """money-H6"""
    backup = books(own_process).read_bytes()
    receive(own_process, alice, 1000)
    look()
    restore(own_process, backup)
    with pytest.raises(NodeChanged):
        look()
    Cursor.objects.update(payment_hash="")
    for _ in range(3):
        receive(own_process, alice, 10)
    with pytest.raises(NodeChanged, match="counts 0 invoices"):
        look()


def test_another_node_stops_receiving_and_sending(
    world: Control, alice: User, settings: Any
) -> None:
    KnownNode.objects.create(name="lightning", node_id="02" + "00" * 32, network="regtest")
    for refused in (services.watch_lightning, services.sweep_lightning):
        with pytest.raises(NodeChanged):
            refused()
    assert "Lightning node is" in settings.STOP_FILE.read_text()


def test_a_node_of_another_network_stops_receiving_and_sending(
    world: Control, alice: User, settings: Any
) -> None:
    KnownNode.objects.create(name="lightning", node_id=lightning().info().id, network="bitcoin")
    with pytest.raises(NodeChanged, match="on regtest"):
        services.watch_lightning(seconds=1)
    assert killswitch.is_stopped()


def test_an_operator_adopts_a_node_and_nothing_it_received_is_lost_or_counted_twice(
    own_process: SimnetProcess, alice: User, bob: User, settings: Any
) -> None:
    """money-H6: the restored node has received what we have not booked."""
    first = receive(own_process, alice, 1000)
    look()
    backup = books(own_process).read_bytes()
    receive(own_process, alice, 200)
    look()
    restore(own_process, backup)
    with pytest.raises(NodeChanged):
        look()
    for sats in (30, 4):
        receive(own_process, bob, sats)  # it goes on to be paid while we do not read
    known_node.adopt(lightning().info().id)
    look()
    assert (available_sat(alice), available_sat(bob)) == (1200, 34)
    assert Transfer.objects.filter(external_id=f"lightning:{first['paymentHash']}").count() == 1
    settings.STOP_FILE.unlink()
    receive(own_process, bob, 1)
    look()
    assert available_sat(bob) == 35
    assert not killswitch.is_stopped()


def test_a_node_is_adopted_by_its_name_and_by_one_hand(
    own_process: SimnetProcess, alice: User
) -> None:
    """Another one than he looked at is refused, and so is one whose books are being read."""
    look()
    with pytest.raises(NotThatNode, match=lightning().info().id):
        known_node.adopt("02" + "00" * 32)
    with only_one(known_node.WATCHING), pytest.raises(Busy):
        known_node.adopt(lightning().info().id)


def test_an_invoice_that_cannot_be_taken_off_holds_up_no_others(
    world: Control, alice: User
) -> None:
    """money-L5"""
    for _ in range(2):
        new_invoice(alice, amount=1000)
    LightningRequest.objects.update(state=LightningRequest.State.WITHDRAWN)
    world.set_faults([{"method": "delinvoice", "kind": "garbage", "times": 1}])
    services.withdraw_node_invoices()
    states = LightningRequest.objects.values_list("state", flat=True)
    assert sorted(states) == ["closed", "withdrawn"]


def test_a_label_of_another_kind_is_read_like_any_other(
    own_process: SimnetProcess, alice: User
) -> None:
    """The books of an adopted node may be those of another program: its money goes to suspense."""
    foreign = lightning().create_invoice(
        label=f"mint-{uuid.uuid4()}", amount_msat=5_000, description="a mint's", expiry_s=3600
    )
    own_process.control.pay(foreign.bolt11)
    known_node.adopt(lightning().info().id)
    look()
    assert Transfer.objects.get(kind="receive.unmatched").amount_msat == 5_000
