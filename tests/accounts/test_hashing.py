"""A flood of passwords to check takes neither the site's threads nor anybody's PIN (sec-5)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from argon2 import PasswordHasher
from django.contrib.auth.hashers import check_password

from accounts import hashing
from accounts.models import Attempts, User
from coinos.places import Places
from tests.cast import PASSWORD, Api, api_of, fund

PIN = "314159"


@contextmanager
def all_taken(places: Places) -> Iterator[None]:
    """Somebody has every place, and as many wait as may."""
    full = places.count + places.waiting
    with ExitStack() as taken, pytest.MonkeyPatch.context() as patch:
        for _ in range(places.count):
            taken.enter_context(places.take())
        patch.setattr(places, "_inside", full)
        yield
        places._inside = places.count


def login(password: str = PASSWORD) -> object:
    return Api().post("/login", {"username": "alice", "password": password})


def cost_of(encoded: str) -> str:
    return encoded.split("$")[3]


@pytest.fixture
def alice_with_password(alice: User) -> User:
    alice.set_password(PASSWORD)
    alice.pin_hash = hashing.hash_of(PIN, signed_in=alice)
    alice.save()
    alice.refresh_from_db()
    return alice


def test_a_hash_costs_what_owasp_recommends(alice_with_password: User) -> None:
    """sec-5"""
    assert cost_of(alice_with_password.password) == "m=19456,t=2,p=1"
    assert cost_of(alice_with_password.pin_hash) == "m=19456,t=2,p=1"


def test_a_hash_of_another_cost_is_renewed_when_its_secret_is_right(alice: User, bob: User) -> None:
    """sec-5"""
    dear = PasswordHasher(time_cost=1, memory_cost=64 * 1024, parallelism=2)
    alice.password = f"argon2{dear.hash(PASSWORD)}"
    alice.pin_hash = f"argon2{dear.hash(PIN)}"
    alice.save()
    fund(alice, 100)
    assert login("wrong").status_code == 401
    alice.refresh_from_db()
    assert cost_of(alice.password) == "m=65536,t=1,p=2"
    assert login().status_code == 200
    sent = api_of(alice).post("/send", {"username": "bob", "amount": 1, "pin": PIN})
    assert sent.status_code == 200
    alice.refresh_from_db()
    assert cost_of(alice.password) == "m=19456,t=2,p=1"
    assert cost_of(alice.pin_hash) == "m=19456,t=2,p=1"
    assert check_password(PIN, alice.pin_hash)


def test_who_cannot_wait_is_told_at_once_and_not_counted(alice_with_password: User) -> None:
    """sec-5"""
    with all_taken(hashing.for_strangers):
        answers = [
            login("wrong"),
            Api().post("/login", {"username": "nobody", "password": "wrong"}),
            Api().post("/register", {"user": {"username": "erin", "password": PASSWORD}}),
        ]
    for answer in answers:
        assert (answer.status_code, answer.body["code"]) == (503, "busy")
        assert int(answer.headers["Retry-After"]) > 0
    assert not Attempts.objects.filter(count__gt=0).exists()
    assert not User.objects.filter(username="erin").exists()
    assert login().status_code == 200


def test_strangers_do_not_keep_anybody_from_a_pin(alice_with_password: User, bob: User) -> None:
    """sec-5"""
    fund(alice_with_password, 100)
    with all_taken(hashing.for_strangers):
        body = {"username": "bob", "amount": 1, "pin": PIN}
        assert api_of(alice_with_password).post("/send", body).status_code == 200


def test_a_pin_that_was_not_looked_at_is_no_guess(alice_with_password: User, bob: User) -> None:
    """sec-5"""
    fund(alice_with_password, 100)
    with all_taken(hashing.for_signed_in):
        body = {"username": "bob", "amount": 1, "pin": PIN}
        assert api_of(alice_with_password).post("/send", body).status_code == 503
    assert not Attempts.objects.filter(count__gt=0).exists()
