"""Every incident of others that we know of is proved by a test that names it, or explained.

`incidents.txt` has one line for each: the id, and a sentence of what happened, or why it cannot
happen here. A test names an incident in its name (`test_m04_…`) or its docstring (`M04`). Ids with
a hyphen are faults of ours that attacks from outside have shown (`sec-1`).
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
INCIDENT = re.compile(
    r"(?<![A-Za-z0-9])([MFAPO][0-9]{2}|sec-[0-9]{1,2}|money-[KHML][0-9]{1,2}|input-I[0-9]{2}[a-q]?|input-[BC][0-9]{1,2})"
    r"(?![0-9A-Za-z])"
)
COUNTS = {"M": 35, "F": 20, "A": 15, "P": 27, "O": 7}
SECURITY_FAULTS = 18
MONEY_FAULTS = {"K": 6, "H": 11, "M": 10, "L": 5}
INPUT_FAULTS = [f"I{n:02}" for n in range(1, 17)] + [f"I17{kind}" for kind in "abcdefghijklmnopq"]
CASES_OF_OTHERS = 29
EXPLAINED = "not applicable: "


def lines() -> list[tuple[str, str]]:
    text = Path(__file__).with_name("incidents.txt").read_text()
    return [(line.split(" | ", 1)[0], line.split(" | ", 1)[1]) for line in text.splitlines()]


def incidents() -> dict[str, str]:
    return dict(lines())


def explained(incident: str) -> bool:
    return incidents().get(incident, "").startswith(EXPLAINED)


def named() -> dict[str, list[str]]:
    """Which tests name each incident. A module's docstring names it for all of its tests."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("*.py")):
        tree = ast.parse(path.read_text())
        tests = list(_tests(tree))
        if not tests and "proof" not in path.parts:
            continue
        where = str(path.relative_to(TESTS))
        for name, docstring in [(where, ast.get_docstring(tree) or ""), *tests]:
            words = name.replace("_", " ").upper() if name != where else ""
            for incident in INCIDENT.findall(f"{words} {docstring}"):
                found[incident].append(name if name == where else f"{where}::{name}")
    return found


def _tests(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Name and docstring of every test, and of what a proof's tests are made of."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            docstring = ast.get_docstring(node) or ""
            if node.name.startswith("test_") or INCIDENT.search(docstring):
                yield node.name, docstring


def test_the_list_is_whole() -> None:
    counts = Counter(incident[0] for incident in incidents() if "-" not in incident)
    assert dict(counts) == COUNTS
    for group, count in COUNTS.items():
        assert {f"{group}{n:02}" for n in range(1, count + 1)} <= set(incidents())
    assert {f"sec-{n}" for n in range(1, SECURITY_FAULTS + 1)} <= set(incidents())
    for severity, count in MONEY_FAULTS.items():
        assert {f"money-{severity}{n}" for n in range(1, count + 1)} <= set(incidents())
    assert {f"input-{fault}" for fault in INPUT_FAULTS} <= set(incidents())
    assert {f"input-C{n}" for n in range(1, CASES_OF_OTHERS + 1)} <= set(incidents())


def test_no_incident_is_listed_twice() -> None:
    """Two would be kept apart, and only the last one read."""
    twice = [incident for incident, count in Counter(i for i, _ in lines()).items() if count > 1]
    assert twice == []


def test_every_incident_is_proved_or_explained() -> None:
    proved = named()
    missing = [
        f"{incident}: {sentence}"
        for incident, sentence in incidents().items()
        if incident not in proved and not sentence.startswith(EXPLAINED)
    ]
    assert missing == []


def test_what_is_named_is_known() -> None:
    unknown = {
        incident: where for incident, where in named().items() if incident not in incidents()
    }
    assert unknown == {}


def test_an_explanation_says_why() -> None:
    """And it ends when there is something to test after all."""
    stale = {incident: where for incident, where in named().items() if explained(incident)}
    assert stale == {}
    for incident, sentence in incidents().items():
        if sentence.startswith(EXPLAINED):
            assert len(sentence) > len(EXPLAINED) + 30, incident
