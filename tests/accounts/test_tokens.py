"""Tokens: which are believed, what each may do, and when their life ends."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.conf import settings
from django.utils import timezone

from accounts import credentials, services
from accounts.models import ApiKey, Session, User
from tests.cast import Api, api_of, token_of

UNAUTHORIZED = ("unauthorized", "A valid token is required")


def refused(token: str) -> tuple[str, str]:
    """What GET /me answers to a token that it does not believe."""
    answer = Api(token).get("/me")
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    return answer.body["code"], answer.body["message"]


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def sign(
    claims: dict[str, Any], key: str = settings.JWT_SIGNING_KEY, algorithm: str = "HS256"
) -> str:
    return jwt.encode(claims, key, algorithm=algorithm)


# --- Which tokens are believed -------------------------------------------------------------------


def test_the_same_claims_signed_by_us_are_believed(alice: User) -> None:
    """The forgeries below differ from this token in one thing each."""
    assert Api(sign(claims_of(token_of(alice)))).get("/me").status_code == 200


def test_a_token_without_a_signature_is_refused(alice: User) -> None:
    """P02: alg none"""
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode())
    _, payload, _ = token_of(alice).split(".")
    assert refused(f"{head.decode().rstrip('=')}.{payload}.") == UNAUTHORIZED


@pytest.mark.parametrize(
    "forge",
    [
        lambda claims: sign(claims, key="x" * 64),
        lambda claims: sign(claims, key=settings.SECRET_KEY),
        lambda claims: sign(claims, algorithm="HS512"),
        lambda claims: sign(claims | {"aud": "elsewhere"}),
        lambda claims: sign({k: v for k, v in claims.items() if k != "aud"}),
        lambda claims: sign(claims | {"iss": "elsewhere"}),
        lambda claims: sign(claims | {"exp": claims["iat"] - 3600}),
        lambda claims: sign(claims | {"token_type": "ro"}),
        lambda claims: sign(claims | {"token_type": "refresh"}),
        lambda claims: sign({k: v for k, v in claims.items() if k != "token_type"}),
        lambda claims: sign({k: v for k, v in claims.items() if k != "jti"}),
        lambda claims: sign(claims | {"jti": uuid.uuid4().hex}),
        lambda claims: sign(claims | {"jti": "not a uuid"}),
        lambda claims: sign(claims | {"jti": 7}),
        lambda claims: sign(claims)[:-4] + "AAAA",
    ],
)
def test_a_forged_token_is_refused(alice: User, forge: Callable[[dict[str, Any]], str]) -> None:
    """P02: wrong key, algorithm, audience, issuer, time, type, session."""
    assert refused(forge(claims_of(token_of(alice)))) == UNAUTHORIZED


@pytest.mark.parametrize(
    "token",
    ["nonsense", "a.b.c", "..", "coinos_", "coinos_nonsense", "\u00e9", "x" * 5000, "[]", "null"],
)
def test_nonsense_is_refused(alice: User, token: str) -> None:
    assert refused(token) == UNAUTHORIZED


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "Token x"])
def test_a_header_without_a_token_is_no_token(alice: User, header: str) -> None:
    answer = Api().get("/me", Authorization=header)
    assert (answer.status_code, answer.body["code"]) == (401, "unauthorized")


def test_the_word_bearer_is_taken_in_any_case(alice: User) -> None:
    assert Api().get("/me", Authorization=f"bearer {token_of(alice)}").status_code == 200


# --- When they end -------------------------------------------------------------------------------


def test_the_row_decides_and_not_the_signature(alice: User) -> None:
    """P06: whoever revokes the row ends the token."""
    session = credentials.start_session(alice, kind=Session.Kind.LOGIN)
    token = credentials.token_of(session)
    assert Api(token).get("/me").status_code == 200
    credentials.revoke_session(alice, session.id)
    assert refused(token) == UNAUTHORIZED


def test_an_expired_session_is_refused_before_its_token_is(alice: User) -> None:
    session = credentials.start_session(alice, kind=Session.Kind.LOGIN)
    token = credentials.token_of(session)
    assert credentials.credential_of(token).user == alice  # its signature is known from now on
    Session.objects.filter(id=session.id).update(expires=timezone.now())
    assert refused(token) == UNAUTHORIZED


def test_a_browser_session_is_no_token(alice: User) -> None:
    """P02: other token types"""
    login = claims_of(token_of(alice))
    browser = credentials.start_session(alice, kind=Session.Kind.WEB)
    assert refused(sign(login | {"jti": browser.id.hex})) == UNAUTHORIZED


def test_an_evicted_account_is_refused_by_every_token_and_key(alice: User) -> None:
    """P20"""
    tokens = [
        token_of(alice),
        credentials.read_only_token(alice),
        credentials.create_api_key(alice, name="shop", scope="spend")[1],
    ]
    assert [Api(token).get("/invoices").status_code for token in tokens[1:]] == [200, 200]
    services.evict(alice, actor="test", reason="test")
    assert [refused(token) for token in tokens] == [UNAUTHORIZED] * 3
    assert Api(token_of(alice)).get("/me").status_code == 401


def test_a_deactivated_account_is_refused_although_its_rows_live(alice: User) -> None:
    """P06, CVE-2024-22513"""
    token, (_, key) = token_of(alice), credentials.create_api_key(alice, name="x", scope="read")
    User.objects.filter(id=alice.id).update(is_active=False)
    assert refused(token) == refused(key) == UNAUTHORIZED


def test_a_frozen_account_stays_frozen_when_it_is_renamed(alice: User) -> None:
    """P20"""
    services.freeze(alice, actor="operator", reason="test")
    api = api_of(alice)
    assert api.post("/user", {"username": "alicia"}).status_code == 200
    assert User.objects.get(username="alicia").frozen_at is not None


def test_revoking_is_for_ones_own_sessions(alice: User, bob: User) -> None:
    """P01"""
    session = credentials.start_session(alice, kind=Session.Kind.LOGIN)
    credentials.revoke_session(bob, session.id)
    assert Api(credentials.token_of(session)).get("/me").status_code == 200


def test_using_a_token_is_noted_at_most_once_a_minute(alice: User) -> None:
    session = credentials.start_session(alice, kind=Session.Kind.LOGIN)
    api = Api(credentials.token_of(session))
    before = session.last_used
    api.get("/me")
    session.refresh_from_db()
    assert session.last_used == before
    Session.objects.filter(id=session.id).update(last_used=before - timedelta(minutes=2))
    api.get("/me")
    session.refresh_from_db()
    assert session.last_used > before


# --- The read-only token -------------------------------------------------------------------------


def test_the_read_only_token_is_plain_text_and_the_same_each_time(alice: User) -> None:
    api = api_of(alice)
    first, second = api.get("/ro"), api.get("/ro")
    assert first.headers["Content-Type"] == "text/plain"
    assert first.content == second.content
    assert first.content.count(b".") == 2
    assert Session.objects.filter(user=alice, kind="ro").count() == 1


def test_it_is_given_to_a_client_that_asks_for_text(alice: User) -> None:
    assert api_of(alice).get("/ro", Accept="text/plain").status_code == 200


def test_after_a_revocation_there_is_a_new_one(alice: User) -> None:
    api = api_of(alice)
    first = api.get("/ro").content.decode()
    credentials.revoke_session(alice, Session.objects.get(user=alice, kind="ro").id)
    second = api.get("/ro").content.decode()
    assert first != second
    assert Api(first).get("/invoices").status_code == 401
    assert Api(second).get("/invoices").status_code == 200


def test_an_expired_one_is_replaced(alice: User) -> None:
    api = api_of(alice)
    first = api.get("/ro").content
    Session.objects.filter(user=alice, kind="ro").update(expires=timezone.now())
    assert api.get("/ro").content != first


# --- API keys ------------------------------------------------------------------------------------


def test_only_the_hash_of_a_key_is_kept(alice: User) -> None:
    row, key = credentials.create_api_key(alice, name="shop", scope="receive")
    stored = str(ApiKey.objects.filter(id=row.id).values().get())
    assert key.startswith("coinos_")
    assert key not in stored
    assert row.hint == key[:12]


def test_a_key_says_who_it_is(alice: User) -> None:
    _, key = credentials.create_api_key(alice, name="shop", scope="read")
    assert Api(key).get("/me").body["username"] == "alice"


@pytest.mark.parametrize("end", ["revoked_at", "expires"])
def test_a_key_ends_when_it_is_revoked_or_expires(alice: User, end: str) -> None:
    row, key = credentials.create_api_key(alice, name="shop", scope="read", expires_days=1)
    ApiKey.objects.filter(id=row.id).update(**{end: timezone.now()})
    assert refused(key) == UNAUTHORIZED


def test_log_out_everywhere_ends_the_keys_when_asked(alice: User) -> None:
    """P24"""
    token, (_, key) = token_of(alice), credentials.create_api_key(alice, name="x", scope="read")
    credentials.revoke_all(alice)
    assert refused(token) == UNAUTHORIZED
    assert Api(key).get("/me").status_code == 200
    credentials.revoke_all(alice, api_keys=True)
    assert refused(key) == UNAUTHORIZED
