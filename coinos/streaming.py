"""Answers that go on for long: they live on the event loop and cost no thread.

A view runs in a request's thread like any other and returns a `StreamingHttpResponse` over an
async iterator. `coinos.asgi` sends what that yields, piece by piece, until it ends, the caller goes
away, or the server is told to stop. What the iterator has to read it reads by `read`, in one of a
few threads that all of them share.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from asgiref.sync import AsyncToSync

from coinos.db import let_go_of_connection

READERS = 4
TAKE_S = 60.0
"""For a caller to take one piece."""

_readers = ThreadPoolExecutor(READERS, thread_name_prefix="stream")

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


async def read(function: Callable[..., Any], *args: Any) -> Any:
    """Run a query in a shared thread, and give its connection back at once: streams live long.

    Where synchronous code runs this loop and waits for it, the query runs in its thread."""

    def run() -> Any:
        try:
            return function(*args)
        finally:
            let_go_of_connection()

    loop = asyncio.get_running_loop()
    executor = AsyncToSync.loop_thread_executors.get(loop, _readers)
    return await loop.run_in_executor(executor, run)


async def send_pieces(pieces: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    """Send the body of an answer whose start has been sent."""
    tasks = [
        asyncio.create_task(_send_all(pieces, send)),
        asyncio.create_task(_gone(receive)),
        asyncio.create_task(stopping().wait()),
    ]
    sending = tasks[0]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    if sending.cancelled() or isinstance(sending.exception(), TimeoutError):
        with suppress(Exception):  # the caller may have gone
            await send({"type": "http.response.body", "body": b""})
        return
    try:
        sending.result()
    finally:
        # An error knows this frame: no circle shall keep the connection open.
        del tasks, sending


async def _send_all(pieces: AsyncIterator[bytes], send: Send) -> None:
    async for piece in pieces:
        async with asyncio.timeout(TAKE_S):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


# --- The end of the server -----------------------------------------------------------------------

_stopping: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None


def stopping() -> asyncio.Event:
    """Set once this process is told to stop. The web server then waits for the answers that are
    being made, and a stream would not end by itself."""
    global _stopping
    loop = asyncio.get_running_loop()
    if _stopping is None or _stopping[0] is not loop:
        event = asyncio.Event()
        _stopping = (loop, event)
        if threading.current_thread() is threading.main_thread():
            _set_on_signal(loop, event)
    return _stopping[1]


def _set_on_signal(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """The loop hears of signals by a file of its own, so the server's way to stop stays as it is:
    this only replaces a Python handler, which for the loop does nothing, and calls it as well."""
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def heard(number: int, frame: Any, before: Any = before) -> None:
            loop.call_soon_threadsafe(event.set)
            if callable(before):
                before(number, frame)

        signal.signal(number, heard)
