"""Count requests against the rates of `coinos.limits`: one atomic counter per caller and window in
Redis, one round trip per request (docs/api.md, Rate limits).

When Redis is away requests pass: money is guarded by the database, not by these.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request

from coinos import limits
from coinos.errors import RateLimited
from coinos.limits import By, Rate, Unlimited

logger = logging.getLogger(__name__)

# --- Who is asking -------------------------------------------------------------------------------


def client_address(request: HttpRequest | Request) -> str:
    """The peer's address, or what the outermost trusted proxy wrote when there are such proxies.

    "unknown" when that is no address, as behind a unix socket."""
    peer = request.META.get("REMOTE_ADDR") or ""
    return address_behind(peer, request.META.get("HTTP_X_FORWARDED_FOR", ""))


def address_behind(peer: str, forwarded_for: str) -> str:
    """The same of a peer's address and the header of the proxies."""
    forwarded = [part.strip() for part in forwarded_for.split(",")]
    proxies = settings.TRUSTED_PROXIES
    text = peer
    if proxies and len(forwarded) >= proxies and forwarded[-proxies]:
        text = forwarded[-proxies]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return "unknown"
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)  # on a socket of both kinds IPv4 peers look like ::ffff:192.0.2.1


def client_network(request: HttpRequest | Request) -> str:
    """What to count requests by: the address, or the /64 of an IPv6 one, which one host owns."""
    return network_of(client_address(request))


def network_of(address: str) -> str:
    """The address, or the /64 of an IPv6 one."""
    return str(ip_network(f"{address}/64", strict=False)) if ":" in address else address


def is_shared(address: str) -> bool:
    """Whether everybody may have this address, so that it tells nobody from anybody: there is none
    behind a unix socket, an onion service connects from a private one, and whatever stands on this
    machine before a public site from loopback. Nobody is locked out by such an address."""
    if address == "unknown":
        return True
    found, site = ip_address(address), urlsplit(settings.PUBLIC_URL).hostname or ""
    if site.endswith(".onion"):
        return not found.is_global
    return found.is_loopback and not _is_loopback(site)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# --- Counting ------------------------------------------------------------------------------------


def count(request: HttpRequest | Request, rate: Rate) -> None:
    """Count one request of this caller. Raises `RateLimited` beyond the rate."""
    if not settings.RATE_LIMITS:
        return
    caller, at_most = _caller(request, rate)
    if at_most is None:
        return
    _count(rate, caller, at_most, RateLimited)


def count_for(rate: Rate, who: str, *, refusal: type[RateLimited] = RateLimited) -> None:
    """Count one for what the rate is counted by. Raises `refusal` beyond the rate."""
    if settings.RATE_LIMITS:
        _count(rate, who, rate.at_most, refusal)


def _count(rate: Rate, who: str, at_most: int, refusal: type[RateLimited]) -> None:
    wait_s = _seconds_to_wait(rate, who, at_most)
    if wait_s:
        raise refusal(retry_after_s=wait_s)


def _caller(request: HttpRequest | Request, rate: Rate) -> tuple[str, int | None]:
    """Whom the request is counted for, and how many of them may pass; None for any number."""
    if rate.by != By.NETWORK:
        # DRF has authenticated the API's requests, our middleware those of pages.
        credential: Any = (
            request.auth if isinstance(request, Request) else getattr(request, "credential", None)
        )
        if credential:
            return str(credential.user.id), rate.at_most
    address = client_address(request)
    if is_shared(address):
        return "together", rate.together
    return network_of(address), rate.at_most


def _seconds_to_wait(rate: Rate, caller: str, at_most: int) -> int:
    """Count one. Returns 0 when it may pass, else the seconds until the window ends."""
    now = time.time()
    counted = _counters().add_one(key_of(rate, caller, now), rate.window_s + 1, now)
    return 0 if counted <= at_most else max(1, math.ceil(rate.window_s - now % rate.window_s))


def key_of(rate: Rate, caller: str, at: float) -> str:
    """Of the counter for this caller in the window that holds the moment `at`."""
    return f"throttle:{rate.name}:{caller}:{int(at // rate.window_s)}"


AWAY_FOR_S = 2.0


class _Counters:
    """The counters in Redis. While it is away nothing is counted and nobody waits for it: one
    request in `AWAY_FOR_S` finds out whether it is back."""

    def __init__(self) -> None:
        self._redis = redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1
        )
        self._look_again_at = 0.0

    def add_one(self, key: str, kept_for_s: int, now: float) -> int:
        """Count one, and return how many there are; 0 while Redis is away."""
        if now < self._look_again_at:
            return 0
        try:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.incr(key)
            pipeline.expire(key, kept_for_s)
            return int(pipeline.execute()[0])
        except redis.RedisError:
            self._look_again_at = now + AWAY_FOR_S
            logger.warning("redis is away: requests are not rate limited")
            return 0


@functools.cache
def _counters() -> _Counters:
    return _Counters()


# --- The rates of a route ------------------------------------------------------------------------

View = TypeVar("View", bound=Callable[..., Any])
Limit = Rate | Unlimited
OF_API: Mapping[str, Limit] = {"GET": limits.READ, "POST": limits.CHANGE}
OF_PAGES: Mapping[str, Limit] = {"GET": limits.PAGE, "POST": limits.CHANGE}


def limited(*, get: Limit = limits.PAGE, post: Limit = limits.CHANGE) -> Callable[[View], View]:
    """Decorate the view of a page: what each method is counted against, instead of what every page
    is. `coinos.web.RateLimits` counts, before the view runs."""

    def mark(view: View) -> View:
        view.limits = {"GET": get, "POST": post}  # type: ignore[attr-defined]
        return view

    return mark


def limit_of(route_limits: Mapping[str, Limit], method: str | None) -> Limit:
    """HEAD is a GET; a method that the view does not have costs what a GET does."""
    return route_limits.get(method or "GET") or route_limits["GET"]
