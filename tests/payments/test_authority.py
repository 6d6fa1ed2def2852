"""Who may not spend any more is asked again at the moment of sending."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from accounts.services import evict, freeze, unfreeze
from coinos.simnet.control import Control
from payments.models import Payment
from payments.services import advance_withdrawals
from payments.services.lightning import send
from tests.payments.conftest import Person
from tests.payments.test_lightning import pay


@pytest.fixture(autouse=True)
def own_stop_file(settings: Any, tmp_path: Path, redis: Any) -> Path:
    settings.STOP_FILE = tmp_path / "stop-sends"
    return tmp_path / "stop-sends"


def next_round() -> None:
    Payment.objects.update(created=timezone.now() - timedelta(minutes=1), attempted_at=None)
    advance_withdrawals()


def withdraw_while(network: Control, alice: Person, *, lost: str, nth: int = 1) -> None:
    """A withdrawal whose call `lost` did not reach the node."""
    address = network.address()
    network.mine()
    network.set_faults([{"kind": "drop_before", "method": lost, "nth": nth}])
    accepted = alice.api.post("/bitcoin/send", {"address": address, "amount": 5000})
    assert (accepted.status_code, accepted.body["status"]) == (200, "pending")
    network.clear_faults()


def test_a_lightning_payment_that_waits_does_not_leave_a_frozen_account(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money-H4"""
    monkeypatch.setattr("payments.services.lightning.send_soon", lambda *_, **__: None)
    bolt11 = network.invoice(1_000_000)
    assert pay(alice, bolt11).body["status"] == "pending"
    freeze(alice.user, actor="operator", reason="theft")
    send(alice.payment().id)
    assert alice.payment().state == "created"
    unfreeze(alice.user, actor="operator", reason="test")
    send(alice.payment().id)
    assert alice.payment().state == "settled"


def test_a_withdrawal_that_waits_does_not_leave_a_frozen_or_evicted_account(
    alice: Person, network: Control
) -> None:
    """money-H4: nor when the operator has removed the stop file again."""
    withdraw_while(network, alice, lost="send", nth=2)
    assert alice.payment().state == "created"
    evict(alice.user, actor="operator", reason="theft")
    next_round()
    assert alice.payment().state == "created"
    alice.user.is_active = True
    alice.user.save(update_fields=["is_active"])
    freeze(alice.user, actor="operator", reason="theft")
    next_round()
    assert alice.payment().state == "created"


@pytest.mark.parametrize("stop", ["stop file", "freeze"])
def test_a_signed_withdrawal_that_the_network_never_got_is_held_back(
    alice: Person, network: Control, own_stop_file: Path, stop: str
) -> None:
    """money-H4: that we tried to broadcast it once proves nothing."""
    withdraw_while(network, alice, lost="sendrawtransaction")
    assert alice.payment().state == "signed"
    assert alice.payment().broadcast_attempted_at is not None
    if stop == "stop file":
        own_stop_file.write_text("theft")
    else:
        freeze(alice.user, actor="operator", reason="theft")
    next_round()
    assert alice.payment().state == "signed"
    own_stop_file.unlink(missing_ok=True)
    unfreeze(alice.user, actor="operator", reason="test")
    next_round()
    assert alice.payment().state == "broadcast"


def test_a_withdrawal_that_the_network_has_is_booked_although_sends_are_stopped(
    alice: Person, network: Control, own_stop_file: Path
) -> None:
    """money-H4: the books follow what has happened."""
    address = network.address()
    network.mine()
    network.set_faults([{"kind": "exec_then_drop", "method": "sendrawtransaction"}])
    alice.api.post("/bitcoin/send", {"address": address, "amount": 5000})
    network.clear_faults()
    assert alice.payment().state == "signed"
    own_stop_file.write_text("theft")
    next_round()
    assert alice.payment().state == "broadcast"
