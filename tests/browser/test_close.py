"""Closing an account: refused while sats remain, final afterwards."""

from __future__ import annotations

from tests.browser.walk import Walk
from tests.browser.world import World


def test_she_closes_her_account_once_all_sats_are_away(glance: Walk, world: World) -> None:
    walk, alice, bob = glance, world.person("alice", sats=1_000), world.person("bob")
    walk.sign_in(alice)
    walk.open("/settings")
    close = walk.page.get_by_role("region", name="Close account")

    def close_for_good() -> None:
        close.get_by_label("Your username").fill(alice.name)
        close.get_by_label("Your password").fill(alice.password)
        walk.press("Close for good", within=close)

    close.get_by_text("Close my account").click()
    close_for_good()
    walk.reads("Send all your sats elsewhere before you close the account")
    walk.sees("Settings", status=422)
    world.send(alice, "/api/send", amount=1_000, username=bob.name)
    close_for_good()
    walk.sees("Bitcoin that is simply money.")
    walk.reads("Your account is closed")

    walk.open("/login")
    walk.write("Username", alice.name)
    walk.write("Password", alice.password)
    walk.press("Sign in")
    walk.sees("Sign in", status=422)
