"""Who may not spend any more is asked again at the moment of sending."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from accounts.credentials import Credential
from accounts.errors import AccountFrozen
from accounts.models import User
from accounts.services import evict, freeze, unfreeze
from coinos.simnet.control import Control
from payments.gate import require_still_open
from payments.models import Payment
from payments.services import lightning
from payments.services.lightning import send
from tests.payments.conftest import Person
from tests.payments.test_lightning import pay
from tests.payments.withdrawing import next_round


@pytest.fixture(autouse=True)
def own_stop_file(settings: Any, tmp_path: Path, redis: Any) -> Path:
    settings.STOP_FILE = tmp_path / "stop-sends"
    return tmp_path / "stop-sends"


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


def test_payments_of_frozen_accounts_keep_no_others_from_their_turn(
    alice: Person, charlie: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money-H4: what waits longest comes first, and these wait until somebody unfreezes them."""
    begun: list[UUID] = []
    monkeypatch.setattr(lightning, "send_soon", lambda *_, **__: None)
    for payer in (alice, charlie):
        assert pay(payer, network.invoice(1_000_000)).body["status"] == "pending"
    Payment.objects.update(created=timezone.now() - timedelta(minutes=1))
    freeze(alice.user, actor="operator", reason="theft")
    monkeypatch.setattr(lightning, "send_soon", lambda id: begun.append(id) or True)
    monkeypatch.setattr(lightning, "IN_FLIGHT_PER_PROCESS", 1)
    assert lightning.dispatch_waiting() == 1
    assert begun == [charlie.payment().id]


def test_whoever_is_frozen_while_another_server_is_asked_spends_no_more(alice: Person) -> None:
    """money-H4: the request has read its user ten seconds ago."""
    credential = Credential(User.objects.get(id=alice.user.id))
    freeze(alice.user, actor="operator", reason="theft")
    with pytest.raises(AccountFrozen):
        require_still_open(credential)


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
