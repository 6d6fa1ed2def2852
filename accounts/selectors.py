"""Questions about accounts and statements. Reads only."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Q, Sum, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_noop as _

from accounts import names
from accounts.models import Activity, Contact, DailyTotal, StatementLine, User
from coinos import nostr
from coinos.db import Query, ask, ask_at_once
from coinos.errors import NotFound
from coinos.joined import Joined
from coinos.money import sat_to_fiat


class UserNotFound(NotFound):
    message = _("User not found")


def user_by_name(username: str) -> User:
    """The user of that name, in any case, with or without `@host`, and a tag before it as in
    `bob+tip@host` (LUD-16). Raises `UserNotFound`."""
    name, _, _ = names.normalise(username).partition("+")
    rows = ask(Query(_ACTIVE_USER_BY_NAME, [name]))
    if not rows:
        raise UserNotFound()
    user: User = _USER.read(rows[0])[0]
    return user


_USER = Joined(owner=User)
_ACTIVE_USER_BY_NAME = f"""
    SELECT {_USER.columns} FROM accounts_user AS owner WHERE username = %s AND is_active
"""  # noqa: S608 – our own names


def user_by_key(key: str) -> User:
    """The user with this name, id, pubkey, npub or nprofile, in any case."""
    text = key.strip().lower()
    match = Q(username=names.normalise(text))
    if nostr.is_pubkey(text):
        match |= Q(pubkey=text)
    try:
        match |= Q(pubkey=nostr.pubkey_of(text))
    except ValueError:
        pass  # not an npub or nprofile
    try:
        match |= Q(id=UUID(text))
    except ValueError:
        pass  # not a uuid
    user = User.objects.filter(match, is_active=True).first()
    if user is None:
        raise UserNotFound()
    return user


def contacts(user: User, limit: int | None = None) -> list[Contact]:
    """Whom the user paid or was paid by: pinned ones first, then the most recent."""
    rows = Contact.objects.filter(user=user, contact__is_active=True).select_related("contact")
    return list(rows.order_by("-pinned", "-last_paid")[: min(limit or 1000, 1000)])


# --- The statement -------------------------------------------------------------------------------


@dataclass(frozen=True)
class StatementFilter:
    """Which lines of a statement: times are inclusive, `status` None leaves out failed ones."""

    start: datetime | None = None
    end: datetime | None = None
    incoming: bool | None = None
    status: str | None = None  # None | all | pending | decided | settled | failed
    ids: tuple[UUID, ...] | None = None  # of these lines only: what a search has found


@dataclass
class Totals:
    """Sums over lines in one currency; `fiat` at the rate of each payment."""

    count: int = 0
    sats: int = 0
    tips_sat: int = 0
    fees_sat: int = 0
    fiat: Decimal = Decimal("0.00")
    fiat_tips: Decimal = Decimal("0.00")
    fiat_fees: Decimal = Decimal("0.00")

    def add(self, other: Totals, *, sign: int = 1) -> None:
        """Count these lines too; with the sign -1, no longer."""
        self.count += sign * other.count
        self.sats += sign * other.sats
        self.tips_sat += sign * other.tips_sat
        self.fees_sat += sign * other.fees_sat
        self.fiat += sign * other.fiat
        self.fiat_tips += sign * other.fiat_tips
        self.fiat_fees += sign * other.fiat_fees

    def change_sat(self, *, incoming: bool) -> int:
        """What these lines, all in or all out, did to the balance: a tip goes the way of its
        amount, a fee always out. The one sum that API and pages show."""
        return self.sats + (self.tips_sat if incoming else -self.tips_sat) - self.fees_sat

    def change_fiat(self, *, incoming: bool) -> Decimal:
        """The same at the rate of each line."""
        return self.fiat + (self.fiat_tips if incoming else -self.fiat_tips) - self.fiat_fees


TotalsByCurrency = dict[tuple[bool, str], Totals]
"""(incoming, currency) → totals."""


@dataclass(slots=True)
class OtherSide:
    """The public part of the user at the other end of a line."""

    id: UUID
    username: str
    display: str
    picture: str
    banner: str
    about: str
    currency: str
    prompt: bool
    memo_prompt: bool
    hidepay: bool
    pubkey: str | None


@dataclass(slots=True)
class Line(StatementLine):
    """A line of a statement as lists show it: what its `Activity` says, at a tenth of the cost."""

    counterparty: OtherSide | None
    id: UUID
    user_id: UUID
    type: str
    status: str
    amount_sat: int
    tip_sat: int | None
    fee_sat: int | None
    platform_fee_sat: int | None
    hash: str
    ref: str | None
    payment_hash: str | None
    invoice_id: UUID | None
    memo: str
    reason: str
    lnurl: dict[str, Any] | None
    rate: Decimal | None
    currency: str
    created: datetime
    settled_at: datetime | None


def statement_page(
    user: User,
    wanted: StatementFilter,
    *,
    limit: int,
    offset: int = 0,
    after: Activity | Line | None = None,
) -> list[Line]:
    """The newest lines of a statement, or the next ones below `after`: by key, page a thousand
    costs what page one does."""
    return [read_line(row) for row in ask(_page(user, wanted, limit, offset, after))]


def page_and_totals(
    user: User,
    wanted: StatementFilter,
    counted: StatementFilter | None = None,
    *,
    limit: int,
    offset: int = 0,
    after: Activity | None = None,
) -> tuple[list[Line], TotalsByCurrency]:
    """A page of a statement and the totals of all its pages, or of `counted`, in one round trip."""
    parts = _parts(user, counted or wanted)
    page, *sums = ask_at_once(
        _page(user, wanted, limit, offset, after), *[part.query for part in parts]
    )
    return [read_line(row) for row in page], _add_up(parts, sums)


_LINE_NAMES = [field.name for field in fields(Line) if field.name != "counterparty"]
_OTHER_NAMES = [field.name for field in fields(OtherSide)]
LINE_COLUMNS = ", ".join(
    [f"line.{name}" for name in _LINE_NAMES] + [f"other.{name}" for name in _OTHER_NAMES]
)
"""For the SELECT of an `accounts_activity AS line` LEFT JOIN `accounts_user AS other`."""


def read_line(row: Sequence[Any]) -> Line:
    """The line in a row of `LINE_COLUMNS`."""
    width = len(_LINE_NAMES)
    line = Line(OtherSide(*row[width:]) if row[width] else None, *row[:width])
    line.lnurl = line.lnurl and json.loads(line.lnurl)  # type: ignore[arg-type]
    return line


def _page(
    user: User,
    wanted: StatementFilter,
    limit: int,
    offset: int,
    after: Activity | Line | None,
) -> Query:
    where, values = _where(user, wanted)
    if after:
        where += " AND (line.created, line.id) < (%s, %s)"
        values += [after.created, after.id]
    # The limit stands in the text: the plan that the server keeps depends on it.
    skip = ""
    if offset:
        skip = "OFFSET %s"
        values.append(offset)
    return Query(
        f"""
        SELECT {LINE_COLUMNS}
        FROM accounts_activity AS line
        LEFT JOIN accounts_user AS other ON other.id = line.counterparty_id
        WHERE {where} ORDER BY line.created DESC, line.id DESC LIMIT {limit:d} {skip}
        """,  # noqa: S608 – our own names and conditions
        values,
    )


def line_of(user: User, line_id: UUID) -> Activity | None:
    """A line of this user's statement, whatever its status."""
    return Activity.objects.select_related("counterparty").filter(user=user, id=line_id).first()


def totals(user: User, wanted: StatementFilter) -> TotalsByCurrency:
    """Sums per direction and currency. Whole days come from the daily rollups, which count what
    has not failed; only the two edge days, and the few lines that have failed or are pending, are
    summed themselves; so are the lines that a search has found."""
    parts = _parts(user, wanted)
    return _add_up(parts, ask_at_once(*[part.query for part in parts]))


@dataclass(frozen=True)
class _Part:
    """A query whose rows are a part of the totals, to be added, or taken off with the sign -1."""

    query: Query
    read: Callable[[list[tuple[Any, ...]]], TotalsByCurrency]
    sign: int = 1


def _parts(user: User, wanted: StatementFilter) -> list[_Part]:
    if wanted.ids is not None:
        return [_sum_lines(user, wanted)]
    match wanted.status:
        case Activity.Status.PENDING | Activity.Status.FAILED:
            return [_sum_lines(user, wanted)]
        case Activity.Status.SETTLED:
            pending = _sum_lines(user, replace(wanted, status=Activity.Status.PENDING))
            return [*_parts(user, replace(wanted, status=None)), replace(pending, sign=-1)]
        case "all":
            failed = _sum_lines(user, replace(wanted, status=Activity.Status.FAILED))
            return [*_parts(user, replace(wanted, status=None)), failed]
    first_day, last_day, edges = _whole_days(wanted)
    return [
        _sum_days(user, first_day, last_day, wanted.incoming),
        *[_sum_lines(user, replace(wanted, start=start, end=end)) for start, end in edges],
    ]


def _add_up(parts: list[_Part], answers: list[list[tuple[Any, ...]]]) -> TotalsByCurrency:
    found: TotalsByCurrency = {}
    for part, rows in zip(parts, answers, strict=True):
        for key, sums in part.read(rows).items():
            found.setdefault(key, Totals()).add(sums, sign=part.sign)
    return {key: sums for key, sums in found.items() if sums.count}


def _where(user: User, wanted: StatementFilter) -> tuple[str, list[Any]]:
    """The condition on `line`, and its parameters."""
    conditions: list[tuple[str, list[Any]]] = [("line.user_id = %s", [user.id])]
    if wanted.start:
        conditions.append(("line.created >= %s", [wanted.start]))
    if wanted.end:
        conditions.append(("line.created <= %s", [wanted.end]))
    if wanted.incoming is not None:
        sign = "line.amount_sat > 0" if wanted.incoming else "line.amount_sat < 0"
        conditions.append((sign, []))
    if wanted.status is None:
        conditions.append(("line.status <> 'failed'", []))
    elif wanted.status == "decided":
        conditions.append(("line.status <> 'pending'", []))
    elif wanted.status == Activity.Status.SETTLED:
        conditions.append(("line.status = 'settled'", []))
    elif wanted.status != "all":  # said twice, so that the planner finds the small index
        conditions.append(("line.status = %s AND line.status <> 'settled'", [wanted.status]))
    if wanted.ids is not None:
        conditions.append(("line.id = ANY(%s)", [list(wanted.ids)]))
    texts, values = zip(*conditions, strict=True)
    return " AND ".join(texts), [value for part in values for value in part]


_A_DAY = timedelta(days=1)
_ALMOST_A_DAY = _A_DAY - timedelta(microseconds=1)
_OPEN_END = datetime(9999, 12, 30, tzinfo=UTC)  # no line is later, and a day can still be added


def _whole_days(wanted: StatementFilter) -> tuple[date, date, list[tuple[datetime, datetime]]]:
    """Split a range into whole UTC days, the first and the last, and its edges as exact times."""
    if wanted.start is None and wanted.end is None:
        return DailyTotal.ALL_DAYS, DailyTotal.ALL_DAYS, []
    edges: list[tuple[datetime, datetime]] = []
    first_day, after_last_day = date.min, DailyTotal.ALL_DAYS
    if wanted.start:
        start = min(wanted.start, _OPEN_END).astimezone(UTC)
        first_day = (start + _ALMOST_A_DAY).date()  # its own when it starts at midnight
    if wanted.end:
        end = min(wanted.end, _OPEN_END).astimezone(UTC)
        after_last_day = (end + timedelta(microseconds=1)).date()
    if wanted.start and wanted.end and first_day > after_last_day:
        return date.max, date.min, [(wanted.start, wanted.end)]
    if wanted.start and wanted.start < _midnight(first_day):
        edges.append((wanted.start, _midnight(first_day) - timedelta(microseconds=1)))
    if wanted.end and wanted.end >= _midnight(after_last_day):
        edges.append((_midnight(after_last_day), wanted.end))
    return first_day, after_last_day - _A_DAY, edges


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _sum_days(user: User, first_day: date, last_day: date, incoming: bool | None) -> _Part:
    query = Query(
        """
        SELECT incoming, currency, sum(count)::bigint, sum(sats)::bigint,
            sum(tips_sat)::bigint, sum(fees_sat)::bigint, sum(fiat), sum(fiat_tips),
            sum(fiat_fees)
        FROM accounts_dailytotal
        WHERE user_id = %s AND day BETWEEN %s AND %s AND incoming = coalesce(%s, incoming)
        GROUP BY incoming, currency HAVING sum(count) > 0
        """,
        [user.id, first_day, last_day, incoming],
    )
    return _Part(query, _read_days)


def _read_days(rows: list[tuple[Any, ...]]) -> TotalsByCurrency:
    return {(incoming, currency): Totals(*sums) for incoming, currency, *sums in rows}


def _sum_lines(user: User, wanted: StatementFilter) -> _Part:
    where, values = _where(user, wanted)
    query = Query(
        f"""
        SELECT amount_sat, tip_sat, coalesce(fee_sat, 0) + coalesce(platform_fee_sat, 0),
            rate, currency
        FROM accounts_activity AS line WHERE {where}
        """,  # noqa: S608 – our own conditions
        values,
    )
    return _Part(query, _read_lines)


def _read_lines(rows: list[tuple[Any, ...]]) -> TotalsByCurrency:
    found: TotalsByCurrency = {}
    for amount_sat, tip_sat, fees_sat, rate, currency in rows:
        tip_sat = tip_sat or 0
        found.setdefault((amount_sat > 0, currency), Totals()).add(
            Totals(
                1,
                amount_sat,
                tip_sat,
                fees_sat,
                sat_to_fiat(amount_sat, rate) if rate else Decimal(0),
                sat_to_fiat(tip_sat, rate) if rate else Decimal(0),
                sat_to_fiat(fees_sat, rate) if rate else Decimal(0),
            )
        )
    return found


def pending_incoming_sat(user: User) -> int:
    """On-chain money on its way to the user: seen, not yet credited."""
    return Activity.objects.filter(
        user=user, status=Activity.Status.PENDING, amount_sat__gt=0
    ).aggregate(sum=Coalesce(Sum("amount_sat"), Value(0)))["sum"]
