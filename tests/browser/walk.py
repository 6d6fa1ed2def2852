"""A walk through the wallet in one browser window, which misses nothing that goes wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Response,
    expect,
)

from tests.browser.world import Person

PATIENCE_MS = 20_000  # two cores may be busy with the rest of the suite
WCAG = {
    "resultTypes": ["violations"],
    "preload": False,  # nothing of ours lies in frames or on other hosts
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]},
}
TELL_OF_VIOLATIONS = """
document.addEventListener('securitypolicyviolation', (event) =>
  console.error(`Content-Security-Policy: ${event.violatedDirective} ${event.blockedURI}`))
"""
TOO_NARROW_FOR_THEIR_LABEL = """
[...document.querySelectorAll('.button, button, nav a')].filter((e) =>
  e.checkVisibility() && !e.closest('.hidden-text') && e.scrollWidth > e.clientWidth + 1)
  .map((e) => e.textContent.trim())
"""
# iOS zooms into a smaller one when it gets the focus, and stays there (input-I17p).
TEXT_FIELDS_TOO_SMALL = """
[...document.querySelectorAll('input, textarea, select')].filter((e) => e.checkVisibility()
  && !['checkbox', 'radio', 'range', 'file', 'button', 'submit'].includes(e.type)
  && parseFloat(getComputedStyle(e).fontSize) < 16).map((e) => e.name || e.id || e.outerHTML)
"""
# Until they are drawn, what is fixed to the lower edge may be missing in the picture.
TWO_FRAMES = "new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
# An outline, or a ring in the box around it.
SHOWS_FOCUS = """
(focused) => getComputedStyle(focused).outlineStyle !== 'none'
  || getComputedStyle(focused.parentElement).boxShadow.includes('inset')
"""
expect.set_options(timeout=PATIENCE_MS)
AXE = Axe().axe_script


@dataclass(frozen=True)
class Window:
    """How large, and in which light: a journey is walked once and examined in each."""

    size: str
    themes: tuple[str, ...] = ("light", "dark")

    @property
    def options(self) -> dict[str, Any]:
        sizes: dict[str, dict[str, Any]] = {
            "narrow": {"viewport": {"width": 320, "height": 640}} | TOUCH,
            "phone": {"viewport": {"width": 390, "height": 844}} | TOUCH,
            "desktop": {"viewport": {"width": 1280, "height": 800}},
        }
        return sizes[self.size] | {"color_scheme": self.themes[0]}


TOUCH = {"is_mobile": True, "has_touch": True}


class Walk:
    """`faults` fills with every error on the console or in a script, every request that failed or
    left this host, every violation of the Content-Security-Policy, everything that axe finds,
    every page that is wider than its window, and every field that a phone would zoom into."""

    def __init__(
        self,
        context: BrowserContext,
        window: Window,
        *,
        host: str,
        pictures: Path,
        has_scripts: bool = True,
    ) -> None:
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(TELL_OF_VIOLATIONS)
        self.context = context
        self.window = window
        self.has_scripts = has_scripts
        self.host = host
        self.pictures = pictures
        self.faults: list[str] = []
        self.seen = 0
        self.status = 0
        self.page: Page = context.new_page()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.fault(f"script: {error}"))
        self.page.on("request", self._on_request)
        self.page.on("requestfailed", self._on_failure)
        self.page.on("response", self._on_response)

    def fault(self, sentence: str) -> None:
        self.faults.append(f"{self.path}: {sentence}")

    # --- What the browser reports ---

    def _on_console(self, message: ConsoleMessage) -> None:
        # A refused request is judged by its response, with its status.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.fault(f"console: {message.text}")

    def _on_request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and url.netloc != self.host:
            self.fault(f"asks another host: {request.url}")

    def _on_failure(self, request: Request) -> None:
        # Aborted: the browser itself gave up what the next page does not need.
        if request.failure != "net::ERR_ABORTED":
            self.fault(f"request failed: {request.url}: {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.request.is_navigation_request():
            self.status = response.status
        elif response.status >= 400:
            self.fault(f"status {response.status}: {response.url}")

    # --- What the person does ---

    @contextmanager
    def without_network(self) -> Iterator[None]:
        """No request arrives until the block ends. What a page asks by itself meanwhile fails, and
        htmx says so: that is no fault."""
        self.context.set_offline(True)
        yield
        self.context.set_offline(False)
        expected = ("net::ERR_INTERNET_DISCONNECTED", "console: htmx:")
        self.faults = [fault for fault in self.faults if not any(map(fault.__contains__, expected))]

    @property
    def path(self) -> str:
        return urlsplit(self.page.url).path

    def open(self, path: str) -> None:
        self.page.goto(path)

    def press(self, name: str, *, within: Locator | None = None, saves: Path | None = None) -> None:
        """The button or link of that name; `saves`: where the file goes that it downloads."""
        place = within or self.page.get_by_role("main")
        button = place.get_by_role("button", name=name, exact=True)
        button = button.or_(place.get_by_role("link", name=name, exact=True)).first
        if saves is None:
            button.click()
            return
        with self.page.expect_download() as download:
            button.click()
        download.value.save_as(saves)

    def field(self, label: str) -> Locator:
        return self.page.get_by_role("main").get_by_label(label, exact=True)

    def write(self, label: str, text: str) -> None:
        self.field(label).fill(text)

    def choose(self, label: str) -> None:
        """The radio button whose label begins so."""
        self.page.get_by_role("radio", name=re.compile(f"^{re.escape(label)}")).check()

    def sign_in(self, person: Person) -> None:
        self.open("/login")
        self.write("Username", person.name)
        self.write("Password", person.password)
        self.press("Sign in")
        self.reads("Spendable")

    def forget_everything(self) -> None:
        """The browser is as new: it leaves the page, and no cookie is left.

        Leaves first: what a live page asks for just then, without cookies, would be answered with
        a new CSRF cookie, perhaps after the next page's form was made with another."""
        self.open("about:blank")
        self.context.clear_cookies()

    # --- What the person finds ---

    def reads(self, text: str) -> None:
        """The page says so, at once or after a while."""
        expect(self.page.get_by_role("main")).to_contain_text(text)

    def fact(self, term: str) -> str:
        """What a list of facts says of this term."""
        row = self.page.locator("dl > div").filter(has=self.page.get_by_text(term, exact=True))
        return row.locator("dd").inner_text()

    def sats(self, term: str) -> int:
        """The last number of sats in that fact; a minus is read."""
        found = re.findall(r"(−?)⚡️([0-9,]+)", self.fact(term))
        assert found, self.fact(term)
        sign, digits = found[-1]
        return int(digits.replace(",", "")) * (-1 if sign else 1)

    def sees(self, heading: str, *, status: int = 200) -> None:
        """A page, or a state of a page, with this heading; it is photographed and examined."""
        title = self.page.get_by_role("heading", name=heading, exact=True).first
        expect(title).to_be_attached()
        if self.status != status:
            self.fault(f"status {self.status} where {status} was expected")
        self.examine(heading)

    def examine(self, name: str) -> None:
        """Photograph what is there, let axe look at it, and see that it is not too wide and that
        no phone would zoom into it."""
        self.seen += 1
        words = "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
        self.pictures.mkdir(parents=True, exist_ok=True)
        size = self.page.viewport_size
        assert size
        width, room, height = self.page.evaluate(
            "(({scrollWidth, clientWidth, scrollHeight}) => [scrollWidth, clientWidth,"
            " scrollHeight])(document.documentElement)"
        )
        if width > room:
            self.fault(f"{width} px wide in a window of {room} px")
        for label in self.page.evaluate(TOO_NARROW_FOR_THEIR_LABEL):
            self.fault(f"the button is too narrow for {label!r}")
        if "has_touch" in self.window.options:
            for field in self.page.evaluate(TEXT_FIELDS_TOO_SMALL):
                self.fault(f"the letters of the field {field!r} are smaller than 16 px")
        # The screen grows for the moment: the picture of a longer page would have the navigation
        # of phones in its middle.
        self.page.set_viewport_size({"width": size["width"], "height": height})
        if self.has_scripts:
            self.page.evaluate(TWO_FRAMES)
        for theme in self.window.themes:
            self.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            file = f"{self.seen:02}-{words}-{self.window.size}-{theme}.png"
            self.page.screenshot(path=self.pictures / file)
            self._ask_axe(theme)
        self.page.set_viewport_size(size)

    def _ask_axe(self, theme: str) -> None:
        if not self.has_scripts:
            return  # it would wait for ever
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE)
        for violation in self.page.evaluate("(options) => axe.run(options)", WCAG)["violations"]:
            targets = ", ".join(str(node["target"]) for node in violation["nodes"])
            self.fault(f"axe, {theme}, {violation['impact']}: {violation['help']}: {targets}")

    # --- Without a mouse ---

    def tab_to(self, role: Literal["button", "link", "textbox"], name: str) -> None:
        """Press Tab until that element of the page's main part has the focus, visibly."""
        for _ in range(60):
            self.page.keyboard.press("Tab")
            focused = self.page.locator("main :focus")
            if not focused.count():
                continue
            if not focused.evaluate(SHOWS_FOCUS):
                self.fault(f"no visible focus: {focused.evaluate('(e) => e.outerHTML')[:200]}")
            wanted = self.page.get_by_role("main").get_by_role(role, name=name, exact=True)
            if focused.and_(wanted).count():
                return
        raise AssertionError(f"Tab never comes to the {role} {name!r}")
