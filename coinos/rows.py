"""Write many rows, or rows of several models, in one statement: one round trip instead of many.

The rows go as JSON, one parameter for all of them, and PostgreSQL makes rows of its table's type
again: binding each value by itself took longer than what the database then did with it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import orjson
from django.db import connection, models

from coinos.db import Query, ask

# --- Saving now ----------------------------------------------------------------------------------


def update_all(rows: Sequence[models.Model], fields: Sequence[str]) -> None:
    """Save these fields of rows of one model, in one statement that does not grow with them."""
    if rows:
        ask(update(rows, fields))


def insert_together(*rows: models.Model) -> None:
    """Insert rows of several models in one statement: one round trip, all of them or none."""
    ask(together(*[insert([row]) for row in rows]))


def update_together(*changes: tuple[models.Model, Sequence[str]]) -> None:
    """Save these fields of rows of several models in one statement, all of them or none."""
    ask(together(*[update([row], fields) for row, fields in changes]))


# --- Queries, to be sent with others -------------------------------------------------------------


def insert(rows: Sequence[models.Model]) -> Query:
    """Of rows of one model, which count as saved from now on."""
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias
    sql, columns = _insert(type(rows[0]))
    return Query(sql, [_json_of(rows, columns)])


def update(rows: Sequence[models.Model], fields: Sequence[str]) -> Query:
    """Of these fields of rows of one model, whose key is a number or a UUID."""
    sql, columns = _update(type(rows[0]), frozenset(fields))
    keys = "{" + ",".join(str(row.pk) for row in rows) + "}"
    return Query(sql, [_json_of(rows, columns), keys])


def together(*parts: Query, last: Query | None = None) -> Query:
    """One statement that does all of them, none seeing what the others do; it answers what `last`
    does."""
    texts = [f"part{number} AS ({part.sql})" for number, part in enumerate(parts)]
    last = last or Query("SELECT", [])
    values = [value for part in (*parts, last) for value in part.values]
    return Query(f"WITH {', '.join(texts)} {last.sql}", values)


def as_json(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """The parameter of a `json_populate_recordset` with these columns."""
    named = [dict(zip(columns, row, strict=True)) for row in rows]
    return orjson.dumps(named, default=_decimal).decode()


def _decimal(value: Any) -> str:
    if not isinstance(value, Decimal):
        raise TypeError
    return str(value)


# Columns by the attributes that hold their values.
Columns = dict[str, str]


def _json_of(rows: Iterable[models.Model], columns: Columns) -> str:
    return as_json(
        list(columns.values()), ([getattr(row, name) for name in columns] for row in rows)
    )


@functools.cache
def _insert(model: type[models.Model]) -> tuple[str, Columns]:
    table, quote = connection.ops.quote_name(model._meta.db_table), connection.ops.quote_name
    columns = {one.attname: str(one.column) for one in model._meta.concrete_fields}
    names = ", ".join(map(quote, columns.values()))
    sql = (
        f"INSERT INTO {table} ({names})"  # noqa: S608 – our own names
        f" SELECT {names} FROM json_populate_recordset(NULL::{table}, %s)"
    )
    return sql, columns


@functools.cache
def _update(model: type[models.Model], fields: frozenset[str]) -> tuple[str, Columns]:
    table, quote = connection.ops.quote_name(model._meta.db_table), connection.ops.quote_name
    key = model._meta.pk
    assert key is not None
    saved = [one for one in model._meta.concrete_fields if one.name in fields]
    columns = {one.attname: str(one.column) for one in (key, *saved)}
    id, *names = map(quote, columns.values())
    changes = ", ".join(f"{name} = new.{name}" for name in names)
    # The planner cannot see how many rows there are in JSON, and would read a whole small table to
    # find one: it can in the array of keys.
    sql = (
        f"UPDATE {table} AS old SET {changes}"  # noqa: S608 – our own names
        f" FROM json_populate_recordset(NULL::{table}, %s) AS new"
        f" WHERE old.{id} = new.{id} AND old.{id} = ANY(%s::{key.db_type(connection)}[])"
    )
    return sql, columns
