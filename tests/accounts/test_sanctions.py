"""Freezing, evicting and closing an account."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from accounts import credentials, ledger, services
from accounts.errors import InvalidCredentials
from accounts.ledger import House
from accounts.models import AuditEvent, User
from tests import causes
from tests.cast import PASSWORD, Api, api_of, available_sat, fund, give_password


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def leaver(alice: User) -> User:
    give_password(alice)
    return alice


def test_a_frozen_account_receives_and_does_not_spend(alice: User, bob: User) -> None:
    fund(alice, 100)
    fund(bob, 100)
    services.freeze(bob, actor="operator olga", reason="test")
    assert api_of(alice).post("/send", {"username": "bob", "amount": 1}).status_code == 200
    refused = api_of(bob).post("/send", {"username": "alice", "amount": 1})
    assert (refused.status_code, refused.body["code"]) == (403, "account_frozen")
    assert (available_sat(alice), available_sat(bob)) == (99, 101)


def test_freezing_twice_keeps_the_first_time(alice: User) -> None:
    services.freeze(alice, actor="operator olga", reason="one")
    first = User.objects.get(id=alice.id).frozen_at
    services.freeze(alice, actor="operator olga", reason="two")
    assert User.objects.get(id=alice.id).frozen_at == first


def test_an_evicted_user_cannot_be_paid_by_name(alice: User, bob: User) -> None:
    fund(alice, 100)
    services.evict(bob, actor="operator olga", reason="fraud")
    answer = api_of(alice).post("/send", {"username": "bob", "amount": 1})
    assert (answer.status_code, answer.body["message"]) == (404, "User not found")
    assert available_sat(alice) == 100


def test_an_account_with_money_is_not_closed(leaver: User) -> None:
    """A05"""
    fund(leaver, 1)
    with pytest.raises(services.BalanceLeft):
        services.close_account(leaver, password=PASSWORD)
    assert api_of(leaver).get("/me").status_code == 200


def test_nor_is_one_whose_money_is_held(leaver: User) -> None:
    """A05: the money may still come back."""
    fund(leaver, 1)
    with transaction.atomic():
        hold_id = ledger.hold_for_payment(
            user_id=leaver.id, through=House.LIGHTNING, amount_msat=1000, payment_id=leaver.id
        )
        causes.payment(leaver, leaver.id, hold_id, 1, ledger.House.LIGHTNING)
    with pytest.raises(services.BalanceLeft):
        services.close_account(leaver, password=PASSWORD)


def test_closing_needs_the_password(leaver: User) -> None:
    with pytest.raises(InvalidCredentials):
        services.close_account(leaver, password="guess")
    assert api_of(leaver).get("/me").status_code == 200


def test_a_closed_account_is_shut_and_its_name_stays_taken(leaver: User) -> None:
    api, (_, key) = api_of(leaver), credentials.create_api_key(leaver, name="x", scope="read")
    services.close_account(leaver, password=PASSWORD)
    assert [api.get("/me").status_code, Api(key).get("/me").status_code] == [401, 401]
    login = Api().post("/login", {"username": "alice", "password": PASSWORD})
    assert login.status_code == 401
    again = Api().post("/register", {"user": {"username": "alice", "password": "hunter2"}})
    assert (again.status_code, again.body["code"]) == (409, "username_taken")
    assert AuditEvent.objects.filter(user=leaver, action="account.closed").exists()
