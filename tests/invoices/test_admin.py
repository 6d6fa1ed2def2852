"""The operator looks at the receiving side and changes nothing there."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from coinos.simnet.control import Control
from tests.cast import make_user, office_of
from tests.invoices.helpers import new_invoice, row

PAGES = [
    "invoice",
    "lightningrequest",
    "address",
    "deposit",
    "cursor",
    "knownnode",
    "webhookdelivery",
]


@pytest.fixture
def operator(db: None) -> Client:
    return office_of(make_user("operator", is_staff=True, is_superuser=True))


def test_the_operator_sees_everything_but_secrets(
    world: Control, alice: User, operator: Client
) -> None:
    invoice = new_invoice(alice, amount=5, webhook="https://example.com/", secret="webhooksecret")
    for page in PAGES:
        assert operator.get(f"/admin/invoices/{page}/").status_code == 200
    detail = operator.get(f"/admin/invoices/invoice/{invoice['id']}/change/").content.decode()
    assert invoice["paymentHash"] in detail
    assert "webhooksecret" not in detail
    assert row(invoice).secret not in detail


def test_the_operator_cannot_edit_an_invoice(world: Control, alice: User, operator: Client) -> None:
    invoice = new_invoice(alice, amount=5)
    url = f"/admin/invoices/invoice/{invoice['id']}"
    assert operator.post(f"{url}/change/", {"received_sat": 9}).status_code == 403
    assert operator.post(f"{url}/delete/", {"post": "yes"}).status_code == 403
    assert operator.get("/admin/invoices/invoice/add/").status_code == 403
    assert row(invoice).received_sat == 0
