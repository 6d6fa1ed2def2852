"""Bounded places: so many at once, few who wait, an answer at once to everybody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from coinos.errors import Busy, RateLimited
from coinos.places import Places


@contextmanager
def waiter(places: Places) -> Iterator[list[str]]:
    """Somebody who waits for a place; the list says how it went, after the block."""
    outcome: list[str] = []

    def wait() -> None:
        try:
            with places.take():
                outcome.append("had a place")
        except Busy:
            outcome.append("busy")

    inside = places.inside
    thread = threading.Thread(target=wait)
    thread.start()
    while places.inside == inside and not outcome:
        time.sleep(0.01)
    yield outcome
    thread.join()


def test_as_many_as_there_are_places_are_served_and_the_next_is_told_at_once() -> None:
    places = Places(2)
    with places.take(), places.take():
        with pytest.raises(Busy) as refusal, places.take():
            pass
        assert refusal.value.retry_after_s
    with places.take():
        pass
    assert places.inside == 0


def test_who_waits_gets_the_place_that_is_given_back() -> None:
    places = Places(1, waiting=1, wait_s=60)
    with ExitStack() as taken:
        taken.enter_context(places.take())
        with waiter(places) as outcome:
            with pytest.raises(Busy), places.take():  # one waits already
                pass
            taken.close()
    assert outcome == ["had a place"]


def test_nobody_waits_for_long() -> None:
    places = Places(1, waiting=1, wait_s=0.05)
    with places.take(), waiter(places) as outcome:
        pass
    assert outcome == ["busy"]
    assert places.inside == 0


def test_one_caller_takes_no_more_than_a_share() -> None:
    places = Places(8, each=2)
    with places.take("alice"), places.take("alice"):
        with pytest.raises(RateLimited), places.take("alice"):
            pass
        with places.take("bob"):
            pass
    with places.take("alice"):
        pass


def test_whoever_does_not_wait_goes_on_without_a_place() -> None:
    places = Places(1)
    with places.if_free() as first, places.if_free() as second:
        assert (first, second) == (True, False)
    assert places.inside == 0


def test_a_failure_gives_the_place_back() -> None:
    places = Places(1, each=1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), places.take("alice"):
            raise ZeroDivisionError
    assert places.inside == 0
