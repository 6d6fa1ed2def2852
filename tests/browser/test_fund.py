"""Alice opens a fund, a customer pays in, and Bob, whom she names, spends from it."""

from __future__ import annotations

from collections.abc import Callable

from tests.browser.walk import Walk, Window
from tests.browser.world import World


def test_a_fund_with_a_manager_from_its_opening_to_its_end(
    walk: Walk, customer: Walk, world: World
) -> None:
    alice, bob, carol = world.person("alice"), world.person("bob"), world.person("carol", 5_000)
    name = world.free_name("picnic")
    manager = customer
    walk.sign_in(alice)
    walk.open("/funds")
    walk.sees("Funds")
    walk.write("Username of the fund", name)
    walk.write("Name shown to others", "The picnic")
    walk.write("What it is for", "Cake and lemonade for all")
    walk.press("Open the fund")
    walk.sees("The picnic")
    walk.write("Username", bob.name)
    walk.press("Add manager")
    walk.reads(f"{bob.name} manages this fund now")

    customer.sign_in(carol)
    customer.open(f"/{name}")
    customer.sees("The picnic")
    customer.press("Send from my balance")
    customer.write("Amount", "5000")
    customer.press("Next")
    customer.press("Send")
    customer.reads("Sent")
    customer.forget_everything()

    manager.sign_in(bob)
    manager.open("/funds")
    manager.sees("Funds")
    manager.page.get_by_role("link", name="The picnic").click()
    manager.reads("5,000")
    manager.press("Hand out a gift")
    manager.sees("Hand out a gift")
    manager.write("Amount", "1000")
    manager.press("Make the gift")
    manager.reads("A gift from The picnic")
    manager.press("Done")
    manager.press("Take out")
    manager.sees("Take out")
    manager.write("Amount", "4000")
    manager.press("Take out")
    manager.reads("The sats are in your wallet")
    manager.sees("The picnic")
    assert world.balance(bob) == 4_000

    walk.open(f"/funds/{name}")
    walk.reads(f"handed out by {bob.name}")
    walk.examine("used")
    walk.press("Take back")
    walk.reads("1,000")
    walk.press("Take out")
    walk.write("Amount", "1000")
    walk.press("Take out")
    walk.reads("The sats are in your wallet")
    walk.page.get_by_text("Close this fund").click()
    walk.press("Close for good")
    walk.reads("The fund is closed")
    walk.page.get_by_role("link", name="The picnic").click()
    walk.reads("This fund is closed")
    walk.examine("closed")
    assert world.balance(alice) == 1_000


def test_a_fund_on_the_narrowest_screen(open_window: Callable[..., Walk], world: World) -> None:
    alice, bob = world.person("alice", sats=21_000_000), world.person("bobwithalongname")
    name = world.free_name("fundwithalongname")
    walk = open_window(Window("narrow"))
    walk.sign_in(alice)
    walk.open("/funds")
    walk.write("Username of the fund", name)
    walk.press("Open the fund")
    walk.write("Username", bob.name)
    walk.press("Add manager")
    world.send(alice, "/api/send", amount=20_000_000, username=name)
    security = {"newpin": "123456", "locktime": 0, "current_password": alice.password}
    world.server.post("/api/user", security, token=alice.token)
    walk.open(f"/funds/{name}/gift")
    walk.write("Amount", "12345678")
    walk.write("PIN", "123456")
    walk.examine("gift")
    walk.press("Make the gift")
    walk.examine("voucher")
    walk.press("Done")
    walk.examine("fund")
    walk.press("New link")
    walk.reads("asks for your PIN")
    walk.examine("new link")
    walk.press("Cancel")
    walk.write("Username", "nobodyofthisname")
    walk.press("Add manager")
    walk.examine("refused")
    walk.open("/funds")
    walk.examine("funds")
