"""What a caller sends as a cookie costs little to read (sec-4: one thread each, for long)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.http import parse_cookie

from coinos import web_server
from tests.database import Database
from tests.web_server import serving


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("plain", "plain"),
        ('"quoted"', "quoted"),
        (r'"a\"b"', 'a"b'),
        (r'"a\\b"', "a\\b"),
        (r'"a\054b"', "a,b"),
        (r'"\777"', "777"),
        ('"', '"'),
        ('""', ""),
        (r'"\\"', "\\"),
    ],
)
def test_quoted_cookies_are_read_as_python_reads_them(sent: str, read: str) -> None:
    assert parse_cookie(f"one={sent}") == {"one": read}


def test_a_cookie_of_backslashes_is_read_at_once() -> None:
    """sec-4: 200 kB of them took a thread for minutes, with one request of anybody."""
    assert parse_cookie('one="' + '\\"' * 500_000 + '"') == {"one": '"' * 500_000}


def test_headers_longer_than_any_browsers_are_refused(
    cloned_db: Database, redis: Any, tmp_path: Path
) -> None:
    with serving(cloned_db, tmp_path) as web:
        most = web_server.HEADERS_BYTES
        assert web.ask("GET", "/api/health", X="x" * 3 * most).startswith(b"HTTP/1.1 431")
        assert web.ask("GET", "/api/health", X="x" * (most // 2)).startswith(b"HTTP/1.1 200")
