"""The design system: a page with every component, for whoever builds; nobody else sees it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured

from tests.html.conftest import Browser

ROOT = Path(configured.BASE_DIR)
STYLES = sorted((ROOT / "static").glob("*.css"))
COMPONENTS = """
    amounts badges buttons colours dialog disclosure empty errors fields hero keypad languages notes
    payments pin qr recipients results skeletons tabs timeline toasts type
""".split()


def test_the_design_page_is_not_there_on_a_server_of_others(stranger: Browser) -> None:
    assert stranger.get("/design").status_code == 404


def test_the_design_page_shows_each_component_in_light_and_in_dark(
    stranger: Browser, settings: Any
) -> None:
    settings.DEBUG = True
    page = stranger.get("/design").page
    assert [found["data-theme"] for found in page.all("section")] == ["light", "dark"]
    shown = [found["data-component"] for found in page.all("div") if "data-component" in found]
    assert sorted(shown) == sorted(COMPONENTS * 2)
    rows = {found["class"] for found in page.all("a") if found.get("class", "").startswith("pay")}
    assert rows == {"payment settled", "payment pending", "payment failed"}
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert [found for found in page.all("input") if found.get("aria-invalid") == "true"]


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
def test_a_style_sheet_uses_only_tokens_that_exist_and_no_other_host(path: Path) -> None:
    """Sides are logical, so that a page that is read from the right is mirrored by itself."""
    css = path.read_text()
    defined = set(re.findall(r"(--[\w-]+):", "".join(style.read_text() for style in STYLES)))
    assert set(re.findall(r"var\((--[\w-]+)", css)) <= defined
    assert not re.search(r"https?:|@import|//", css)
    sides = r"(?<![\w-])(?:(?:margin|padding|border)-(?:left|right)|left|right|float)\s*:"
    assert re.findall(sides, css) == []
    assert not re.search(r"text-align:\s*(left|right)", css)


FIELD = re.compile(r"(?<![\w.#:-])(?:input|textarea|select)(?![\w-])")
NO_TEXT = re.compile(r"file-selector-button|\[type='(?:file|range|checkbox|radio)'\]$")
SIZE = re.compile(
    r"font(?:-size)?:\s*(?:\d+ )?(?P<rem>[\d.]+)rem|font(?:-size)?:\s*(?P<other>[^;]*)"
)


@pytest.mark.parametrize(
    "path", [path for path in STYLES if path.name != "admin.css"], ids=lambda path: path.name
)
def test_no_style_makes_the_letters_of_a_field_smaller_than_16_pixels(path: Path) -> None:
    """input-I17p: iOS zooms into such a field. tests/browser/walk.py measures all of them."""
    css = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", css):
        selector = selectors.strip()
        if not FIELD.search(selector) or NO_TEXT.search(selector):
            continue
        for size in SIZE.finditer(body):
            assert float(size["rem"] or 0) >= 1, (selector, size[0])


TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_a_style_or_a_script_in_it(path: Path) -> None:
    source = path.read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|hx-on|hx-vals=.js:", source)
    assert not re.search(r"<script(?![^>]*\bsrc=)", source)
