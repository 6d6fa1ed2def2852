"""Which constraint the database refused a row for."""

from __future__ import annotations

import psycopg
from django.db import IntegrityError


def violated_constraint(error: IntegrityError) -> str | None:
    """The name of the constraint, so that a race lost in the database becomes the right answer."""
    cause = error.__cause__
    return cause.diag.constraint_name if isinstance(cause, psycopg.Error) else None
