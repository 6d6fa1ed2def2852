"""Journey 4: paying somebody here is instant and free, and then one press away."""

from __future__ import annotations

from tests.browser.walk import Walk
from tests.browser.world import World


def test_alice_pays_bob_by_his_name_and_finds_him_again(walk: Walk, world: World) -> None:
    alice, bob = world.person("alice", sats=5_000), world.person("bob")
    walk.sign_in(alice)
    walk.open("/send")
    walk.write("To", bob.name)
    walk.press("Next")
    walk.sees("How much?")
    walk.reads("You can send")
    walk.write("Amount", "1200")
    walk.write("Note", "Lunch, thank you")
    walk.press("Next")
    walk.sees("Confirm")
    walk.reads("free")
    walk.reads("Lunch, thank you")
    walk.press("Send")
    walk.sees("Sent")
    assert (world.balance(alice), world.balance(bob)) == (3_800, 1_200)

    walk.open("/send")
    walk.sees("Recent")
    walk.page.locator("button.contact").filter(has_text=bob.name).click()
    walk.sees("How much?")
    walk.press("Send max")
    walk.sees("Confirm")
    walk.reads("⚡️3,800")
    walk.press("Send")
    walk.sees("Sent")
    assert (world.balance(alice), world.balance(bob)) == (0, 5_000)


def test_bob_is_told_on_whatever_page_he_has_open(glance: Walk, world: World) -> None:
    walk, bob = glance, world.person("bob")
    walk.sign_in(bob)
    world.outside.pay(world.invoice(bob, amount=700)["hash"])
    walk.reads("⚡️700")
    walk.examine("told")
