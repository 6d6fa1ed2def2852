"""Passwords: how they are stored again without being changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def only_hashed_again() -> Iterator[None]:
    """What the block writes to `User.password` is a new hash of the same password.

    The database counts every other write to it as a change of the authenticators, which ends all
    sessions (sql/0005_authenticators.sql)."""
    with transaction.atomic():
        _say(True)
        yield
        _say(False)


def _say(only_hashed_again: bool) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('coinos.only_hashed_again', %s, true)",
            ["yes" if only_hashed_again else "no"],
        )
