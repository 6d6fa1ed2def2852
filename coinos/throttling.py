"""Rate limits: one atomic counter per caller and window in Redis (api.md 2.5).

Keyed by credential, else by client address; never by anything a client can choose. When Redis is
away requests pass: money is guarded by the database, not by these.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from ipaddress import ip_address, ip_network
from typing import Any

import redis
from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

logger = logging.getLogger(__name__)


def client_address(request: HttpRequest | Request) -> str:
    """The peer's address, or what the outermost trusted proxy wrote when there are such proxies.

    "unknown" when that is no address, as behind a unix socket."""
    forwarded = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    proxies = settings.TRUSTED_PROXIES
    text = request.META.get("REMOTE_ADDR") or ""
    if proxies and len(forwarded) >= proxies and forwarded[-proxies]:
        text = forwarded[-proxies]
    try:
        return str(ip_address(text.partition("%")[0]))
    except ValueError:
        return "unknown"


def client_network(request: HttpRequest | Request) -> str:
    """What to count requests by: the address, or the /64 of an IPv6 one, which one host owns."""
    address = client_address(request)
    return str(ip_network(f"{address}/64", strict=False)) if ":" in address else address


def allow(name: str, caller: str, *, limit: int, window_s: int) -> int:
    """Count one request. Returns 0 when it may pass, else the seconds until the window ends."""
    if not settings.RATE_LIMITS:
        return 0
    now = time.time()
    window = int(now // window_s)
    key = f"throttle:{name}:{caller}:{window}"
    try:
        pipeline = _client().pipeline(transaction=False)
        pipeline.incr(key)
        pipeline.expire(key, window_s + 1)
        count = pipeline.execute()[0]
    except redis.RedisError:
        logger.warning("redis is away: requests are not rate limited")
        return 0
    return 0 if count <= limit else max(1, math.ceil((window + 1) * window_s - now))


@functools.cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)


class Throttle(BaseThrottle):
    """Base of the throttles made by `throttle`."""

    name: str
    limit: int
    window_s: int
    seconds_left = 0

    def allow_request(self, request: Request, view: Any) -> bool:
        credential: Any = request.auth
        caller = credential.id if credential else client_network(request)
        self.seconds_left = allow(self.name, caller, limit=self.limit, window_s=self.window_s)
        return not self.seconds_left

    def wait(self) -> float:
        return self.seconds_left


def throttle(name: str, *, limit: int, window_s: int) -> type[Throttle]:
    """A DRF throttle class: at most `limit` requests per `window_s` for each caller of `name`."""
    attributes = {"name": name, "limit": limit, "window_s": window_s}
    return type(f"{name.title()}Throttle", (Throttle,), attributes)
