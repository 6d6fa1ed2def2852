"""What the proof reads from the books: sums and a digest of their history."""

from __future__ import annotations

from django.db import connection

from accounts.ledger import House


def house_balances_msat() -> dict[House, int]:
    """Credits minus debits of every system account."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT account, sum(amount)::bigint FROM (
                SELECT credit_id AS account, amount_msat AS amount FROM ledger_transfer
                    WHERE phase IN ('posted', 'post')
                UNION ALL
                SELECT debit_id, -amount_msat FROM ledger_transfer
                    WHERE phase IN ('posted', 'post')
            ) AS moved WHERE account < 1000 GROUP BY account
            """
        )
        sums = dict(cursor.fetchall())
    return {account: int(sums.get(int(account), 0)) for account in House}


def transfers_digest(up_to: int | None = None) -> tuple[int, str]:
    """The last transfer's id and a digest of all rows up to it: history only grows (I10)."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce(max(id), 0), coalesce(md5(string_agg(t::text, E'\\n' ORDER BY id)), '')
            FROM ledger_transfer AS t WHERE id <= coalesce(%s, id)
            """,
            [up_to],
        )
        last_id, digest = cursor.fetchone()
    return last_id, digest
