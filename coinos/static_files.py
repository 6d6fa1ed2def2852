"""How files go out from /static: whitenoise serves them, and what is text is packed with gzip.

A file is packed when it is first asked for, and stays packed in memory: there is nothing to build
or to collect. Pages are not packed: they hold secrets beside what others wrote, and the length of
both packed together tells of the secret (BREACH).
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from functools import cached_property
from http import HTTPStatus
from io import BytesIO
from typing import Any
from wsgiref.headers import Headers

from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import Response, StaticFile

IS_TEXT = re.compile(r"text/|.*\b(javascript|json|xml)\b")
TAKES_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")


class StaticFiles(WhiteNoiseMiddleware):
    """For every request that is for something else, one look into a dictionary."""

    def add_mime_headers(self, headers: Headers, path: str, url: str) -> None:
        super().add_mime_headers(headers, path, url)
        if IS_TEXT.match(headers["Content-Type"] or ""):
            headers["Vary"] = "Accept-Encoding"

    def get_static_file(self, path: str, *args: Any, **options: Any) -> StaticFile | PackedFile:
        file = super().get_static_file(path, *args, **options)
        headers = dict(file.alternatives[0][2])
        return PackedFile(path, file) if "Vary" in headers else file


class PackedFile:
    def __init__(self, path: str, plain: StaticFile) -> None:
        self._path = path
        self._plain = plain

    def get_response(self, method: str, request_headers: Mapping[str, str]) -> Response:
        """The file as it lies there for who takes no gzip, or wants a part of it."""
        plain = self._plain.get_response(method, request_headers)
        takes_gzip = TAKES_GZIP.search(request_headers.get("HTTP_ACCEPT_ENCODING", ""))
        if plain.status != HTTPStatus.OK or not takes_gzip:
            return plain
        headers = Headers(list(plain.headers))
        headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(self._content))
        if plain.file is None:  # HEAD
            return Response(HTTPStatus.OK, headers.items(), None)
        plain.file.close()
        return Response(HTTPStatus.OK, headers.items(), BytesIO(self._content))

    @cached_property
    def _content(self) -> bytes:
        with open(self._path, "rb") as file:
            return gzip.compress(file.read(), mtime=0)
