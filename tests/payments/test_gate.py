"""What the gate counts: the limits of a window, for one user and for the whole site."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts import credentials
from accounts.models import ApiKey
from coinos.simnet.control import Control
from payments.gate import SITE_WINDOW, USER_WINDOW, give_back
from payments.models import Payment, SendBudget
from payments.services import lightning
from payments.services.lightning import send
from tests.cast import Api
from tests.payments.conftest import Person
from tests.payments.test_lightning import pay


@pytest.fixture(autouse=True)
def nobody_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is accepted waits."""
    monkeypatch.setattr(lightning, "send_soon", lambda *_, **__: None)


def spent_sat(scope: str) -> int:
    return SendBudget.objects.get(scope=scope).spent_sat


# --- Counting -------------------------------------------------------------------------------------


def test_two_hundred_at_once_do_not_get_past_the_sites_limit(
    alice: Person, network: Control, settings: Any
) -> None:
    """M02: 200 parallel withdrawals against a site limit of 1."""
    settings.MAX_IN_FLIGHT = 1000
    settings.SEND_LIMIT_SITE_SAT = 10
    invoices = [network.invoice(1_000) for _ in range(200)]
    answers: list[Any] = []

    def run(share: list[str]) -> None:
        for bolt11 in share:
            answers.append(pay(alice, bolt11, fee=0))
        connection.close()

    threads = [threading.Thread(target=run, args=(invoices[n::20],)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [answer.body["code"] for answer in answers if answer.status_code != 200]
    assert len(answers) == 200
    assert set(refused) == {"limit_exceeded"}
    assert Payment.objects.count() == 200 - len(refused) == 10
    assert spent_sat("site") == 10


def test_what_all_users_send_counts_against_the_sites_limit(
    alice: Person, charlie: Person, network: Control, settings: Any
) -> None:
    """M02"""
    settings.SEND_LIMIT_SITE_SAT = 1000
    assert pay(alice, network.invoice(600_000), fee=0).status_code == 200
    refused = pay(charlie, network.invoice(600_000), fee=0)
    assert (refused.status_code, refused.body["code"]) == (403, "limit_exceeded")
    assert charlie.available_sat == 50_000
    assert pay(charlie, network.invoice(400_000), fee=0).status_code == 200


@pytest.mark.parametrize(
    ("setting", "window"),
    [("SEND_LIMIT_SITE_SAT", SITE_WINDOW), ("SEND_LIMIT_USER_SAT", USER_WINDOW)],
)
def test_when_its_window_is_over_a_limit_begins_anew(
    alice: Person, network: Control, settings: Any, setting: str, window: timedelta
) -> None:
    setattr(settings, setting, 1000)
    assert pay(alice, network.invoice(1_000_000), fee=0).status_code == 200
    SendBudget.objects.update(window_start=timezone.now() - window + timedelta(minutes=1))
    assert pay(alice, network.invoice(1_000), fee=0).body["code"] == "limit_exceeded"
    SendBudget.objects.update(window_start=timezone.now() - window - timedelta(minutes=1))
    assert pay(alice, network.invoice(700_000), fee=0).status_code == 200
    budget = SendBudget.objects.get()
    assert budget.spent_sat == 700
    assert timezone.now() - budget.window_start < timedelta(minutes=1)


# --- Giving back ----------------------------------------------------------------------------------


def test_a_payment_that_failed_counts_no_more_against_limits_and_budget(
    alice: Person, network: Control, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SEND_LIMIT_SITE_SAT = settings.SEND_LIMIT_USER_SAT = 2000
    key, text = credentials.create_api_key(alice.user, name="till", scope="spend", budget_sat=2000)
    alice.api = Api(text)
    refused = network.invoice(1_500_000, node="fail")
    assert pay(alice, refused, fee=0).status_code == 200
    assert pay(alice, network.invoice(1_500_000), fee=0).status_code == 403
    assert ApiKey.objects.get(id=key.id).spent_sat == 1500
    send(alice.payment().id)
    assert alice.payment().state == "failed"
    assert ApiKey.objects.get(id=key.id).spent_sat == 0
    assert (spent_sat("site"), spent_sat(f"user:{alice.user.id}")) == (0, 0)
    assert pay(alice, network.invoice(1_500_000), fee=0).status_code == 200


def test_a_payment_that_failed_gives_back_to_its_own_window_only(
    alice: Person, network: Control, settings: Any
) -> None:
    """What was counted in a window that is over would make room in this one."""
    settings.SEND_LIMIT_SITE_SAT = settings.SEND_LIMIT_USER_SAT = 2000
    assert pay(alice, network.invoice(1_500_000), fee=0).status_code == 200
    old = alice.payment()
    SendBudget.objects.update(window_start=timezone.now() - timedelta(days=2))
    assert pay(alice, network.invoice(1_600_000), fee=0).status_code == 200
    give_back(old, debit_sat=old.held_sat)
    assert (spent_sat("site"), spent_sat(f"user:{alice.user.id}")) == (1600, 1600)
    new = Payment.objects.get(user=alice.user, amount_sat=1600)
    give_back(new, debit_sat=new.held_sat)
    assert (spent_sat("site"), spent_sat(f"user:{alice.user.id}")) == (0, 0)


# --- The kill switch ------------------------------------------------------------------------------


def test_a_lightning_payment_that_waits_is_not_sent_while_sends_are_stopped(
    alice: Person, network: Control, settings: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop file stops what was accepted before it was there, too."""
    settings.STOP_FILE = tmp_path / "stop-sends"
    pay(alice, network.invoice(1_000_000))
    payment = alice.payment()
    settings.STOP_FILE.write_text("theft")
    send(payment.id)
    assert alice.payment().state == "created"
    assert network.payment(str(payment.payment_hash))["status"] == "unknown"
    settings.STOP_FILE.unlink()
    send(payment.id)
    assert alice.payment().state == "settled"
