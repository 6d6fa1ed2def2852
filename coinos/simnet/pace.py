"""Pace: how fast our Lightning node answers. As fast as it can, unless told to be slower.

Simnet is much quicker than a real node, so what is measured against it says little about life.
A rule for a method says how much slower: `per_second` calls are answered at most, one after the
other, as by a node that writes each of them to disk; `latency_s` is how long one takes at least,
however many are on their way.

    {"invoice": {"per_second": 349}, "xpay": {"latency_s": 0.22, "per_second": 78}}
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

CORE_LIGHTNING: dict[str, dict[str, float]] = {
    "invoice": {"per_second": 349},
    "waitanyinvoice": {"per_second": 1844},
    "xpay": {"latency_s": 0.22, "per_second": 78},
}
"""What was measured of Core Lightning on two cores: `invoice` a second, `waitanyinvoice` a second
while draining, and 60 to 78 `xpay` a second with 16 on their way."""

CATCH_UP_S = 0.005
"""A sleep is a millisecond longer than asked for; so much lateness is made good later, which
keeps the rate over many calls exact."""


@dataclass
class Limit:
    """The rule for one method, and when the next call of it can be answered."""

    per_second: float = 0.0
    latency_s: float = 0.0
    free_at: float = dataclasses.field(default=0.0, init=False)

    def answer_at(self) -> float:
        """When a call that comes now is answered."""
        now = time.monotonic()
        if self.per_second:
            self.free_at = max(self.free_at, now - CATCH_UP_S) + 1 / self.per_second
        return max(now + self.latency_s, self.free_at)


class Pace:
    """The rules in force. Empty at the start of the process."""

    def __init__(self) -> None:
        self.limits: dict[str, Limit] = {}

    def set(self, rules: dict[str, dict[str, Any]]) -> None:
        """Replace all rules. Raises ValueError, and changes nothing, if one is not valid."""
        try:
            self.limits = {method: Limit(**rule) for method, rule in rules.items()}
        except TypeError as error:
            raise ValueError(f"a pace is per_second and latency_s: {error}") from None

    async def keep(self, method: str, execute: Callable[[], Awaitable[T]]) -> T:
        """Run one call, and answer it when its time has come."""
        limit = self.limits.get(method)
        if limit is None:
            return await execute()
        answer_at = limit.answer_at()
        result = await execute()
        if (left_s := answer_at - time.monotonic()) > 0:
            await asyncio.sleep(left_s)
        return result
