"""The documents say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import coinos.urls  # noqa: F401  every module that defines an error is imported from there
from coinos.errors import CoinosError

ROOT = Path(__file__).resolve().parent.parent.parent
INTERNAL = {"COINOS_TEST_RUN", "DATABASE_ROLE", "SIMNET_BITCOIN_PORT"}


def text(path: str) -> str:
    return (ROOT / path).read_text()


def errors_below(base: type[CoinosError]) -> set[type[CoinosError]]:
    children = set(base.__subclasses__())
    return children.union(*(errors_below(child) for child in children))


def test_every_error_code_is_explained_with_its_status() -> None:
    written = {
        (int(status), code)
        for status, codes in re.findall(r"^\| (\d{3}) \| ([^|]+) \|", text("docs/errors.md"), re.M)
        for code in re.findall(r"`(\w+)`", codes)
    }
    ours = {
        error for error in errors_below(CoinosError) if not error.__module__.startswith("tests")
    }
    assert written == {(error.status, error.code) for error in ours}


def test_every_setting_is_in_the_readme() -> None:
    read = set(
        re.findall(
            r'\b(?:text|flag|number|choice|names|networks|secret)\(\s*"([A-Z_0-9]+)"',
            text("coinos/settings.py"),
        )
    )
    table = text("README.md").split("## Settings")[1].split("\n## ")[0]
    written = {
        name
        for row in re.findall(r"^\| (`[^|]+) \|", table, re.M)
        for name in re.findall(r"`([A-Z_0-9]+)`", row)
    }
    assert written == read - INTERNAL


def test_every_path_that_the_documents_name_exists() -> None:
    for document in ("README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))):
        words = text(document)
        links = [
            str(Path(document).parent / link) for link in re.findall(r"\]\(([\w./-]+)\)", words)
        ]
        paths = re.findall(
            r"`((?:accounts|invoices|payments|coinos|tests|templates|static)/[\w./]*)`", words
        )
        for path in [*links, *paths]:
            assert (ROOT / path).exists(), f"{document}: {path}"
