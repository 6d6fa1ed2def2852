"""Which request has a thread next, when all are taken: networks take turns.

First come, first served would let whoever sends a thousand requests at once be served a thousand
times before anybody else.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable


class Turns:
    """`places` of one event loop. Whoever waits is called by turns of their keys."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, key: Callable[[], Hashable]) -> None:
        """Return with a place, which has to be given back. `key` is asked of waiters only."""
        if self._free:
            self._free -= 1
            return
        called = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key(), deque()).append(called)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self.give_back()
            raise

    def give_back(self) -> None:
        """Give the place to the next in turn."""
        while self._waiting:
            key, queue = next(iter(self._waiting.items()))
            called = queue.popleft()
            if queue:
                self._waiting.move_to_end(key)
            else:
                del self._waiting[key]
            if not called.done():  # the waiting request was not cancelled
                called.set_result(None)
                return
        self._free += 1
