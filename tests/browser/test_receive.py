"""Journey 2: an amount, a code, and a page that says by itself that it is paid."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.walk import Walk
from tests.browser.world import World


def test_she_asks_for_an_amount_and_the_page_says_when_it_is_paid(walk: Walk, world: World) -> None:
    alice = world.person("alice")
    walk.sign_in(alice)
    walk.press("Receive")
    walk.sees("Receive")

    keypad = walk.page.get_by_role("group", name="Keypad")
    for key in "2100":
        walk.press(key, within=keypad)
    expect(walk.field("Amount")).to_have_value("2100")
    walk.write("What it is for", "Coffee beans")
    walk.press("Create invoice")
    walk.sees("Invoice")
    walk.reads("2,100")
    walk.reads("Coffee beans")

    walk.press("Lightning")
    walk.reads("Lightning invoice")
    world.outside.pay(walk.field("Lightning invoice").input_value())
    walk.sees("Received")
    walk.reads("2,100")
    expect(walk.page.get_by_role("status").filter(has_text="Received")).to_be_visible()
    assert world.balance(alice) == 2100


def test_copying_confirms_itself_and_the_clipboard_has_the_text(phone: Walk, world: World) -> None:
    walk, asked = phone, world.invoice(world.person("alice"), amount=1000)
    walk.context.grant_permissions(["clipboard-read", "clipboard-write"])
    walk.open(f"/invoice/{asked['id']}")
    copy = walk.page.get_by_role("main").get_by_role("button", name="Copy", exact=True).first
    copy.click()
    expect(walk.page.get_by_role("button", name="Copied", exact=True)).to_be_visible()
    expect(walk.page.get_by_role("status").filter(has_text="Copied")).to_be_visible()
    walk.examine("copied")
    assert walk.page.evaluate("navigator.clipboard.readText()") == asked["text"]
    expect(copy).to_have_text("Copy")


def test_coins_are_seen_before_they_are_confirmed(glance: Walk, world: World) -> None:
    walk, alice = glance, world.person("alice")
    address = world.invoice(alice, type="bitcoin", amount=50_000)
    walk.sign_in(alice)
    walk.open(f"/invoice/{address['id']}")
    walk.sees("Invoice")

    world.outside.stuck()
    try:
        world.outside.deposit(address["hash"], 50_000)
        walk.sees("Seen, not yet confirmed")
        walk.open("/")
        walk.reads("Arriving")
        walk.sees("Your wallet")
    finally:
        world.outside.stuck(False)
    walk.open(f"/invoice/{address['id']}")
    world.outside.mine()
    walk.sees("Received")


def test_a_part_is_named_with_what_is_missing(glance: Walk, world: World) -> None:
    walk, alice = glance, world.person("alice")
    asked = world.invoice(alice, type="bitcoin", amount=50_000)
    walk.open(f"/invoice/{asked['id']}")
    world.outside.deposit(asked["hash"], 20_000)
    world.outside.mine()
    walk.reads("30,000 sats still missing")
    walk.examine("partly paid")


def test_the_code_fills_the_screen_and_escape_closes_it(glance: Walk, world: World) -> None:
    walk, asked = glance, world.invoice(world.person("alice"), amount=1000)
    walk.open(f"/invoice/{asked['id']}")
    walk.press("QR code: payment request, 1,000 sats. Show it full screen")
    full = walk.page.get_by_role("dialog", name="QR code, full screen")
    expect(full).to_be_visible()
    walk.examine("full screen")
    walk.page.keyboard.press("Escape")
    expect(full).to_be_hidden()


def test_an_expired_invoice_says_so_and_offers_a_new_one(glance: Walk, world: World) -> None:
    walk, alice = glance, world.person("alice")
    asked = world.invoice(alice, amount=1000, expiry=1)
    world.until(lambda: world.has_expired(asked))
    walk.open(f"/invoice/{asked['id']}")
    walk.sees("Expired")
    walk.press("New invoice like this one")
    walk.sees(f"Pay {alice.name}")
    walk.reads("1,000")
