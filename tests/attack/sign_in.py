"""Attacks on the sign-in: to stop the site by it, and to keep somebody out (sec-5, sec-8)."""

from __future__ import annotations

from functools import partial

from tests.attack.attacks import Tried, attack
from tests.attack.strangers import all_at_once
from tests.attack.world import World


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
