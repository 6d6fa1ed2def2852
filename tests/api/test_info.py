"""GET /health, /rates, /rate, /fx."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from coinos import alarms, rates
from coinos.heartbeat import periodic
from coinos.models import Heartbeat, Rate
from tests.cast import Api


@pytest.fixture
def quoted(db: None, redis: Any) -> Iterator[None]:
    """A dollar rate of 100,000 and a Canadian one, as of now."""
    Rate.objects.create(minute=timezone.now(), rates={"USD": "100000.00", "CAD": "137000.00"})
    rates.forget()
    yield
    rates.forget()


@pytest.fixture
def unquoted(db: None, redis: Any) -> Iterator[None]:
    rates.forget()
    yield
    rates.forget()


def test_rates_are_per_bitcoin(quoted: None, anyone: Api) -> None:
    assert anyone.get("/rates").body == {"USD": 100000.0, "CAD": 137000.0}
    assert anyone.get("/rate").content == b"100000.0"
    assert anyone.get("/fx").body == {"fx": {"USD": 1.0, "CAD": 1.37}}


def test_an_old_token_does_no_harm(quoted: None) -> None:
    assert Api("stale").get("/rates").status_code == 200


@pytest.mark.parametrize("path", ["/rates", "/rate", "/fx"])
def test_without_a_rate_that_is_fresh_the_answer_is_503(
    unquoted: None, anyone: Api, path: str
) -> None:
    Rate.objects.create(minute=timezone.now() - timedelta(hours=1), rates={"USD": "100000.00"})
    answer = anyone.get(path)
    assert (answer.status_code, answer.body["code"]) == (503, "rate_unavailable")
    assert int(answer.headers["Retry-After"]) > 0


# --- Health --------------------------------------------------------------------------------------


def beat(job: str, *, seconds_ago: int) -> None:
    Heartbeat.objects.create(
        job=job, silence_max_s=60, succeeded_at=timezone.now() - timedelta(seconds=seconds_ago)
    )


def test_a_server_that_has_just_started_is_healthy(db: None, anyone: Api) -> None:
    answer = anyone.get("/health")
    assert answer.status_code == 200
    assert answer.body["healthy"] is True
    assert answer.body["consecutiveFailures"] == 0
    assert answer.body["lastFailureReason"] == ""
    assert answer.body["stalledCheck"] is False
    assert isinstance(answer.body["lastSuccessTime"], int)


def test_a_silent_job_makes_the_server_unhealthy(
    db: None, anyone: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O04; silence from before the server started is nobody's fault."""
    beat("watch", seconds_ago=61)
    beat("rates", seconds_ago=1)
    monkeypatch.setattr("coinos.heartbeat.STARTED_AT", timezone.now())
    assert anyone.get("/health").status_code == 200
    monkeypatch.setattr("coinos.heartbeat.STARTED_AT", timezone.now() - timedelta(minutes=5))
    answer = anyone.get("/health")
    assert answer.status_code == 503
    assert (answer.body["healthy"], answer.body["stalledCheck"]) == (False, True)
    assert answer.body["lastFailureReason"] == "watch: silent"


def test_health_tells_when_each_job_last_had_something_to_do(db: None, anyone: Api) -> None:
    """money-K1: rounds that another process does are no success, and idle ones no work."""
    done = [3, 0, False, None]

    @periodic("withdrawals", silence_max_s=60)
    def round_of_withdrawals() -> int | None:
        return done.pop(0)

    def times() -> tuple[int, int]:
        job = anyone.get("/health").body["jobs"]["withdrawals"]
        return job["lastSuccessTime"], job["lastWorkTime"]

    round_of_withdrawals()
    worked = times()
    round_of_withdrawals()
    idle = times()
    assert idle[0] > worked[0]
    assert idle[1] == worked[1]
    round_of_withdrawals()
    assert times() == idle
    round_of_withdrawals()
    assert times()[1] > idle[1]


def test_health_counts_the_alarms_that_wait_for_an_operator(db: None, anyone: Api) -> None:
    assert anyone.get("/health").body["alarms"] == 0
    alarm = alarms.note("cause", "something is wrong")
    answer = anyone.get("/health")
    assert (answer.status_code, answer.body["alarms"]) == (200, 1)
    assert "wrong" not in str(answer.body)
    alarms.acknowledge(alarm.id, by="operator root", reason="seen")
    assert anyone.get("/health").body["alarms"] == 0


def test_a_job_that_fails_once_runs_again_and_its_failure_is_seen(db: None, anyone: Api) -> None:
    """O04: an exception does not end the schedule, and names no inner detail."""
    outcomes: list[Exception | None] = [None, ConnectionError("secret at 10.0.0.7"), None]

    @periodic("watch", silence_max_s=60)
    def watch() -> None:
        outcome = outcomes.pop(0)
        if outcome:
            raise outcome

    watch()
    watch()
    failing = anyone.get("/health").body
    assert (failing["healthy"], failing["consecutiveFailures"]) == (True, 1)
    assert failing["lastFailureReason"] == "watch: ConnectionError"
    watch()
    assert anyone.get("/health").body["consecutiveFailures"] == 0
