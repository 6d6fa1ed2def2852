"""Who waits for the network does not sit on a database connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connection

from accounts import hashing
from accounts.models import Attempts
from coinos.simnet.control import Control
from tests.cast import Api
from tests.payments.conftest import Person


def connections_of_others() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return int(cursor.fetchone()[0])


def fewest_while(request: Callable[[], Any], *, seconds: float) -> int:
    """The smallest number of connections in use by others while `request` runs elsewhere."""
    thread = threading.Thread(target=request)
    thread.start()
    ends = time.monotonic() + seconds
    counts = []
    while time.monotonic() < ends:
        time.sleep(0.05)
        counts.append(connections_of_others())
    assert thread.is_alive(), "the request was answered too soon to tell"
    thread.join()
    return min(counts)


def test_a_request_that_waits_for_a_payment_holds_no_connection(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A01: held invoices do not use up the pool."""
    monkeypatch.setattr("payments.services.lightning.ANSWER_WITHIN_S", 3)
    bolt11 = network.invoice(1_000_000)
    payment_hash = alice.api.get(f"/decode/{bolt11}").body["payment_hash"]
    network.hold(payment_hash)
    pay = lambda: alice.api.post("/payments", {"payreq": bolt11})  # noqa: E731
    assert fewest_while(pay, seconds=1.5) == 0
    network.release(payment_hash, settle=False)


@pytest.mark.parametrize(
    ("path", "method"), [("/payments", "decode"), ("/bitcoin/fee", "estimatesmartfee")]
)
def test_a_request_that_waits_for_a_slow_node_holds_no_connection(
    alice: Person, network: Control, path: str, method: str
) -> None:
    """A01: a node that hangs does not stop what needs no node."""
    body = {"payreq": network.invoice(1_000), "address": network.address(), "amount": 5000}
    network.set_faults([{"method": method, "kind": "delay", "seconds": 2, "times": 1}])
    ask = lambda: alice.api.post(path, body)  # noqa: E731
    assert fewest_while(ask, seconds=1) == 0


def test_a_sign_in_that_waits_for_its_turn_holds_no_connection(alice: Person) -> None:
    """P18: a flood of guesses does not stop everybody else."""
    login = lambda: Api().post("/login", {"username": "alice", "password": "wrong"})  # noqa: E731
    with ExitStack() as taken:
        for _ in range(hashing.for_strangers.count):
            taken.enter_context(hashing.for_strangers.take())
        thread = threading.Thread(target=login)
        thread.start()
        while not Attempts.objects.filter(key="login:name:alice").exists():
            time.sleep(0.05)
        time.sleep(0.5)
        assert thread.is_alive()
        assert connections_of_others() == 0
    thread.join()
