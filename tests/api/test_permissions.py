"""Who may call what: every route, with every kind of credential (P07). Deny by default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.urls import resolve

from accounts import credentials
from accounts.models import User
from coinos.api import not_found
from coinos.urls import api_urls
from tests.api.endpoints import ENDPOINTS, Endpoint, routes
from tests.cast import Api, token_of

SCOPES = {"read": {"read"}, "receive": {"read", "receive"}, "spend": {"read", "receive", "spend"}}
REFUSALS = {"unauthorized", "read_only_token", "forbidden"}


def call(endpoint: Endpoint, token: str | None) -> Any:
    api = Api(token)
    if endpoint.method == "GET":
        return api.get(endpoint.path)
    return api.post(endpoint.path, endpoint.body)


def refusal(endpoint: Endpoint, token: str | None) -> str | None:
    """The code with which the caller was turned away, None when it was let in.

    What is behind may still answer anything, such as that there is no node in this test.
    """
    answer = call(endpoint, token)
    if answer.status_code not in (401, 403):
        return None
    code = (answer.body or {}).get("code", "html")
    assert {"unauthorized": 401, "read_only_token": 401, "forbidden": 403}.get(
        code, answer.status_code
    ) == answer.status_code
    return code if code in REFUSALS else None


def test_every_route_is_in_the_table() -> None:
    """M03: a new route must say who may call it."""
    known = {resolve(f"/api{endpoint.path}").route for endpoint in ENDPOINTS}
    written = {
        path.lstrip("/") for path, view in routes(api_urls, "/api/") if view is not not_found
    }
    assert written == known


def refusals(token: Callable[[], str | None]) -> dict[str, str | None]:
    """What each endpoint answers to a caller with a token of its own for each."""
    return {str(endpoint): refusal(endpoint, token()) for endpoint in ENDPOINTS}


def expected(code: str, allowed: Callable[[Endpoint], bool]) -> dict[str, str | None]:
    return {
        str(endpoint): None if endpoint.scope == "none" or allowed(endpoint) else code
        for endpoint in ENDPOINTS
    }


def test_without_a_token(alice: User, bob: User) -> None:
    wanted = expected("unauthorized", lambda endpoint: endpoint.optional)
    wanted["POST /invoice"] = "unauthorized"  # it does not say for whom
    assert refusals(lambda: None) == wanted


def test_with_a_revoked_token(alice: User, bob: User) -> None:
    token = token_of(alice)
    credentials.revoke_all(alice)
    assert refusals(lambda: token) == expected("unauthorized", lambda endpoint: False)


def test_with_a_login_token(alice: User, bob: User) -> None:
    assert refusals(lambda: token_of(alice)) == expected("", lambda endpoint: True)


def test_with_a_read_only_token(alice: User, bob: User) -> None:
    """Invoices and payments only; anything else, GET /me included, is 401 `read_only_token`."""
    wanted = expected("read_only_token", lambda endpoint: endpoint.read_only)
    assert refusals(lambda: credentials.read_only_token(alice)) == wanted


@pytest.mark.parametrize("scope", SCOPES)
def test_with_an_api_key(alice: User, bob: User, scope: str) -> None:
    """P07: a key for receiving cannot spend, and none changes settings or makes tokens."""
    _, key = credentials.create_api_key(alice, name="shop", scope=scope)
    wanted = expected("forbidden", lambda endpoint: endpoint.scope in SCOPES[scope])
    assert refusals(lambda: key) == wanted
