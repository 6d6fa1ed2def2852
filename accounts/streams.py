"""Server-sent events: what happened to a user's money, or to one invoice, as it happens.

The `Event` rows are the truth; a Redis message only says "look" (`accounts.live`). Rows are read
in the order of the transactions that wrote them, and only below the oldest transaction still
running, so that none is ever skipped. The position travels as the event's id, so a client that
reconnects goes on where it was.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import BooleanField, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.views.decorators.http import require_safe

from accounts import live
from accounts.authentication import TOKEN_COOKIE
from accounts.credentials import credential_of, live_session
from accounts.models import Event
from accounts.serializers import payment_json
from coinos import limits
from coinos.caller import caller
from coinos.drf import problem_response
from coinos.errors import Busy, CoinosError, MethodNotAllowed, RateLimited, Unauthorized
from coinos.streaming import read
from coinos.throttling import limited
from coinos.web_server import max_connections

MAX_DURATION_S = 3600
HEARTBEAT_S = 20
RECHECK_S = 45
LOOK_ANYWAY_S = 20  # in case a message was lost
LOOK_AGAIN_S = 0.25  # when the newest rows are above a running transaction
BATCH = 100


@dataclass(frozen=True, order=True)
class Position:
    """After this event: the transaction that wrote it, and its row."""

    transaction_id: int
    event_id: int

    def __str__(self) -> str:
        return f"{self.transaction_id}-{self.event_id}"

    @classmethod
    def parse(cls, text: str | None) -> Position | None:
        first, _, second = (text or "").partition("-")
        if not (first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
            return None
        if len(first) > 18 or len(second) > 18:
            return None
        return cls(int(first), int(second))


@dataclass(frozen=True)
class Watch:
    """Who watches what. `is_allowed` is asked again while the stream is open (P24).

    `caller` is whom the stream is counted by; None when nobody can tell."""

    caller: str | None
    channel: str
    events: Q
    is_allowed: Callable[[], bool]
    tells_details: bool

    @property
    def by_stranger(self) -> bool:
        return not self.tells_details


def watch_user(user_id: UUID, *, is_allowed: Callable[[], bool]) -> Watch:
    """All that happens to one user's money, with the payments as the API shows them."""
    channel = live.user_channel(user_id)
    return Watch(f"user {user_id}", channel, Q(user_id=user_id), is_allowed, True)


def watch_invoice(invoice_id: UUID) -> Watch:
    """That something happened to an invoice, for whoever knows its id; no details."""
    channel = live.invoice_channel(invoice_id)
    return Watch(caller().network, channel, Q(invoice_id=invoice_id), lambda: True, False)


# --- Views ---------------------------------------------------------------------------------------


@require_safe
@limited(get=limits.STREAM)
def page_events(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """GET /events: the signed-in user's stream for pages, by session cookie."""
    credential = request.credential  # type: ignore[attr-defined]
    if credential is None:
        return HttpResponse(status=401)
    session_id = credential.session.id

    def is_allowed() -> bool:
        return live_session(session_id) is not None

    watch = watch_user(credential.user.id, is_allowed=is_allowed)
    return respond(request, watch)


@limited(get=limits.STREAM)
def api_events(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """GET /api/events: the same for programs, by `Authorization: Bearer` or the token cookie.

    Needs a full token or an API key of any scope. Errors are the API's problem objects."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else request.COOKIES.get(TOKEN_COOKIE, "")

    def is_allowed() -> bool:
        try:
            return bool(credential_of(token))
        except Unauthorized:
            return False

    try:
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed()
        credential = credential_of(token)
        credential.require("read")
        watch = watch_user(credential.user.id, is_allowed=is_allowed)
        return respond(request, watch)
    except CoinosError as error:
        return problem_response(error)


def respond(request: HttpRequest, watch: Watch) -> StreamingHttpResponse:
    """The stream as a response. Raises `RateLimited` when this caller has too many open, `Busy`
    when all together have."""
    _open.enter(watch)
    after = Position.parse(request.headers.get("Last-Event-ID"))
    return EventStream(watch, after)


class EventStream(StreamingHttpResponse):
    """Counts as open until it is closed, whether or not anybody has read from it."""

    def __init__(self, watch: Watch, after: Position | None) -> None:
        super().__init__(
            _stream(watch, after),
            content_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self._watch: Watch | None = watch

    def close(self) -> None:
        watch, self._watch = self._watch, None
        if watch:
            _open.leave(watch)
        super().close()


class OpenStreams:
    """How many streams this process has open, of whom."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()
        self._strangers = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._of.total()

    def enter(self, watch: Watch) -> None:
        most = limits.STREAMS_OF_STRANGER if watch.by_stranger else limits.STREAMS_OF_USER
        with self._lock:
            if watch.caller and self._of[watch.caller] >= most.at_most:
                raise RateLimited("Too many live streams are open", retry_after_s=30)
            total = max_streams()
            if len(self) >= total or (watch.by_stranger and self._strangers >= total // 2):
                raise Busy("Too many live streams are open", retry_after_s=30)
            self._of[watch.caller or ""] += 1
            self._strangers += watch.by_stranger

    def leave(self, watch: Watch) -> None:
        caller = watch.caller or ""
        with self._lock:
            self._of[caller] -= 1
            if not self._of[caller]:
                del self._of[caller]
            self._strangers -= watch.by_stranger


_open = OpenStreams()


def max_streams() -> int:
    """Half of the connections that this process accepts; the other half is for requests. Of that,
    strangers who look at invoices have half."""
    return max_connections() // 2


# --- The stream ----------------------------------------------------------------------------------


async def _stream(watch: Watch, after: Position | None) -> AsyncIterator[str]:
    async with live.listening(watch.channel) as rung:
        position, past = (after, NO_SNAPSHOT) if after else await read(_now)
        # Whatever happens from now on rings; what has happened since `after` does not.
        look_s = 0 if after else LOOK_ANYWAY_S
        yield f"retry: 3000\nid: {position}\nevent: hello\ndata: {{}}\n\n"
        async with aclosing(_events(watch, position, past, rung, look_s)) as events:
            async for text in events:
                yield text


async def _events(
    watch: Watch, position: Position, past: str, rung: live.Rung, look_s: float
) -> AsyncGenerator[str, None]:
    end = time.monotonic() + MAX_DURATION_S
    recheck_at = time.monotonic() + RECHECK_S
    heartbeat_at = time.monotonic() + HEARTBEAT_S
    if look_s:
        await rung(look_s)
    while (now := time.monotonic()) < end:
        if now >= recheck_at:
            if not await read(watch.is_allowed):
                return
            recheck_at = now + RECHECK_S
        rows, is_complete = await read(_look, watch, position, past)
        for event in rows:
            position = Position(event.transaction_id, event.id)
            yield f"id: {position}\nevent: payment\ndata: {_data(watch, event)}\n\n"
            heartbeat_at = time.monotonic() + HEARTBEAT_S
        if len(rows) == BATCH:
            continue
        if time.monotonic() >= heartbeat_at:
            yield ": still here\n\n"
            heartbeat_at = time.monotonic() + HEARTBEAT_S
        await rung(LOOK_AGAIN_S if not is_complete else LOOK_ANYWAY_S)


def _data(watch: Watch, event: Event) -> str:
    if not watch.tells_details or event.activity is None:
        return json.dumps({"kind": event.kind})
    return json.dumps(payment_json(event.activity) | {"kind": event.kind})


# --- Reading -------------------------------------------------------------------------------------

OLDEST_RUNNING = RawSQL("pg_snapshot_xmin(pg_current_snapshot())::text::bigint", [])


NO_SNAPSHOT = "1:1:"  # in which nothing had happened


def _now() -> tuple[Position, str]:
    """Where a new stream starts: below every transaction still running, and the snapshot of what
    has happened by now, because some of that lies above."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_snapshot_xmin(now)::text::bigint, now::text"
            " FROM pg_current_snapshot() AS now"
        )
        oldest_running, snapshot = cursor.fetchone()
        return Position(oldest_running - 1, 2**62), snapshot


def _look(watch: Watch, position: Position, past: str) -> tuple[list[Event], bool]:
    """The next events behind `position` that are not in the snapshot `past`, and whether there
    are none yet above them."""
    in_the_past = RawSQL(
        "pg_visible_in_snapshot(transaction_id::text::xid8, %s::pg_snapshot)",
        [past],
        output_field=BooleanField(),
    )
    unseen: QuerySet[Event] = Event.objects.filter(watch.events).filter(
        Q(transaction_id__gt=position.transaction_id)
        | Q(transaction_id=position.transaction_id, id__gt=position.event_id)
    )
    rows: list[Any] = list(
        unseen.annotate(oldest=OLDEST_RUNNING, in_the_past=in_the_past)
        .filter(in_the_past=False)
        .select_related("activity__counterparty")
        .order_by("transaction_id", "id")[:BATCH]
    )
    ready = [event for event in rows if event.transaction_id < event.oldest]
    return ready, len(ready) == len(rows)
