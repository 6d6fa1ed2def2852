"""What a server is made of can be listed, and is locked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_list_of_parts_is_whole() -> None:
    """sec-16"""
    done = subprocess.run(
        [sys.executable, ".ci/sbom.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    bom = json.loads(done.stdout)
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    parts = {(part["name"], part["version"]): part for part in bom["components"]}
    pins = re.findall(
        r"(?m)^([A-Za-z0-9._-]+)==([^ ;\\]+)", (ROOT / "requirements.txt").read_text()
    )
    libraries = {key for key, part in parts.items() if part["type"] == "library"}
    assert libraries == set(pins)
    assert all(parts[pin]["hashes"] for pin in pins)
    images = {key[0] for key, part in parts.items() if part["type"] == "container"}
    assert images >= {"caddy", "postgres", "redis", "bitcoin/bitcoin"}


def test_a_package_that_cannot_be_judged_fails_the_audit() -> None:
    """pip-audit calls all well when its index knows none of the packages, unless it is strict."""
    assert "pip-audit --strict" in (ROOT / "Makefile").read_text()
