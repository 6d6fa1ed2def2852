"""Journey 5: an address, an amount, a speed; the fee stands there before anything is sent."""

from __future__ import annotations

import re

from tests.browser.walk import Walk
from tests.browser.world import World


def test_she_sends_coins_to_an_address_at_the_speed_of_her_choice(walk: Walk, world: World) -> None:
    alice = world.person("alice", sats=100_000)
    walk.sign_in(alice)
    walk.open("/send")
    walk.write("To", world.outside.address())
    walk.press("Next")
    walk.sees("How much?")
    walk.write("Amount", "40000")
    walk.choose("As soon as possible")
    world.outside.stuck()  # no block of the clock's comes between
    walk.press("Next")
    walk.sees("Confirm")
    fee_max = walk.sats("Network fee")
    assert fee_max > 0
    assert walk.sats("Total, at most") == 40_000 + fee_max

    walk.press("Send")
    walk.sees("Sent, not yet confirmed")
    assert re.fullmatch("[0-9a-f]{64}", walk.fact("Transaction"))
    assert walk.sats("Taken from your balance") == world.balance(alice) - 100_000
    assert 0 < walk.sats("Network fee") <= fee_max

    walk.press("Speed it up")
    walk.sees("Speed it up")
    walk.write("Fee rate, sat/vB", "20")
    walk.press("Speed it up")
    walk.sees("Sent, not yet confirmed")
    walk.reads("It goes out with the higher fee now.")
    assert walk.sats("Network fee") > fee_max
    world.outside.stuck(False)
    world.outside.mine()
    walk.sees("Sent")
