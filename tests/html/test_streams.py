"""Server-sent events: each event once, in order, to its owner only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.test import AsyncClient

from accounts import credentials, statement, streams
from accounts.models import Activity, Session
from coinos import limits
from coinos.asgi import OneThreadHandler
from coinos.simnet.control import Control
from invoices.services import InvoiceDraft, create_invoice
from tests.cast import token_of
from tests.html.conftest import Person


@pytest.fixture
def database(cloned_db: Any) -> Any:
    """Streams read in threads, which see only what is committed."""
    return cloned_db


class Stream:
    """A client that reads a stream event by event."""

    def __init__(self, response: Any) -> None:
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        self._chunks = response.streaming_content.__aiter__()
        self._reading: asyncio.Task[bytes] | None = None

    async def next(self, seconds: float = 10) -> dict[str, Any]:
        """The next event; heartbeats are passed over."""
        while (chunk := await self._read(seconds)) is not None:
            if not chunk.startswith(b":"):
                lines = (line.partition(": ") for line in chunk.decode().strip().split("\n"))
                fields = {name: value for name, _, value in lines}
                return fields | {"data": json.loads(fields["data"])}
        raise AssertionError("nothing was heard")

    async def stays_quiet(self, seconds: float) -> bool:
        return await self._read(seconds) is None

    async def _read(self, seconds: float) -> bytes | None:
        """What comes within this time; a chunk that is late is there for the next reader."""
        self._reading = self._reading or asyncio.ensure_future(self._chunks.__anext__())
        done, _ = await asyncio.wait([self._reading], timeout=seconds)
        if not done:
            return None
        reading, self._reading = self._reading, None
        return reading.result()

    async def close(self) -> None:
        """Go away, as a browser does at any moment."""
        self._reading = self._reading or asyncio.ensure_future(self._chunks.__anext__())
        await asyncio.sleep(0)
        self._reading.cancel()
        await asyncio.wait([self._reading])


def story(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        try:
            await asyncio.wait_for(test(), 60)
        finally:
            # The thread of synchronous code outlives the test, its database does not.
            await sync_to_async(connections.close_all)()

    asyncio.run(run())


def browser(person: Person) -> AsyncClient:
    client = AsyncClient()
    client.cookies = person.client.cookies
    return client


def receive(person: Person, amount_sat: int, **fields: Any) -> Activity:
    with transaction.atomic():
        return statement.record(
            user=person.user,
            type="lightning",
            status="settled",
            amount_sat=amount_sat,
            hash="lnbc",
            currency="USD",
            rate=None,
            **fields,
        )


@pytest.fixture(autouse=True)
def only_these_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of other files have opened streams in this process and left them open."""
    monkeypatch.setattr(streams, "_open", streams.OpenStreams())


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LOOK_AGAIN_S", 0.05)


def test_the_owner_hears_of_a_payment_with_its_details(alice: Person) -> None:
    async def run() -> None:
        stream = Stream(await browser(alice).get("/events"))
        assert (await stream.next())["event"] == "hello"
        line = await sync_to_async(receive)(alice, 1234, memo="for bread")
        heard = await stream.next()
        assert heard["event"] == "payment"
        assert heard["data"]["id"] == str(line.id)
        assert heard["data"]["amount"] == 1234
        assert heard["data"]["memo"] == "for bread"
        assert heard["data"]["kind"] == "payment.settled"
        await stream.close()

    story(run)


def test_a_program_hears_the_same_with_its_token(alice: Person) -> None:
    token = token_of(alice.user)

    async def run() -> None:
        client = AsyncClient()
        answer = await client.get("/api/events", headers={"Authorization": f"Bearer {token}"})
        stream = Stream(answer)
        await stream.next()
        await sync_to_async(receive)(alice, 77)
        assert (await stream.next())["data"]["amount"] == 77
        await stream.close()

    story(run)


def test_nobody_else_hears_of_it(alice: Person, charlie: Person) -> None:
    async def run() -> None:
        stream = Stream(await browser(charlie).get("/events"))
        await stream.next()
        await sync_to_async(receive)(alice, 1234)
        assert await stream.stays_quiet(0.5)
        await stream.close()

    story(run)


def test_without_a_credential_there_is_no_stream(alice: Person) -> None:
    read_only = credentials.read_only_token(alice.user)

    async def run() -> None:
        client = AsyncClient()
        assert (await client.get("/events")).status_code == 401
        for headers in ({}, {"Authorization": "Bearer nonsense"}):
            answer = await client.get("/api/events", headers=headers)
            assert answer.status_code == 401
            assert answer.json()["code"] == "unauthorized"
        answer = await client.get("/api/events", headers={"Authorization": f"Bearer {read_only}"})
        assert answer.json()["code"] == "read_only_token"

    story(run)


def test_a_client_that_comes_back_goes_on_where_it_was(alice: Person) -> None:
    async def run() -> None:
        client = browser(alice)
        stream = Stream(await client.get("/events"))
        await stream.next()
        await sync_to_async(receive)(alice, 1)
        last = (await stream.next())["id"]
        await stream.close()
        for amount_sat in (2, 3):
            await sync_to_async(receive)(alice, amount_sat)
        again = Stream(await client.get("/events", headers={"Last-Event-ID": last}))
        await again.next()
        assert [(await again.next())["data"]["amount"] for _ in range(2)] == [2, 3]
        await again.close()

    story(run)


@pytest.mark.parametrize("position", ["nonsense", "-1-2", "1", "9" * 40 + "-1", "0x1-1"])
def test_a_strange_position_starts_now(alice: Person, position: str) -> None:
    receive(alice, 1)

    async def run() -> None:
        client = browser(alice)
        stream = Stream(await client.get("/events", headers={"Last-Event-ID": position}))
        assert (await stream.next())["event"] == "hello"
        assert await stream.stays_quiet(0.3)
        await stream.close()

    story(run)


def test_a_slow_transaction_is_not_overtaken_and_not_skipped(alice: Person, cloned_db: Any) -> None:
    """The slow one takes its row's id first and commits last; a reader that went by row ids
    alone would pass it by."""
    line = receive(alice, 1)
    insert = (
        "INSERT INTO accounts_event (transaction_id, user_id, kind, activity_id)"
        " VALUES (pg_current_xact_id()::text::bigint, %s, %s, %s)"
    )

    async def run() -> None:
        stream = Stream(await browser(alice).get("/events"))
        await stream.next()
        with psycopg.connect(cloned_db.url) as slow, psycopg.connect(cloned_db.url) as quick:
            # The quick one has the older transaction number and the younger row.
            quick.execute("SELECT pg_current_xact_id()")
            slow.execute(insert, [alice.user.id, "slow", line.id])
            quick.execute(insert, [alice.user.id, "quick", line.id])
            quick.commit()
            assert (await stream.next())["data"]["kind"] == "quick"
            await sync_to_async(receive)(alice, 2)
            assert await stream.stays_quiet(0.4)
            slow.commit()
        told = [(await stream.next())["data"]["kind"] for _ in range(2)]
        assert told == ["slow", "payment.settled"]
        await stream.close()

    story(run)


def test_a_new_stream_does_not_repeat_what_is_past(alice: Person, cloned_db: Any) -> None:
    """Also when an old transaction is still running somewhere, which lies below that past."""

    async def run() -> None:
        with psycopg.connect(cloned_db.url) as old:
            old.execute("SELECT pg_current_xact_id()")
            await sync_to_async(receive)(alice, 1)
            stream = Stream(await browser(alice).get("/events"))
            await stream.next()
            assert await stream.stays_quiet(0.3)
            await sync_to_async(receive)(alice, 2)
        assert (await stream.next())["data"]["amount"] == 2
        assert await stream.stays_quiet(0.3)
        await stream.close()

    story(run)


def test_p24_a_stream_ends_when_its_sign_in_is_revoked(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "RECHECK_S", 0.2)
    monkeypatch.setattr(streams, "LOOK_ANYWAY_S", 0.1)

    async def run() -> None:
        stream = Stream(await browser(alice).get("/events"))
        await stream.next()
        await sync_to_async(credentials.revoke_all)(alice.user)
        with pytest.raises(StopAsyncIteration):
            await stream.next()

    story(run)
    assert Session.objects.get(user=alice.user).revoked_at is not None


def test_the_recheck_comes_at_least_every_minute() -> None:
    assert streams.RECHECK_S + streams.LOOK_ANYWAY_S <= 65
    assert streams.LOOK_ANYWAY_S <= streams.HEARTBEAT_S


def test_whoever_watches_an_invoice_hears_that_it_changed_and_nothing_more(
    alice: Person, network: Control
) -> None:
    invoice = create_invoice(alice.user, InvoiceDraft(amount_sat=10, memo="private"), own=True)

    async def run() -> None:
        client = AsyncClient()
        stream = Stream(await client.get(f"/invoice/{invoice.id}/events"))
        await stream.next()
        await sync_to_async(receive)(alice, 5)
        await sync_to_async(receive)(alice, 10, invoice_id=invoice.id, memo="private")
        heard = await stream.next()
        assert heard["data"] == {"kind": "payment.settled"}
        await stream.close()
        unknown = await client.get("/invoice/00000000-0000-4000-8000-000000000000/events")
        assert unknown.status_code == 404

    story(run)


def test_one_caller_cannot_open_streams_without_end(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAMS_OF_USER", replace(limits.STREAMS_OF_USER, at_most=2))

    async def run() -> None:
        client = browser(alice)
        opened = [Stream(await client.get("/events")) for _ in range(2)]
        for stream in opened:
            await stream.next()
        assert (await client.get("/events")).status_code == 429
        for stream in opened:
            await stream.close()
        freed = Stream(await client.get("/events"))
        await freed.next()
        await freed.close()

    story(run)
    assert not len(streams._open)


def test_a_stream_whose_caller_goes_before_it_begins_is_not_counted_as_open(alice: Person) -> None:
    """Else 24 such callers would leave their user without streams until the server starts again."""
    cookie = f"sessionid={alice.client.cookies['sessionid'].value}".encode()
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/events",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"cookie", cookie)],
    }

    async def receive_nothing() -> Any:
        await asyncio.Event().wait()

    async def gone(message: Any) -> None:
        assert message["status"] == 200
        raise ConnectionResetError

    async def run() -> None:
        with pytest.raises(ConnectionResetError):
            await OneThreadHandler()(scope, receive_nothing, gone)

    story(run)
    assert not len(streams._open)


def test_a_stream_goes_on_when_redis_is_away(
    alice: Person, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LOOK_ANYWAY_S", 0.3)
    settings.REDIS_URL = "redis://127.0.0.1:1"

    async def run() -> None:
        stream = Stream(await browser(alice).get("/events"))
        await stream.next()
        await sync_to_async(receive)(alice, 42)
        assert (await stream.next())["data"]["amount"] == 42
        await stream.close()

    story(run)
