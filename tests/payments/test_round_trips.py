"""Invoices of this server and of others are paid in a few round trips."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from coinos.simnet.control import Control
from payments.models import Payment
from payments.services import lightning
from tests.payments.conftest import Person


def test_paying_an_own_invoice(alice: Person, bob: Person, network: Control) -> None:
    def ask() -> str:
        return str(bob.api.post("/invoice", {"invoice": {"amount": 10}}).body["hash"])

    assert alice.api.post("/payments", {"payreq": ask()}).status_code == 200  # reads the rates
    bolt11 = ask()
    with CaptureQueriesContext(connection) as queries:
        assert alice.api.post("/payments", {"payreq": bolt11}).status_code == 200
    # Session, invoice found, BEGIN, invoice locked, all that is written, COMMIT.
    assert len(queries) <= 6


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
    # Session, not ours, BEGIN, hold, payment with its line, COMMIT, what became of it.
    assert len(accepted) <= 7
    with CaptureQueriesContext(connection) as sent:
        lightning.send(UUID(answer.body["id"]))
    assert Payment.objects.get(id=answer.body["id"]).state == Payment.State.SETTLED
    # Claim, BEGIN, payment with its line, hold, payment, line, COMMIT.
    assert len(sent) <= 7
