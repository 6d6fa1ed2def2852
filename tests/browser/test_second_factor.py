"""A code from an app, asked for after the password."""

from __future__ import annotations

import time

import pyotp
from playwright.sync_api import expect

from tests.browser.walk import Walk
from tests.browser.world import World


def code(seed: str, aside: int = 0) -> str:
    """Of now, or so many half minutes aside: each code is taken once."""
    return pyotp.TOTP(seed).at(int(time.time()) + 30 * aside)


def test_she_turns_it_on_and_signs_in_with_a_code(phone: Walk, world: World) -> None:
    walk, alice = phone, world.person("alice")
    walk.sign_in(alice)
    walk.open("/settings")
    walk.press("Set up")
    walk.sees("Set up the second factor")
    seed = walk.field("The key for your app").input_value()
    walk.write("Code from your app", code(seed))
    walk.press("Turn on")
    walk.sees("Recovery codes")
    recovery_code = walk.page.locator("main .codes li").first.inner_text()
    walk.press("I have saved them")
    walk.reads("Recovery codes left: 10")

    for token in (code(seed, 1), recovery_code):
        walk.forget_everything()
        walk.open("/login")
        walk.write("Username", alice.name)
        walk.write("Password", alice.password)
        walk.press("Sign in")
        walk.sees("One more step")
        walk.write("Code from your app", "000000")
        walk.press("Sign in")
        walk.sees("One more step", status=422)
        expect(walk.page.get_by_role("alert")).to_contain_text("This code is wrong")
        walk.write("Code from your app", token)
        walk.press("Sign in")
        walk.sees("Your wallet")
