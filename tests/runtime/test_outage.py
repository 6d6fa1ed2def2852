"""While PostgreSQL is away: a 503 that says what to do, in the API and on pages, and no 500."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, connections
from django.test import Client

from accounts import credentials
from accounts.authentication import SESSION_ROW
from accounts.models import Session, User
from tests.cast import Api, available_sat, fund, make_user, token_of


@pytest.fixture
def alice(cloned_db: Any) -> User:
    user = make_user("alice")
    fund(user, 1000)
    return user


@contextmanager
def database_away() -> Iterator[None]:
    """New connections are refused, as by a server that is stopped."""
    database = connections.settings["default"]
    name = database["NAME"]
    connection.close()
    database["NAME"] = connection.settings_dict["NAME"] = "gone"
    try:
        yield
    finally:
        connection.close()
        database["NAME"] = connection.settings_dict["NAME"] = name


def test_the_api_asks_to_try_again_and_nothing_is_sent(alice: User) -> None:
    make_user("bob")
    api = Api(token_of(alice))
    with database_away():
        reads = api.get("/me")
        sends = api.post("/send", {"username": "bob", "amount": 5})
    for answer in (reads, sends):
        assert (answer.status_code, answer.body["code"]) == (503, "database_unavailable")
        assert answer.headers["Retry-After"] == "5"
        assert "Idempotency-Key" in answer.body["detail"]
    assert available_sat(alice) == 1000


def test_a_page_says_so_too_even_when_the_sign_in_cannot_be_read(alice: User) -> None:
    browser = Client(raise_request_exception=False)
    session = browser.session
    row = credentials.start_session(alice, kind=Session.Kind.WEB)
    session[SESSION_ROW] = str(row.id)
    session.save()
    with database_away():
        signed_in = browser.get("/payments")
        stranger = Client(raise_request_exception=False).get("/alice")
    assert settings.SESSION_COOKIE_NAME in browser.cookies
    for answer in (signed_in, stranger):
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert "look at your payments before you try again" in answer.content.decode()
