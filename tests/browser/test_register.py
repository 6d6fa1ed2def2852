"""Journey 1: one form, no e-mail, signed in at once."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.walk import Walk
from tests.browser.world import PASSWORD, World


def test_a_newcomer_opens_a_wallet_with_a_name_and_a_password(walk: Walk, world: World) -> None:
    walk.open("/")
    walk.sees("Bitcoin that is simply money.")
    walk.press("Open a wallet")
    walk.sees("Open a wallet")

    assert walk.field("Username").input_value(), "a name is suggested"
    name = world.free_name("alice")
    walk.write("Username", name)
    walk.write("Password", PASSWORD)
    walk.press("Register")
    walk.sees("Your wallet")
    walk.reads("Nothing yet.")
    walk.reads(f"{name}@")
    assert walk.path == f"/{name}"


def test_a_taken_name_is_told_beside_the_name(glance: Walk, world: World) -> None:
    walk, alice = glance, world.person("alice")
    walk.open("/register")
    walk.write("Username", alice.name)
    walk.write("Password", PASSWORD)
    walk.press("Register")
    walk.sees("Open a wallet", status=422)
    expect(walk.field("Username")).to_have_attribute("aria-invalid", "true")
    expect(walk.field("Username")).to_have_accessible_description(re.compile("taken"))
    expect(walk.page.get_by_role("alert")).to_contain_text("taken")


def test_she_signs_out_and_in_again(glance: Walk, world: World) -> None:
    walk, alice = glance, world.person("alice")
    walk.sign_in(alice)
    walk.open("/settings")
    walk.press("Sign out")
    walk.sees("Bitcoin that is simply money.")

    walk.open("/login")
    walk.sees("Sign in")
    walk.write("Username", alice.name)
    walk.write("Password", "wrong horse battery")
    walk.press("Sign in")
    walk.sees("Sign in", status=422)
    walk.write("Username", f"{alice.name}@{world.host}")
    walk.write("Password", alice.password)
    walk.press("Sign in")
    walk.sees("Your wallet")
