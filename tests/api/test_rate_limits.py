"""Rate limits: who is counted, how much passes, what the others are told (P17, P18)."""

from __future__ import annotations

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import time_machine
from django.db import connections
from django.test import Client, RequestFactory

from accounts import hashing
from accounts.credentials import create_api_key
from accounts.models import Attempts, User
from coinos import limits, throttling
from coinos.places import Places
from coinos.throttling import client_address, client_network, is_shared
from tests.cast import PASSWORD, Api, api_of, give_password, make_user
from tests.database import Database
from tests.html.conftest import sign_in

FULL_HOUR = (time.time() // 3600 + 24) * 3600
"""Every window begins then. Long after this run: the tokens that it makes are valid by then."""


@pytest.fixture
def rates(settings: Any, redis: Any) -> None:
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
    rates: None, alice: User, ask: Any, least: int
) -> None:
    """The floors of the documentation, in any ten seconds; and there is a limit."""
    api = api_of(alice)
    codes = statuses(310, lambda: ask(api))
    assert least <= passed(codes) < 310


def test_five_logins_in_five_seconds_pass(rates: None, db: None) -> None:
    body = {"username": "nobody", "password": "guess"}
    assert 5 <= passed(statuses(30, lambda: Api().post("/login", body))) <= 20


def test_an_address_registers_sixty_accounts_an_hour(rates: None, db: None) -> None:
    names = iter(f"demo{number}" for number in range(70))

    def register() -> Any:
        return Api().post("/register", {"username": next(names), "password": "hunter2"})

    assert passed(statuses(62, register)) == 60


def test_a_refusal_says_how_long_to_wait(rates: None, alice: User) -> None:
    api = api_of(alice)
    with time_machine.travel(FULL_HOUR, tick=False) as clock:
        answer = [api.post("/payments", {}) for _ in range(150)][-1]
        wait_s = int(answer.headers["Retry-After"])
        assert (answer.body["code"], answer.body["status"]) == ("rate_limited", 429)
        assert 1 <= wait_s <= 10
        clock.shift(wait_s)
        assert api.post("/payments", {}).status_code == 400


# --- Who is counted -------------------------------------------------------------------------------


def test_callers_are_counted_by_user(rates: None, alice: User, bob: User) -> None:
    """Two users behind one address do not share a limit, and neither a second session nor an API
    key is a way around one's own. Nor are the pages: a spend is a spend."""
    first, second, other = api_of(alice), api_of(alice), api_of(bob)
    _row, key = create_api_key(alice, name="till", scope="spend")
    with time_machine.travel(FULL_HOUR, tick=False):
        browser = sign_in(alice).client
        assert browser.post("/send/pay", {}).status_code == 302
        assert passed([first.post("/payments", {}).status_code for _ in range(40)]) == 29
        assert second.post("/payments", {}).status_code == 429
        assert Api(key).post("/send", {"username": "bob", "amount": 1}).status_code == 429
        refused = browser.post("/send/pay", {})
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["Retry-After"]) <= 10
        assert other.post("/payments", {}).status_code == 400


def test_what_a_client_chooses_does_not_change_who_it_is(rates: None, db: None) -> None:
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


def test_guesses_at_many_names_from_one_address_are_counted(rates: None, db: None) -> None:
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
    cloned_db: Database, settings: Any, monkeypatch: Any
) -> None:
    """P18: the count is one atomic increment in the database. There are places for all to hash."""
    monkeypatch.setattr(hashing, "for_strangers", Places(100))
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
    assert Attempts.objects.get(key="login:name:alice").count == 20


def test_without_redis_requests_pass(rates: None, alice: User, settings: Any) -> None:
    """Money is guarded by the database; limits are a courtesy of Redis."""
    settings.REDIS_URL = "unix:///nowhere/socket"
    throttling._counters.cache_clear()
    try:
        assert set(statuses(60, lambda: api_of(alice).post("/payments", {}))) == {400}
    finally:
        throttling._counters.cache_clear()


def test_a_redis_that_hangs_is_asked_once_in_a_while_and_not_by_everybody(
    rates: None, alice: User, settings: Any
) -> None:
    """Nobody waits a second for each request, and the log has one line."""
    api = api_of(alice)
    with socket.create_server(("127.0.0.1", 0)) as never_answers:
        settings.REDIS_URL = f"redis://127.0.0.1:{never_answers.getsockname()[1]}/0"
        throttling._counters.cache_clear()
        try:
            with time_machine.travel(FULL_HOUR, tick=False) as clock:
                assert {api.get("/me").status_code for _ in range(5)} == {200}
                assert asked(never_answers) == 1
                clock.shift(throttling.AWAY_FOR_S)
                assert {api.get("/me").status_code for _ in range(5)} == {200}
                assert asked(never_answers) == 1
        finally:
            throttling._counters.cache_clear()


def asked(server: socket.socket) -> int:
    """How many connections have come in since the last look."""
    server.setblocking(False)
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            count += 1
    return count


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
        (1, "::ffff:203.0.113.9", "203.0.113.9"),
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


# --- Callers whom nobody can tell apart -----------------------------------------------------------


@pytest.mark.parametrize(
    ("site", "address", "shared"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", False),
        ("http://localhost:8000", "127.0.3.7", False),
        ("http://127.0.0.1:8000", "unknown", True),
        ("https://wallet.example.com", "unknown", True),
        ("https://wallet.example.com", "127.0.0.1", True),
        ("https://wallet.example.com", "::1", True),
        ("https://wallet.example.com", "10.0.0.7", False),
        ("https://wallet.example.com", "203.0.113.9", False),
        ("http://abcdefgh.onion", "127.0.0.1", True),
        ("http://abcdefgh.onion", "172.18.0.5", True),
        ("http://abcdefgh.onion", "8.8.8.8", False),
    ],
)
def test_an_address_that_everybody_may_have_names_nobody(
    settings: Any, site: str, address: str, shared: bool
) -> None:
    settings.PUBLIC_URL = site
    assert is_shared(address) is shared


@pytest.fixture
def onion(rates: None, settings: Any) -> None:
    """An onion service without a proxy: every caller comes from 127.0.0.1."""
    settings.PUBLIC_URL = "http://abcdefgh.onion"


def test_behind_an_onion_service_nobody_locks_out_everybody(onion: None, db: None) -> None:
    """A stranger guesses at a hundred names and reads without end; bobby signs in all the same."""
    bobby = make_user("bobby")
    give_password(bobby)
    names = iter(f"victim{number}" for number in range(100))

    def guess() -> Any:
        return Api().post("/login", {"username": next(names), "password": "guess"})

    assert set(statuses(100, guess)) == {401}
    assert 429 not in statuses(100, lambda: Api().get("/users/nobody"))
    body = {"username": "bobby", "password": PASSWORD}
    assert Api().post("/login", body).status_code == 200


def test_behind_an_onion_service_what_strangers_leave_behind_has_a_limit(
    onion: None, redis: Any, db: None
) -> None:
    """Not the one of a single network: all strangers together."""
    now = FULL_HOUR
    redis.set(throttling.key_of(limits.REGISTER, "127.0.0.1", now), limits.REGISTER.at_most)
    body = {"username": "demo", "password": "hunter2"}
    with time_machine.travel(now, tick=False):
        assert Api().post("/register", body).status_code == 200
        key = throttling.key_of(limits.REGISTER, "together", now)
        redis.set(key, limits.REGISTER.together)
        assert Api().post("/register", body | {"username": "demo2"}).status_code == 429


def test_behind_an_onion_service_users_are_counted_as_everywhere(onion: None, alice: User) -> None:
    assert passed(statuses(40, lambda: api_of(alice).post("/payments", {}))) == 30
