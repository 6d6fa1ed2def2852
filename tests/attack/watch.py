"""The watch beside every attack: an uninvolved client of another address.

`python -m tests.attack.watch` is a process of its own, so that an attacker who keeps this process
busy delays no measurement. Every 0.2 s it asks for `GET /api/health`, and every 0.3 s one of two
strangers pays the other a sat, each time over a new connection, and writes down how long the
answer took. It reads who it is as JSON from its first line of input and ends with its input.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tests.attack.strangers import Stranger

HEALTH_EVERY_S = 0.2
PAY_EVERY_S = 0.3
PATIENCE_S = 8
KINDS = ("health", "payment")

LONGEST_WAIT_MS = 2000
"""The promise: neither may wait longer while anybody attacks."""
QUICK_MS = 500
"""What both take at most in peace, on a machine that is not busy otherwise."""


@dataclass(frozen=True)
class Seen:
    """One answer. `at` is when it was asked for, in seconds of the machine's monotonic clock;
    `status` 0: none within the patience."""

    kind: str
    at: float
    wait_ms: float
    status: int

    @property
    def ended(self) -> float:
        return self.at + self.wait_ms / 1000


# --- Judging -------------------------------------------------------------------------------------


def worst_ms(seen: Iterable[Seen], kind: str, *, since: float, until: float) -> float:
    """The longest wait for an answer of this kind that was asked for before `until` and came after
    `since`; 0 when there was none."""
    return max(
        (one.wait_ms for one in seen if one.kind == kind and one.at < until and one.ended > since),
        default=0,
    )


def broken_promises(seen: Iterable[Seen], *, since: float, until: float) -> list[str]:
    """What an uninvolved client could complain about, as sentences: waits above two seconds,
    refusals, and no answer at all."""
    seen = list(seen)
    broken = []
    for kind in KINDS:
        during = [one for one in seen if one.kind == kind and one.at < until and one.ended > since]
        waited_ms = worst_ms(seen, kind, since=since, until=until)
        refused = [one.status for one in during if one.status not in (0, 200)]
        unanswered = [one for one in during if not one.status]
        if not during:
            broken.append(f"{kind} was not measured")
        elif waited_ms > LONGEST_WAIT_MS:
            broken.append(f"{kind} waited {waited_ms / 1000:.1f} s")
        elif unanswered:
            broken.append(f"{kind} had no answer {len(unanswered)} times")
        if refused:
            broken.append(f"{kind} of a stranger was answered {refused[0]}, {len(refused)} times")
    return broken


def is_quick_again(seen: Iterable[Seen], *, since: float, within_ms: Mapping[str, float]) -> bool:
    """Whether the last two answers of each kind that were asked for after `since` are right and
    took no longer than in peace."""
    seen = list(seen)
    for kind in KINDS:
        last = [one for one in seen if one.kind == kind and one.at > since][-2:]
        if len(last) < 2 or any(one.status != 200 or one.wait_ms > within_ms[kind] for one in last):
            return False
    return True


# --- The runner's side ---------------------------------------------------------------------------


class Watch:
    """The measuring process, and what it has seen so far."""

    def __init__(self, who: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.attack.watch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._seen: list[Seen] = []
        self._lock = threading.Lock()
        assert self._process.stdin
        self._process.stdin.write(json.dumps(who) + "\n")
        self._process.stdin.flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._lock:
                self._seen.append(Seen(**json.loads(line)))

    def seen(self) -> list[Seen]:
        """All answers so far, in the order in which they came."""
        with self._lock:
            return list(self._seen)

    def wait_for_news(self, *, since: float, seconds: float) -> None:
        """Until an answer of each kind that was asked for after `since` has come, or so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if {one.kind for one in self.seen() if one.at > since} == set(KINDS):
                return
            time.sleep(0.05)

    def stop(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_S + 2)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reader.join(2)


# --- The measuring process -----------------------------------------------------------------------


def main() -> None:
    who = json.loads(sys.stdin.readline())
    ended, printing = threading.Event(), threading.Lock()
    anybody = Stranger(who["port"], who["address"], patience_s=PATIENCE_S)
    strangers = [
        Stranger(who["port"], one["address"], one["token"], patience_s=PATIENCE_S)
        for one in who["strangers"]
    ]
    names = [one["name"] for one in who["strangers"]]

    def measure(kind: str, every_s: float, ask: Callable[[int], int]) -> None:
        count, due = 0, time.monotonic()
        while not ended.wait(max(0.0, due - time.monotonic())):
            at = time.monotonic()
            status = ask(count)
            seen = Seen(kind, at, (time.monotonic() - at) * 1000, status)
            with printing:
                print(json.dumps(asdict(seen)), flush=True)
            count, due = count + 1, max(due + every_s, time.monotonic())

    def health(count: int) -> int:
        return anybody.get("/health").status

    def payment(count: int) -> int:
        payer, payee = count % 2, (count + 1) % 2
        body = {"username": names[payee], "amount": 1}
        return strangers[payer].post("/send", body).status

    for one in (
        threading.Thread(target=measure, args=("health", HEALTH_EVERY_S, health), daemon=True),
        threading.Thread(target=measure, args=("payment", PAY_EVERY_S, payment), daemon=True),
    ):
        one.start()
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    main()
