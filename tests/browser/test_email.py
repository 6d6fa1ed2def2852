"""A confirmed address, and a forgotten password that it replaces."""

from __future__ import annotations

from tests.browser.walk import Walk
from tests.browser.world import World


def test_with_a_confirmed_address_she_replaces_a_forgotten_password(
    phone: Walk, world: World
) -> None:
    walk, alice = phone, world.person("alice", sats=2_000)
    address = f"{alice.name}@mail.example"
    walk.sign_in(alice)
    walk.open("/settings")
    section = walk.page.get_by_role("region", name="E-mail")
    section.get_by_label("E-mail address").fill(address)
    walk.press("Save", within=section)
    walk.reads(f"sent a link to {address}")
    walk.examine("address to be confirmed")
    walk.open(world.link_in_mail(address, "verify"))
    walk.sees("Confirm your e-mail address")
    walk.press("Confirm")
    walk.reads("confirmed")
    walk.examine("confirmed")

    walk.forget_everything()
    walk.open("/login")
    walk.press("Forgot your password?")
    walk.sees("Forgot your password?")
    walk.write("Username or e-mail address", alice.name)
    walk.press("Send the link")
    walk.reads("If this account has a confirmed e-mail address")
    walk.examine("link is sent")
    link = world.link_in_mail(address, "reset")
    walk.open(link)
    walk.sees("Choose a new password")
    walk.write("New password", "another horse battery")
    walk.press("Change password")
    walk.sees("Sign in")
    walk.write("Username", alice.name)
    walk.write("Password", "another horse battery")
    walk.press("Sign in")
    walk.sees("Your wallet")
    walk.open(link)
    walk.sees("This link no longer works", status=410)
