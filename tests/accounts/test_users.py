"""GET /users/:key and GET /contacts: what one sees of others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from bech32 import bech32_encode, convertbits
from django.utils import timezone

from accounts import credentials, services
from accounts.models import Contact, User
from coinos import nostr
from tests.cast import Api, api_of, make_user

PUBKEY = nostr.keypair_of("22" * 32).pubkey


def nprofile(pubkey: str) -> str:
    relay = b"wss://relay.example"
    entries = bytes([1, len(relay)]) + relay + bytes([0, 32]) + bytes.fromhex(pubkey)
    words = convertbits(entries, 8, 5)
    return str(bech32_encode("nprofile", words))


@pytest.fixture
def dave(db: None) -> User:
    user = make_user("dave", display="Dave", email="dave@d.example", prompt=True)
    user.pubkey = PUBKEY
    user.save()
    return user


@pytest.mark.parametrize(
    "key",
    [
        lambda user: user.username,
        lambda user: user.username.upper(),
        lambda user: f"{user.username}@pay.example",
        lambda user: str(user.id),
        lambda user: str(user.id).upper(),
        lambda user: user.pubkey,
        lambda user: user.pubkey.upper(),
        lambda user: nostr.npub(user.pubkey),
        lambda user: nprofile(user.pubkey),
    ],
    ids=["name", "NAME", "name@host", "id", "ID", "pubkey", "PUBKEY", "npub", "nprofile"],
)
def test_a_user_is_found_under_every_name(
    dave: User, anyone: Api, key: Callable[[User], str]
) -> None:
    answer = anyone.get(f"/users/{key(dave)}")
    assert answer.status_code == 200
    assert answer.body == {
        "id": str(dave.id),
        "username": "dave",
        "display": "Dave",
        "currency": "USD",
        "prompt": True,
        "migrated": True,
        "pubkey": PUBKEY,
        "npub": nostr.npub(PUBKEY),
    }


@pytest.mark.parametrize(
    "key",
    [
        "nobody",
        "5d1f7a30-3a0b-4d5b-8f3c-8c2e0b6f9a02",
        "00" * 32,
        nostr.npub(nostr.keypair_of("33" * 32).pubkey),
        "npub1qqqqqqqqq",
        "%20",
        "%00",
        "dave%00",
        "%ED%A0%80",
        "%F0%9F%98%80",
        "x" * 2000,
        "'--",
    ],
)
def test_an_unknown_user_is_404(dave: User, anyone: Api, key: str) -> None:
    answer = anyone.get(f"/users/{key}")
    assert (answer.status_code, answer.body["code"]) == (404, "not_found")


def test_the_sentence_for_an_unknown_user_is_the_old_one(anyone: Api, db: None) -> None:
    assert anyone.get("/users/nobody").body["message"] == "User not found"


def test_an_evicted_user_is_not_shown(dave: User, anyone: Api) -> None:
    services.evict(dave, actor="test", reason="test")
    assert anyone.get("/users/dave").status_code == 404


def test_old_and_read_only_tokens_do_no_harm(dave: User) -> None:
    for token in ("stale", credentials.read_only_token(dave)):
        assert Api(token).get("/users/dave").status_code == 200


# --- Contacts ------------------------------------------------------------------------------------


def met(user: User, contact: User, *, days_ago: int, **fields: Any) -> None:
    Contact.objects.create(
        user=user,
        contact=contact,
        last_paid=timezone.now() - timedelta(days=days_ago),
        **fields,
    )


def test_contacts_are_listed_with_the_pinned_and_the_recent_first(
    alice: User, bob: User, charlie: User, dave: User
) -> None:
    met(alice, bob, days_ago=2)
    met(alice, charlie, days_ago=3, pinned=True)
    met(alice, dave, days_ago=1)
    answer = api_of(alice).get("/contacts")
    assert answer.status_code == 200
    assert answer.body == [
        {"id": str(charlie.id), "username": "charlie", "picture": None, "pinned": True},
        {"id": str(dave.id), "username": "dave", "picture": None},
        {"id": str(bob.id), "username": "bob", "picture": None},
    ]
    assert [row["username"] for row in api_of(alice).get("/contacts/2").body] == ["charlie", "dave"]


def test_nobody_sees_the_contacts_of_others(alice: User, bob: User, charlie: User) -> None:
    """P01"""
    met(alice, bob, days_ago=1)
    assert api_of(charlie).get("/contacts").body == []


@pytest.mark.parametrize("limit", ["0", "1000000", "9" * 30])
def test_any_limit_is_answered(alice: User, limit: str) -> None:
    assert api_of(alice).get(f"/contacts/{limit}").body == []


@pytest.mark.parametrize("limit", ["-1", "ten", "1.5"])
def test_a_limit_is_a_number(alice: User, limit: str) -> None:
    assert api_of(alice).get(f"/contacts/{limit}").status_code == 404
