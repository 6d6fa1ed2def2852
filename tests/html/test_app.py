"""The wallet as an app: it can be installed, and offline it shows nothing of anybody's money."""

from __future__ import annotations

import json
from pathlib import Path

from tests.html.conftest import Browser, Person


def test_the_manifest_names_icons_that_are_there(stranger: Browser) -> None:
    link = next(found for found in stranger.get("/").page.all("link") if found["rel"] == "manifest")
    answer = stranger.get(link["href"])
    assert answer.headers["Content-Type"] == "application/manifest+json"
    assert "manifest-src 'self'" in answer.headers["Content-Security-Policy"]
    manifest = json.loads(answer.content)
    assert (manifest["start_url"], manifest["display"]) == ("/", "standalone")
    for icon in manifest["icons"]:
        content = Path(f".{icon['src']}").read_bytes()
        width, height = (int.from_bytes(content[at : at + 4]) for at in (16, 20))
        assert f"{width}x{height}" == icon["sizes"]
    assert {"any", "maskable"} == {icon["purpose"] for icon in manifest["icons"]}


def test_the_worker_keeps_the_offline_page_and_no_other(stranger: Browser) -> None:
    answer = stranger.get("/service-worker.js")
    assert answer.headers["Content-Type"].startswith("text/javascript")
    script = answer.content.decode()
    assert "const OFFLINE = '/offline'" in script
    assert "const ASSETS = ['/static/wallet.css', '/static/icons/favicon.svg', ]" in script
    assert ".put(" not in script
    for path in ("/static/wallet.css", "/static/icons/favicon.svg"):
        assert Path(f".{path}").is_file()


def test_the_offline_page_is_the_same_for_everybody(alice: Person, stranger: Browser) -> None:
    page = alice.get("/offline").page
    assert page.html == stranger.get("/offline").page.html
    assert "You are offline" in page.text
    assert "alice" not in page.html
    assert "100,000" not in page.html
