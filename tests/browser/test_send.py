"""Journey 3: paste anything, see what it costs, confirm, and read what became of it."""

from __future__ import annotations

import re

from playwright.sync_api import FilePayload, expect

from tests.browser.walk import Walk
from tests.browser.world import World


def test_she_pays_an_invoice_from_outside_and_sees_the_total_first(
    walk: Walk, world: World
) -> None:
    alice = world.person("alice", sats=10_000)
    walk.sign_in(alice)
    walk.press("Send")
    walk.sees("Send")
    walk.write("To", world.outside.invoice(2_000_000, description="A book").upper())
    walk.press("Next")
    walk.sees("Confirm")
    walk.reads("A book")
    walk.reads("at most")
    walk.reads("Left to spend")
    walk.press("Send")
    walk.sees("Sent")
    walk.reads("−⚡️2,000")
    world.until(lambda: world.balance(alice) == 7_999)  # 1 sat for the hop between

    walk.open("/")
    walk.sees("Your wallet")
    walk.reads("7,999")


def test_a_code_is_read_from_a_picture_however_long_its_note_is(glance: Walk, world: World) -> None:
    """input-I03: it decodes to the address and the amount."""
    walk, alice, bob = glance, world.person("alice"), world.person("bob")
    asked = world.invoice(bob, type="bitcoin", amount=1000, memo="☕" * 5000)
    walk.sign_in(alice)
    walk.open("/send")
    code = walk.context.request.get(f"{world.url}/invoice/{asked['id']}/qr.png").body()
    picture: FilePayload = {"name": "code.png", "mimeType": "image/png", "buffer": code}
    walk.page.locator("#scanner input[type=file]").set_input_files(picture)
    walk.sees("How much?")
    walk.reads(bob.name)
    expect(walk.field("Amount")).to_have_value("1000")


def test_a_payment_on_its_way_is_not_called_sent(phone: Walk, world: World) -> None:
    walk, alice = phone, world.person("alice", sats=10_000)
    walk.sign_in(alice)
    walk.open("/send")
    walk.write("To", world.outside.invoice(1_000_000, node="hold"))
    walk.press("Next")
    walk.press("Send")
    walk.sees("On its way")
    walk.reads("Do not pay again.")
    payment_hash = walk.fact("Payment hash")
    walk.open("/")
    walk.reads("On its way out")
    walk.examine("held")
    walk.page.go_back()
    walk.sees("On its way")
    world.outside.release(payment_hash)
    walk.sees("Sent")
    assert world.balance(alice) == 8_999


def test_a_refused_payment_says_why_and_gives_everything_back(glance: Walk, world: World) -> None:
    walk, alice = glance, world.person("alice", sats=10_000)
    walk.sign_in(alice)
    walk.open("/send")
    walk.write("To", world.outside.invoice(1_000_000, node="fail"))
    walk.press("Next")
    walk.press("Send")
    walk.reads("The recipient refused the payment")
    walk.sees("Confirm", status=422)
    assert world.balance(alice) == 10_000

    walk.open("/payments?show=failed")
    walk.sees("Payments")
    walk.page.get_by_role("main").locator("a.payment").click()
    walk.sees("Failed")
    walk.reads("Your sats are back.")
    walk.press("Try again")
    walk.sees("Confirm")


def test_an_unknown_destination_is_told_what_would_be_known(glance: Walk, world: World) -> None:
    walk = glance
    walk.sign_in(world.person("alice", sats=1000))
    walk.open("/send")
    walk.write("To", "somebody I met yesterday")
    walk.press("Next")
    walk.sees("Send", status=422)
    expect(walk.field("To")).to_have_attribute("aria-invalid", "true")
    expect(walk.page.get_by_role("alert")).to_be_visible()


def test_more_than_she_has_is_refused_before_anything_is_held(glance: Walk, world: World) -> None:
    walk, alice, bob = glance, world.person("alice", sats=1000), world.person("bob")
    walk.sign_in(alice)
    walk.open("/send")
    walk.write("To", bob.name)
    walk.press("Next")
    walk.write("Amount", "1001")
    walk.press("Next")
    walk.sees("How much?", status=422)
    expect(walk.page.get_by_role("alert").first).to_contain_text(re.compile("1,?000"))


def test_with_the_keyboard_alone_she_sends_and_always_sees_where_she_is(
    desk: Walk, world: World
) -> None:
    walk, alice, bob = desk, world.person("alice", sats=1000), world.person("bob")
    walk.sign_in(alice)
    walk.open("/send")
    walk.tab_to("textbox", "To")
    walk.page.keyboard.type(bob.name)
    walk.tab_to("button", "Next")
    walk.page.keyboard.press("Enter")
    walk.sees("How much?")
    walk.tab_to("textbox", "Amount")
    walk.page.keyboard.type("250")
    walk.tab_to("button", "Next")
    walk.page.keyboard.press("Enter")
    walk.sees("Confirm")
    walk.tab_to("button", "Send")
    walk.page.keyboard.press("Enter")
    walk.sees("Sent")
    assert world.balance(bob) == 250
