"""The cast: Alice owns, Bob may, Charlie must see nothing. And how tests call the API."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.hashers import make_password
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection, transaction
from django.test import Client

from accounts import credentials, ledger
from accounts.authentication import SESSION_ROW
from accounts.authenticators import Change
from accounts.models import Session, User
from accounts.passwords import only_hashed_again
from coinos.db import as_operator

PASSWORD = "correct horse"
_numbers = itertools.count(1)


class Api:
    """A client of the JSON API, with or without a token."""

    def __init__(self, token: str | None = None, base: str = "/api") -> None:
        self.token = token
        self.base = base
        self._client = Client(raise_request_exception=False)

    def get(self, path: str, **headers: str) -> Any:
        return self._answer(self._client.get(self.base + path, headers=self._headers(headers)))

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self._answer(
            self._client.post(
                self.base + path,
                data={} if body is None else body,
                content_type="application/json",
                headers=self._headers(headers),
            )
        )

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        token = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return token | {name.replace("_", "-"): value for name, value in more.items()}

    def _answer(self, response: Any) -> Any:
        response.body = (
            response.json() if "json" in response.headers.get("Content-Type", "") else None
        )
        return response


def make_user(name: str, **fields: Any) -> User:
    """A registered user, without the cost of hashing a password."""
    user = User(username=name, pubkey=f"{next(_numbers):064x}", **fields)
    user.set_unusable_password()
    with transaction.atomic():
        user.save(force_insert=True)
        ledger.open_account(user)
    return user


def give_password(user: User, password: str = PASSWORD) -> User:
    """As if the account had had this password all along: no session ends."""
    user.set_password(password)
    with only_hashed_again():
        user.save(update_fields=["password"])
    return user


def give_pin(user: User, pin: str = "123456") -> User:
    """As if the account had had this PIN all along."""
    user.pin_hash = make_password(pin)
    user.save(update_fields=["pin_hash"])
    return user


def rename(user: User, username: str) -> None:
    change = Change(user)
    change.username(username)
    change.make()


def token_of(user: User) -> str:
    return credentials.token_of(credentials.start_session(user, kind=Session.Kind.LOGIN))


def office_of(operator: User) -> Client:
    """A browser in which this operator has signed in to the admin, without the cost of hashing."""
    session = SessionStore()
    session[SESSION_ROW] = str(credentials.start_session(operator, kind=Session.Kind.ADMIN).id)
    session[SESSION_KEY] = str(operator.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = operator.get_session_auth_hash()
    session.create()
    browser = Client()
    browser.cookies[settings.ADMIN_SESSION_COOKIE_NAME] = session.session_key
    return browser


def fund(user: User, sats: int) -> None:
    """Give the user money of the operator's."""
    gift: dict[str, Any] = {
        "user_id": user.id,
        "amount_msat": sats * 1000,
        "external_id": f"test:{next(_numbers)}:{user.id}",
        "reason": "start balance of a test",
    }
    if connection.in_atomic_block:  # of the test: the owner could not see the user yet
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT tests.fund(%(user_id)s, %(amount_msat)s, %(external_id)s, %(reason)s)", gift
            )
    else:
        with as_operator(), transaction.atomic():
            ledger.fund_from_equity(**gift)


def available_sat(user: User) -> int:
    return ledger.balance_of(user.id).available_sat


@pytest.fixture
def alice(db: None) -> User:
    return _cast("alice")


@pytest.fixture
def bob(db: None) -> User:
    return _cast("bob")


@pytest.fixture
def charlie(db: None) -> User:
    return _cast("charlie")


def _cast(name: str) -> User:
    return make_user(name)


@pytest.fixture
def anyone() -> Api:
    """A caller without a token."""
    return Api()


def api_of(user: User) -> Api:
    return Api(token_of(user))


__all__ = ["PASSWORD", "Api", "alice", "anyone", "api_of", "bob", "charlie"]
