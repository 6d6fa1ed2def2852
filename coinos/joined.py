"""Models read side by side by a statement written by hand.

For the few queries that run with every request: Django builds such a statement anew each time,
which costs more than running it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.db.models import JSONField, Model


class Joined:
    """`Joined(line=Activity, other=User)`: `columns` for the SELECT of tables with these aliases,
    and `read` to make instances of a row of them. Of the kinds of fields only JSON is converted."""

    def __init__(self, **models: type[Model]) -> None:
        self._parts: list[tuple[type[Model], list[str], list[int], slice]] = []
        columns: list[str] = []
        for alias, model in models.items():
            fields = model._meta.concrete_fields
            as_json = [n for n, field in enumerate(fields) if isinstance(field, JSONField)]
            columns += [f'"{alias}"."{field.column}"' for field in fields]
            place = slice(len(columns) - len(fields), len(columns))
            self._parts.append((model, [field.attname for field in fields], as_json, place))
        self.columns = ", ".join(columns)

    def read(self, row: Sequence[Any]) -> list[Any]:
        """One instance per model; None where a LEFT JOIN found nothing."""
        found: list[Any] = []
        for model, names, as_json, place in self._parts:
            values = list(row[place])
            key = values[names.index(model._meta.pk.attname)]
            for n in as_json:
                values[n] = values[n] and json.loads(values[n])
            found.append(None if key is None else model.from_db("default", names, values))
        return found
