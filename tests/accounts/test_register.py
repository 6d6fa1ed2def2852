"""POST /register: a new account, and the names that it may have."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.db import connections

from accounts import hashing
from accounts.models import Connection, LedgerAccount, User
from coinos import nostr
from coinos.places import Places
from tests.cast import Api
from tests.database import Database

PUBKEY = nostr.keypair_of("11" * 32).pubkey


def register(username: object, password: object = "hunter2", **more: object) -> Any:
    return Api().post("/register", {"user": {"username": username, "password": password} | more})


def test_the_documented_request_opens_an_account(db: None) -> None:
    answer = register("demo")
    assert answer.status_code == 200
    body = answer.body
    assert (body["username"], body["currency"], body["currencies"]) == (
        "demo",
        "USD",
        ["USD", "CAD"],
    )
    assert (body["fiat"], body["locktime"], body["migrated"]) == (False, 300, True)
    assert nostr.keypair_of(body["sk"]).pubkey == body["pubkey"]
    assert body["npub"] == nostr.npub(body["pubkey"])
    assert "balance" not in body
    user = User.objects.get(id=body["id"])
    assert LedgerAccount.objects.filter(user=user, posted_msat=0, held_msat=0).exists()
    assert Connection.objects.get(user=user).max_amount_sat == 1_000_000


def test_the_token_works_at_once(db: None) -> None:
    body = register("demo").body
    me = Api(body["token"]).get("/me")
    assert me.status_code == 200
    assert (me.body["id"], me.body["balance"]) == (body["id"], 0)


def test_the_password_is_kept_as_argon2_and_never_answered(db: None) -> None:
    """P05"""
    answer = register("demo", "hunter2")
    stored = User.objects.get(username="demo").password
    assert stored.startswith("argon2$argon2id$")
    assert b"hunter2" not in answer.content
    assert stored.encode() not in answer.content


def test_an_older_hash_is_renewed_when_its_owner_signs_in(alice: User) -> None:
    """P05"""
    alice.password = make_password("hunter2", hasher="pbkdf2_sha256")
    alice.save()
    body = {"username": "alice", "password": "hunter2"}
    assert Api().post("/login", body).status_code == 200
    alice.refresh_from_db()
    assert alice.password.startswith("argon2$")
    assert Api().post("/login", body).status_code == 200


def test_the_secret_key_is_not_kept(db: None) -> None:
    body = register("demo").body
    row = User.objects.filter(username="demo").values().get()
    assert body["sk"] not in str(row)


def test_older_samples_send_no_wrapper(db: None) -> None:
    answer = Api().post("/register", {"username": "demo", "password": "hunter2"})
    assert answer.status_code == 200
    assert answer.body["username"] == "demo"


def test_a_caller_may_bring_a_nostr_key(db: None) -> None:
    body = register("demo", pubkey=PUBKEY.upper()).body
    assert body["pubkey"] == PUBKEY
    assert "sk" not in body


def test_a_nostr_key_belongs_to_one_account(db: None) -> None:
    register("demo", pubkey=PUBKEY)
    answer = register("other", pubkey=PUBKEY)
    assert (answer.status_code, answer.body["code"]) == (409, "key_in_use")
    assert not User.objects.filter(username="other").exists()


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("alice", "alice"),
        (" BOB 77 ", "bob77"),
        ("Hunter2", "hunter2"),
        ("a1", "a1"),
        ("x" * 24, "x" * 24),
    ],
)
def test_names_are_stored_in_lower_case_without_spaces(db: None, typed: str, stored: str) -> None:
    answer = register(typed)
    assert (answer.status_code, answer.body["username"]) == (200, stored)


@pytest.mark.parametrize("name", ["alice", "ALICE", " a l i c e "])
def test_a_taken_name_is_refused_in_words_that_clients_know(alice: User, name: str) -> None:
    answer = register(name)
    assert (answer.status_code, answer.body["code"]) == (409, "username_taken")
    assert answer.body["message"] == answer.body["error"] == "Username alice taken"
    assert answer.body["errors"][0]["pointer"] == "#/user/username"


@pytest.mark.parametrize(
    "name",
    [
        "a-b@c",
        "demo@other.example",
        "q",
        "x" * 25,
        "\u0430dmin",  # Cyrillic a
        "\ufb01nn",  # ligature fi
        "dem\u00f6",
        "\uff44emo",  # full width
        "a\u200bb",
        "a\tb",
        "../me",
        "<b>",
    ],
)
def test_a_name_of_anything_but_plain_letters_and_digits_is_refused(db: None, name: str) -> None:
    """P14"""
    answer = register(name)
    assert (answer.status_code, answer.body["code"]) == (400, "invalid_username")
    assert answer.body["errors"][0]["pointer"] == "#/user/username"
    assert not User.objects.exists()


@pytest.mark.parametrize("name", ["admin", "api", "Ecash", "settings", "undefined1", "ws", "login"])
def test_names_of_routes_are_refused(db: None, name: str) -> None:
    answer = register(name)
    assert (answer.status_code, answer.body["message"]) == (400, "Invalid username")


@pytest.mark.parametrize(
    ("body", "sentence", "pointer"),
    [
        ({}, "no user object provided", "#/user"),
        ({"user": {}}, "Username required", "#/user/username"),
        ({"user": {"password": "hunter2"}}, "Username required", "#/user/username"),
        (
            {"user": {"username": "", "password": "hunter2"}},
            "Username required",
            "#/user/username",
        ),
        ({"user": None}, "must be an object", "#/user"),
        ({"user": ["demo"]}, "must be an object", "#/user"),
        ({"user": "demo"}, "must be an object", "#/user"),
        ({"user": {"username": 5, "password": "hunter2"}}, None, "#/user/username"),
        (
            {"user": {"username": ["demo"], "password": "hunter2"}},
            None,
            "#/user/username",
        ),
        ({"user": {"username": "demo"}}, None, "#/user/password"),
        ({"user": {"username": "demo", "password": "12345"}}, None, "#/user/password"),
        (
            {"user": {"username": "demo", "password": "x" * 1025}},
            None,
            "#/user/password",
        ),
        ({"user": {"username": "demo", "password": 123456}}, None, "#/user/password"),
        (
            {"user": {"username": "demo", "password": "hunter2", "pubkey": "zz"}},
            None,
            "#/user/pubkey",
        ),
    ],
)
def test_an_incomplete_request_says_what_is_missing(
    db: None, body: object, sentence: str | None, pointer: str
) -> None:
    answer = Api().post("/register", body)
    assert (answer.status_code, answer.body["code"]) == (400, "invalid_request")
    assert answer.body["errors"][0]["pointer"] == pointer
    assert sentence in (None, answer.body["detail"])
    assert not User.objects.exists()


def test_unknown_members_and_nulls_do_no_harm(db: None) -> None:
    answer = register(
        "demo", fresh=True, picture=None, pubkey=None, is_staff=True, id="7", balance=5
    )
    assert answer.status_code == 200
    user = User.objects.get(username="demo")
    assert not user.is_staff
    assert answer.body["id"] == str(user.id) != "7"


@pytest.mark.slow
def test_of_twenty_parallel_registrations_of_a_name_one_succeeds(
    cloned_db: Database, monkeypatch: Any
) -> None:
    """P27. There are places for all to hash."""
    monkeypatch.setattr(hashing, "for_strangers", Places(20))

    def attempt(number: int) -> int:
        try:
            return int(register("demo", f"password {number}").status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as threads:
        statuses = sorted(threads.map(attempt, range(20)))
    assert statuses == [200] + [409] * 19
    assert (
        User.objects.filter(username="demo").count()
        == LedgerAccount.objects.filter(user__username="demo").count()
        == 1
    )
