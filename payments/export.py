"""A statement as a CSV file: every line of a filter, whatever its length, with the rate of its day.

There is no running balance: a line is dated when it was made and counts when it settles, so the
sum down the column would not be what the balance was at that moment.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async

from accounts.models import Activity, User
from accounts.selectors import StatementFilter, statement_page
from coinos.db import let_go_of_connection
from coinos.money import sat_to_fiat

LINES_PER_READ = 1000
COLUMNS = (
    "created settled status type direction amount_sat tip_sat network_fee_sat platform_fee_sat "
    "total_sat currency rate fiat_amount fiat_total counterparty memo hash txid payment_hash id"
).split()


async def csv_lines(user: User, wanted: StatementFilter) -> AsyncIterator[str]:
    """The file in parts, newest line first. Between two parts no connection is held, so a slow
    reader costs nothing."""
    yield _text([COLUMNS])
    last: Activity | None = None
    while True:
        lines = await sync_to_async(_read)(user, wanted, last)
        if lines:
            yield _text([_row(line) for line in lines])
            last = lines[-1]
        if len(lines) < LINES_PER_READ:
            return


def _read(user: User, wanted: StatementFilter, after: Activity | None) -> list[Activity]:
    try:
        return statement_page(user, wanted, after=after, limit=LINES_PER_READ)
    finally:
        let_go_of_connection()


def _row(line: Activity) -> list[Any]:
    rate = line.rate
    is_onchain = line.type == Activity.Type.BITCOIN
    txid = (line.ref or "").partition(":")[0] if line.is_incoming else line.hash
    return [
        line.created.isoformat(timespec="seconds"),
        line.settled_at.isoformat(timespec="seconds") if line.settled_at else "",
        line.status,
        line.type,
        "in" if line.is_incoming else "out",
        line.amount_sat,
        line.tip_sat or 0,
        line.fee_sat or 0,
        line.platform_fee_sat or 0,
        line.total_sat,
        line.currency if rate else "",
        f"{rate:f}" if rate else "",
        f"{sat_to_fiat(line.amount_sat, rate):f}" if rate else "",
        f"{sat_to_fiat(line.total_sat, rate):f}" if rate else "",
        _words(line.counterparty.username if line.counterparty else ""),
        _words(line.memo),
        _words(line.hash),
        _words(txid) if is_onchain else "",
        line.payment_hash or "",
        line.id,
    ]


def _words(text: str) -> str:
    """A cell of other people's words: spreadsheets must not take it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def _text(rows: list[list[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()
