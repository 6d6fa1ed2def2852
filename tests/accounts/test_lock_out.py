"""sec-8: guesses are slow, and no stranger keeps an owner out by guessing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from accounts import authenticators, guesses, links
from accounts.models import Attempts, Session, User
from coinos import limits
from tests.cast import PASSWORD, give_password, make_user

HOME, OFFICE = "198.51.100.7", "203.0.113.9"
SAME_HOUSE, OTHER_HOUSE = "2001:db8:0:1::2", "2001:db8:0:2::2"


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def edgar(db: None) -> User:
    return give_password(make_user("edgar"))


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    """Stands still, so that no window ends on a slow machine."""
    with time_machine.travel(timezone.now(), tick=False) as traveller:
        yield traveller


def sign_in(
    address: str, password: str = PASSWORD, *, name: str = "edgar", browser: Client | None = None
) -> Any:
    return (browser or Client()).post(
        "/api/login",
        {"username": name, "password": password},
        content_type="application/json",
        REMOTE_ADDR=address,
    )


def guess(times: int, *, addresses: list[str], name: str = "edgar") -> list[int]:
    return [
        sign_in(addresses[n % len(addresses)], "wrong", name=name).status_code for n in range(times)
    ]


def strangers(number: int) -> list[str]:
    return [f"192.0.2.{n + 1}" for n in range(number)]


# --- The owner gets in ----------------------------------------------------------------------------


def test_guesses_from_elsewhere_do_not_keep_the_owner_out(edgar: User) -> None:
    """The attack as it was seen: 22 wrong ones from two addresses, then the right one."""
    assert sign_in(HOME).status_code == 200
    guess(22, addresses=strangers(2))
    for name in ("edgar", "EDGAR", "edgar@127.0.0.1"):
        assert sign_in(HOME, name=name).status_code == 200


def test_nor_do_very_many(edgar: User) -> None:
    assert sign_in(HOME).status_code == 200
    assert guess(60, addresses=strangers(30)).count(429) == 40  # all strangers together are slowed
    assert sign_in(HOME).status_code == 200


def test_a_browser_that_was_signed_in_before_gets_in_from_anywhere(edgar: User) -> None:
    browser = Client()
    assert sign_in(HOME, browser=browser).status_code == 200
    cookie = browser.cookies["browser"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    browser.post("/api/logout", headers={"Origin": "http://testserver"})
    guess(30, addresses=[OFFICE])
    assert sign_in(OFFICE).status_code == 429
    assert sign_in(OFFICE, browser=browser).status_code == 200


def test_pages_and_the_admin_let_the_owner_in_too(edgar: User) -> None:
    edgar.is_staff = True
    edgar.save()
    browser = Client(REMOTE_ADDR=OFFICE)
    form = {"username": "edgar", "password": PASSWORD}
    assert browser.post("/login", form).status_code == 302
    guess(30, addresses=[OFFICE])
    for path in ("/login", "/admin/login/"):
        assert browser.post(path, form).status_code == 302
    assert browser.get("/admin/").status_code == 200


def test_guesses_at_others_do_not_use_up_the_tries_of_who_shares_the_network(edgar: User) -> None:
    """21 wrong ones with names that do not matter; then the right one, from the same address."""
    assert sign_in(OFFICE).status_code == 200
    for number in range(21):
        sign_in(OFFICE, "wrong", name=f"nobody{number}")
    assert sign_in(OFFICE, "wrong", name="nobody99").status_code == 429
    assert sign_in(OFFICE).status_code == 200
    assert (
        Client(REMOTE_ADDR=OFFICE)
        .post("/login", {"username": "edgar", "password": PASSWORD})
        .headers["Location"]
        .startswith("/edgar")
    )


def test_where_everybody_has_one_address_nobody_locks_out_everybody(
    edgar: User, settings: Any
) -> None:
    settings.PUBLIC_URL = "http://" + "a" * 56 + ".onion"
    for number in range(25):
        assert sign_in("127.0.0.1", "wrong", name=f"nobody{number}").status_code == 401
    browser = Client()
    assert sign_in("127.0.0.1", browser=browser).status_code == 200
    assert guess(25, addresses=["127.0.0.1"]).count(429) >= 4
    waiting = sign_in("127.0.0.1")
    assert waiting.status_code == 429
    assert 0 < int(waiting.headers["Retry-After"]) <= limits.PASSWORD_OF_NAME_SLOWED.window_s + 1
    assert sign_in("127.0.0.1", browser=browser).status_code == 200


def test_a_slowed_stranger_who_is_the_owner_gets_in_after_waiting(
    edgar: User, clock: time_machine.Traveller
) -> None:
    guess(40, addresses=strangers(20))
    refused = sign_in(OFFICE)
    assert refused.status_code == 429
    clock.shift(int(refused.headers["Retry-After"]))
    assert sign_in(OFFICE).status_code == 200


def test_whoever_has_followed_a_reset_link_is_no_stranger(edgar: User) -> None:
    edgar.email, edgar.email_verified_at = "edgar@example.com", timezone.now()
    edgar.save()
    guess(40, addresses=strangers(20))
    browser = Client(REMOTE_ADDR=OFFICE)
    path = links.reset_url(edgar).partition("://")[2].partition("/")[2]
    new = "another good horse"
    assert browser.post(f"/{path}", {"password": new}).status_code == 302
    assert browser.post("/login", {"username": "edgar", "password": new}).status_code == 302


# --- Guessing stays slow --------------------------------------------------------------------------


def test_one_network_has_twenty_tries_at_a_name_however_known_it_is(edgar: User) -> None:
    """P18"""
    assert sign_in(HOME).status_code == 200
    assert guess(21, addresses=[HOME]) == [401] * 20 + [429]


def test_so_has_a_browser(edgar: User) -> None:
    browser = Client()
    assert sign_in(HOME, browser=browser).status_code == 200
    answers = [sign_in(HOME, "wrong", browser=browser).status_code for _ in range(21)]
    assert answers == [401] * 20 + [429]


def test_a_house_of_the_new_internet_is_one_network(edgar: User) -> None:
    addresses = [f"2001:db8:0:1::{n:x}" for n in range(1, 22)]
    assert guess(21, addresses=addresses) == [401] * 20 + [429]


def test_an_owner_is_known_in_the_whole_house(edgar: User) -> None:
    assert sign_in("2001:db8:0:1::1").status_code == 200
    for number in range(21):
        for address in (SAME_HOUSE, OTHER_HOUSE):
            sign_in(address, "wrong", name=f"nobody{number}")
    assert sign_in(OTHER_HOUSE).status_code == 429
    assert sign_in(SAME_HOUSE).status_code == 200


def test_many_networks_share_what_strangers_may_try_at_one_name(
    edgar: User, clock: time_machine.Traveller
) -> None:
    """However many addresses somebody has, the guesses a day are bounded (docs/security.md)."""
    assert guess(60, addresses=strangers(60)) == [401] * 20 + [429] * 40
    clock.shift(limits.PASSWORD_OF_NAME_SLOWED.window_s + 1)
    assert guess(10, addresses=strangers(60)[50:]) == [401] + [429] * 9


def test_who_was_thrown_out_by_a_new_password_is_a_stranger(edgar: User) -> None:
    assert sign_in(OFFICE).status_code == 200
    new = "another good horse"
    authenticators.set_password_as_operator(edgar, new=new, actor="test", reason="stolen")
    for number in range(20):
        sign_in(OFFICE, "wrong", name=f"nobody{number}")
    assert sign_in(OFFICE, new).status_code == 429


def test_so_is_a_browser_that_was_thrown_out_and_the_owners_is_not(edgar: User) -> None:
    """A thief who knew the password could have many cookies, each with tries of its own."""
    owner, thief = Client(REMOTE_ADDR=HOME), Client()
    for browser in (owner, thief):
        browser.post("/login", {"username": "edgar", "password": PASSWORD}, REMOTE_ADDR=HOME)
    new = "nine ships in the bay"
    form = {"current": PASSWORD, "password": new, "current_password": PASSWORD}
    assert owner.post("/settings/password", form).status_code == 302
    guess(25, addresses=strangers(5))
    assert sign_in(OFFICE, "wrong", browser=thief).status_code == 429
    owner.post("/logout")
    assert sign_in(OFFICE, new, browser=owner).status_code == 200


def test_a_cookie_of_somebody_else_or_of_nobody_helps_nobody(edgar: User) -> None:
    give_password(make_user("mallory"))
    browser = Client()
    assert sign_in(OFFICE, name="mallory", browser=browser).status_code == 200
    guess(40, addresses=strangers(20))
    assert sign_in(HOME, browser=browser).status_code == 429
    browser.cookies["browser"] = browser.cookies["browser"].value[:-2] + "xx"
    assert sign_in(HOME, browser=browser).status_code == 429
    browser.cookies["browser"] = "x"
    assert sign_in(HOME, browser=browser).status_code == 429


def test_an_unknown_name_is_slowed_like_a_known_one(edgar: User) -> None:
    """P19: the answers do not tell which names exist."""
    known = guess(45, addresses=strangers(45))
    unknown = guess(45, addresses=[f"192.0.2.{n + 100}" for n in range(45)], name="nobody")
    assert known[:20] == unknown[:20] == [401] * 20
    assert known[20] == unknown[20] == 429


def test_a_busy_server_counts_nothing(edgar: User) -> None:
    _edgar, _refusal, tried = guesses.admit("edgar")
    tried.was_not_looked_at()
    assert set(Attempts.objects.values_list("count", flat=True)) <= {0}


def test_api_clients_without_cookies_are_known_by_their_network(edgar: User) -> None:
    assert sign_in(HOME).status_code == 200
    Session.objects.filter(user=edgar).update(
        last_used=timezone.now() - guesses.KNOWN_FOR, revoked_at=timezone.now()
    )
    guess(40, addresses=strangers(20))
    assert sign_in(HOME).status_code == 429  # long ago
    Session.objects.filter(user=edgar).update(last_used=timezone.now())
    assert sign_in(HOME).status_code == 200  # signed out since, and known all the same
