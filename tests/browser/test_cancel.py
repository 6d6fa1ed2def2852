"""Journey: a payment waits for the node, and its owner takes it back."""

from __future__ import annotations

from tests.browser.walk import Walk
from tests.browser.world import World


def test_she_takes_back_what_has_not_been_sent(walk: Walk, world: World) -> None:
    alice = world.person("alice", sats=100_000)
    world.outside.mine()
    walk.sign_in(alice)
    walk.open("/send")
    walk.write("To", world.outside.address())
    walk.press("Next")
    walk.sees("How much?")
    walk.write("Amount", "40000")
    walk.press("Next")
    walk.sees("Confirm")
    # From the second call on: the first prices it once more.
    lost = {"kind": "drop_before", "method": "send"}
    world.outside.set_faults([{**lost, "nth": nth} for nth in range(2, 100)])
    try:
        walk.press("Send")
        walk.sees("Being prepared")
        walk.examine("waiting")
        walk.press("Cancel")
        walk.sees("Cancelled")
        walk.reads("Your sats are back.")
    finally:
        world.outside.clear_faults()
    assert world.balance(alice) == 100_000
