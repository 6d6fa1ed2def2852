"""Every route below /api and who may call it: the table behind the permission and input tests.

A route that is missing here fails `test_every_route_is_in_the_table`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.urls import URLPattern, URLResolver

NOBODY = "00000000-0000-4000-8000-000000000000"
KEY = "ab" * 32


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


def pointers(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ENDPOINTS = [
    # accounts
    Endpoint(
        "POST",
        "/register",
        "none",
        body={"user": {"username": "demo", "password": "hunter2"}},
        fields=("/user", "/user/username", "/user/password", "/user/pubkey", "/user/picture"),
    ),
    Endpoint(
        "POST",
        "/login",
        "none",
        body={"username": "demo", "password": "hunter2"},
        fields=("/username", "/password", "/token"),
    ),
    Endpoint("POST", "/logout", "read", body={}),
    Endpoint("GET", "/me", "read"),
    Endpoint(
        "POST",
        "/user",
        body={"display": "Alice"},
        fields=pointers(
            "/username /display /about /picture /banner /email /currency /currencies /fiat"
            " /language /theme /prompt /tip /memoPrompt /hidepay /notify /push /autowithdraw"
            " /threshold /reserve /destination /locktime /password /confirm /current_password"
            " /pin /newpin /twofa /token"
        ),
    ),
    Endpoint("GET", "/users/alice", "none"),
    Endpoint("GET", "/ro"),
    Endpoint("GET", "/contacts", "read"),
    Endpoint("GET", "/contacts/5", "read"),
    Endpoint("GET", "/apps"),
    Endpoint(
        "POST",
        "/app",
        body={"name": "shop"},
        fields=(
            "/name",
            "/secret",
            "/pubkey",
            "/max_amount",
            "/max_fee",
            "/budget_renewal",
            "/notify",
        ),
    ),
    Endpoint("GET", f"/app/{KEY}"),
    Endpoint("POST", "/apps/delete", body={"pubkey": KEY}, fields=("/pubkey",)),
    # invoices
    Endpoint(
        "POST",
        "/invoice",
        "receive",
        read_only=True,
        optional=True,
        body={"invoice": {"amount": 1000, "type": "lightning"}},
        fields=pointers(
            "/invoice /invoice/amount /invoice/type /invoice/fiat /invoice/currency /invoice/tip"
            " /invoice/memo /invoice/expiry /invoice/webhook /invoice/secret /invoice/items"
            " /invoice/prompt /invoice/memoPrompt /invoice/request_id /invoice/address_type"
            " /invoice/id /invoice/aid /invoice/bolt11 /invoice/rate /user /user/username"
        ),
    ),
    Endpoint("GET", f"/invoice/{NOBODY}", "read", read_only=True, optional=True),
    Endpoint(
        "POST",
        f"/invoice/{NOBODY}",
        "read",
        read_only=True,
        optional=True,
        body={"invoice": {"tip": 5}},
        fields=("/invoice", "/invoice/tip", "/invoice/webhook", "/invoice/secret"),
    ),
    Endpoint("GET", "/invoices", "read", read_only=True),
    Endpoint("GET", "/pay/alice", "none"),
    Endpoint("GET", "/pay/alice/1000", "none"),
    Endpoint("GET", "/lnurlp/alice", "none"),
    Endpoint("GET", f"/lnurl/{NOBODY}", "none"),
    Endpoint("GET", f"/lnurl/verify/{NOBODY}", "none"),
    # payments
    Endpoint("GET", "/payments", "read", read_only=True),
    Endpoint(
        "POST",
        "/payments",
        "spend",
        body={"payreq": "lnbcrt1"},
        fields=("/payreq", "/hash", "/amount", "/fee", "/maxfee", "/memo", "/pin"),
    ),
    Endpoint("GET", f"/payments/{NOBODY}", "read", read_only=True, optional=True),
    Endpoint(
        "POST",
        "/send",
        "spend",
        body={"username": "bob", "amount": 1},
        fields=("/username", "/amount", "/memo", "/pin"),
    ),
    Endpoint("POST", "/send/bob/1", "spend", body={}, fields=("/fee", "/memo", "/pin")),
    Endpoint(
        "POST",
        "/bitcoin/send",
        "spend",
        body={"address": "bcrt1q", "amount": 5000},
        fields=("/address", "/amount", "/feeRate", "/subtract", "/memo", "/pin"),
    ),
    Endpoint(
        "POST",
        "/bitcoin/fee",
        "read",
        body={"address": "bcrt1q", "amount": 5000},
        fields=("/address", "/amount", "/feeRate", "/subtract"),
    ),
    Endpoint("POST", "/parse", "read", body={"payreq": "lnbcrt1"}, fields=("/payreq",)),
    Endpoint("GET", "/decode/lnbcrt1", "none"),
    # the server
    Endpoint("GET", "/health", "none"),
    Endpoint("GET", "/rates", "none"),
    Endpoint("GET", "/rate", "none"),
    Endpoint("GET", "/fx", "none"),
    Endpoint("GET", "/info", "none"),
    Endpoint("GET", "/schema", "none"),
    Endpoint("GET", "/schema/docs", "none"),
    Endpoint("GET", "/events", "read"),  # last: a stream gives its connection back
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
