"""An invoice of this server is paid in a few round trips."""

from __future__ import annotations

from django.db import connection
from django.test.utils import CaptureQueriesContext

from coinos.simnet.control import Control
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
