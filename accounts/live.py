"""Wake whoever watches a user or an invoice: a Redis message that says only "look".

What happened stands in the `Event` rows. A lost message means that a page looks a little later.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from uuid import UUID

import redis
from django.conf import settings
from django.db import transaction

logger = logging.getLogger(__name__)


def user_channel(user_id: UUID) -> str:
    return f"live:user:{user_id}"


def invoice_channel(invoice_id: UUID) -> str:
    return f"live:invoice:{invoice_id}"


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
