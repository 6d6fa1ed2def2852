"""A real server, a real browser, and people who walk through the wallet with it.

One server (`manage.py up` on simnet) and one Chromium for all of these tests: tests/conftest.py
gives all of them to one worker of xdist's. Every page that a `Walk` sees is photographed, checked
by axe and for its width; whatever the browser complains of fails the test at its end.

BROWSER_SCREENSHOTS names the folder for the pictures; else they go to pytest's temporary folder.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.accounts.mailbox import open_mailbox
from tests.browser.walk import Walk, Window
from tests.browser.world import World
from tests.runtime.test_up import Server

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = """
--headless --no-sandbox --disable-gpu --disable-quic --no-first-run
--disable-background-networking --disable-component-update --disable-sync
""".split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)


# --- The browser ---------------------------------------------------------------------------
#
# These fixtures replace pytest-playwright's of the same names, which last for the session: while
# a Playwright runs, its event loop does, and Django then refuses to be called in this thread.


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: install Debian's package `chromium`")
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture(scope="package")
def browser_context_args(playwright: Playwright) -> dict[str, Any]:
    """Nothing moves, so that no picture and no contrast is measured half-way."""
    return {"reduced_motion": "reduce", "locale": "en"}


# --- The server and its people -------------------------------------------------------------


class QuickServer(Server):
    """As `make up` starts it, from the packages that run this test."""

    command = (sys.executable, "manage.py", "up")


@pytest.fixture(scope="package")
def world(playwright: Playwright) -> Iterator[World]:
    # Not pytest's tmp_path: see tests/runtime/test_up.py.
    folder = Path(tempfile.mkdtemp(prefix="coinos-browser-"))
    with open_mailbox() as mailbox:
        server = QuickServer(
            folder / "data",
            RATE_LIMITS="off",
            EMAIL_URL=f"smtp://127.0.0.1:{mailbox.port}",
            EMAIL_FROM="wallet@pay.example",
        )
        try:
            server.start()
            yield World(server, mailbox)
        finally:
            server.stop()
            shutil.rmtree(folder)


@pytest.fixture(scope="package")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("BROWSER_SCREENSHOTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def open_window(
    new_context: Any, world: World, screenshots: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Walk]]:
    """Opens a window of a browser of its own, in which nobody is signed in.

    At the end of the test no window may have seen a fault."""
    walks: list[Walk] = []
    test = request.node.originalname.removeprefix("test_")

    def open_it(
        window: Window, *, scripts: bool = True, timezone_id: str = "UTC", **more: Any
    ) -> Walk:
        context = new_context(
            base_url=world.url,
            java_script_enabled=scripts,
            timezone_id=timezone_id,
            **window.options,
            **more,
        )
        pictures = screenshots / test
        walk = Walk(context, window, host=world.host, pictures=pictures, has_scripts=scripts)
        walks.append(walk)
        return walk

    yield open_it
    faults = [fault for walk in walks for fault in walk.faults]
    assert not faults, "\n".join(faults)


@pytest.fixture(params=["phone", "desktop"])
def walk(open_window: Callable[..., Walk], request: pytest.FixtureRequest) -> Walk:
    """A browser in which nobody is signed in, in each size, seen in each light: for journeys."""
    return open_window(Window(request.param))


@pytest.fixture
def customer(walk: Walk, open_window: Callable[..., Walk]) -> Walk:
    """Somebody else, on a phone."""
    return open_window(Window("phone"))


@pytest.fixture(params=[("phone", "dark"), ("desktop", "light")], ids="-".join)
def glance(open_window: Callable[..., Walk], request: pytest.FixtureRequest) -> Walk:
    """The same, each size in one light only: for what may happen on the way."""
    size, theme = request.param
    return open_window(Window(size, (theme,)))


@pytest.fixture
def phone(open_window: Callable[..., Walk]) -> Walk:
    return open_window(Window("phone", ("dark",)))


@pytest.fixture
def desk(open_window: Callable[..., Walk]) -> Walk:
    return open_window(Window("desktop", ("light",)))
