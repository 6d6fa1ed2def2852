"""Requests that ask others, who may be slow on purpose (sec-4): few at a time, and not in vain."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password

from accounts import hashing
from coinos import asgi, http, limits
from coinos.simnet.control import Control
from invoices.api import for_lists
from payments.destinations import WAYS_OF_A_KIND_MAX
from payments.models import Payment
from payments.services import lightning
from payments.services.lnurl import RemoteRefused
from payments.services.pasted import look
from tests.payments.conftest import Person
from tests.payments.lnurl_service import Service, lnurl_of

PIN = "271828"


@pytest.fixture(autouse=True)
def stop_file(settings: Any, tmp_path: Path) -> Path:
    settings.STOP_FILE = tmp_path / "stop-sends"
    return tmp_path / "stop-sends"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how long each question to another server may take, as it is asked."""
    seconds: list[float] = []
    fetch = http.fetch

    def noted(url: str, *, timeout_s: float, **how: Any) -> http.Response:
        seconds.append(timeout_s)
        return fetch(url, timeout_s=timeout_s, **how)

    monkeypatch.setattr(http, "fetch", noted)
    return seconds


def pay(who: Person, service: Service, **body: Any) -> Any:
    return who.api.post(f"/send/{service.lnurl}/500", body)


def test_who_cannot_spend_asks_nobody(
    bob: Person, charlie: Person, service: Service, asked: list[float], stop_file: Path
) -> None:
    """sec-4"""
    assert pay(bob, service).body["code"] == "insufficient_funds"

    charlie.user.pin_hash = make_password(PIN)
    charlie.user.save()
    assert pay(charlie, service, pin="000000").body["code"] == "invalid_pin"

    stop_file.touch()
    assert pay(charlie, service, pin=PIN).body["code"] == "withdrawals_paused"
    stop_file.unlink()
    assert asked == []

    assert pay(charlie, service, pin=PIN).body["status"] == "settled"
    assert len(asked) == 2


def test_the_gate_is_looked_at_again_when_the_other_side_has_answered(
    alice: Person, service: Service, network: Control, stop_file: Path
) -> None:
    """sec-4: its answer may take ten seconds, in which the operator can stop all payments out."""

    def while_asked(amount_msat: int) -> dict[str, Any]:
        stop_file.touch()
        return {"pr": network.invoice(amount_msat), "routes": []}

    service.invoice = while_asked
    assert pay(alice, service).body["code"] == "withdrawals_paused"
    assert not Payment.objects.exists()


def test_both_questions_of_one_payment_share_their_time(
    alice: Person, service: Service, asked: list[float]
) -> None:
    """sec-4"""
    pay(alice, service)
    for_terms, for_invoice = asked
    assert for_invoice < for_terms <= http.ASKING_OTHERS_S


@pytest.mark.parametrize("drips", ["/terms", "/pay"])
def test_a_service_that_drips_is_left_at_the_bound_and_that_is_said(
    alice: Person, service: Service, monkeypatch: pytest.MonkeyPatch, drips: str
) -> None:
    """sec-4: no byte that arrives gives the other side more time."""
    monkeypatch.setattr(http, "ASKING_OTHERS_S", 1.0)
    service.drips = drips
    started = time.monotonic()
    refused = pay(alice, service)
    assert time.monotonic() - started < 30  # of eight minutes
    assert (refused.status_code, refused.body["code"]) == (400, "remote_refused")
    assert "took too long to answer, so nothing was sent" in refused.body["detail"]
    assert not Payment.objects.exists()


def test_all_ways_of_one_link_share_their_time(
    alice: Person, service: Service, asked: list[float]
) -> None:
    """A link of a few kilobytes names many services, each of which may be slow."""
    service.terms = {"status": "ERROR", "reason": "closed"}
    link = "bitcoin:?" + "&".join(
        f"lightning={lnurl_of(f'{service.url}/terms?{number}')}" for number in range(20)
    )
    with pytest.raises(RemoteRefused, match="closed"):
        look(alice.user, link)
    assert len(asked) == WAYS_OF_A_KIND_MAX
    assert asked == sorted(asked, reverse=True)
    assert max(asked) <= http.ASKING_OTHERS_S


def test_one_user_has_few_look_ups_at_a_time_and_is_told_at_once(
    alice: Person, charlie: Person, service: Service, asked: list[float]
) -> None:
    """sec-4"""
    with ExitStack() as waiting:
        for _ in range(limits.LOOK_UPS_OF_USER.at_most):
            waiting.enter_context(http.asking_others(alice.user.id))
        refused = pay(alice, service)
        assert (refused.status_code, refused.body["code"]) == (429, "rate_limited")
        assert int(refused.headers["Retry-After"]) > 0
        assert asked == []
        assert pay(charlie, service).status_code == 200


def test_all_users_together_leave_threads_for_everything_else(
    alice: Person, charlie: Person, service: Service, asked: list[float]
) -> None:
    """sec-4"""
    with ExitStack() as waiting:
        for stranger in range(limits.LOOK_UPS.at_most):
            waiting.enter_context(http.asking_others(stranger))
        refused = pay(alice, service)
        assert (refused.status_code, refused.body["code"]) == (503, "busy")
        assert int(refused.headers["Retry-After"]) > 0
        body = {"username": "charlie", "amount": 1}
        assert alice.api.post("/send", body).status_code == 200  # asks nobody
    assert asked == []


def test_what_can_be_slow_leaves_threads_free() -> None:
    """sec-4, sec-5: all places of a process for what takes long, and who waits for one."""
    waited_for = [hashing.for_strangers, hashing.for_signed_in, for_lists]
    slow = (
        lightning.IN_FLIGHT_PER_PROCESS
        + limits.LOOK_UPS.at_most
        + limits.NAMES_CHECKED.at_most
        + sum(places.count + places.waiting for places in waited_for)
    )
    assert slow <= asgi.THREADS - 10
    assert http.ASKING_OTHERS_S <= 10
