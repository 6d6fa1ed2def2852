"""Journey 9: a setting takes effect at once, and a PIN is asked for before every payment."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.walk import Walk
from tests.browser.world import World


def test_currency_language_and_theme_change_at_once(walk: Walk, world: World) -> None:
    walk.sign_in(world.person("alice", sats=100_000))
    walk.open("/settings")
    walk.sees("Settings")
    html = walk.page.locator("html")
    themes = walk.page.get_by_role("group", name="Theme").locator("label")
    tops = {label.evaluate("(e) => e.getBoundingClientRect().top") for label in themes.all()}
    assert (themes.count(), len(tops)) == (3, 1), "three in one row"
    for theme in ("Dark", "Light"):
        walk.field("Currency").select_option("EUR")
        walk.choose(theme)
        walk.press("Save preferences")
        walk.reads("Your preferences are saved")
        expect(html).to_have_attribute("data-theme", theme.lower())
        walk.examine(f"chosen {theme}")
    walk.open("/")
    walk.reads("€")

    walk.open("/settings")
    walk.field("Language").select_option("ja")
    walk.press("Save preferences")
    expect(html).to_have_attribute("lang", "ja")
    walk.examine("Japanese settings")
    walk.open("/")
    walk.reads("支払い")
    walk.examine("Japanese home")


def test_a_pin_is_asked_for_from_now_on(walk: Walk, world: World) -> None:
    alice, bob = world.person("alice", sats=5_000), world.person("bob")
    walk.sign_in(alice)
    walk.open("/settings")
    walk.write("New PIN, six digits", "246810")
    walk.press("Set PIN")
    walk.reads("The PIN is set")

    walk.open("/send")
    walk.write("To", bob.name)
    walk.press("Next")
    walk.write("Amount", "1000")
    walk.press("Next")
    walk.sees("Confirm")
    walk.write("PIN", "111111")
    walk.press("Send")
    walk.sees("Confirm", status=422)
    expect(walk.field("PIN")).to_have_attribute("aria-invalid", "true")
    assert world.balance(bob) == 0
    walk.write("PIN", "246810")
    walk.press("Send")
    walk.sees("Sent")
    assert world.balance(bob) == 1_000


def test_the_name_that_others_see_and_her_picture_are_hers_to_choose(
    glance: Walk, world: World
) -> None:
    walk, alice = glance, world.person("alice")
    walk.sign_in(alice)
    walk.open("/settings")
    walk.write("Name shown to others", "Alice Ōkami")
    walk.write("About you", "Music <b>and</b> tea")
    walk.press("Save profile")
    walk.reads("Your profile is saved")
    expect(walk.page.get_by_text("Choose a picture", exact=True).first).to_be_visible()
    walk.field("Picture").set_input_files("static/icons/app-512.png")
    expect(walk.page.get_by_text("app-512.png", exact=True)).to_be_visible()
    walk.field("Picture").focus()
    walk.examine("picture chosen")
    walk.press("Save picture")
    walk.reads("Your picture is saved")
    walk.field("Banner").set_input_files("static/icons/app-512.png")
    walk.press("Save banner")
    walk.reads("Your banner is saved")
    walk.examine("profile")
    walk.forget_everything()
    walk.open(f"/{alice.name}")
    walk.sees("Alice Ōkami")
    walk.reads("Music <b>and</b> tea")
    banner = walk.page.locator("img.banner")
    assert banner.evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [960, 320]
    assert banner.evaluate("(image) => image.clientHeight") <= 176, "the form stays in sight"


def test_a_key_for_a_program_is_shown_once(glance: Walk, world: World) -> None:
    walk, alice = glance, world.person("alice")
    walk.sign_in(alice)
    walk.open("/settings")
    walk.page.get_by_text("New API key", exact=True).click()
    walk.write("Name", "Till")
    walk.press("Create key")
    walk.reads("It cannot be shown again.")
    walk.examine("key")
    walk.open("/webhooks")
    walk.sees("Webhooks")


def test_a_webhook_of_the_account_is_set_and_switched_off(glance: Walk, world: World) -> None:
    walk, target = glance, "http://127.0.0.1:9/paid"
    walk.sign_in(world.person("alice"))
    walk.open("/settings")
    walk.press("Open webhooks")
    account = walk.page.get_by_role("region", name="Webhook for this account")
    url, secret = account.get_by_label("URL to call"), account.get_by_label("Secret in the body")
    url.fill(target)
    secret.fill("of my shop")
    walk.press("Save webhook")
    walk.reads("Your webhook is saved")
    expect(url).to_have_value(target)
    expect(secret).to_have_value("")
    walk.examine("webhook of the account")
    url.fill("")
    walk.press("Save webhook")
    walk.reads("Your webhook is switched off")
