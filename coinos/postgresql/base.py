"""Django's PostgreSQL backend without what it costs every request: `ENGINE = "coinos.postgresql"`.

A pooled connection is looked at before it is used, but not asked: Django's own check of it is a
round trip to the server. Times are read by Python's own parser, in half the time. Statements that
are written by hand are planned once a connection instead of each time (`fixed_cursor`).
"""

from __future__ import annotations

import datetime as dt
import functools
import select
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from django.db.backends.utils import CursorWrapper
from psycopg import Connection
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap
from psycopg.types.datetime import TimestamptzLoader
from psycopg_pool import ConnectionPool


class UtcLoader(TimestamptzLoader):
    """Reads the times of our sessions, which are in UTC, as Python's own parser can."""

    timezone = dt.UTC  # Django asks every loader of times for its zone

    def load(self, data: Buffer) -> dt.datetime:
        try:
            return dt.datetime.fromisoformat(bytes(data).decode()).astimezone(dt.UTC)
        except ValueError:  # infinity, or long ago
            return super().load(data).astimezone(dt.UTC)


@functools.cache
def _with_utc_loader(adapters: AdaptersMap) -> AdaptersMap:
    changed = AdaptersMap(adapters)
    changed.register_loader("timestamptz", UtcLoader)
    return changed


class DatabaseWrapper(base.DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        if self.timezone == dt.UTC:
            params["context"] = _with_utc_loader(params["context"])
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Connection[Any]:
        """A new or pooled connection; pooled ones that the server has closed are thrown away."""
        while True:
            connection: Connection[Any] = super().get_new_connection(conn_params)
            if self.pool is None or is_alive(connection):
                return connection
            connection.close()
            self.pool.putconn(connection)  # which replaces it

    def fixed_cursor(self) -> CursorWrapper:
        """A cursor for statements whose text is always the same. The server binds their parameters
        and keeps their plans, which takes it less than half the time; Django's own cursors send a
        new text each time, since the ORM's statements differ."""
        self.ensure_connection()
        cursor = base.ServerBindingCursor(self.connection)  # type: ignore[call-arg]
        made: CursorWrapper = self._prepare_cursor(cursor)  # type: ignore[attr-defined]
        return made


def is_alive(connection: Connection[Any]) -> bool:
    """Whether the server is still there. An idle connection has nothing to read unless the server
    has said something: that it ends, usually. Only then it is asked."""
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    if not waiting.poll(0):
        return True
    try:
        ConnectionPool.check_connection(connection)
    except psycopg.Error:
        return False
    return True
