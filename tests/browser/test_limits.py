"""What holds for every page: without scripts, on the narrowest screen, without a network, and
with little to load."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Request

from tests.browser.walk import Walk, Window
from tests.browser.world import World

FIRST_LOAD_BYTES_MAX = 100_000


def test_without_scripts_she_registers_receives_sends_and_changes_settings(
    open_window: Callable[..., Walk], world: World
) -> None:
    walk, bob = (
        open_window(Window("phone", ("light",)), scripts=False),
        world.person("bob"),
    )
    name = world.free_name("alice")
    walk.open("/register")
    walk.write("Username", name)
    walk.write("Password", bob.password)
    walk.press("Register")
    walk.sees("Your wallet")

    walk.open("/receive")
    walk.write("Amount", "3000")
    walk.press("Create invoice")
    walk.sees("Invoice")
    walk.press("Lightning")
    world.outside.pay(walk.field("Lightning invoice").input_value())
    world.until(lambda: reloaded(walk) == "✓ Received · coinos")
    walk.sees("Received")

    walk.open("/settings")
    walk.write("New PIN, six digits", "246810")
    walk.press("Set PIN")
    walk.reads("The PIN is set")
    walk.field("Currency").select_option("EUR")
    walk.choose("Dark")
    walk.press("Save preferences")
    walk.reads("Your preferences are saved")

    walk.open("/send")
    walk.write("To", bob.name)
    walk.press("Next")
    walk.sees("How much?")
    walk.write("Amount", "1000")
    walk.press("Next")
    walk.sees("Confirm")
    walk.write("PIN", "246810")
    walk.press("Send")
    walk.sees("Sent")
    walk.open("/payments")
    walk.sees("Payments")
    assert world.balance(bob) == 1_000


def reloaded(walk: Walk) -> str:
    walk.page.reload()
    return walk.page.title()


@pytest.mark.parametrize(
    ("language", "zone"), [("en", "America/Los_Angeles"), ("de", "UTC"), ("ja", "Asia/Tokyo")]
)
def test_no_page_scrolls_sideways_at_320_pixels(
    open_window: Callable[..., Walk], world: World, language: str, zone: str
) -> None:
    """input-C22: nor is there an error in a script, whatever the language and the hour."""
    alice, bob = world.person("alicelongname", sats=21_000_000), world.person("bob")
    world.send(alice, "/api/send", amount=1_234_567, username=bob.name)
    asked = world.invoice(bob, amount=123_456_789, memo="W" * 60)
    walk = open_window(Window("narrow", ("light",)), timezone_id=zone)
    walk.sign_in(alice)
    in_session = walk.context.cookies()
    walk.forget_everything()
    walk.context.set_extra_http_headers({"Accept-Language": language})
    paths = [
        "/",
        "/register",
        "/login",
        f"/{bob.name}",
        "/docs",
        "/offline",
        f"/invoice/{asked['id']}",
    ]
    for path in paths:
        walk.open(path)
        walk.examine(f"{language} {path}")
    walk.context.add_cookies(in_session)
    for path in [
        "/",
        "/receive",
        "/send",
        "/payments",
        "/settings",
        "/webhooks",
        "/funds",
        "/simnet",
    ]:
        walk.open(path)
        walk.examine(f"{language} own {path}")
    walk.open("/payments")
    walk.page.get_by_role("main").locator("a.payment").first.click()
    walk.examine(f"{language} payment")


def test_long_words_fit_into_the_buttons_of_a_phone(phone: Walk, world: World) -> None:
    walk = phone
    walk.sign_in(world.person("alice", sats=21_000_000))
    walk.context.set_extra_http_headers({"Accept-Language": "de"})
    walk.open("/")
    walk.sees("Deine Wallet")


def test_without_a_network_the_wallet_says_so_and_shows_no_old_balance(
    phone: Walk, world: World
) -> None:
    walk = phone
    walk.sign_in(world.person("alice", sats=4321))
    walk.reads("4,321")
    walk.page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    with walk.without_network():
        walk.page.reload()
        walk.sees("You are offline")
        assert "4,321" not in walk.page.content()
    walk.press("Try again")
    walk.sees("Your wallet")


@pytest.mark.parametrize("page", ["landing", "home"])
def test_the_first_load_is_light(open_window: Callable[..., Walk], world: World, page: str) -> None:
    walk = open_window(Window("phone", ("light",)))
    if page == "home":
        elsewhere = open_window(Window("phone", ("light",)))
        elsewhere.sign_in(world.person("alice", sats=1000))
        walk.context.add_cookies(elsewhere.context.cookies())
    requests: list[Request] = []
    walk.page.on("requestfinished", lambda request: requests.append(request))
    walk.open("/")
    walk.page.wait_for_timeout(1000)  # what scripts ask for afterwards
    sizes = {request.url: transferred_bytes(request) for request in requests}
    assert len(sizes) > 5
    assert sum(sizes.values()) < FIRST_LOAD_BYTES_MAX, sizes


def transferred_bytes(request: Request) -> int:
    """Of the answer, with its headers, as they came over the network: without a proxy."""
    sizes = request.sizes()
    return sizes["responseHeadersSize"] + sizes["responseBodySize"]
