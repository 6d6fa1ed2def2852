"""One at a time over all processes, and the next one as soon as the first is done or dead."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from coinos import leases
from coinos.heartbeat import periodic
from coinos.leases import only_one
from coinos.models import Heartbeat, Lease
from tests.database import Database
from tests.pooler import needs_pgbouncer, through_pooler


def test_a_lease_that_is_given_back_is_free_at_once(db: None) -> None:
    for _ in range(20):
        with only_one("test") as mine:
            assert mine


def test_two_at_once_are_refused(db: None) -> None:
    with only_one("test") as first, only_one("test") as second, only_one("other") as other:
        assert (first, second, other) == (True, False, True)


def test_a_lease_is_renewed_while_its_owner_works(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEWED_EVERY_S", 0.02)
    with only_one("test"):
        began = until_of("test")
        wait_for(lambda: until_of("test") > began)


def test_a_killed_owners_lease_is_over_by_itself(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It renews no more and gives nothing back."""
    monkeypatch.setattr(leases, "LASTS_S", 0.0)
    with only_one("test") as first:
        with only_one("test") as second:
            assert (first, second) == (True, True)
        # The first has lost it, and takes nothing from whoever has it now.
    with only_one("test") as third:
        assert third


def test_whoever_lost_a_lease_does_not_give_back_the_next_owners(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LASTS_S", 0.0)
    late = only_one("test")
    assert late.__enter__()
    monkeypatch.setattr(leases, "LASTS_S", 60.0)
    with only_one("test") as second:
        assert second
        late.__exit__(None, None, None)
        with only_one("test") as third:
            assert not third


def test_a_round_that_is_left_to_another_process_is_no_success(db: None) -> None:
    """money-K1: all loops stood still and the server called itself healthy."""
    long_ago = timezone.now() - timezone.timedelta(hours=3)
    Heartbeat.objects.create(job="test", silence_max_s=60, succeeded_at=long_ago)

    @periodic("test", silence_max_s=60)
    def work() -> bool:
        with only_one("test") as mine:
            return mine

    with only_one("test"):
        work()
    assert Heartbeat.objects.get(job="test").succeeded_at == long_ago
    work()
    assert Heartbeat.objects.get(job="test").succeeded_at > long_ago


# --- Behind a pooler -----------------------------------------------------------------------------


@needs_pgbouncer
def test_a_lease_holds_behind_a_pooler_that_hands_each_transaction_to_another_session(
    cloned_db: Database,
) -> None:
    """money-K1: lock and unlock of a session reached different ones."""
    inside, most, rounds = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, rounds
        for _ in range(10):
            with only_one("pooled") as mine:
                if not mine:
                    continue
                with guard:
                    inside += 1
                    most, rounds = max(most, inside), rounds + 1
                psycopg.connect(**connection.get_connection_params()).close()
                with guard:
                    inside -= 1
        connection.close()

    with through_pooler():
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (most, rounds > 0) == (1, True)
        for _ in range(10):  # and afterwards it is free
            with only_one("pooled") as mine:
                assert mine


def until_of(name: str) -> Any:
    return Lease.objects.get(name=name).until


def wait_for(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
