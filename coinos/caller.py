"""Who is on the other end of what runs now, and through which door they came.

A middleware says so for each request and `manage.py` for commands; behind a task there is nobody.
Services read it where they note who did something, so no function on the way has to hand it on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponseBase

from coinos.throttling import client_address, is_shared, network_of


@dataclass(frozen=True)
class Caller:
    """`door` is page, api, admin, command or task. `address` is None where nobody can know it."""

    door: str
    address: str | None = None
    user_agent: str = ""

    @property
    def network(self) -> str | None:
        """What failures are counted by: the address, or the /64 of an IPv6 one. None where the
        address tells nobody from anybody, so that nobody locks out everybody."""
        if self.address is None or is_shared(self.address):
            return None
        return network_of(self.address)


NOBODY = Caller("task")
_caller: ContextVar[Caller] = ContextVar("caller", default=NOBODY)


def caller() -> Caller:
    return _caller.get()


@contextmanager
def calling(who: Caller) -> Iterator[None]:
    """Within this block it is `who`."""
    before = _caller.get()
    _caller.set(who)
    try:
        yield
    finally:
        _caller.set(before)


def caller_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    def middleware(request: HttpRequest) -> HttpResponseBase:
        address = client_address(request)
        who = Caller(
            door=_door(request.path_info),
            address=None if address == "unknown" else address,
            user_agent=request.headers.get("User-Agent", "")[:200],
        )
        with calling(who):
            return get_response(request)

    return middleware


def _door(path: str) -> str:
    if path.startswith("/api/"):
        return "api"
    return "admin" if path.startswith("/admin/") else "page"
