"""An invoice that changes is the same invoice."""

from __future__ import annotations

from accounts.models import User
from coinos.simnet.control import Control
from tests.cast import api_of
from tests.invoices.helpers import new_invoice


def test_an_invoice_that_is_updated_ten_times_is_listed_once(world: Control, alice: User) -> None:
    """O06"""
    invoice = new_invoice(alice, amount=1000)
    api = api_of(alice)
    for tip in range(10):
        changed = api.post(f"/invoice/{invoice['id']}", {"invoice": {"tip": tip}})
        assert changed.status_code == 200
    listed = [entry["id"] for entry in api.get("/invoices").body]
    assert listed == [invoice["id"]]
