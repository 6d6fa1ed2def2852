"""Write many rows, or rows of several models, in one statement: one round trip instead of many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection, models


def update_all(rows: Sequence[models.Model], fields: Sequence[str]) -> None:
    """Save these fields of rows of one model, in one statement that does not grow with them."""
    if not rows:
        return
    options, quote = rows[0]._meta, connection.ops.quote_name
    columns = [one for one in options.concrete_fields if one.primary_key or one.name in fields]
    columns.sort(key=lambda field: not field.primary_key)
    table, (id, *names) = quote(options.db_table), [quote(str(field.column)) for field in columns]
    arrays = ", ".join(f"%s::{field.db_type(connection)}[]" for field in columns)
    statement = (
        f"UPDATE {table} AS old SET {', '.join(f'{name} = new.{name}' for name in names)}"  # noqa: S608
        f" FROM unnest({arrays}) AS new ({', '.join([id, *names])}) WHERE old.{id} = new.{id}"
    )
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            [
                [field.get_db_prep_save(getattr(row, field.attname), connection) for row in rows]
                for field in columns
            ],
        )


def insert_together(*rows: models.Model) -> None:
    """Insert rows of several models in one statement: one round trip, all of them or none."""
    inserts: list[str] = []
    values: list[Any] = []
    for number, row in enumerate(rows):
        fields = row._meta.concrete_fields
        columns = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
        inserts.append(
            f"row{number} AS (INSERT INTO {connection.ops.quote_name(row._meta.db_table)}"  # noqa: S608
            f" ({columns}) VALUES ({', '.join(['%s'] * len(fields))}))"
        )
        values += [
            field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields
        ]
        row._state.adding, row._state.db = False, connection.alias
    with connection.cursor() as cursor:
        cursor.execute(f"WITH {', '.join(inserts)} SELECT", values)


def update_together(*changes: tuple[models.Model, Sequence[str]]) -> None:
    """Save these fields of rows of several models in one statement, all of them or none."""
    updates: list[str] = []
    values: list[Any] = []
    for number, (row, names) in enumerate(changes):
        options, quote = row._meta, connection.ops.quote_name
        fields = [field for field in options.concrete_fields if field.name in names]
        assert options.pk is not None
        updates.append(
            f"row{number} AS (UPDATE {quote(options.db_table)}"  # noqa: S608
            f" SET {', '.join(f'{quote(str(field.column))} = %s' for field in fields)}"
            f" WHERE {quote(str(options.pk.column))} = %s)"
        )
        values += [
            field.get_db_prep_save(getattr(row, field.attname), connection)
            for field in (*fields, options.pk)
        ]
    with connection.cursor() as cursor:
        cursor.execute(f"WITH {', '.join(updates)} SELECT", values)
