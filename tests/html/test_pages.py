"""Every page: who may open it, what protects it, and how it is built."""

from __future__ import annotations

import gzip
import re
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts import credentials
from accounts.models import Session
from coinos.simnet.control import Control
from invoices.services import InvoiceDraft, create_invoice
from tests.html.conftest import Browser, Person

PUBLIC = ["/", "/register", "/login", "/forgot", "/privacy", "/support", "/docs", "/docs/errors"]
PUBLIC += ["/simnet", "/bob"]
PRIVATE = ["/alice", "/receive", "/send", "/payments", "/settings", "/webhooks"]
PRIVATE += ["/gifts", "/funds", "/settings/autowithdraw"]
NEEDS_POST = [
    "/logout",
    "/swap",
    "/swap/hide",
    "/send/confirm",
    "/send/pay",
    "/send/pin",
    "/settings/profile",
    "/settings/preferences",
    "/settings/tips",
    "/webhooks/try",
    "/webhooks/check",
    "/settings/password",
    "/settings/pin",
    "/settings/lock-timer",
    "/settings/notifications",
    "/settings/second-factor/new",
    "/settings/second-factor/off",
    "/settings/recovery-codes",
    "/settings/email",
    "/settings/email/link",
    "/settings/sessions",
    "/settings/keys",
    "/settings/read-only",
]


def open_page(browser: Browser, path: str) -> Any:
    answer = browser.get(path)
    if answer.status_code == 302:
        answer = browser.get(answer.headers["Location"])
    assert answer.status_code == 200, (path, answer.status_code)
    return answer


@pytest.mark.parametrize("path", PUBLIC)
def test_a_stranger_may_read_the_public_pages(path: str, stranger: Browser, bob: Person) -> None:
    assert open_page(stranger, path).page.all("h1")


@pytest.mark.parametrize("path", PRIVATE)
def test_alice_opens_her_pages(path: str, alice: Person) -> None:
    answer = open_page(alice, path)
    assert "Signed in as alice" in answer.page.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_no_cache_keeps_a_page_that_was_seen_signed_in(
    alice: Person, bob: Person, stranger: Browser, network: Control
) -> None:
    """sec-18: the owner's invoice with its webhooks, and what strangers may see as well."""
    invoice = str(create_invoice(alice.user, InvoiceDraft(amount_sat=1000), own=True).id)
    paths = [*PUBLIC, *PRIVATE, "/bob/sticker", f"/invoice/{invoice}", f"/invoice/{invoice}/tip"]
    paths += ["/manifest.webmanifest", "/nowhere/at/all", f"/payment/{uuid4()}", "/logout"]
    for path in paths:
        assert alice.get(path).headers["Cache-Control"] == "no-store", path
    assert "Cache-Control" not in stranger.get("/bob").headers
    assert "public" in alice.get("/bob/qr.svg").headers["Cache-Control"]  # one for everybody


def test_scripts_read_no_cookie_that_guards_forms(stranger: Browser) -> None:
    """sec-18"""
    stranger.get("/login")
    assert stranger.client.cookies[settings.CSRF_COOKIE_NAME]["httponly"]


def test_the_answer_that_signs_somebody_in_is_kept_nowhere(stranger: Browser) -> None:
    answer = stranger.post("/register", username="dora", password="correct horse battery")
    assert settings.SESSION_COOKIE_NAME in answer.cookies
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", [path for path in PRIVATE if path != "/alice"])
def test_a_stranger_is_sent_to_sign_in_and_then_back(path: str, stranger: Browser) -> None:
    answer = stranger.get(path)
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/login?next=" + path.replace("/", "%2F")


@pytest.mark.parametrize("path", NEEDS_POST)
def test_what_changes_something_is_refused_by_get(path: str, alice: Person) -> None:
    assert alice.get(path).status_code == 405


def test_every_form_needs_its_csrf_token(alice: Person) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = alice.client.cookies
    for path in [*NEEDS_POST, "/receive", "/send", "/webhooks", "/docs", "/login", "/register"]:
        answer = strict.post(path, {})
        assert answer.status_code == 403, path
        assert "out of date" in answer.content.decode()


@pytest.mark.parametrize(
    ("origin", "is_ours"),
    [
        ("http://testserver", True),
        (None, True),
        ("null", False),
        ("https://evil.example", False),
        ("https://testserver", False),
    ],
)
def test_a_form_is_taken_from_pages_of_this_site_only(
    stranger: Browser, origin: str | None, is_ours: bool
) -> None:
    """input-C26: of the same scheme, too; and our pages let browsers say where a form is from."""
    browser = Client(enforce_csrf_checks=True)
    page = browser.get("/login")
    assert page.headers["Referrer-Policy"] == "same-origin"
    (token,) = set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.content.decode()))
    answer = browser.post(
        "/login",
        {"username": "nobody", "password": "wrong", "csrfmiddlewaretoken": token},
        headers={"Origin": origin} if origin else {},
    )
    assert answer.status_code == (422 if is_ours else 403)
    assert ("out of date" in answer.content.decode()) is not is_ours


@pytest.mark.parametrize("path", [*PUBLIC, *PRIVATE, "/nothing/here"])
def test_a_page_allows_no_inline_script_or_style(path: str, alice: Person, bob: Person) -> None:
    answer = alice.get(path)
    if answer.status_code == 302:
        answer = alice.get(answer.headers["Location"])
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Frame-Options"] == "DENY"
    for tag, attributes in answer.page.elements:
        assert tag != "style"
        assert tag != "script" or attributes["src"].startswith("/static/")
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        for name in ("src", "href", "action"):
            assert not re.match(r"(https?:)?//|javascript:", attributes.get(name, "")) or (
                tag == "a"
            ), attributes


@pytest.mark.parametrize("path", [*PUBLIC, *PRIVATE])
def test_a_page_can_be_read_by_a_screen_reader(path: str, alice: Person, bob: Person) -> None:
    page = open_page(alice, path).page
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert page.all("main")
    assert len(page.all("nav")) >= 1
    labelled = {label.get("for") for label in page.all("label")}
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids)), [name for name in ids if ids.count(name) > 1]
    for tag in ("input", "textarea", "select"):
        for control in page.all(tag):
            if control.get("type") in ("hidden", "checkbox"):
                continue  # a checkbox stands inside its label
            assert control.get("id") in labelled or control.get("aria-label"), control
    for control in page.all("input") + page.all("textarea"):
        for described in control.get("aria-describedby", "").split():
            assert described in ids


def test_an_unknown_address_is_a_page_of_its_own(stranger: Browser) -> None:
    answer = stranger.get("/nobodyatall")
    assert answer.status_code == 404
    assert "User not found" in answer.page.text
    assert stranger.get("/no/such/page").status_code == 404
    assert stranger.get("/nobody%00").status_code == 404


def test_names_of_pages_cannot_be_registered() -> None:
    from accounts.names import RESERVED

    def first_segments(patterns: list[Any], before: str = "") -> set[str]:
        found: set[str] = set()
        for entry in patterns:
            route = before + str(entry.pattern)
            if isinstance(entry, URLResolver):
                found |= first_segments(entry.url_patterns, route)
            elif isinstance(entry, URLPattern):
                found.add(re.split(r"[/<^$]", route)[0])
        return found

    segments = {name for name in first_segments(get_resolver().url_patterns) if name.isalnum()}
    assert {"send", "settings", "docs", "api"} <= segments
    assert segments <= RESERVED, segments - RESERVED


def test_a_revoked_sign_in_is_over_at_the_next_page(alice: Person) -> None:
    session = Session.objects.get(user=alice.user)
    credentials.revoke_session(alice.user, session.id)
    assert alice.get("/payments").status_code == 302
    assert alice.get("/events").status_code == 401


def test_the_first_visit_loads_little(stranger: Browser) -> None:
    """All that the first page draws with, packed as the proxy packs it; the budget is 100 kB."""
    page = open_page(stranger, "/").page
    paths = [link["href"] for link in page.all("link")] + [s["src"] for s in page.all("script")]
    sizes = {}
    for path in paths:
        answer = stranger.client.get(path)
        assert answer.status_code == 200, path
        sizes[path] = len(gzip.compress(b"".join(answer)))
    assert sum(size for path, size in sizes.items() if path.endswith(".css")) <= 12_000
    assert sum(sizes.values()) + len(gzip.compress(page.html.encode())) <= 45_000


def test_the_simnet_page_moves_the_world(alice: Person, network: Control) -> None:
    invoice = alice.post("/receive", amount="1500", unit="sats", type="lightning", memo="")
    shown = alice.get(invoice.headers["Location"])
    paid = alice.post("/simnet", action="pay", text=shown.page.value("text"), amount="1500")
    assert "Paid from outside" in paid.page.text
    again = alice.post("/simnet", action="pay", text=shown.page.value("text"))
    assert "Paid from outside" not in again.page.text
    made = alice.post("/simnet", action="invoice", amount="700", node="carol")
    result = next(found for found in made.page.all("input") if found.get("id") == "result")
    assert result["value"].startswith("lnbcrt")
    assert alice.post("/simnet", action="mine").status_code == 200
    assert "whole number of sats" in alice.post("/simnet", action="coins", amount="1e3").page.text


def test_a_bug_of_ours_says_what_is_safe_to_do_next() -> None:
    from django.test import RequestFactory

    from coinos.web import server_error

    answer = server_error(RequestFactory().get("/"))
    assert answer.status_code == 500
    assert "no payment is left half done" in answer.content.decode()


def test_monitors_may_ask_for_the_head_of_a_page(stranger: Browser) -> None:
    assert stranger.client.head("/").status_code == 200
    assert stranger.client.head("/login").status_code == 200


def test_a_stranger_who_posts_is_not_sent_back_to_a_page_that_cannot_be_opened(
    stranger: Browser,
) -> None:
    assert stranger.post("/send/pay").headers["Location"] == "/login"


def test_the_balance_is_hidden_until_this_browser_shows_it_again(alice: Person) -> None:
    assert "Spendable ⚡️100,000" in alice.get("/alice").page.text
    assert alice.post("/swap/hide", hide="yes").headers["Location"] == "/alice"
    page = alice.get("/alice").page
    hero = page.html.split('class="hero"')[1].split("</section>")[0]
    assert "100,000" not in hero
    assert "$" not in hero
    assert "Hidden" in page.text
    assert "Show the balance" in hero
    alice.post("/swap/hide")
    assert "Spendable ⚡️100,000" in alice.get("/alice").page.text
