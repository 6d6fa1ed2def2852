"""One at a time, over all processes and machines: PostgreSQL's advisory locks."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import connection


@contextmanager
def only_one(name: str) -> Iterator[bool]:
    """True inside when nobody else holds `name`; false at once when somebody does.

    The lock lives on a connection of its own, outside every pool and transaction, and ends with
    it: a killed process lets go. It saves work; nothing may depend on it for being right. It is
    given back before the connection is closed, because the server notices that only a moment
    later, and whoever comes next would find it taken.
    """
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    with psycopg.connect(**parameters, autocommit=True) as own:
        key = zlib.crc32(name.encode())
        row = own.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone()
        mine = bool(row and row[0])
        try:
            yield mine
        finally:
            if mine:
                own.execute("SELECT pg_advisory_unlock(%s)", [key])
