"""Write many rows, or rows of several models, in one statement: one round trip instead of many."""

from __future__ import annotations

from collections.abc import Sequence

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
