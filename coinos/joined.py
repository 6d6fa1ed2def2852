"""Models read side by side by a statement written by hand.

For the few queries that run with every request: Django builds such a statement anew each time,
which costs more than running it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import JSONField, Model


class Joined:
    """`Joined(line=Activity, other=User)`: `columns` for the SELECT of tables with these aliases,
    and `read` to make instances of a row of them. For fields that need no conversion; JSON, which
    does, is read when it is asked for."""

    def __init__(self, **models: type[Model]) -> None:
        self._parts: list[tuple[type[Model], list[str], slice]] = []
        columns: list[str] = []
        for alias, model in models.items():
            fields = [
                field for field in model._meta.concrete_fields if not isinstance(field, JSONField)
            ]
            columns += [f'"{alias}"."{field.column}"' for field in fields]
            place = slice(len(columns) - len(fields), len(columns))
            self._parts.append((model, [field.attname for field in fields], place))
        self.columns = ", ".join(columns)

    def read(self, row: Sequence[Any]) -> list[Any]:
        """One instance per model; None where a LEFT JOIN found nothing."""
        found: list[Any] = []
        for model, names, place in self._parts:
            values = row[place]
            key = values[names.index(model._meta.pk.attname)]
            found.append(None if key is None else model.from_db("default", names, values))
        return found
