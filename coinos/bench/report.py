"""The bench's result: rows of the table, goals as ratios, and both as JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from coinos.bench.measure import Sample

WIDTHS = (9, 9, 8, 8, 8)


@dataclass(frozen=True)
class Row:
    """One line of the table. Latencies are milliseconds; queries and the processor time of the
    web processes and of PostgreSQL are per request."""

    subject: str
    connections: int
    per_second: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    queries: int | None = None
    web_cpu_ms: float | None = None
    database_cpu_ms: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Goal:
    """A ratio, or a number, that has to reach or to stay below its bound."""

    name: str
    value: float
    bound: float
    at_least: bool = True

    @property
    def is_met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass
class Report:
    """Collects as the stages go, and prints every row at once."""

    rows: list[Row] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    checks: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def stage(self, title: str) -> None:
        columns = zip(("p50 ms", "p99 ms", "queries", "web cpu", "db cpu"), WIDTHS, strict=True)
        head = f"{title:<45}{'at once':>7}{'a second':>10}"
        head += "".join(f"{name:>{width}}" for name, width in columns)
        print(f"\n{head}\n{'-' * len(head)}", flush=True)

    def sample(
        self, subject: str, connections: int, sample: Sample, *, queries: int | None = None
    ) -> None:
        """A load run. Anything but 200 is noted, a 5xx fails the bench."""
        refused = sample.count - sample.ok
        self.row(
            Row(
                subject,
                connections,
                round(sample.per_second, 1),
                round(sample.percentile(0.5), 1),
                round(sample.percentile(0.99), 1),
                queries,
                round(sample.web_cpu_s * 1000 / max(1, sample.count), 2),
                round(sample.database_cpu_s * 1000 / max(1, sample.count), 2),
                f"{refused} not 200: {dict(sample.statuses)}" if refused else "",
            )
        )
        if sample.errors:
            self.fail(f"{subject}: {sample.errors} answers 5xx or none")

    def row(self, row: Row) -> None:
        self.rows.append(row)
        cells = [row.p50_ms, row.p99_ms, row.queries, row.web_cpu_ms, row.database_cpu_ms]
        texts = ["" if cell is None else f"{cell:g}" for cell in cells]
        print(
            f"{row.subject:<48}{row.connections:>4}{row.per_second:>10.1f}"
            + "".join(f"{text:>{width}}" for text, width in zip(texts, WIDTHS, strict=True))
            + f"  {row.note}".rstrip(),
            flush=True,
        )

    def goal(self, name: str, value: float, bound: float, *, at_least: bool = True) -> None:
        goal = Goal(name, round(value, 3), bound, at_least)
        self.goals.append(goal)

    def fact(self, name: str, value: object) -> None:
        self.facts[name] = value
        print(f"{name}: {value}", flush=True)

    def check(self, sentence: str) -> None:
        self.checks.append(sentence)
        print(f"checked: {sentence}", flush=True)

    def fail(self, sentence: str) -> None:
        self.failures.append(sentence)
        print(f"FAILED: {sentence}", flush=True)

    def find(self, subject: str, connections: int) -> Row:
        """The row that an earlier stage has made; raises LookupError when it did not run."""
        for row in self.rows:
            if (row.subject, row.connections) == (subject, connections):
                return row
        raise LookupError(f"no row {subject!r} at {connections}")

    def rate(self, subject: str, connections: int) -> float:
        """The throughput of such a row; 0 when its stage did not run."""
        try:
            return self.find(subject, connections).per_second
        except LookupError:
            return 0.0

    def finish(self, path: str) -> None:
        self.stage("Goals (ratios of this run)")
        for goal in self.goals:
            sign = ">=" if goal.at_least else "<="
            met = "met" if goal.is_met else "NOT MET"
            print(f"{goal.name:<72}{goal.value:>9.3f}  {sign} {goal.bound:<7g}{met}")
        if path:
            Path(path).write_text(json.dumps(self.as_json(), indent=1, default=str) + "\n")

    def as_json(self) -> dict[str, object]:
        return {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
            "load_average": os.getloadavg(),
            "facts": self.facts,
            "rows": [asdict(row) for row in self.rows],
            "goals": [asdict(goal) | {"met": goal.is_met} for goal in self.goals],
            "checks": self.checks,
            "failures": self.failures,
        }
