"""The pooled database connection of this thread, and when not to sit on it."""

from __future__ import annotations

from django.db import connection


def let_go_of_connection() -> None:
    """Give this thread's connection back to the pool before waiting for a node or a network.

    The next query takes one again. Otherwise a few slow answers, which outsiders can arrange, take
    all connections of the process and with them every other request (A01). Inside a transaction it
    does nothing.
    """
    if not connection.in_atomic_block:
        connection.close()
