"""POST /login and /logout: who gets a token, and what the others are told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.models import Attempts, Session, User
from accounts.tasks import forget_attempts
from tests.cast import PASSWORD, Api, api_of, give_password

WRONG = {
    "type": f"{settings.PUBLIC_URL}/docs/errors#invalid_credentials",
    "title": "Login failed",
    "status": 401,
    "detail": "Wrong username or password",
    "code": "invalid_credentials",
    "message": "Wrong username or password",
    "error": "Wrong username or password",
}


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    """Guesses are counted here; that passwords are hashed with argon2 is test_register's."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def alice_with_password(alice: User) -> User:
    give_password(alice)
    return alice


def login(**body: object) -> Any:
    return Api().post("/login", body)


@pytest.mark.parametrize(
    "name", ["alice", " ALICE ", "a lice", "alice@pay.example", "Alice@127.0.0.1"]
)
def test_the_name_is_taken_in_any_case_with_or_without_a_host(
    alice_with_password: User, name: str
) -> None:
    answer = login(username=name, password=PASSWORD)
    assert answer.status_code == 200
    assert answer.body["user"]["id"] == str(alice_with_password.id)
    assert "balance" not in answer.body["user"]
    assert Api(answer.body["token"]).get("/me").status_code == 200


def test_members_that_older_clients_send_are_ignored(alice_with_password: User) -> None:
    answer = login(username="alice", password=PASSWORD, token=None, recaptcha="x")
    assert answer.status_code == 200


def test_the_token_comes_as_a_cookie_that_scripts_cannot_read(alice_with_password: User) -> None:
    answer = login(username="alice", password=PASSWORD)
    cookie = answer.cookies["token"]
    assert cookie.value == answer.body["token"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert cookie["max-age"] == 5 * 24 * 3600
    assert not cookie["domain"]


def test_the_session_says_from_where_and_with_what(alice_with_password: User) -> None:
    Api().post("/login", {"username": "alice", "password": PASSWORD}, User_Agent="curl/8")
    session = Session.objects.get(user=alice_with_password)
    assert (session.kind, session.address, session.user_agent) == ("login", "127.0.0.1", "curl/8")
    lifetime = session.expires - session.created
    assert round(lifetime.total_seconds() / 86400) == settings.TOKEN_LIFETIME_DAYS


@pytest.mark.parametrize(
    "body",
    [
        {"username": "alice", "password": "wrong"},
        {"username": "nobody", "password": PASSWORD},
        {"username": "evicted", "password": PASSWORD},
        {"username": "alice"},
        {"username": "alice", "password": None},
        {"username": "alice", "password": ""},
        {"username": "", "password": ""},
        {"password": PASSWORD},
        {},
    ],
)
def test_every_failed_login_is_answered_alike(
    alice_with_password: User, bob: User, body: dict[str, object]
) -> None:
    """P04, P19: an unknown user, a wrong password, a field left out, an evicted account."""
    User.objects.filter(id=give_password(bob).id).update(username="evicted")
    services.evict(bob, actor="test", reason="test")
    answer = Api().post("/login", body)
    assert answer.status_code == 401
    assert answer.body == WRONG
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert not answer.cookies
    assert not Session.objects.filter(user=alice_with_password).exists()


def test_an_account_without_a_password_cannot_be_signed_in_to(alice: User) -> None:
    for password in ("", "!", alice.password):
        assert login(username="alice", password=password).status_code == 401


@pytest.mark.parametrize("field", ["username", "password"])
@pytest.mark.parametrize("value", [5, True, ["alice"], {"a": 1}])
def test_a_field_of_another_type_is_named(db: None, field: str, value: object) -> None:
    answer = login(**({"username": "alice", "password": PASSWORD} | {field: value}))
    assert (answer.status_code, answer.body["code"]) == (400, "invalid_request")
    assert answer.body["errors"][0]["pointer"] == f"#/{field}"


def test_a_stale_token_does_not_stop_a_login(alice_with_password: User) -> None:
    answer = Api("stale").post("/login", {"username": "alice", "password": PASSWORD})
    assert answer.status_code == 200


def test_after_twenty_wrong_passwords_not_even_the_right_one_is_tried(
    alice_with_password: User,
) -> None:
    """P18"""
    for _ in range(20):
        assert login(username="alice", password="wrong").status_code == 401
    answer = login(username="alice", password=PASSWORD)
    assert (answer.status_code, answer.body["code"]) == (429, "rate_limited")
    assert 0 < int(answer.headers["Retry-After"]) <= 601


def test_what_was_counted_is_forgotten_in_the_end(alice_with_password: User) -> None:
    """Strangers can try any number of names; the guesses of an hour ago still count."""
    for name in ("alice", "nobody"):
        login(username=name, password="wrong")
    long_ago = timezone.now() - timedelta(days=2)
    Attempts.objects.filter(key="login:name:nobody").update(window_start=long_ago)
    forget_attempts()
    assert not Attempts.objects.filter(key="login:name:nobody").exists()
    assert Attempts.objects.filter(key="login:name:alice").exists()


def test_a_right_password_forgives_the_wrong_ones(alice_with_password: User) -> None:
    for _ in range(19):
        login(username="alice", password="wrong")
    assert login(username="alice", password=PASSWORD).status_code == 200
    assert not Attempts.objects.filter(key="login:name:alice").exists()


def test_signing_in_to_ones_own_account_does_not_forgive_guesses_at_others(
    alice_with_password: User, db: None
) -> None:
    """P18: the count of an address goes on."""
    for number in range(20):
        if number % 5 == 4:
            assert login(username="alice", password=PASSWORD).status_code == 200
        assert login(username=f"victim{number}", password="guess").status_code == 401
    assert login(username="victim99", password="guess").status_code == 429
    assert Attempts.objects.get(key="login:network:127.0.0.1").count == 21


# --- Logout --------------------------------------------------------------------------------------


def test_logout_ends_this_session_and_no_other(alice: User) -> None:
    """P24"""
    phone, laptop = api_of(alice), api_of(alice)
    answer = phone.post("/logout")
    assert (answer.status_code, answer.body) == (200, {})
    assert phone.get("/me").status_code == 401
    assert laptop.get("/me").status_code == 200


def test_logout_takes_the_cookie_back(alice_with_password: User) -> None:
    browser = Client()
    signed_in = browser.post(
        "/api/login",
        {"username": "alice", "password": PASSWORD},
        content_type="application/json",
    )
    assert browser.get("/api/me").status_code == 200
    left = browser.post("/api/logout", headers={"Origin": settings.PUBLIC_URL})
    assert left.status_code == 200
    assert left.cookies["token"]["max-age"] == 0
    assert browser.get("/api/me").status_code == 401
    assert Api(signed_in.json()["token"]).get("/me").status_code == 401


# --- The cookie ----------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null"])
def test_another_site_cannot_use_the_cookie(alice_with_password: User, origin: str | None) -> None:
    browser = Client()
    browser.post(
        "/api/login",
        {"username": "alice", "password": PASSWORD},
        content_type="application/json",
    )
    headers = {"Origin": origin} if origin else {}
    answer = browser.post(
        "/api/user", {"display": "Mallory"}, content_type="application/json", headers=headers
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    alice_with_password.refresh_from_db()
    assert alice_with_password.display == ""


def test_our_own_pages_can(alice_with_password: User) -> None:
    browser = Client()
    browser.post(
        "/api/login",
        {"username": "alice", "password": PASSWORD},
        content_type="application/json",
    )
    answer = browser.post(
        "/api/user",
        {"display": "Alice B."},
        content_type="application/json",
        headers={"Origin": settings.PUBLIC_URL},
    )
    assert answer.json()["user"]["display"] == "Alice B."
