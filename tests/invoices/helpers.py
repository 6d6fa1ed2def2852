"""What the stories of this folder say often."""

from __future__ import annotations

from typing import Any

from accounts.models import Activity, Transfer, User
from invoices import services
from invoices.models import Invoice
from tests.cast import Api, api_of


def new_invoice(user: User, **fields: Any) -> dict[str, Any]:
    """An invoice made over HTTP by its owner; the body of the answer."""
    response = api_of(user).post("/invoice", {"invoice": fields})
    assert response.status_code == 200, response.content
    body: dict[str, Any] = response.body
    return body


def seen(invoice: dict[str, Any]) -> dict[str, Any]:
    """The invoice as anybody sees it now."""
    response = Api().get(f"/invoice/{invoice['hash']}")
    assert response.status_code == 200
    body: dict[str, Any] = response.body
    return body


def row(invoice: dict[str, Any]) -> Invoice:
    return Invoice.objects.get(id=invoice["id"])


def receive() -> None:
    """Record what the node has received."""
    services.sweep_lightning()


def statement_of(user: User) -> list[Activity]:
    return list(Activity.objects.filter(user=user).order_by("created"))


def credits_of(user: User) -> list[Transfer]:
    return list(Transfer.objects.filter(credit__user=user, kind__startswith="receive"))
