"""What a node does not know proves nothing, unless its books are all that was ever in them.

Each story has a Lightning node of its own, to be killed and started on an older copy of its
database, as a restored node or a standby that was behind is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.utils import timezone
from pyln.client import LightningRpc

from coinos.nodes import cln
from coinos.simnet.control import Control
from invoices.models import KnownNode
from invoices.services import node as known_node
from invoices.services import sweep_lightning, watch_lightning
from payments.models import Payment
from payments.services.lightning import dispatch_waiting
from payments.services.resolution import resolve
from tests.payments.conftest import Person
from tests.payments.operators import run
from tests.payments.test_lightning import let_the_resolver_look, pay, until_resolved
from tests.simnet_fixtures import SimnetProcess

DROPPED = [{"method": "xpay", "kind": "drop_before"}]
ONE_HOUR = timedelta(hours=1)


@pytest.fixture
def own_process(settings: Any, tmp_path: Path, redis: Any) -> Iterator[SimnetProcess]:
    """A node of this story alone."""
    process = SimnetProcess()
    process.start()
    settings.LIGHTNING_RPC = process.control.lightning_rpc
    settings.BITCOIN_RPC_URL = process.control.bitcoin_rpc_url
    settings.STOP_FILE = tmp_path / "stop-sends"
    yield process
    process.stop()


@pytest.fixture
def own(own_process: SimnetProcess) -> Control:
    return own_process.control


def books(process: SimnetProcess) -> Path:
    return process.directory / "lightning.jsonl"


def restore(process: SimnetProcess, backup: bytes) -> None:
    """The node dies, and comes back with its key on a copy of its database."""
    process.kill()
    books(process).write_bytes(backup)
    process.start()


def hold_a_payment(person: Person, own: Control, monkeypatch: pytest.MonkeyPatch) -> str:
    """A payment that the payee keeps; returns its payment hash when its part is in flight."""
    bolt11 = own.invoice(1_000_000)
    payment_hash = str(person.api.get(f"/decode/{bolt11}").body["payment_hash"])
    own.hold(payment_hash)
    with monkeypatch.context() as impatient:
        impatient.setattr("payments.services.lightning.ANSWER_WITHIN_S", 0.3)
        assert pay(person, bolt11).body["status"] == "pending"
    deadline = time.monotonic() + 20
    while own.payment(payment_hash)["status"] != "pending":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return payment_hash


def after_its_deadline(person: Person) -> Payment:
    """The person's payment when the resolver has looked after the deadline has passed."""
    Payment.objects.filter(user=person.user).update(deadline=timezone.now() - ONE_HOUR)
    let_the_resolver_look()
    return person.payment()


def pay_beside(process: SimnetProcess, bolt11: str) -> None:
    """The operator pays with the node itself."""
    LightningRpc(process.control.lightning_rpc).call("xpay", {"invstring": bolt11})


def test_a_payment_in_flight_is_not_given_back_by_a_node_that_has_lost_it(
    alice: Person,
    own: Control,
    own_process: SimnetProcess,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """money-K5: same key, synced, no record of the payment; its HTLC is still out there."""
    backup = books(own_process).read_bytes()
    hold_a_payment(alice, own, monkeypatch)
    let_the_resolver_look()  # as it does every five seconds
    restore(own_process, backup)
    assert after_its_deadline(alice).state == "sending"
    assert "has lost records" in settings.STOP_FILE.read_text()
    for _ in range(3):
        pay_beside(own_process, own.invoice(1_000))  # it counts as many again, and more
    assert after_its_deadline(alice).state == "sending"
    assert alice.available_sat == 100_000 - 1005


def test_a_payment_that_was_answered_as_pending_is_not_given_back_either(
    alice: Person, own: Control, own_process: SimnetProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money-K5: before anybody else has looked, with a copy made a moment before it was sent."""
    backup = books(own_process).read_bytes()
    hold_a_payment(alice, own, monkeypatch)
    restore(own_process, backup)
    assert after_its_deadline(alice).state == "sending"


def test_a_node_that_counts_less_than_when_it_was_asked_gives_nothing_back(
    alice: Person,
    charlie: Person,
    own: Control,
    own_process: SimnetProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """money-K5: nobody had looked before it was restored."""
    backup = books(own_process).read_bytes()
    assert pay(charlie, own.invoice(1_000)).body["status"] == "settled"
    hold_a_payment(alice, own, monkeypatch)
    restore(own_process, backup)
    assert after_its_deadline(alice).state == "sending"


def test_a_node_that_counts_less_is_not_sent_anything(
    alice: Person,
    charlie: Person,
    own: Control,
    own_process: SimnetProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """money-K5: with each payment it would count more, and soon as many as it did."""
    backup = books(own_process).read_bytes()
    for _ in range(2):
        assert pay(alice, own.invoice(1_000)).body["status"] == "settled"
    hold_a_payment(charlie, own, monkeypatch)
    restore(own_process, backup)
    assert pay(alice, own.invoice(1_000)).body["status"] == "pending"
    Payment.objects.update(created=timezone.now() - ONE_HOUR)
    dispatch_waiting()
    assert Payment.objects.filter(user=alice.user, state="created").count() == 1


def test_a_payment_whose_part_may_have_been_deleted_is_not_given_back(
    alice: Person, own: Control, own_process: SimnetProcess
) -> None:
    """money-K5: the answer is lost, the payment arrives, and autoclean deletes it at the node
    before anybody has looked."""
    node = LightningRpc(own.lightning_rpc)
    bolt11 = own.invoice(1_000_000)
    own.set_faults(
        [
            {"method": "xpay", "kind": "exec_then_drop"},
            {"method": "listsendpays", "kind": "garbage"},
        ]
    )
    paid = pay(alice, bolt11).body
    assert paid["status"] == "pending"
    own.clear_faults()
    assert own.payment(paid["payment_hash"])["status"] == "settled"
    node.call("delpay", {"payment_hash": paid["payment_hash"], "status": "complete"})
    assert after_its_deadline(alice).state == "sending"


def test_what_others_have_sent_since_holds_up_no_refund(
    alice: Person, charlie: Person, own: Control
) -> None:
    """M09: every part that the node has counted since is there, and none is of this payment."""
    own.set_faults(DROPPED)
    assert pay(alice, own.invoice(1_000_000)).body["status"] == "pending"
    own.clear_faults()
    for _ in range(3):
        assert pay(charlie, own.invoice(1_000)).body["status"] == "settled"
    assert after_its_deadline(alice).state == "failed"
    assert alice.available_sat == 100_000


def test_an_adopted_node_gives_back_nothing_that_was_sent_before(
    alice: Person,
    charlie: Person,
    own: Control,
    own_process: SimnetProcess,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """money-K5: nobody had looked before it lost the payment; its own count proves nothing."""
    backup = books(own_process).read_bytes()
    hold_a_payment(alice, own, monkeypatch)
    restore(own_process, backup)
    known_node.adopt(alice.payment().node_id)
    for _ in range(3):
        assert pay(charlie, own.invoice(1_000)).body["status"] == "settled"
    assert after_its_deadline(alice).state == "sending"
    assert not settings.STOP_FILE.exists()


def test_a_payment_that_was_seen_in_flight_is_never_taken_for_one_that_was_not_sent(
    alice: Person,
    own: Control,
    own_process: SimnetProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """money-K5: whatever else is known of the node, and however much it has counted since."""
    backup = books(own_process).read_bytes()
    hold_a_payment(alice, own, monkeypatch)
    let_the_resolver_look()
    restore(own_process, backup)
    KnownNode.objects.all().delete()
    for _ in range(3):
        pay_beside(own_process, own.invoice(1_000))
    assert after_its_deadline(alice).state == "sending"


def test_no_record_is_believed_only_of_a_node_that_is_synced(alice: Person, own: Control) -> None:
    """money-K5: one that still reads the chain may not know yet what became of its channels."""
    own.set_faults(DROPPED)
    assert pay(alice, own.invoice(1_000_000)).body["status"] == "pending"
    own.clear_faults()
    own.syncing()
    assert after_its_deadline(alice).state == "sending"
    own.syncing(False)
    assert until_resolved(alice).state == "failed"


def test_no_record_is_believed_only_of_the_node_that_was_asked(
    alice: Person, own: Control, simnet: Control, settings: Any
) -> None:
    """money-K5: a node with another key has no record of it either."""
    own.set_faults(DROPPED)
    assert pay(alice, own.invoice(1_000_000)).body["status"] == "pending"
    own.clear_faults()
    Payment.objects.update(deadline=timezone.now() - ONE_HOUR, parts_before=0)
    settings.LIGHTNING_RPC = simnet.lightning_rpc
    assert not resolve(alice.payment().id)
    assert alice.payment().state == "sending"
    settings.LIGHTNING_RPC = own.lightning_rpc
    assert resolve(alice.payment().id)
    assert alice.payment().state == "failed"


def test_the_record_that_counts_is_read_after_the_node_said_who_it_is(
    alice: Person,
    own: Control,
    simnet: Control,
    settings: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """money-K5: the address is moved from another node to ours between two questions."""
    payment_hash = hold_a_payment(alice, own, monkeypatch)
    Payment.objects.update(deadline=timezone.now() - ONE_HOUR)
    where = tmp_path / "lightning-rpc"
    where.symlink_to(simnet.lightning_rpc)
    settings.LIGHTNING_RPC = str(where)
    who_it_is = cln.CoreLightning.info

    def moved_just_before(node: cln.CoreLightning) -> Any:
        where.unlink()
        where.symlink_to(own.lightning_rpc)
        return who_it_is(node)

    monkeypatch.setattr(cln.CoreLightning, "info", moved_just_before)
    Payment.objects.update(call_returned=True)
    assert not resolve(alice.payment().id)
    assert alice.payment().state == "sending"
    own.release(payment_hash)


def test_an_operator_sees_what_books_and_node_disagree_about_and_adopts_it(
    alice: Person,
    bob: Person,
    charlie: Person,
    own: Control,
    own_process: SimnetProcess,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """money-K5, money-H6: one line for each thing that does not agree."""
    assert run("compare") == "The books and the nodes agree.\n"
    given_back = own.invoice(2_000, node="fail")
    assert pay(charlie, given_back).body["code"] == "payment_failed"
    backup = books(own_process).read_bytes()
    watch_lightning(seconds=0.3)
    lost = bob.api.post("/invoice", {"invoice": {"amount": 10}}).body
    hold_a_payment(alice, own, monkeypatch)
    let_the_resolver_look()
    restore(own_process, backup)
    let_the_resolver_look()
    received = bob.api.post("/invoice", {"invoice": {"amount": 20}}).body
    own.pay(received["hash"])
    paid = own.invoice(2_000)
    pay_beside(own_process, paid)
    Payment.objects.filter(user=charlie.user).update(
        payment_hash=charlie.api.get(f"/decode/{paid}").body["payment_hash"]
    )
    told = run("compare").splitlines()
    assert [line.split(":")[0] for line in told] == [
        "received at the node, in no book",
        "given back, and paid or in flight at the node",
        "in flight, and unknown to the node",
        "open, and unknown to the node",
    ]
    for line, about in zip(
        told,
        [received["paymentHash"], charlie.payment().id, alice.payment().id, lost["id"]],
        strict=True,
    ):
        assert str(about) in line

    with pytest.raises(CommandError, match="The Lightning node that answers is"):
        run("adopt", "02" + "00" * 32, "--reason", "x")
    with pytest.raises(CommandError, match="write the id of the node"):
        run("adopt", "bob", "--reason", "x")
    run("adopt", alice.payment().node_id, "--reason", "the only copy that there is")
    assert "No alarm stands" in run("alarms")
    sweep_lightning()
    assert bob.available_sat == 20
    told = run("compare").splitlines()
    assert [line.split(":")[0] for line in told] == [
        "given back, and paid or in flight at the node",
        "in flight, and unknown to the node",
        "open, and unknown to the node",
    ]


def test_a_node_that_has_changed_is_sent_nothing_whatever_became_of_the_alarm(
    alice: Person, own: Control, settings: Any
) -> None:
    """money-K5: somebody removes the stop file before anybody has adopted the node."""
    watch_lightning(seconds=0.1)
    for change in ({"refusal": "it has lost something"}, {"node_id": "02" + "00" * 32}):
        KnownNode.objects.update(refusal="")
        KnownNode.objects.update(**change)
        assert pay(alice, own.invoice(1_000)).body["status"] == "pending"
    assert set(Payment.objects.values_list("state", flat=True)) == {"created"}
