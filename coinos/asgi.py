"""What the web server (granian) runs: one ASGI application, two ways of answering.

Streams are async views, which stay open for long. Every other request has one thread to itself,
from the first middleware to the end of the response: Django's own ASGI handler changes threads
several times a request for synchronous middleware and views (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import IO, Any

from django.core.asgi import get_asgi_application
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.core.signals import request_started
from django.urls import get_resolver, set_script_prefix
from django.urls.resolvers import RoutePattern

from coinos.routes import routes

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coinos.settings")

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# More than the payments that may wait for the Lightning network at once (payments.services).
THREADS = 64

streams = get_asgi_application()


class OneThreadHandler(ASGIHandler):
    """Reads the body on the event loop, then runs Django's synchronous handler in a thread.

    A request that was read runs to its end, whether or not its caller is still there.
    """

    def __init__(self) -> None:
        BaseHandler.__init__(self)
        self.load_middleware()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="request")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self.read_body(receive) if _has_body(scope) else BytesIO()
        except RequestAborted:
            return
        loop = asyncio.get_running_loop()
        start, content = await loop.run_in_executor(self._threads, self._answer, scope, body)
        await send(start)
        await send({"type": "http.response.body", "body": content})

    def _answer(self, scope: Scope, body: IO[bytes]) -> tuple[Message, bytes]:
        """The start message and the content of the answer. The signals that open and close
        database connections are sent here, in the thread that uses them."""
        set_script_prefix(get_script_prefix(scope))
        request_started.send(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, body)
        response: Any = refusal if request is None else self.get_response(request)
        try:
            content = b"".join(response)
            headers = [
                (name.encode("ascii"), value.encode("latin1")) for name, value in response.items()
            ]
            headers += [
                (b"Set-Cookie", cookie.OutputString().encode("ascii"))
                for cookie in response.cookies.values()
            ]
            start = {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": headers,
            }
            return start, content
        finally:
            response.close()
            body.close()


def _has_body(scope: Scope) -> bool:
    """False for a GET that announces no body. To ask for one takes another turn of the event loop,
    a tenth of a small answer's time."""
    announced = (b"content-length", b"transfer-encoding")
    return scope["method"] not in ("GET", "HEAD") or any(
        name in announced for name, _ in scope["headers"]
    )


in_one_thread = OneThreadHandler()


stream_routes = [
    RoutePattern(route, is_endpoint=True)
    for route, view in routes(get_resolver().url_patterns)
    if inspect.iscoroutinefunction(view)
]


# What was loaded until here stays: looking through it again and again for garbage would stop every
# request of this process for 60 ms at a time.
gc.collect()
gc.freeze()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["path"].strip("/")
    is_stream = any(route.match(path) for route in stream_routes)
    await (streams if is_stream else in_one_thread)(scope, receive, send)
