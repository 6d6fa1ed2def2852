"""Wake whoever watches a user or an invoice: a Redis message that says only "look".

What happened stands in the `Event` rows. A lost message means that a page looks a little later.
All streams of a process hear these messages over one connection to Redis.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from uuid import UUID

import redis
import redis.asyncio
from django.conf import settings
from django.db import transaction

logger = logging.getLogger(__name__)

PREFIX = "live:"


def user_channel(user_id: UUID) -> str:
    return f"{PREFIX}user:{user_id}"


def invoice_channel(invoice_id: UUID) -> str:
    return f"{PREFIX}invoice:{invoice_id}"


def ring_after_commit(watched: Iterable[tuple[UUID, UUID | None]]) -> None:
    """Once the running transaction has committed, tell those to look who watch these users and
    invoices."""
    channels = set()
    for user_id, invoice_id in watched:
        channels.add(user_channel(user_id))
        if invoice_id:
            channels.add(invoice_channel(invoice_id))
    transaction.on_commit(functools.partial(_publish, channels), robust=True)


@functools.cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)


def _publish(channels: set[str]) -> None:
    try:
        with _client().pipeline(transaction=False) as pipeline:
            for channel in channels:
                pipeline.publish(channel, "look")
            pipeline.execute()
    except redis.RedisError:
        logger.warning("redis is away: live pages look by themselves a little later")


# --- Listening -----------------------------------------------------------------------------------

LOOK_WITHOUT_REDIS_S = 3.0

Rung = Callable[[float], Awaitable[None]]
"""Waits until the bell rings, or for so many seconds."""


@asynccontextmanager
async def listening(channel: str) -> AsyncIterator[Rung]:
    """Hear the rings of a channel while the block runs. Without Redis all listeners are rung every
    few seconds."""
    async with _bells().listening(channel) as rung:
        yield rung


class Bells:
    """The listeners of one event loop, and its one connection to Redis while there are any."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._of: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None
        self._begun = asyncio.Event()

    @asynccontextmanager
    async def listening(self, channel: str) -> AsyncIterator[Rung]:
        event = asyncio.Event()
        self._of[channel].add(event)
        if self._task is None or self._task.done():
            self._begun.clear()
            self._task = asyncio.create_task(self._hear())
        try:
            await self._begun.wait()  # from here on no ring is missed

            async def rung(seconds: float) -> None:
                try:
                    async with asyncio.timeout(seconds):
                        await event.wait()
                except TimeoutError:
                    pass
                event.clear()

            yield rung
        finally:
            self._of[channel].discard(event)
            if not self._of[channel]:
                del self._of[channel]
            if not self._of:
                self._task.cancel()
                self._task = None

    async def _hear(self) -> None:
        while True:
            try:
                await self._hear_redis()
            except (redis.RedisError, OSError):
                self._begun.set()
                await asyncio.sleep(LOOK_WITHOUT_REDIS_S)
                self._ring(*self._of)

    async def _hear_redis(self) -> None:
        client = redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2)
        try:
            async with client.pubsub(ignore_subscribe_messages=True) as bells:
                await bells.psubscribe(f"{PREFIX}*")
                self._begun.set()
                self._ring(*self._of)  # for what happened before
                while True:
                    message = await bells.get_message(timeout=None)
                    if message:
                        self._ring(message["channel"].decode())
        finally:
            await client.aclose()

    def _ring(self, *channels: str) -> None:
        for channel in channels:
            for event in self._of.get(channel, ()):
                event.set()


_the_bells: Bells | None = None


def _bells() -> Bells:
    global _the_bells
    if _the_bells is None or _the_bells.loop is not asyncio.get_running_loop():
        _the_bells = Bells()
    return _the_bells
