"""What the web server (granian) runs: one ASGI application.

Every request has one thread to itself, from the first middleware to the end of the response:
Django's own ASGI handler changes threads several times a request for synchronous middleware and
views (docs/performance.md). A stream has it until its first byte, and then none.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import IO, Any

import django
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.core.signals import request_started
from django.http import StreamingHttpResponse
from django.urls import get_resolver, set_script_prefix

from coinos.bodies import BodyReader, is_announced
from coinos.db import let_go_of_connection
from coinos.errors import CoinosError
from coinos.streaming import send_pieces
from coinos.throttling import address_behind, network_of
from coinos.turns import Turns

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coinos.settings")

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# More than can wait for something slow at once, all such places together: payments on their way
# (payments.services), look-ups elsewhere (coinos.http), passwords to check (accounts.hashing), long
# lists (invoices.api).
THREADS = 128

# All pages that are open come back at once when a server starts again: they wait for each other,
# and not the payments for them.
OPENING_STREAMS = 4

django.setup()


class OneThreadHandler(ASGIHandler):
    """Reads the body on the event loop, then runs Django's synchronous handler in a thread.

    A request that was read runs to its end, whether or not its caller is still there.
    """

    def __init__(self) -> None:
        BaseHandler.__init__(self)
        self.load_middleware()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="request")
        self._turns = Turns(THREADS)
        self._opening_streams = asyncio.Semaphore(OPENING_STREAMS)
        self._bodies = BodyReader()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, refusal = BytesIO(), None
        if is_announced(scope):
            try:
                body = await self._bodies.read(scope, receive)
            except RequestAborted:
                return
            except CoinosError as error:
                # Not the one that was raised: its frames know `receive`, and this one knows it, a
                # circle that would keep the connection open until garbage is collected.
                refusal = type(error)()
        if scope["path"].rstrip("/").endswith("/events"):
            async with self._opening_streams:
                start, content = await self._in_thread(scope, body, refusal)
        else:
            start, content = await self._in_thread(scope, body, refusal)
        if isinstance(content, bytes):
            await send(start)
            await send({"type": "http.response.body", "body": content})
            return
        try:
            await send(start)
            await send_pieces(aiter(content), receive, send)
        finally:
            content.close()  # also when its caller has gone before the start: it counts as open

    async def _in_thread(
        self, scope: Scope, body: IO[bytes], refusal: CoinosError | None
    ) -> tuple[Message, bytes | StreamingHttpResponse]:
        await self._turns.take(lambda: _network(scope))
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._answer, scope, body, refusal)
        finally:
            self._turns.give_back()

    def _answer(
        self, scope: Scope, body: IO[bytes], refusal: CoinosError | None
    ) -> tuple[Message, bytes | StreamingHttpResponse]:
        """The start message, and the content of the answer or what streams it. The signals that
        open and close database connections are sent here, in the thread that uses them.

        With a `refusal` of its body, the request reaches no view, and its connection ends: what is
        left of the body would be read as the next request."""
        set_script_prefix(get_script_prefix(scope))
        request_started.send(sender=self.__class__, scope=scope)
        request, malformed = self.create_request(scope, body)
        if request is not None:
            request.refusal = refusal  # type: ignore[attr-defined]
        response: Any = malformed if request is None else self.get_response(request)
        is_stream = response.streaming and response.is_async and scope["method"] != "HEAD"
        try:
            content = b"" if scope["method"] == "HEAD" or is_stream else b"".join(response)
            headers = [
                (name.encode("ascii"), value.encode("latin1")) for name, value in response.items()
            ]
            headers += [
                (b"Set-Cookie", cookie.OutputString().encode("ascii"))
                for cookie in response.cookies.values()
            ]
            if refusal:
                headers.append((b"Connection", b"close"))
            start = {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": headers,
            }
            return start, response if is_stream else content
        finally:
            body.close()
            if is_stream:
                let_go_of_connection()
            else:
                response.close()


def _network(scope: Scope) -> str:
    """Whom a request that waits for a thread takes turns with."""
    forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    address = address_behind(
        (scope.get("client") or ("", 0))[0], b",".join(forwarded).decode("latin-1")
    )
    return network_of(address)


application = OneThreadHandler()


get_resolver().url_patterns  # noqa: B018 – imports every view

# What was loaded until here stays: looking through it again and again for garbage would stop every
# request of this process for 60 ms at a time.
gc.collect()
gc.freeze()
