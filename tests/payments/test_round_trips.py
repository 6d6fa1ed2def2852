"""Invoices of this server and of others are paid in a few round trips."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from coinos.simnet.control import Control
from payments.models import Payment
from payments.services import lightning
from tests.payments.conftest import Person

WARM = 2
"""Then the rates are read and the server has its plans: the second use of a statement makes one."""


@contextmanager
def at_most(round_trips: int) -> Iterator[None]:
    """This connection waits for the database this often: as often as libpq hears that it is ready
    for more."""
    connection.ensure_connection()
    with tempfile.TemporaryFile() as heard:
        connection.connection.pgconn.trace(heard.fileno())
        yield
        connection.connection.pgconn.untrace()
        heard.seek(0)
        assert 0 < heard.read().count(b"ReadyForQuery") <= round_trips


def test_paying_a_user(alice: Person, bob: Person) -> None:
    to_bob = {"username": "bob", "amount": 10}
    for _ in range(WARM):
        assert alice.api.post("/send", to_bob).status_code == 200
    with at_most(round_trips=4):  # session, bob, BEGIN, all that is written with the COMMIT
        assert alice.api.post("/send", to_bob).status_code == 200


def test_paying_an_own_invoice(alice: Person, bob: Person, network: Control) -> None:
    def ask() -> str:
        return str(bob.api.post("/invoice", {"invoice": {"amount": 10}}).body["hash"])

    for _ in range(WARM):
        assert alice.api.post("/payments", {"payreq": ask()}).status_code == 200
    bolt11 = ask()
    # Session, invoice found, BEGIN, invoice locked, all that is written, COMMIT.
    with at_most(round_trips=6):
        assert alice.api.post("/payments", {"payreq": bolt11}).status_code == 200


def test_paying_another_node(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert alice.api.post("/payments", {"payreq": network.invoice(1_000)}).status_code == 200
    bolt11 = network.invoice(1_000)
    with monkeypatch.context() as nobody_sends:
        nobody_sends.setattr(lightning, "send_soon", lambda *_, **__: None)
        with CaptureQueriesContext(connection) as accepted:
            answer = alice.api.post("/payments", {"payreq": bolt11})
    assert (answer.status_code, answer.body["status"]) == (200, "pending")
    # Session, not ours, BEGIN, hold, undecided, payment with its line, COMMIT, what became of it.
    assert len(accepted) <= 9
    with CaptureQueriesContext(connection) as sent:
        lightning.send(UUID(answer.body["id"]))
    assert Payment.objects.get(id=answer.body["id"]).state == Payment.State.SETTLED
    # Claim, BEGIN, payment with its line, hold, payment, line, COMMIT.
    assert len(sent) <= 7
