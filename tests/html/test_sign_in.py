"""Register, sign in, sign out: by the forms that people use."""

from __future__ import annotations

import re
from typing import Any

import pytest

from accounts.models import LedgerAccount, Session, User
from tests.html.conftest import Browser, Person

PASSWORD = "correct horse battery"


def register(browser: Browser, username: str, password: str = PASSWORD) -> Any:
    return browser.post("/register", username=username, password=password)


def sign_in(browser: Browser, username: str, password: str, **more: str) -> Any:
    return browser.post("/login", username=username, password=password, **more)


def test_registering_opens_a_wallet_and_signs_in_at_once(stranger: Browser) -> None:
    suggested = stranger.get("/register").page.value("username")
    answer = register(stranger, suggested)
    assert answer.headers["Location"] == f"/{suggested}"
    home = stranger.get(f"/{suggested}").page
    assert "Spendable ⚡️0" in home.text
    user = User.objects.get(username=suggested)
    assert LedgerAccount.objects.filter(user=user).exists()
    session = Session.objects.get(user=user)
    assert (session.kind, session.address) == ("web", "127.0.0.1")


@pytest.mark.parametrize(
    ("username", "sentence"),
    [
        ("alice", "This name is already taken. Choose another one"),
        ("Alice", "This name is already taken. Choose another one"),
        ("settings", "This name is reserved. Choose another one"),
        ("x", "Usernames have 2 to 24 letters and numbers"),
        ("аlice", "Usernames can only have letters and numbers"),  # a Cyrillic а
        ("<script>", "Usernames can only have letters and numbers"),
        ("", "This field is required"),
    ],
)
def test_a_name_that_cannot_be_had_is_explained(
    alice: Person, stranger: Browser, username: str, sentence: str
) -> None:
    answer = register(stranger, username)
    assert answer.status_code == 422
    assert sentence in answer.page.text
    assert User.objects.count() == 1


def test_a_taken_name_comes_with_a_free_one_that_is_like_it(
    alice: Person, stranger: Browser
) -> None:
    free = re.search(r"(\S+) is still available", register(stranger, "Alice").page.text)
    assert free
    assert re.fullmatch(r"alice[0-9]+", free[1])
    assert register(stranger, free[1]).headers["Location"] == f"/{free[1]}"


def test_a_short_password_is_refused_beside_its_field(stranger: Browser) -> None:
    answer = register(stranger, "dora", "12345")
    assert answer.status_code == 422
    field = next(found for found in answer.page.all("input") if found.get("name") == "password")
    assert field["aria-invalid"] == "true"
    assert "12345" not in answer.page.html
    assert not User.objects.exists()


@pytest.mark.parametrize("username", ["dora", "DORA", " dora ", "dora@127.0.0.1:8000"])
def test_signing_in_takes_the_name_in_any_form(stranger: Browser, username: str) -> None:
    register(stranger, "dora")
    other = Browser()
    assert sign_in(other, username, PASSWORD).headers["Location"] == "/dora"
    assert other.get("/dora").status_code == 200


def test_a_wrong_password_and_an_unknown_name_read_the_same(stranger: Browser) -> None:
    register(stranger, "dora")
    wrong = sign_in(Browser(), "dora", "wrong password")
    unknown = sign_in(Browser(), "nobody", "wrong password")
    assert (wrong.status_code, unknown.status_code) == (422, 422)
    assert "Wrong username or password" in wrong.page.text
    assert "Wrong username or password" in unknown.page.text
    assert Session.objects.count() == 1


def test_the_key_of_the_session_changes_at_sign_in(stranger: Browser) -> None:
    register(stranger, "dora")
    before = stranger.client.session.session_key
    sign_in(stranger, "dora", PASSWORD)
    assert stranger.client.session.session_key != before


@pytest.mark.parametrize(
    ("wanted", "reached"),
    [
        ("/payments", "/payments"),
        ("https://evil.example/", "/dora"),
        ("//evil.example", "/dora"),
        ("/\\evil.example", "/dora"),
        ("javascript:alert(1)", "/dora"),
        ("payments", "/dora"),  # no path, and no name of a view either
        ("", "/dora"),
    ],
)
def test_p12_signing_in_leads_only_to_pages_of_this_site(
    stranger: Browser, wanted: str, reached: str
) -> None:
    register(stranger, "dora")
    answer = sign_in(Browser(), "dora", PASSWORD, next=wanted)
    assert answer.headers["Location"] == reached


def test_signing_out_ends_the_session_row(alice: Person) -> None:
    stolen = alice.client.cookies["sessionid"].value
    assert alice.post("/logout").headers["Location"] == "/"
    assert Session.objects.get(user=alice.user).revoked_at is not None
    thief = Browser()
    thief.client.cookies["sessionid"] = stolen
    assert thief.get("/payments").status_code == 302


def test_changing_the_password_ends_every_other_sign_in(stranger: Browser) -> None:
    register(stranger, "dora")
    other = Browser()
    sign_in(other, "dora", PASSWORD)
    refused = stranger.post("/settings/password", current_password="nope", password="new password")
    assert "The current password is wrong" in refused.page.text
    assert other.get("/payments").status_code == 200

    changed = stranger.post(
        "/settings/password", current_password=PASSWORD, password="new password"
    )
    assert changed.status_code == 302
    assert stranger.get("/payments").status_code == 200
    assert other.get("/payments").status_code == 302
    assert sign_in(Browser(), "dora", PASSWORD).status_code == 422
    assert sign_in(Browser(), "dora", "new password").status_code == 302


def test_an_evicted_account_is_signed_out_and_cannot_come_back(stranger: Browser) -> None:
    register(stranger, "dora")
    User.objects.filter(username="dora").update(is_active=False)
    assert stranger.get("/payments").status_code == 302
    assert sign_in(Browser(), "dora", PASSWORD).status_code == 422


def test_guessing_is_slowed_down(stranger: Browser) -> None:
    register(stranger, "dora")
    for _ in range(20):
        assert sign_in(Browser(), "dora", "a guess").status_code == 422
    answer = sign_in(Browser(), "dora", PASSWORD)
    assert "Too many tries" in answer.page.text
