"""A statement as a CSV file: every line of a filter, whatever its length, with the rate of its day
and the balance after it.

`total_sat` is what the line has done to the spendable balance: nothing when it failed or has not
arrived, the amount and all that is held for fees while it is on its way out. So the column adds up,
and `balance_sat` of the newest line is the balance of now. Lines stand where they were made: one
that took an hour to settle counts from its first minute on.

It is UTF-8 and begins with a byte order mark, without which Excel reads it as Windows-1252; Python
reads it as `utf-8-sig`. Times are ISO 8601, UTC.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC
from typing import Any
from unicodedata import category, normalize
from uuid import UUID

from django.db import connection

from accounts.models import Activity, DailyTotal, User
from accounts.selectors import LINE_COLUMNS, Line, StatementFilter, read_line, statement_page
from coinos.db import let_go_of_connection
from coinos.money import sat_to_fiat
from coinos.streaming import read

BYTE_ORDER_MARK = "\ufeff"
LINES_PER_READ = 1000
FORMULA_SIGNS = {"=", "+", "-", "@"}
DRAWN_AS_NOTHING = {"\u115f", "\u1160", "\u2800", "\u3164", "\uffa0"}
COLUMNS = (
    "created settled status type direction amount_sat tip_sat network_fee_sat platform_fee_sat "
    "total_sat balance_sat currency rate fiat_amount fiat_total counterparty memo hash txid "
    "payment_hash id"
).split()


async def csv_lines(user: User, wanted: StatementFilter) -> AsyncIterator[str]:
    """The file in parts, newest line first. Between two parts no connection is held, so a slow
    reader costs nothing.

    All lines of the dates are passed, also those that the filter leaves out, since the balance
    counts them. What is still open at the start stays as it was then, whenever its turn comes."""
    yield BYTE_ORDER_MARK + _text([COLUMNS])
    balance_sat, lines, open_lines = await read(_opening, user, wanted)
    all_of_dates = replace(wanted, incoming=None, status="all", ids=None)
    not_found = set(wanted.ids) if wanted.ids is not None else None
    while lines:
        rows = []
        for line in lines:
            line = open_lines.get(line.id, line)
            if _is_wanted(line, wanted):
                rows.append(_row(line, balance_sat))
            balance_sat -= _change_sat(line)
        if rows:
            yield _text(rows)
        if not_found is not None:
            not_found.difference_update(line.id for line in lines)
        if len(lines) < LINES_PER_READ or not_found == set():
            return
        lines = await read(_read, user, all_of_dates, lines[-1])


def _opening(user: User, wanted: StatementFilter) -> tuple[int, list[Line], dict[UUID, Line]]:
    """The balance after the newest line of the dates, the first lines, and all that are open: in
    one SQL statement, so that they are of one moment."""
    end = wanted.end
    values = {
        "user": user.id,
        "start": wanted.start,
        "end": end,
        "last_day": end.astimezone(UTC).date() if end else None,
        "all_days": DailyTotal.ALL_DAYS,
        "limit": LINES_PER_READ,
    }
    try:
        with connection.cursor() as cursor:
            cursor.execute(_OPENING, values)
            rows = cursor.fetchall()
    finally:
        let_go_of_connection()
    balance_sat = int(rows[0][0])
    first: list[Line] = []
    open_lines: dict[UUID, Line] = {}
    for _, is_first, *columns in rows:
        if columns[0] is None:
            continue
        line = read_line(columns)
        if is_first:
            first.append(line)
        if line.status == Activity.Status.PENDING:
            open_lines[line.id] = line
            # The daily totals count what is arriving as if it were there.
            if line.is_incoming and end and line.created > end:
                balance_sat += line.total_sat
    return balance_sat, first, open_lines


def _read(user: User, wanted: StatementFilter, after: Line) -> list[Line]:
    try:
        return statement_page(user, wanted, after=after, limit=LINES_PER_READ)
    finally:
        let_go_of_connection()


def _is_wanted(line: Line, wanted: StatementFilter) -> bool:
    if wanted.incoming not in (None, line.is_incoming):
        return False
    if wanted.ids is not None and line.id not in wanted.ids:
        return False
    if wanted.status is None:
        return line.status != Activity.Status.FAILED
    return wanted.status in ("all", line.status)


def _change_sat(line: Line) -> int:
    """What the line has done to the spendable balance so far."""
    if line.status == Activity.Status.FAILED:
        return 0
    if line.status == Activity.Status.PENDING and line.is_incoming:
        return 0
    return line.total_sat


def _row(line: Line, balance_sat: int) -> list[Any]:
    rate = line.rate
    total_sat = _change_sat(line)
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
        total_sat,
        balance_sat,
        line.currency if rate else "",
        f"{rate:f}" if rate else "",
        f"{sat_to_fiat(line.amount_sat, rate):f}" if rate else "",
        f"{sat_to_fiat(total_sat, rate):f}" if rate else "",
        _words(line.counterparty.username if line.counterparty else ""),
        _words(line.memo),
        _words(line.hash),
        _words(txid) if is_onchain else "",
        line.payment_hash or "",
        line.id,
    ]


def _words(text: str) -> str:
    """A cell of other people's words: spreadsheets must not take it for a formula, whatever blank
    or invisible characters stand before it, and whichever width its first sign has."""
    first = next(filter(_is_seen, normalize("NFKC", text)), "")
    return f"'{text}" if first in FORMULA_SIGNS or text.startswith(("\t", "\r", "\n")) else text


def _is_seen(character: str) -> bool:
    """No blank, control, format or combining character, and no letter that is drawn as nothing."""
    return category(character)[0] not in "ZCM" and character not in DRAWN_AS_NOTHING


def _text(rows: list[list[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


# --- SQL -----------------------------------------------------------------------------------------

_OPENING = f"""
    WITH newest AS (
        SELECT id FROM accounts_activity
        WHERE user_id = %(user)s
            AND created >= coalesce(%(start)s::timestamptz, '-infinity')
            AND created <= coalesce(%(end)s::timestamptz, 'infinity')
        ORDER BY created DESC, id DESC LIMIT %(limit)s
    ), undecided AS (
        SELECT id FROM accounts_activity
        WHERE user_id = %(user)s AND status = 'pending' AND status <> 'settled'
    ), later AS (
        SELECT coalesce(sum(
            sats + CASE WHEN incoming THEN tips_sat ELSE -tips_sat END - fees_sat
        ), 0) AS sats FROM accounts_dailytotal
        WHERE user_id = %(user)s AND day > %(last_day)s::date AND day < %(all_days)s
    ), later_that_day AS (
        SELECT coalesce(sum(
            amount_sat + CASE WHEN amount_sat > 0 THEN 1 ELSE -1 END * coalesce(tip_sat, 0)
            - coalesce(fee_sat, 0) - coalesce(platform_fee_sat, 0)
        ), 0) AS sats FROM accounts_activity
        WHERE user_id = %(user)s AND status <> 'failed' AND created > %(end)s::timestamptz
            AND created < (%(last_day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
    )
    SELECT (account.posted_msat - account.held_msat) / 1000 - later.sats - later_that_day.sats,
        line.id IN (SELECT id FROM newest), {LINE_COLUMNS}
    FROM ledger_account AS account CROSS JOIN later CROSS JOIN later_that_day
    LEFT JOIN accounts_activity AS line
        ON line.id IN (SELECT id FROM newest UNION SELECT id FROM undecided)
    LEFT JOIN accounts_user AS other ON other.id = line.counterparty_id
    WHERE account.user_id = %(user)s
    ORDER BY line.created DESC, line.id DESC
"""  # noqa: S608 – our own names
