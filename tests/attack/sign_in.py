"""Attacks on the sign-in: to stop the site by it, and to keep somebody out (sec-5, sec-8, sec-17,
sec-18)."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from coinos import limits
from tests.attack.attacks import Tried, attack
from tests.attack.strangers import Answer, all_at_once
from tests.attack.world import World

WINDOW_S = 5


@attack("logins", "sec-5")
def login_flood(world: World) -> Tried:
    """Sign-ins of unknown names from many addresses at once."""
    strangers = [world.stranger(address=one) for one in world.addresses(10) for _ in range(10)]
    guesses = [
        partial(one.post, "/login", {"username": f"nobody{n}", "password": "guess again 4711"})
        for n, one in enumerate(strangers)
    ]
    tried = Tried(f"{len(guesses)} sign-ins of unknown names from 10 addresses at once")
    for answer in all_at_once(guesses, threads=len(guesses)):
        tried.answers[str(answer)] += 1
        tried.require(answer.is_polite, f"a {answer} without Retry-After")
    tried.require(not tried.answers["no answer"], "some sign-ins had no answer in 15 s")
    return tried


WRONG = "guess again 4711"


def guess(world: World, name: str, address: str) -> Callable[[], Answer]:
    """A sign-in with a wrong password."""
    return partial(
        world.stranger(address=address).post, "/login", {"username": name, "password": WRONG}
    )


@attack("lock-name", "sec-8")
def locking_a_name(world: World) -> Tried:
    """Wrong passwords for one name from foreign addresses, while its owner is signed in."""
    victim, bystander = world.newcomer("victim"), world.newcomer("bystander")
    browser = world.browser_of(victim)
    tried = Tried("48 wrong passwords for one name from 6 addresses; then the owner's right one")
    wrong = [guess(world, victim.name, one) for one in world.addresses(6) for _ in range(8)]
    for answer in all_at_once(wrong, threads=10):
        tried.answers[str(answer)] += 1
    tried.require(tried.answers["429"], "nobody was told to slow down")
    right = {"username": victim.name, "password": victim.password}
    on_own_network = world.stranger(address=victim.address).post("/login", right)
    tried.require(
        on_own_network.status == 200,
        f"the owner, on a network with a live sign-in, was answered {on_own_network}",
    )
    known_browser = world.stranger(address=world.address())
    known_browser.cookies = dict(browser.cookies)
    again = known_browser.sign_in(victim.name, victim.password)
    tried.require(
        again.status == 302, f"the owner, in a browser that is signed in, was answered {again}"
    )
    other = world.stranger().post(
        "/login", {"username": bystander.name, "password": bystander.password}
    )
    tried.require(other.status == 200, f"somebody else was answered {other}")
    return tried


def sleep_until_window(*, end: bool = False) -> None:
    """To the beginning of the next five seconds that sign-ins are counted in, or near the end of
    these: ten tries of each are then twenty at once."""
    left_s = WINDOW_S - time.time() % WINDOW_S
    time.sleep(max(0.0, left_s - 0.8) if end else left_s)


@attack("lock-address", "sec-8")
def locking_an_address(world: World) -> Tried:
    """Wrong passwords from the address of a house, whose people are signed in there."""
    shared = world.address()
    people = [world.newcomer("neighbour", address=shared) for _ in range(2)]
    far_away = world.newcomer("faraway")
    tried = Tried("24 wrong passwords from an address; then right ones of who is signed in there")
    sleep_until_window(end=True)
    for burst, count in enumerate((10, 10, 4)):
        if burst:
            sleep_until_window()
        wrong = [guess(world, f"nobody{burst}{n}", shared) for n in range(count)]
        for answer in all_at_once(wrong):
            tried.answers[str(answer)] += 1
    right = {"username": people[0].name, "password": people[0].password}
    here = world.stranger(address=shared).post("/login", right)
    tried.require(here.status == 200, f"whoever shares the address was answered {here}")
    on_page = world.stranger(address=shared).sign_in(people[1].name, people[1].password)
    tried.require(on_page.status == 302, f"on the page, whoever shares it was answered {on_page}")
    elsewhere = world.stranger().post(
        "/login", {"username": far_away.name, "password": far_away.password}
    )
    tried.require(elsewhere.status == 200, f"somebody elsewhere was answered {elsewhere}")
    return tried


@attack("lock-onion", "sec-8")
def locking_an_onion_service(world: World) -> Tried:
    """Wrong passwords at an onion service, where all callers have one address."""
    people = [world.newcomer("hidden") for _ in range(2)]
    tried = Tried("40 wrong passwords at an onion service; then right ones there")
    with world.as_onion_service() as visitor:
        wrong = [
            partial(visitor().post, "/login", {"username": f"nobody{n}", "password": WRONG})
            for n in range(40)
        ]
        for answer in all_at_once(wrong, threads=4):
            tried.answers[str(answer)] += 1
        right = {"username": people[0].name, "password": people[0].password}
        program = visitor().post("/login", right)
        tried.require(program.status == 200, f"the right password was answered {program}")
        page = visitor().sign_in(people[1].name, people[1].password)
        tried.require(page.status == 302, f"on the page, the right one was answered {page}")
    return tried


@attack("sessions", "sec-17")
def endless_sessions(world: World) -> Tried:
    """Sign-ins with the right password again and again, each of which is a session for a year."""
    person = world.newcomer("repeater")
    right = {"username": person.name, "password": person.password}
    most = limits.TOKENS.at_most
    tried = Tried(f"{most + 10} sign-ins with the right password from 16 addresses")
    addresses = world.addresses(16)
    calls = [
        partial(world.stranger(address=addresses[n % 16]).post, "/login", right)
        for n in range(most + 10)
    ]
    answers = all_at_once(calls, threads=3)
    for answer in answers:
        tried.answers[str(answer)] += 1
        tried.require(answer.is_polite, f"a {answer} without Retry-After")
    tokens = [one.body["token"] for one in answers if one.status == 200]
    alive = sum(world.stranger(token=one).get("/me").status == 200 for one in tokens)
    tried.answers["of these live sessions"] = alive
    tried.require(alive <= most, f"{alive} sessions of one account are alive")
    tried.require(len(tokens) > most // 2, "hardly any sign-in worked")
    return tried


@attack("sign-out", "sec-18")
def after_the_end(world: World) -> Tried:
    """The token and the cookie that a browser had before it signed out."""
    person = world.newcomer("leaver")
    browser = world.stranger(address=person.address)
    right = {"username": person.name, "password": person.password}
    answer = world.expect(lambda: browser.post("/login", right))
    browser.cookies["token"] = answer.body["token"]
    browser.sign_in(person.name, person.password)
    before = dict(browser.cookies)
    tried = Tried("the token and the session of a browser that signed out")
    tried.require(browser.submit("/logout").status == 302, "no sign-out")
    program = world.stranger(token=before["token"]).get("/me")
    tried.answers[f"token: {program}"] += 1
    tried.require(program.status == 401, f"the token still answers {program}")
    thief = world.stranger()
    thief.cookies = before
    page = thief.see("/settings")
    tried.answers[f"session: {page}"] += 1
    tried.require(page.status == 302, f"the session still answers {page}")
    return tried
