"""Numbers of transactions belong to one PostgreSQL cluster.

A database that was dumped and read into another cluster brings those of the old one along, and they
look as if they were still to come: streams would wait for them, and auto-withdraw would think that
it has seen what comes now.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import connection, transaction

logger = logging.getLogger(__name__)

LATELY = 1_000


def follow_this_cluster(**_: Any) -> None:
    """Move the numbers of all events, and how far auto-withdraw has looked, below those of this
    cluster, if they are above: all by the same, so that their order stays. After each migration,
    which follows such a move and every upgrade; on the same cluster it finds nothing to do."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('payments_autowithdraw'), to_regclass('accounts_event')")
        if None in cursor.fetchone():
            return  # the tables are not there yet, or not any more
        cursor.execute(
            """
            SELECT newest - (pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1)
            FROM (SELECT max(transaction_id) AS newest FROM (
                SELECT transaction_id FROM accounts_event ORDER BY id DESC LIMIT %s) AS lately) AS e
            WHERE newest >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
            """,
            [LATELY],
        )
        row = cursor.fetchone()
        if row is None:
            return
        logger.warning("this is another PostgreSQL cluster: events are numbered anew")
        for table, column in (
            ("accounts_event", "transaction_id"),
            ("payments_autowithdraw", "seen_transaction"),
        ):
            cursor.execute(
                f"UPDATE {table} SET {column} = greatest({column} - %s, 3)"  # noqa: S608
                f" WHERE {column} > 3",
                [row[0]],
            )
