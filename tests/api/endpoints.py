"""The endpoints below /api, as the tests of permissions, input and queries use them: a view of the
table of doors. A route that is missing there fails `test_every_route_is_in_the_table`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.urls import URLPattern, URLResolver

from tests.doors.door import KEY, NOBODY
from tests.doors.table import DOORS


@dataclass(frozen=True)
class Endpoint:
    """`scope` is what a credential needs: none, read, receive, spend or full. `read_only` says
    that a read-only token does, and `optional` that none does too."""

    method: str
    path: str
    scope: str = "full"
    read_only: bool = False
    optional: bool = False
    body: dict[str, Any] | None = None
    """A body that is right in form, where the endpoint takes one."""
    fields: tuple[str, ...] = field(default=())
    """Pointers of the members that it reads."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


ENDPOINTS = [
    Endpoint(
        door.method,
        door.example,
        door.needs,
        door.read_only,
        door.optional,
        door.body,
        door.fields,
    )
    for door in DOORS
    if door.route.startswith("/api/") and not door.case
]

POSTS = [endpoint for endpoint in ENDPOINTS if endpoint.method == "POST"]


def routes(
    patterns: list[URLPattern | URLResolver], prefix: str = "/"
) -> Iterator[tuple[str, Any]]:
    """(path as written in the URLconf, view) of every route below `patterns`."""
    for entry in patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry.url_patterns, path)
        else:
            yield path, entry.callback


def with_value(body: dict[str, Any] | None, pointer: str, value: object) -> dict[str, Any]:
    """A copy of `body` with another value at a JSON pointer."""
    names = pointer.strip("/").split("/")
    copy = dict(body or {})
    if len(names) == 1:
        return copy | {names[0]: value}
    inner = copy.get(names[0])
    return copy | {names[0]: (inner if isinstance(inner, dict) else {}) | {names[1]: value}}


__all__ = ["ENDPOINTS", "KEY", "NOBODY", "POSTS", "Endpoint", "routes", "with_value"]
