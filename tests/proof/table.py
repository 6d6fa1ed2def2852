"""The proof's table: each test says what it tried and found, the runner prints it all.

A row is a line of JSON in the file that PROOF_TABLE names, so that tests of several processes
write into one table. Numbers come from the tests' own counters, never from a hand.

Counts that the release sentence adds up: `transfers`, `kills`, `dropped_replies`, `reorgs`,
`double_credits`, `wrongful_refunds`, `deviation_msat`.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path

WIDTH = 100


@dataclass(frozen=True)
class Row:
    """What one test tried, how many faults of ours it found (0 is green), and its counters."""

    test: str
    tried: str
    found: int
    seed: int
    counts: dict[str, float]


def record(*, test: str, tried: str, found: int, seed: int, **counts: float) -> Row:
    """Add a row. `tried` is a short text with its number in it ("6,400 spends of one balance")."""
    row = Row(test, tried, found, seed, counts)
    path = os.environ.get("PROOF_TABLE")
    if path:
        with open(path, "a") as file:
            file.write(json.dumps(asdict(row)) + "\n")
    else:
        print(render([row]), file=sys.stderr)
    return row


def read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    return [Row(**json.loads(line)) for line in path.read_text().splitlines()]


def render(rows: list[Row]) -> str:
    """The table as text, in the order of the tests."""
    lines = [f"{'test':5} {'found':>5}  what was tried, and the counters", "-" * WIDTH]
    for row in sorted(rows, key=lambda row: int(row.test[1:])):
        counts = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in row.counts.items())
        text = f"{row.tried}: {counts}" if counts else row.tried
        head, *rest = textwrap.wrap(text, WIDTH - 13) or [""]
        lines += [f"{row.test:5} {row.found:5}  {head}", *(f"{'':13}{line}" for line in rest)]
    return "\n".join(lines)


def release_sentence(rows: list[Row], seed: int) -> str:
    """What this run may claim, from its counters alone."""

    def total(name: str) -> int:
        return int(sum(row.counts.get(name, 0) for row in rows))

    deviation_msat = total("deviation_msat")
    conservation = "to the msat" if not deviation_msat else f"BROKEN by {deviation_msat:,} msat"
    return (
        f"{total('transfers'):,} concurrent transfers, {total('kills'):,} kill −9,"
        f" {total('dropped_replies'):,} dropped node replies, {total('reorgs'):,} reorgs:"
        f" conservation {conservation}, {total('double_credits'):,} double credits,"
        f" {total('wrongful_refunds'):,} wrongful refunds; seed {seed}."
    )
