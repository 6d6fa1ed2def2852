"""The table that `make attack` prints: one row for each attack."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

WIDTH, NAME, TRIED = 132, 12, 62


@dataclass
class Row:
    name: str
    tried: str
    answered: str
    took_s: float
    worst_health_ms: float
    worst_payment_ms: float
    as_before_after_s: float | None
    """None: not within five seconds."""
    broken: list[str] = field(default_factory=list)
    repeated: bool = False

    @property
    def verdict(self) -> str:
        return ("FAILED" if self.broken else "held") + (" (2nd try)" if self.repeated else "")


def heading() -> str:
    return (
        f"{'attack':{NAME}} {'tried, and what was answered':{TRIED}} {'took':>6} {'health':>8}"
        f" {'payment':>8} {'as before':>9}  verdict\n" + "-" * WIDTH
    )


def render(row: Row) -> str:
    tried = textwrap.wrap(row.tried, TRIED) + textwrap.wrap(f"→ {row.answered}", TRIED)
    after = "never" if row.as_before_after_s is None else f"{row.as_before_after_s:.1f} s"
    waits = f"{row.worst_health_ms:5,.0f} ms {row.worst_payment_ms:5,.0f} ms"
    took = f"{row.took_s:.1f} s"
    lines = [f"{row.name:{NAME}} {tried[0]:{TRIED}} {took:>6} {waits} {after:>9}  {row.verdict}"]
    lines += [f"{'':{NAME}} {line}" for line in tried[1:]]
    lines += [f"{'':{NAME}} ✗ {line}" for one in row.broken for line in textwrap.wrap(one, 110)]
    return "\n".join(lines)
