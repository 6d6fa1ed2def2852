"""Imports point down: the contracts in pyproject.toml, executed. And what a type cannot say."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_import_contracts_hold():
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_texts_that_no_form_reads_are_read_where_nuls_are_dropped():
    """PostgreSQL cannot compare one with a NUL, which would be a 500. These are not looked up."""
    harmless = {"language", "next", "pin", "sats"}
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for app in ("accounts", "coinos", "invoices", "payments")
        for path in (ROOT / app).rglob("*.py")
        for name in re.findall(r'request\.POST(?:\.get\(|\[)"(\w+)"', path.read_text())
        if name not in harmless
    }
    assert found == set()
