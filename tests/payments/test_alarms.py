"""An alarm is told once, stops sends until an operator has seen to it, and then stays quiet."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone
from pyln.client import LightningRpc

from accounts.models import AuditEvent
from coinos import alarms, heartbeat, killswitch
from coinos.management.commands import doctor
from coinos.models import Alarm, Heartbeat
from coinos.simnet.control import Control
from payments import operations, tasks
from payments.reconciliation import APART, reconcile, solvency
from tests.cast import fund, make_user, office_of
from tests.payments.conftest import Person
from tests.payments.operators import by, make_operator
from tests.payments.test_lightning import pay

SAT = 1000


@pytest.fixture(autouse=True)
def stop_file(settings: Any, tmp_path: Path, redis: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(heartbeat, "_asked", {})  # no other test shall find what this one saw
    settings.STOP_FILE = tmp_path / "stop-sends"
    return tmp_path / "stop-sends"


def paid_by_hand(alice: Person, network: Control, settings: Any) -> None:
    """A payment of alice's fails, and the operator pays the same invoice at the node."""
    bolt11 = network.invoice(50_000_000)
    assert pay(alice, bolt11, fee=0).body["code"] == "payment_failed"
    LightningRpc(settings.LIGHTNING_RPC).call("xpay", {"invstring": bolt11})


def make_short(alice: Person, sats: int) -> None:
    """The nodes hold so much less than is owed, in each of two readings."""
    reading = solvency()
    fund(alice.user, (reading.assets_msat - reading.owed_msat) // SAT + sats)
    reconcile()
    Alarm.objects.update(first_seen=F("first_seen") - APART)
    reconcile()
    assert killswitch.is_stopped()


def acknowledge() -> None:
    [alarm] = alarms.standing()
    call_command("operator", "acknowledge", str(alarm.id), reason="looked into it")
    heartbeat.ask_anew()  # other processes do within seconds


def test_removing_the_file_alone_ends_nothing(
    alice: Person, network: Control, settings: Any, stop_file: Path
) -> None:
    """It comes back, with the reason that stands and no other."""
    paid_by_hand(alice, network, settings)
    reconcile()
    assert "was given back and then paid" in stop_file.read_text()
    stop_file.unlink()
    reconcile()
    assert "was given back and then paid" in stop_file.read_text()
    assert alarms.standing().count() == 1


def test_an_alarm_that_others_raised_brings_the_file_back_too(
    alice: Person, network: Control, stop_file: Path
) -> None:
    killswitch.stop_sends("a payment cost more than its reserve")
    stop_file.unlink()
    reconcile()
    assert "cost more than its reserve" in stop_file.read_text()


def test_an_acknowledged_alarm_does_not_come_back(
    alice: Person, network: Control, settings: Any, stop_file: Path
) -> None:
    """money-H7: it came back every minute for a day."""
    paid_by_hand(alice, network, settings)
    reconcile()
    acknowledge()
    assert killswitch.is_stopped()  # the file is the operator's to remove
    stop_file.unlink()
    for _ in range(3):
        reconcile()
        assert not killswitch.is_stopped()
    assert pay(alice, network.invoice(1_000_000)).status_code == 200
    # another such payment is another cause
    paid_by_hand(alice, network, settings)
    reconcile()
    assert killswitch.is_stopped()


def test_an_acknowledged_shortfall_stops_again_only_when_it_grows(
    alice: Person, network: Control, stop_file: Path
) -> None:
    make_short(alice, 500)
    acknowledge()
    stop_file.unlink()
    fund(alice.user, alarms.GROWTH_MSAT // SAT)
    reconcile()
    assert not killswitch.is_stopped()
    fund(alice.user, 1)
    reconcile()
    assert killswitch.is_stopped()
    assert "less than is owed" in stop_file.read_text()


def test_a_shortfall_that_is_over_is_forgotten_with_its_acknowledgement(
    alice: Person, network: Control, settings: Any, stop_file: Path
) -> None:
    make_short(alice, 500)
    acknowledge()
    stop_file.unlink()
    node = LightningRpc(settings.LIGHTNING_RPC)
    network.pay(node.invoice("1000000msat", "from the operator", "")["bolt11"])
    reconcile()
    assert not alarms.standing().exists()
    make_short(alice, 500)


def test_a_balance_stays_acknowledged_until_it_is_wrong_by_another_amount(
    alice: Person, network: Control, stop_file: Path, cloned_db: Any
) -> None:
    def spoil() -> None:
        with psycopg.connect(cloned_db.owner_url, autocommit=True) as owner:
            owner.execute(
                "UPDATE ledger_account SET posted_msat = posted_msat + 1000 WHERE id >= 1000"
            )

    spoil()
    reconcile()
    acknowledge()
    stop_file.unlink()
    reconcile()
    assert not killswitch.is_stopped()
    spoil()
    reconcile()
    assert killswitch.is_stopped()


def test_an_alarm_seen_again_is_told_once(cloned_db: Any, caplog: Any) -> None:
    for _ in range(3):
        killswitch.stop_sends("the Lightning node is another one")
    told = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert len(told) == 1
    assert Alarm.objects.get().stopped_at is not None


def test_what_was_acknowledged_long_ago_stops_sends_when_it_happens_again(
    cloned_db: Any, stop_file: Path
) -> None:
    killswitch.stop_sends("the Lightning node is another one")
    acknowledge()
    stop_file.unlink()
    killswitch.stop_sends("the Lightning node is another one")
    assert not killswitch.is_stopped()
    Alarm.objects.update(last_seen=timezone.now() - alarms.OVER_AFTER - timedelta(seconds=1))
    killswitch.stop_sends("the Lightning node is another one")
    assert killswitch.is_stopped()
    assert Alarm.objects.count() == 2


def test_a_place_that_cannot_be_looked_at_stops_sends(
    alice: Person, network: Control, settings: Any, tmp_path: Path
) -> None:
    """Where the folder cannot be read there may be a file in it."""
    (tmp_path / "file").touch()
    settings.STOP_FILE = tmp_path / "file" / "stop"
    assert killswitch.is_stopped()
    killswitch.stop_sends("no room on the disk")  # and fails no settlement
    assert pay(alice, network.invoice(1_000_000)).body["code"] == "withdrawals_paused"


def test_a_file_that_cannot_be_written_has_the_alarm_in_its_place(
    alice: Person, network: Control, settings: Any, tmp_path: Path
) -> None:
    """Sends went on."""
    settings.STOP_FILE.symlink_to(tmp_path / "no such folder" / "stop-sends")
    killswitch.stop_sends("the disk is read-only")
    assert not settings.STOP_FILE.exists()
    assert killswitch.is_stopped()
    assert pay(alice, network.invoice(1_000_000)).body["code"] == "withdrawals_paused"
    acknowledge()
    assert not killswitch.is_stopped()
    assert pay(alice, network.invoice(1_000_000)).status_code == 200


def test_an_alarm_that_does_not_stand_cannot_be_acknowledged(cloned_db: Any) -> None:
    killswitch.stop_sends("the Lightning node is another one")
    alarm = Alarm.objects.get()
    alarms.end(alarm.cause)
    with pytest.raises(CommandError, match="No alarm of this number stands"):
        call_command("operator", "acknowledge", str(alarm.id), reason="too late")
    with pytest.raises(alarms.NoSuchAlarm):
        alarms.acknowledge(alarm.id, by="operator root", reason="too late")


def test_a_second_operator_agrees_to_sending_on_with_much_missing(
    cloned_db: Any, settings: Any
) -> None:
    olga, oscar = make_operator("olga"), make_operator("oscar")
    limit_msat = settings.OPERATOR_APPROVAL_SAT * SAT
    alarm = alarms.note("shortfall", "less than is owed", amount_msat=limit_msat + 1)
    told = {"alarm": alarm.id}
    act = operations.ask("acknowledge", told, by=by(olga), reason="a closed channel")
    assert act.state == "waits for approval"
    with pytest.raises(CommandError, match="say which operator asks"):
        call_command("operator", "acknowledge", str(alarm.id), reason="alone")
    assert not alarms.is_seen_to(alarms.standing().get())
    operations.approve(act.id, by=by(oscar), reason="seen it, too")
    operations.carry_out(act.id, by=by(oscar))
    assert alarms.is_seen_to(alarms.standing().get())
    little = alarms.note("another", "less than is owed", amount_msat=limit_msat)
    act = operations.ask(
        "acknowledge", {"alarm": little.id}, by=by(olga), reason="a closed channel"
    )
    assert act.state == "carried out"


def test_who_acknowledged_it_and_why_stands_in_the_audit_log(cloned_db: Any) -> None:
    killswitch.stop_sends("the Lightning node is another one")
    acknowledge()
    alarm = Alarm.objects.get()
    assert alarm.acknowledged_by
    assert alarm.reason == "looked into it"
    line = AuditEvent.objects.get(action="operator.carried_out")
    assert line.detail["verb"] == "acknowledge"
    assert line.detail["reason"] == "looked into it"


def test_the_first_page_of_the_admin_says_what_is_wrong(
    alice: Person, network: Control, settings: Any
) -> None:
    olga = make_user("olga", is_staff=True, is_superuser=True)
    office = office_of(olga)
    paid_by_hand(alice, network, settings)
    tasks.reconcile()
    page = office.get("/admin/").content.decode()
    [alarm] = alarms.standing()
    for words in (
        "Nothing is sent out",
        str(alarm),
        "reconcile",
        "In open channels",
        "Owed to users",
    ):
        assert words in page
    data = {"action": "acknowledge", "_selected_action": [alarm.id], "reason": "paid by hand"}
    office.post("/admin/coinos/alarm/", data)
    alarm.refresh_from_db()
    assert alarm.acknowledged_by == "operator olga"


def test_doctor_says_which_alarms_stand_and_when_jobs_last_worked(cloned_db: Any) -> None:
    killswitch.stop_sends("the Lightning node is another one")
    alarm = Alarm.objects.get()
    [found, stopped] = doctor.sends()
    assert "the Lightning node is another one" in found.text
    assert f"operator acknowledge {alarm.id}" in found.mend
    assert "remove that file" in stopped.mend
    acknowledge()
    assert [finding.mend for finding in doctor.sends()] == ["", stopped.mend]
    tasks.return_gifts()
    [idle] = doctor.jobs()
    assert idle.text.startswith("return gifts: last round ")
    assert idle.text.endswith("had work never")
    Heartbeat.objects.update(succeeded_at=timezone.now() - timedelta(hours=1))
    [late] = doctor.jobs()
    assert late.mend


def test_a_job_that_found_nothing_to_do_had_no_work(cloned_db: Any, stop_file: Path) -> None:
    stop_file.write_text("looking into it")
    tasks.keep_coins_split()
    beat = Heartbeat.objects.get(job="coins")
    assert (beat.succeeded_at is None, beat.worked_at) == (False, None)
