"""Of nothing that one account can make there is any number (sec-17)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts import connections, credentials
from accounts.errors import TooManyConnections
from accounts.models import ApiKey, Connection, Session, User
from coinos import limits
from tests.cast import PASSWORD, Api, api_of, fund, give_password, make_user
from tests.database import Database
from tests.html.conftest import sign_in
from tests.html.test_gifts import make as give

LowerTo = Callable[[str, int], None]


@pytest.fixture
def lower(monkeypatch: Any) -> LowerTo:
    """Lower a bound, so that a test reaches it soon."""

    def to(name: str, at_most: int) -> None:
        monkeypatch.setattr(limits, name, replace(getattr(limits, name), at_most=at_most))

    return to


# --- Sign-ins -------------------------------------------------------------------------------------


@pytest.fixture
def three(monkeypatch: Any) -> None:
    """Three tokens at most, and three browsers."""
    most = {Session.Kind.LOGIN: 3, Session.Kind.WEB: 3}
    monkeypatch.setattr(credentials, "MOST_SESSIONS", most)


def long_ago(session: Session, *, used_days_ago: int) -> None:
    now = timezone.now()
    Session.objects.filter(id=session.id).update(
        created=now - timedelta(days=90), last_used=now - timedelta(days=used_days_ago)
    )


def test_a_program_that_signs_in_for_every_call_leaves_a_bounded_number_of_rows(
    alice: User, settings: Any
) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    give_password(alice)
    most = limits.TOKENS.at_most
    body = {"username": "alice", "password": PASSWORD}
    for _ in range(most + 5):
        last = Api().post("/login", body)
        assert last.status_code == 200
    assert Session.objects.filter(user=alice).count() == most
    assert Api(last.body["token"]).get("/me").status_code == 200


def test_the_token_unused_for_longest_ends_first(three: None, alice: User) -> None:
    tokens = [credentials.start_session(alice, kind=Session.Kind.LOGIN) for _ in range(3)]
    for session, days in zip(tokens, (5, 40, 2), strict=True):
        long_ago(session, used_days_ago=days)
    newest = credentials.start_session(alice, kind=Session.Kind.LOGIN)
    left = set(Session.objects.values_list("id", flat=True))
    assert left == {tokens[0].id, tokens[2].id, newest.id}


def test_one_that_was_never_used_again_ends_before_one_that_was(three: None, alice: User) -> None:
    """A script that signs in every minute does not end the token of a shop that is open daily."""
    shop, *rest = [credentials.start_session(alice, kind=Session.Kind.LOGIN) for _ in range(3)]
    long_ago(shop, used_days_ago=1)
    two_hours_ago = timezone.now() - timedelta(hours=2)
    ids = [session.id for session in rest]
    Session.objects.filter(id__in=ids).update(created=two_hours_ago, last_used=two_hours_ago)
    for _ in range(2):
        credentials.start_session(alice, kind=Session.Kind.LOGIN)
    assert Session.objects.filter(id=shop.id).exists()
    assert Session.objects.count() == 3


def test_one_that_is_over_ends_before_one_that_lives(three: None, alice: User) -> None:
    live, over, other = [credentials.start_session(alice, kind=Session.Kind.LOGIN) for _ in "abc"]
    long_ago(live, used_days_ago=80)
    credentials.revoke_session(alice, over.id)
    credentials.start_session(alice, kind=Session.Kind.LOGIN)
    left = set(Session.objects.values_list("id", flat=True))
    assert {live.id, other.id} < left
    assert over.id not in left


def test_tokens_make_no_room_among_browsers_nor_in_another_account(
    three: None, alice: User, bob: User
) -> None:
    browser, other = sign_in(alice), sign_in(bob)
    for _ in range(5):
        credentials.start_session(alice, kind=Session.Kind.LOGIN)
    assert browser.client.get("/settings").status_code == 200
    assert other.client.get("/settings").status_code == 200


# --- What an account keeps ------------------------------------------------------------------------


def test_wallet_connections_have_a_ceiling(alice: User, bob: User, lower: LowerTo) -> None:
    lower("WALLET_CONNECTIONS", 3)
    api = api_of(alice)
    made = [api.post("/app", {"name": f"app {number}"}).status_code for number in range(5)]
    assert made == [200, 200, 200, 403, 403]
    first = api.get("/apps").body[0]
    again = {"name": "renamed", "pubkey": first["pubkey"]}
    assert api.post("/app", again).status_code == 200  # it is there already
    assert api_of(bob).post("/app", {"name": "his"}).status_code == 200
    api.post("/apps/delete", {"pubkey": first["pubkey"]})
    assert api.post("/app", {"name": "another"}).status_code == 200


def test_api_keys_have_a_ceiling_of_those_that_work(alice: User, lower: LowerTo) -> None:
    lower("API_KEYS", 2)
    person = sign_in(alice)

    def make() -> int:
        form = {"name": "till", "scope": "read", "password": PASSWORD}
        return int(person.post("/settings/keys", **form).status_code)

    assert [make() for _ in range(3)] == [200, 200, 422]
    credentials.revoke_api_key(alice, ApiKey.objects.filter(user=alice)[0].id)
    assert make() == 200


def test_open_gifts_have_a_ceiling(alice: User, lower: LowerTo) -> None:
    lower("OPEN_GIFTS", 2)
    fund(alice, 1000)
    person = sign_in(alice)
    assert [give(person, amount="100").status_code for _ in range(3)] == [200, 200, 422]
    assert person.available_sat == 800


@pytest.mark.slow
def test_connections_made_at_once_do_not_pass_the_ceiling(
    cloned_db: Database, lower: LowerTo
) -> None:
    lower("WALLET_CONNECTIONS", 2)
    alice = make_user("alice")

    def make(number: int) -> str:
        try:
            connections.save(alice, name=f"app {number}")
        except TooManyConnections:
            return "refused"
        finally:
            connection.close()
        return "made"

    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(make, range(6)))
    assert sorted(results) == ["made"] * 2 + ["refused"] * 4
    assert Connection.objects.count() == 2
