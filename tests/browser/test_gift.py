"""Journey 10: sats set aside behind a link, which one person takes; who is new opens a wallet."""

from __future__ import annotations

from tests.browser.walk import Walk
from tests.browser.world import PASSWORD, World


def test_a_newcomer_opens_a_wallet_with_the_gift_that_alice_made(
    walk: Walk, customer: Walk, world: World
) -> None:
    newcomer, alice = customer, world.person("alice", sats=30_000)
    walk.sign_in(alice)
    walk.open("/gifts")
    walk.sees("Gifts")
    walk.write("Amount", "21000")
    walk.press("Make the gift")
    walk.sees("Your gift is ready")
    link = walk.field("Gift link").input_value()
    assert world.balance(alice) == 9_000

    newcomer.open(link)
    newcomer.sees("A gift")
    newcomer.reads(f"{alice.name} gives you")
    newcomer.press("Open a wallet and take it")
    newcomer.sees("Open a wallet")
    name = world.free_name("newcomer")
    newcomer.write("Username", name)
    newcomer.write("Password", PASSWORD)
    newcomer.press("Register")
    newcomer.press("Take it")
    newcomer.sees("Your wallet")
    newcomer.reads("The gift is yours")
    newcomer.reads("21,000")
    newcomer.page.goto(link)
    newcomer.sees("You have taken it")

    walk.open("/gifts")
    walk.reads(f"taken by {name}")
    walk.examine("taken")
