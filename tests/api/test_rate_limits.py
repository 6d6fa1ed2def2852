"""Rate limits: who is counted, how much passes, what the others are told (P17, P18)."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import time_machine
from django.db import connections
from django.test import Client, RequestFactory

from accounts.models import Attempts, User
from coinos.throttling import client_address, client_network
from tests.cast import Api, api_of, give_password, make_user
from tests.database import Database

FULL_HOUR = (time.time() // 3600 + 24) * 3600
"""Every window begins then. Long after this run: the tokens that it makes are valid by then."""


@pytest.fixture
def limits(settings: Any, redis: Any) -> None:
    """Rate limits are on, and nobody has been counted yet."""
    settings.RATE_LIMITS = True
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def statuses(count: int, ask: Any) -> list[int]:
    """Status codes of `count` requests within one instant."""
    with time_machine.travel(FULL_HOUR, tick=False):
        return [ask().status_code for _ in range(count)]


def passed(codes: list[int]) -> int:
    assert codes == sorted(codes), "once refused, always refused within the window"
    return len([code for code in codes if code != 429])


# --- How much passes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "least"),
    [
        (lambda api: api.post("/invoice", {"invoice": {"amount": "x"}}), 30),
        (lambda api: api.post("/invoice/none", {"invoice": {"tip": 1}}), 30),
        (lambda api: api.get("/invoice/none"), 30),
        (lambda api: api.post("/send", {"username": "nobody", "amount": 1}), 10),
        (lambda api: api.post("/payments", {}), 10),
        (lambda api: api.post("/bitcoin/send", {}), 10),
        (lambda api: api.post("/send/nobody/1"), 10),
    ],
    ids=["create", "edit", "read", "send", "payments", "bitcoin", "address"],
)
def test_no_limit_is_below_what_clients_poll(
    limits: None, alice: User, ask: Any, least: int
) -> None:
    """The floors of the documentation, in any ten seconds; and there is a limit."""
    api = api_of(alice)
    codes = statuses(150, lambda: ask(api))
    assert least <= passed(codes) < 150


def test_five_logins_in_five_seconds_pass(limits: None, db: None) -> None:
    body = {"username": "nobody", "password": "guess"}
    assert 5 <= passed(statuses(30, lambda: Api().post("/login", body))) <= 20


def test_an_address_registers_sixty_accounts_an_hour(limits: None, db: None) -> None:
    names = iter(f"demo{number}" for number in range(70))

    def register() -> Any:
        return Api().post("/register", {"username": next(names), "password": "hunter2"})

    assert passed(statuses(62, register)) == 60


def test_a_refusal_says_how_long_to_wait(limits: None, alice: User) -> None:
    api = api_of(alice)
    with time_machine.travel(FULL_HOUR, tick=False) as clock:
        answer = [api.post("/payments", {}) for _ in range(150)][-1]
        wait_s = int(answer.headers["Retry-After"])
        assert (answer.body["code"], answer.body["status"]) == ("rate_limited", 429)
        assert 1 <= wait_s <= 10
        clock.shift(wait_s)
        assert api.post("/payments", {}).status_code == 400


# --- Who is counted -------------------------------------------------------------------------------


def test_callers_are_counted_by_credential(limits: None, alice: User, bob: User) -> None:
    """Two users behind one address do not share a limit, and a second session is no way around
    the address-wide ones."""
    first, second = api_of(alice), api_of(bob)
    assert 429 in statuses(150, lambda: first.post("/payments", {}))
    assert second.post("/payments", {}).status_code == 400


def test_what_a_client_chooses_does_not_change_who_it_is(limits: None, db: None) -> None:
    """P17: a new User-Agent, X-Forwarded-For or invalid token each time."""
    numbers = iter(range(1000))

    def guess() -> Any:
        number = next(numbers)
        return Client().post(
            "/api/login",
            {"username": f"victim{number}", "password": "guess"},
            content_type="application/json",
            headers={
                "X-Forwarded-For": f"203.0.113.{number % 250}",
                "X-Real-IP": f"203.0.113.{number % 250}",
                "CF-Connecting-IP": f"203.0.113.{number % 250}",
                "Forwarded": f"for=203.0.113.{number % 250}",
                "User-Agent": f"client {number}",
                "Authorization": f"Bearer nonsense{number}",
            },
        )

    assert passed(statuses(60, guess)) <= 20


def test_guesses_at_many_names_from_one_address_are_counted(limits: None, db: None) -> None:
    """P17, P18: a thousand tries over time, each with another name and header."""
    evaluated = 0
    with time_machine.travel(FULL_HOUR, tick=False) as clock:
        for number in range(1000 // 5):
            clock.shift(1)
            answer = Client().post(
                "/api/login",
                {"username": f"victim{number}", "password": "guess"},
                content_type="application/json",
                headers={"X-Forwarded-For": f"203.0.113.{number % 250}"},
            )
            evaluated += answer.status_code == 401
    assert evaluated == 20


@pytest.mark.slow
def test_of_a_hundred_parallel_guesses_twenty_are_evaluated(
    cloned_db: Database, settings: Any
) -> None:
    """P18: the count is one atomic increment in the database."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    alice = make_user("alice")
    give_password(alice)

    def guess(number: int) -> int:
        try:
            body = {"username": "alice", "password": f"guess {number}"}
            return int(Api().post("/login", body).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as threads:
        codes = list(threads.map(guess, range(100)))
    assert codes.count(401) == 20
    assert codes.count(429) == 80
    assert Attempts.objects.get(key="login:name:alice").count == 100


def test_without_redis_requests_pass(limits: None, alice: User, settings: Any) -> None:
    """Money is guarded by the database; limits are a courtesy of Redis."""
    from coinos import throttling

    settings.REDIS_URL = "unix:///nowhere/socket"
    throttling._client.cache_clear()
    try:
        assert set(statuses(60, lambda: api_of(alice).post("/payments", {}))) == {400}
    finally:
        throttling._client.cache_clear()


# --- The client's address -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "", "192.0.2.1"),
        (0, "203.0.113.9", "192.0.2.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "198.51.100.7, 203.0.113.9", "203.0.113.9"),
        (2, "198.51.100.7, 203.0.113.9, 10.0.0.1", "203.0.113.9"),
        (2, "203.0.113.9", "192.0.2.1"),
        (1, "", "192.0.2.1"),
        (1, "nonsense", "unknown"),
        (1, "203.0.113.9, ", "192.0.2.1"),
        (1, "2001:db8::7", "2001:db8::7"),
    ],
)
def test_the_address_is_what_the_trusted_proxy_wrote(
    settings: Any, proxies: int, forwarded: str, address: str
) -> None:
    """P17: the header of a client is never taken for it."""
    settings.TRUSTED_PROXIES = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.1", headers=headers)
    assert client_address(request) == address


@pytest.mark.parametrize("peer", ["", "unix:", "@", "fe80::1%eth0\x00"])
def test_a_peer_without_an_address_can_sign_in(settings: Any, db: None, peer: str) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    answer = Client().post(
        "/api/register",
        {"username": "demo", "password": "hunter2"},
        content_type="application/json",
        REMOTE_ADDR=peer,
    )
    assert answer.status_code == 200


def test_a_host_is_counted_once_however_many_ipv6_addresses_it_has() -> None:
    def network(address: str) -> str:
        return client_network(RequestFactory().get("/", REMOTE_ADDR=address))

    assert network("2001:db8:1:2::1") == network("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert network("2001:db8:1:3::1") != network("2001:db8:1:2::1")
    assert network("192.0.2.1") == "192.0.2.1"
