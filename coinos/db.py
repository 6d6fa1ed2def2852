"""The pooled database connection of this thread: questions by hand, and when not to sit on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection, connections

from coinos.errors import NotTheOwner


@dataclass(frozen=True)
class Query:
    """A statement written by hand, with its parameters."""

    sql: str
    values: list[Any]


def ask(query: Query) -> list[tuple[Any, ...]]:
    """The rows of one query."""
    return _rows(_sent(query))


def now() -> datetime:
    """What the database's clock says, which all processes share."""
    [[moment]] = ask(Query("SELECT clock_timestamp()", []))
    assert isinstance(moment, datetime)
    return moment


def ask_at_once(*queries: Query, commit: bool = False) -> list[list[tuple[Any, ...]]]:
    """The rows of each query, all in one round trip.

    Each sees what those before it did and waited for. Outside a transaction they are one, as if
    between BEGIN and COMMIT; a failing one ends it.

    `commit` ends the transaction with them, unless it is part of a larger one: rows that they lock
    are free again before any Python runs. The caller asks nothing more in that transaction;
    Django finds it committed and goes on with what waits for that.
    """
    with connection.wrap_database_errors, _pipeline():
        cursors = [_sent(query) for query in queries]
        if commit and len(connection.atomic_blocks) == 1:
            _sent(Query("COMMIT", []))
    return [_rows(cursor) for cursor in cursors]


def _sent(query: Query) -> Any:
    cursor = connection.fixed_cursor()  # type: ignore[attr-defined]
    cursor.execute(query.sql, query.values)
    return cursor


def _pipeline() -> Any:
    connection.ensure_connection()
    return connection.connection.pipeline()


def _rows(cursor: Any) -> list[tuple[Any, ...]]:
    """What a statement answers: nothing, when it writes without RETURNING."""
    # `description` would say the same, and describe every column to do so.
    return cursor.fetchall() if cursor.pgresult.nfields else []


def let_go_of_connection() -> None:
    """Give this thread's connection back to the pool before waiting for a node or a network.

    The next query takes one again. Otherwise a few slow answers, which outsiders can arrange, take
    all connections of the process and with them every other request (A01). Inside a transaction it
    does nothing.
    """
    if not connection.in_atomic_block:
        connection.close()


@contextmanager
def as_operator() -> Iterator[None]:
    """In the block, this thread's connection is one of the role that owns the tables.

    Only that role may touch the operator's own money and what arrived for nobody
    (accounts/sql/). Most processes do not have its address, DATABASE_OWNER_URL; what they are
    asked in the name of an operator must be done by one that does.

    Raises NotTheOwner, before anything is done. Not for use inside a transaction: what that has
    written is invisible here.
    """
    ours = connections["default"]
    if ours.in_atomic_block:
        raise RuntimeError("an operator's act is a transaction of its own")
    theirs = type(ours)(connections.settings["default"] | settings.DATABASE_OWNER, "default")
    connections["default"] = theirs
    try:
        if not ask(OWNS_THE_TABLES)[0][0]:
            raise NotTheOwner
        yield
    finally:
        connections["default"] = ours
        theirs.close()


OWNS_THE_TABLES = Query(
    "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'ledger_transfer'::regclass",
    [],
)
