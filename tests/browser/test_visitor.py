"""Journey 6: a visitor without an account pays alice on her page."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.walk import Walk
from tests.browser.world import World


def test_a_visitor_pays_alice_and_both_are_told(walk: Walk, world: World) -> None:
    alice = world.person("alice")
    walk.open(f"/{alice.name}")
    walk.sees(alice.name)
    walk.write("Amount", "3300")
    walk.write("What it is for", "For the music")
    walk.press("Get an invoice")
    walk.sees(f"Pay {alice.name}")
    walk.reads("3,300")
    world.outside.pay(walk.field("Lightning invoice").input_value())
    walk.sees("Paid")
    assert world.balance(alice) == 3_300
    walk.press("Continue")
    walk.sees(alice.name)


def test_nobody_has_that_name(glance: Walk, world: World) -> None:
    glance.open("/" + world.free_name("nobody"))
    glance.sees("Not found", status=404)


def test_a_language_of_ones_own_is_chosen_on_any_page(desk: Walk, world: World) -> None:
    walk = desk
    walk.open("/")
    for language, words in {
        "日本語": "ウォレット",
        "Deutsch": "Bitcoin",
        "English": "Bitcoin that is simply money.",
    }.items():
        walk.page.get_by_role("button", name=language).click()
        walk.reads(words)
        walk.examine(language)


def test_the_reference_of_the_api_is_drawn_with_its_webhook(desk: Walk, world: World) -> None:
    """Swagger UI reads OpenAPI 3.1. Its own styles are not ours to examine."""
    desk.open("/api/schema/docs")
    for heading in ("Receive", "Send", "Webhooks"):
        expect(desk.page.get_by_role("heading", name=heading).first).to_be_visible()
    expect(desk.page.get_by_text("A payment to an invoice").first).to_be_visible()
