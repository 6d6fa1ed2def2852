"""`python -m tests.fuzz`: whatever people type, paste and send, for ten minutes.

    make fuzz                   ten minutes
    make fuzz MINUTES=60        longer
    make fuzz SEED=7            the same requests again, as far as the server answers alike

A server is started as the README does, without its limits of requests. Programs with real tokens
call every operation of the OpenAPI schema with what Schemathesis makes of it; a browser that is
signed in fills every form of every page with public vectors, changed here and there. No answer is
a 5xx, each comes in time, and at the end the books are exact.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.attack.world import World, started

ANSWER_S = 20.0
"""The most that an answer may take: a payment is waited for 15 s, a look-up elsewhere 10 s."""

SLICE_S = 20.0
"""Programs and browsers take turns of so long."""


@dataclass
class Findings:
    """What was asked, and what went wrong: sentences by the fault, so that each is told once."""

    asked: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    longest_s: float = 0.0
    longest: str = ""

    def note(self, what: str, status: int, took_s: float, how: str) -> None:
        """One answer to `what`; `how` is enough to ask again."""
        self.asked[what] += 1
        self.statuses[status] += 1
        if took_s > self.longest_s:
            self.longest_s, self.longest = took_s, what
        if status >= 500:
            self._fault(f"{what}: {status}", how)
        elif not status or took_s > ANSWER_S:
            self._fault(f"{what}: no answer within {ANSWER_S:.0f} s", how)

    def _fault(self, sentence: str, how: str) -> None:
        if sentence not in self.faults:
            print(f"FAULT {sentence}\n      {how[:2000]}", flush=True)
            self.faults[sentence] = how


def main() -> int:
    minutes = float(os.environ.get("MINUTES") or 10)
    seed = int(os.environ.get("SEED") or time.time())
    print(f"fuzzing for {minutes:g} minutes; again with: make fuzz SEED={seed}", flush=True)
    findings = Findings()
    with started(RATE_LIMITS="off") as world:
        from tests.fuzz.forms import Forms
        from tests.fuzz.programs import Programs

        takers = [Programs(world, findings, seed), Forms(world, findings, seed)]
        until = time.monotonic() + minutes * 60
        while time.monotonic() < until:
            for taker in takers:
                taker.go_on(min(until, time.monotonic() + SLICE_S))
        broken = _books_and_log(world)
    _tell(findings, broken)
    return 1 if findings.faults or broken else 0


def _books_and_log(world: World) -> list[str]:
    """What is wrong at the end: the books, the web process, errors in the log."""
    broken = []
    checked = world.manage("check_ledger")
    print("\ncheck_ledger: " + (checked.stdout + checked.stderr).strip().replace("\n", "; "))
    if checked.returncode:
        broken.append("the books are not exact")
    log = world.log()
    if "ended (" in log:
        broken.append("a process died: " + log[log.index("ended (") - 40 :][:200])
    errors = [line for line in log.splitlines() if " ERROR " in line or "Traceback" in line]
    if errors:
        broken.append(f"{len(errors)} errors in the log, the first: {errors[0][:400]}")
        where = log.index(errors[0])
        print(log[where : where + 4000])
    return broken


def _tell(findings: Findings, broken: list[str]) -> None:
    print(
        f"{findings.asked.total():,} requests to {len(findings.asked)} operations and forms:"
        f" {dict(sorted(findings.statuses.items()))}; the longest answer took"
        f" {findings.longest_s:.1f} s ({findings.longest})"
    )
    for sentence in [*findings.faults, *broken]:
        print(f"FAILED: {sentence}")
    if not findings.faults and not broken:
        print("All held: no 5xx, every answer in time, the books exact.")
