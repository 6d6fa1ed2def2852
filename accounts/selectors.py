"""Questions about accounts and statements. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_noop as _

from accounts import names
from accounts.models import Activity, Contact, User
from coinos import nostr
from coinos.errors import NotFound
from coinos.money import sat_to_fiat


class UserNotFound(NotFound):
    message = _("User not found")


def user_by_name(username: str) -> User:
    """The user of that name, in any case, with or without `@host`. Raises `UserNotFound`."""
    user = User.objects.filter(username=names.normalise(username), is_active=True).first()
    if user is None:
        raise UserNotFound()
    return user


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
    status: str | None = None  # None | all | pending | settled | failed


@dataclass
class Totals:
    """Sums over lines in one currency; `fiat` at the rate of each payment."""

    count: int = 0
    sats: int = 0
    tips_sat: int = 0
    fees_sat: int = 0
    fiat: Decimal = Decimal("0.00")
    fiat_tips: Decimal = Decimal("0.00")

    def add(self, other: Totals) -> None:
        self.count += other.count
        self.sats += other.sats
        self.tips_sat += other.tips_sat
        self.fees_sat += other.fees_sat
        self.fiat += other.fiat
        self.fiat_tips += other.fiat_tips


TotalsByCurrency = dict[tuple[bool, str], Totals]
"""(incoming, currency) → totals."""


def statement(user: User, wanted: StatementFilter) -> QuerySet[Activity]:
    """The lines of a statement, newest first."""
    return _lines(user, wanted).select_related("counterparty").order_by("-created", "-id")


def statement_page(
    user: User, wanted: StatementFilter, *, after: Activity | None, limit: int
) -> list[Activity]:
    """The next `limit` lines below `after`, by key: page a thousand costs what page one does."""
    lines = statement(user, wanted)
    if after:
        lines = lines.filter(
            Q(created__lt=after.created) | Q(created=after.created, id__lt=after.id)
        )
    return list(lines[:limit])


def totals(user: User, wanted: StatementFilter) -> TotalsByCurrency:
    """Sums per direction and currency. Whole days come from the daily rollups and only the two
    edge days from the lines; a filter by status sums the few lines that match."""
    if wanted.status:
        return _sum_lines(_lines(user, wanted))
    first_day, after_last_day, edges = _whole_days(wanted)
    found = _sum_days(user, first_day, after_last_day, wanted.incoming)
    for start, end in edges:
        lines = _lines(user, StatementFilter(incoming=wanted.incoming)).filter(
            created__gte=start, created__lte=end
        )
        for key, sums in _sum_lines(lines).items():
            found.setdefault(key, Totals()).add(sums)
    return found


def _lines(user: User, wanted: StatementFilter) -> QuerySet[Activity]:
    lines = Activity.objects.filter(user=user)
    if wanted.start:
        lines = lines.filter(created__gte=wanted.start)
    if wanted.end:
        lines = lines.filter(created__lte=wanted.end)
    if wanted.incoming is not None:
        lines = (
            lines.filter(amount_sat__gt=0) if wanted.incoming else lines.filter(amount_sat__lt=0)
        )
    if wanted.status is None:
        lines = lines.exclude(status=Activity.Status.FAILED)
    elif wanted.status != "all":
        lines = lines.filter(status=wanted.status)
    return lines


def _whole_days(
    wanted: StatementFilter,
) -> tuple[date | None, date | None, list[tuple[datetime, datetime]]]:
    """Split a range into whole UTC days [first, after_last) and its edges as exact times."""
    edges: list[tuple[datetime, datetime]] = []
    first_day = after_last_day = None
    if wanted.start:
        start = wanted.start.astimezone(UTC)
        first_day = start.date() + timedelta(days=1)
    if wanted.end:
        end = wanted.end.astimezone(UTC)
        after_last_day = end.date()
    if wanted.start and wanted.end and first_day and after_last_day and first_day > after_last_day:
        return date.max, date.max, [(wanted.start, wanted.end)]
    if wanted.start and first_day:
        edges.append((wanted.start, _midnight(first_day) - timedelta(microseconds=1)))
    if wanted.end and after_last_day:
        edges.append((_midnight(after_last_day), wanted.end))
    return first_day, after_last_day, edges


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _sum_days(
    user: User,
    first_day: date | None,
    after_last_day: date | None,
    incoming: bool | None,
) -> TotalsByCurrency:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT incoming, currency, sum(count)::bigint, sum(sats)::bigint,
                sum(tips_sat)::bigint, sum(fees_sat)::bigint, sum(fiat), sum(fiat_tips)
            FROM accounts_dailytotal
            WHERE user_id = %s
                AND day >= coalesce(%s::date, '-infinity') AND day < coalesce(%s::date, 'infinity')
                AND incoming = coalesce(%s, incoming)
            GROUP BY incoming, currency HAVING sum(count) > 0
            """,
            [user.id, first_day, after_last_day, incoming],
        )
        return {
            (incoming, currency): Totals(*sums) for incoming, currency, *sums in cursor.fetchall()
        }


def _sum_lines(lines: QuerySet[Activity]) -> TotalsByCurrency:
    found: TotalsByCurrency = {}
    for line in lines.only(
        "amount_sat", "tip_sat", "fee_sat", "platform_fee_sat", "rate", "currency"
    ).iterator():
        tip_sat = line.tip_sat or 0
        found.setdefault((line.is_incoming, line.currency), Totals()).add(
            Totals(
                1,
                line.amount_sat,
                tip_sat,
                (line.fee_sat or 0) + (line.platform_fee_sat or 0),
                sat_to_fiat(line.amount_sat, line.rate) if line.rate else Decimal(0),
                sat_to_fiat(tip_sat, line.rate) if line.rate else Decimal(0),
            )
        )
    return found


def pending_incoming_sat(user: User) -> int:
    """On-chain money on its way to the user: seen, not yet credited."""
    return Activity.objects.filter(
        user=user, status=Activity.Status.PENDING, amount_sat__gt=0
    ).aggregate(sum=Coalesce(Sum("amount_sat"), Value(0)))["sum"]
