"""What a request does not need, it does not do: queries per endpoint, however much there is."""

from __future__ import annotations

from typing import Any

from accounts.models import User
from coinos.simnet.control import Control
from tests.cast import Api, api_of
from tests.invoices.helpers import new_invoice, receive


def test_polling_an_invoice_takes_one_query(
    world: Control, alice: User, anyone: Api, django_assert_num_queries: Any
) -> None:
    lightning, coins = new_invoice(alice, amount=5), new_invoice(alice, type="bitcoin")
    for key in (lightning["hash"], lightning["paymentHash"], lightning["id"], coins["hash"]):
        with django_assert_num_queries(1):
            assert anyone.get(f"/invoice/{key}").status_code == 200


def test_making_an_invoice_takes_two_statements_and_the_session(
    world: Control, alice: User, django_assert_num_queries: Any
) -> None:
    api = api_of(alice)
    with django_assert_num_queries(3):  # session; both rows, before the node; both, after it
        api.post("/invoice", {"invoice": {"amount": 5}})


def test_listing_invoices_takes_the_same_queries_for_one_and_for_many(
    world: Control, alice: User, django_assert_num_queries: Any
) -> None:
    api = api_of(alice)
    new_invoice(alice, amount=1)
    for _ in range(2):
        with django_assert_num_queries(2):
            api.get("/invoices")
        for _ in range(5):
            new_invoice(alice, amount=1)


def test_recording_a_receipt_takes_a_fixed_number_of_queries(
    world: Control, alice: User, django_assert_max_num_queries: Any
) -> None:
    for _ in range(2):
        invoice = new_invoice(alice, amount=5)
        world.pay(invoice["hash"])
        receive()
    invoice = new_invoice(alice, amount=5)
    world.pay(invoice["hash"])
    with django_assert_max_num_queries(40):
        receive()
