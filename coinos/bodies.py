"""Reads the bodies of requests before anything else looks at them, in memory and within bounds.

Nobody is signed in yet when a body arrives, so none may cost much: it has a largest size, a time
by which it is all there, and bodies that are half read share what memory they may take. Nothing is
written to disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO
from typing import Any

from django.core.exceptions import RequestAborted

from coinos import limits
from coinos.errors import Busy, RequestTimeout, TooLarge

BODY_TIMEOUT_S = 10.0
UPLOAD_TIMEOUT_S = 30.0
UPLOAD_PATHS = frozenset({"/settings/picture", "/settings/banner"})

# An ordinary body is small and always passes; only larger ones share the bound of half-read ones.
SMALL_BODY_BYTES = 4 * 1024

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


class BodyReader:
    """Reads bodies, and knows how many bytes of half-read ones this process holds."""

    def __init__(self) -> None:
        self.held_bytes = 0

    async def read(self, scope: Scope, receive: Receive) -> BytesIO:
        """The whole body.

        Raises `TooLarge` without reading when its announced length is too much, and while reading
        when it turns out to be; `RequestTimeout`, `Busy`, and Django's `RequestAborted` when
        the caller goes away."""
        is_upload = scope["path"] in UPLOAD_PATHS and scope["method"] == "POST"
        bound = limits.UPLOAD_BYTES if is_upload else limits.BODY_BYTES
        max_bytes = bound.at_most
        if announced_bytes(scope) > max_bytes:
            raise TooLarge()
        try:
            async with asyncio.timeout(UPLOAD_TIMEOUT_S if is_upload else BODY_TIMEOUT_S):
                return await self._read(receive, max_bytes)
        except TimeoutError as error:
            raise RequestTimeout() from error

    async def _read(self, receive: Receive, max_bytes: int) -> BytesIO:
        body = BytesIO()
        held_bytes = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestAborted()
                body.write(message.get("body", b""))
                size = body.tell()
                if size > max_bytes:
                    raise TooLarge()
                if not message.get("more_body", False):
                    body.seek(0)
                    return body
                if size > SMALL_BODY_BYTES:
                    self.held_bytes += size - held_bytes
                    held_bytes = size
                    if self.held_bytes > limits.HELD_BYTES.at_most:
                        raise Busy()
        finally:
            self.held_bytes -= held_bytes


def is_announced(scope: Scope) -> bool:
    """False for a GET that announces no body. To ask for one takes another turn of the event loop,
    a tenth of a small answer's time."""
    announced = (b"content-length", b"transfer-encoding")
    return scope["method"] not in ("GET", "HEAD") or any(
        name in announced for name, _value in scope["headers"]
    )


def announced_bytes(scope: Scope) -> int:
    """The length that the caller says the body has; 0 when it does not say."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            # More digits than any size needs: do not even read the number.
            return int(value) if len(value) < 19 else 10**19
    return 0
