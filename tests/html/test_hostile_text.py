"""P12: whatever people or other servers write, the pages show it as text."""

from __future__ import annotations

import pytest

from accounts import services, statement
from accounts.models import Session
from coinos.simnet.control import Control
from invoices.services import InvoiceDraft, create_invoice
from tests.html.conftest import Browser, Page, Person

PAYLOADS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</textarea><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% debug %}",
    '" hx-get="/logout" hx-trigger="load',
    "<base href=//evil.example>",
    "\u202egnp.exe",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
]


def assert_harmless(page: Page, payload: str) -> None:
    """The payload is there as text, and has made no element and no attribute."""
    values = [value for _, attributes in page.elements for value in attributes.values()]
    assert payload in page.text or payload in values
    for tag, attributes in page.elements:
        assert tag != "base"
        assert tag != "script" or attributes.get("src", "").startswith("/static/")
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("hx-trigger", "live from:body") == "live from:body"
        assert attributes.get("src") != "x"
        assert not attributes.get("href", "").lower().startswith("javascript:")
    assert "49" not in page.html.split("7 * 7")[0][-20:]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_memo_is_text_everywhere(
    alice: Person, charlie: Person, stranger: Browser, network: Control, payload: str
) -> None:
    invoice = create_invoice(alice.user, InvoiceDraft(amount_sat=1000, memo=payload), own=True)
    assert_harmless(stranger.get(f"/invoice/{invoice.id}").page, payload)
    confirmation = charlie.post("/send", text=invoice.hash).page
    assert_harmless(confirmation, payload)
    sent = charlie.post("/send/pay", **confirmation.hidden())
    assert_harmless(charlie.get(sent.headers["Location"]).page, payload)
    assert_harmless(alice.get(f"/payment/{alice.line().id}").page, payload)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_profile_is_text_everywhere(alice: Person, stranger: Browser, payload: str) -> None:
    services.update_profile(alice.user, {"display": payload, "about": payload})
    assert_harmless(stranger.get("/alice").page, payload)
    assert_harmless(alice.get("/settings").page, payload)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_another_server_wrote_into_its_invoice_is_text(
    alice: Person, network: Control, payload: str
) -> None:
    bolt11 = network.invoice(1_000_000, description=payload)
    assert_harmless(alice.post("/send", text=bolt11).page, payload)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_was_typed_wrongly_is_shown_again_as_text(alice: Person, payload: str) -> None:
    assert_harmless(alice.post("/send", text=payload).page, payload)
    answer = alice.post("/receive", amount=payload, unit="sats", type="lightning", memo=payload)
    assert_harmless(answer.page, payload)
    typed = alice.post("/login", username=payload, password="x")
    assert_harmless(typed.page, payload)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_reason_of_a_failure_is_text(alice: Person, payload: str) -> None:
    line = statement.record(
        user=alice.user,
        type="lightning",
        status="pending",
        amount_sat=-10,
        hash="lnbc",
        currency="USD",
        rate=None,
        memo=payload,
    )
    statement.change(line, status="failed", reason=payload)
    assert_harmless(alice.get(f"/payment/{line.id}").page, payload)
    assert_harmless(alice.get("/payments").page, payload)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_browser_that_calls_itself_strange_is_listed_as_text(alice: Person, payload: str) -> None:
    Session.objects.filter(user=alice.user).update(user_agent=payload)
    assert_harmless(alice.get("/settings").page, payload)
