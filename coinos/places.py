"""Bounded places for what is scarce or slow: so many at once, few who wait, and an answer at once
to everybody else.

A request has one of a limited number of threads. Whatever can keep it for long takes a place first,
so that the site has threads left however many ask for that.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import ExitStack, contextmanager

from coinos.db import let_go_of_connection
from coinos.errors import Busy, RateLimited


class Places:
    """`count` places of this process; up to `waiting` callers wait up to `wait_s` for one."""

    def __init__(
        self, count: int, *, waiting: int = 0, wait_s: float = 0, each: int | None = None
    ) -> None:
        self.count = count
        self.waiting = waiting
        self.wait_s = wait_s
        self.each = each
        """The most that one caller may take or wait for."""
        self._free = threading.Semaphore(count)
        self._inside = 0
        self._of: Counter[Hashable] = Counter()
        self._lock = threading.Lock()

    @property
    def inside(self) -> int:
        """How many have a place or wait for one."""
        return self._inside

    @contextmanager
    def take(self, caller: Hashable = None) -> Iterator[None]:
        """Have a place while the block runs; no database connection is held while waiting.

        Raises `Busy` at once when all places are taken and enough wait, and after `wait_s`;
        `RateLimited` when `caller` has as many as one may have."""
        self._come_in(caller)
        try:
            if not self._free.acquire(blocking=False):
                let_go_of_connection()
                if not (self.wait_s and self._free.acquire(timeout=self.wait_s)):
                    raise Busy(retry_after_s=2)
            try:
                yield
            finally:
                self._free.release()
        finally:
            self._go_out(caller)

    @contextmanager
    def if_free(self) -> Iterator[bool]:
        """True inside with a place; false when there was none, as with `coinos.leases.only_one`."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self.take())
                is_mine = True
            except Busy:
                is_mine = False
            yield is_mine

    def _come_in(self, caller: Hashable) -> None:
        with self._lock:
            if self.each is not None and self._of[caller] >= self.each:
                raise RateLimited(retry_after_s=2)
            if self._inside >= self.count + self.waiting:
                raise Busy(retry_after_s=2)
            self._inside += 1
            if self.each is not None:
                self._of[caller] += 1

    def _go_out(self, caller: Hashable) -> None:
        with self._lock:
            self._inside -= 1
            if self.each is not None:
                self._of[caller] -= 1
                if not self._of[caller]:
                    del self._of[caller]
