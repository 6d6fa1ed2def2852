"""Take the picture of the README anew: `.venv/bin/python -m tests.browser.readme`.

Three phones side by side: a wallet and a payment to confirm in the light, an invoice in the dark.
Where the font Inter is installed it stands for the system's, which looks much alike on phones."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM, QuickServer
from tests.browser.world import PASSWORD, World

PICTURE = Path(__file__).resolve().parent.parent.parent / "docs" / "screenshot.png"
PHONE = {"width": 390, "height": 800}
FRAME = """
<style>
  body {{ margin: 0; display: flex; gap: 24px; padding: 22px 26px; background: #dfe5e1; }}
  img {{ width: 300px; border-radius: 20px; display: block; }}
</style>
{images}
"""


FONTS = """<fontconfig>
  <include>/etc/fonts/fonts.conf</include>
  <match>
    <test name="family" qual="any"><string>system-ui</string></test>
    <edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit>
  </match>
  <match>
    <test name="family" qual="any"><string>sans-serif</string></test>
    <edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit>
  </match>
</fontconfig>"""


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="coinos-readme-"))
    server = QuickServer(folder / "data", RATE_LIMITS="off")
    try:
        server.start()
        (folder / "fonts.conf").write_text(FONTS)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM,
                args=ARGUMENTS,
                env=dict(os.environ) | {"FONTCONFIG_FILE": str(folder / "fonts.conf")},
            )
            pictures = photograph(browser, World(server))
            images = "".join(
                f'<img src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
                for picture in pictures
            )
            page = browser.new_page(viewport={"width": 1000, "height": 660})
            page.set_content(FRAME.format(images=images))
            page.screenshot(path=PICTURE)
    finally:
        server.stop()
        shutil.rmtree(folder)


def photograph(browser: Browser, world: World) -> list[bytes]:
    alice, bob = world.register("alice"), world.register("bob")
    for person, sats, memo in ((alice, 220_000, "Savings"), (bob, 80_000, "Wages")):
        world.outside.pay(world.invoice(person, amount=sats, memo=memo)["hash"])
    world.until(lambda: world.balance(alice) == 220_000 and world.balance(bob) == 80_000)
    world.send(bob, "/api/send", amount=50_000, username=alice.name)
    world.send(
        alice, "/api/payments", payreq=world.outside.invoice(4_200_000, "Coffee beans, 1 kg")
    )
    world.send(alice, "/api/send", amount=12_000, username=bob.name)
    dinner = world.invoice(alice, amount=21_000, memo="Dinner")
    world.outside.stuck()
    coins = world.invoice(alice, type="bitcoin", memo="Rent")
    world.outside.deposit(coins["hash"], 75_000)

    def phone(theme: str) -> Page:
        context = browser.new_context(
            base_url=world.url,
            viewport=PHONE,
            color_scheme=theme,
            reduced_motion="reduce",
            device_scale_factor=2,
        )
        page = context.new_page()
        page.goto("/login")
        page.get_by_label("Username").fill(alice.name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("main").get_by_role("button", name="Sign in").click()
        page.get_by_text("Arriving").wait_for()
        return page

    light, dark = phone("light"), phone("dark")
    pictures = [light.screenshot()]
    light.goto("/send")
    light.get_by_label("To", exact=True).fill(world.outside.invoice(21_000_000, "Concert tickets"))
    light.get_by_role("button", name="Next").click()
    light.get_by_role("heading", name="Confirm").wait_for()
    pictures.append(light.screenshot())
    dark.goto(f"/invoice/{dinner['id']}")
    pictures.append(dark.screenshot())
    return pictures


if __name__ == "__main__":
    main()
