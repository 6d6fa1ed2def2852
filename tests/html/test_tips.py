"""A payer is asked for a tip before paying: by percent, by sats, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from accounts import statement
from accounts.models import Activity
from coinos.simnet.control import Control
from invoices import services
from invoices.models import Invoice, LightningRequest
from tests.html.conftest import Browser, Person


def invoice_of(person: Person, **draft: Any) -> Invoice:
    draft = {"amount_sat": 1000, "prompt": True} | draft
    return services.create_invoice(person.user, services.InvoiceDraft(**draft), own=True)


def wants_tips(person: Person, tip: str = "") -> None:
    assert person.post("/settings/tips", prompt="on", tip=tip).status_code == 302
    person.user.refresh_from_db()


def path(invoice: Invoice) -> str:
    return f"/invoice/{invoice.id}"


def buttons(page: Any) -> list[str]:
    return [found["value"] for found in page.all("button") if found.get("name") == "percent"]


def test_alice_asks_for_tips_and_a_visitor_gives_one(
    alice: Person, stranger: Browser, network: Control
) -> None:
    wants_tips(alice)
    made = stranger.post("/alice", amount="1000", unit="sats", memo="")
    invoice = Invoice.objects.get()
    assert stranger.get(made.headers["Location"]).headers["Location"] == f"{path(invoice)}/tip"

    page = stranger.get(f"{path(invoice)}/tip").page
    assert buttons(page) == ["0", "10", "15", "20"]
    assert "15% ⚡️150 sats $0.15" in page.text
    answer = stranger.post(f"{path(invoice)}/tip", percent="15")
    assert answer.headers["Location"] == path(invoice)

    invoice.refresh_from_db()
    assert invoice.tip_sat == 150
    shown = stranger.get(path(invoice)).page
    assert "⚡️1,150" in shown.text
    assert "with a tip of ⚡️150" in shown.text
    assert "Change the tip" in shown.text

    network.pay(invoice.hash)
    services.sweep_lightning()
    line = Activity.objects.get(user=alice.user)
    assert (line.amount_sat, line.tip_sat) == (1000, 150)
    assert alice.available_sat == 101_150


def test_no_is_an_answer_and_keeps_the_bolt11(
    alice: Person, stranger: Browser, network: Control
) -> None:
    invoice = invoice_of(alice)
    stranger.post(f"{path(invoice)}/tip", percent="0")
    shown = stranger.get(path(invoice))
    assert shown.status_code == 200
    assert LightningRequest.objects.count() == 1
    before = invoice.hash
    invoice.refresh_from_db()
    assert (invoice.tip_sat, invoice.hash) == (0, before)


def test_a_tip_may_be_a_number_of_sats(alice: Person, stranger: Browser, network: Control) -> None:
    invoice = invoice_of(alice)
    stranger.post(f"{path(invoice)}/tip", tip="77")
    invoice.refresh_from_db()
    assert invoice.tip_sat == 77


@pytest.mark.parametrize(
    "field", [{"tip": ""}, {"tip": "-1"}, {"tip": "1.5"}, {"tip": "many"}, {"percent": "-5"}]
)
def test_a_strange_tip_is_refused_and_nothing_changes(
    alice: Person, stranger: Browser, network: Control, field: dict[str, str]
) -> None:
    invoice = invoice_of(alice)
    answer = stranger.post(f"{path(invoice)}/tip", **field)
    assert answer.status_code == 422
    invoice.refresh_from_db()
    assert invoice.tip_sat is None


def test_a_tip_beyond_every_limit_is_refused_beside_its_field(
    alice: Person, stranger: Browser, network: Control
) -> None:
    answer = stranger.post(f"{path(invoice_of(alice))}/tip", tip="2100000000000000")
    assert answer.status_code == 422
    field = next(found for found in answer.page.all("input") if found.get("name") == "tip")
    assert field["aria-invalid"] == "true"


def test_once_paid_a_tip_is_fixed(alice: Person, stranger: Browser, network: Control) -> None:
    invoice = invoice_of(alice)
    stranger.post(f"{path(invoice)}/tip", percent="10")
    invoice.refresh_from_db()
    network.pay(invoice.hash)
    services.sweep_lightning()
    answer = stranger.post(f"{path(invoice)}/tip", percent="20")
    assert answer.headers["Location"] == path(invoice)
    assert stranger.get(f"{path(invoice)}/tip").headers["Location"] == path(invoice)
    invoice.refresh_from_db()
    assert (invoice.tip_sat, invoice.received_sat) == (100, 1100)


def test_the_owner_is_not_sent_to_tip_himself(alice: Person, network: Control) -> None:
    assert alice.get(path(invoice_of(alice))).status_code == 200


def test_at_the_counter_the_owner_hands_the_question_over(alice: Person, network: Control) -> None:
    answer = alice.post("/receive", amount="1000", unit="sats", type="lightning", prompt="on")
    invoice = Invoice.objects.get()
    assert invoice.prompt
    assert answer.headers["Location"] == f"{path(invoice)}/tip"
    assert "Show the code without asking" in alice.get(answer.headers["Location"]).page.text


def test_receive_proposes_what_the_settings_say_and_each_invoice_decides(
    alice: Person, network: Control
) -> None:
    wants_tips(alice)
    box = next(
        found for found in alice.get("/receive").page.all("input") if found.get("name") == "prompt"
    )
    assert "checked" in box
    alice.post("/receive", amount="1000", unit="sats", type="lightning")
    assert not Invoice.objects.get().prompt


def test_without_an_amount_there_is_nothing_to_take_percents_of(
    alice: Person, stranger: Browser, network: Control
) -> None:
    invoice = invoice_of(alice, amount_sat=0)
    assert stranger.get(path(invoice)).status_code == 200
    assert stranger.get(f"{path(invoice)}/tip").headers["Location"] == path(invoice)


def test_the_owners_own_suggestion_stands_among_the_usual_ones(
    alice: Person, stranger: Browser, network: Control
) -> None:
    wants_tips(alice, tip="12")
    page = stranger.get(f"{path(invoice_of(alice))}/tip").page
    assert buttons(page) == ["0", "10", "12", "15", "20"]
    assert alice.get("/settings").page.value("tip") == "12"
    assert alice.post("/settings/tips", prompt="on", tip="0").status_code == 422


def test_a_payment_with_a_tip_is_shown_as_what_arrived_and_names_the_tip(
    alice: Person, stranger: Browser, network: Control
) -> None:
    """The API's `amount` is without the tip; the reader of a page counts what came in."""
    invoice = invoice_of(alice)
    stranger.post(f"{path(invoice)}/tip", percent="15")
    invoice.refresh_from_db()
    network.pay(invoice.hash)
    services.sweep_lightning()

    listed = alice.get("/payments").page.text
    assert "+ ⚡️1,150" in listed
    assert "Lightning · with a tip of 150 sats" in listed
    detail = alice.get(f"/payment/{alice.line().id}").page.text
    assert "+ ⚡️1,150 sats with a tip of ⚡️150 sats +$1.15" in detail
    assert "Amount + ⚡️1,000 sats Tip ⚡️150 sats Worth then +$1.15" in detail
    assert "Added to your balance + ⚡️1,150" in detail


def test_who_pays_a_tip_sees_it_in_what_was_sent(alice: Person, bob: Person) -> None:
    statement.record(
        user=alice.user,
        type="internal",
        status="settled",
        amount_sat=-1000,
        tip_sat=150,
        hash="lnbc",
        currency="USD",
        rate=None,
        counterparty=bob.user,
    )
    assert "Internal · with a tip of 150 sats" in alice.get("/payments").page.text
    assert "−⚡️1,150 sats with a tip of ⚡️150" in alice.get(f"/payment/{alice.line().id}").page.text
