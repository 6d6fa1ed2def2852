"""A user's statement: what the user sees of every movement, its daily totals and its events.

The service that moves the money writes here, in the same transaction and after the ledger call,
so that the locks are always taken in the same order. Nothing here can refuse a payment: a missing
rate or an odd memo never stops one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC
from decimal import Decimal
from operator import add
from typing import Any
from uuid import UUID

from django.utils import timezone

from accounts import emails, live
from accounts.models import Activity, DailyTotal, User
from coinos import rows
from coinos.db import Query, ask
from coinos.money import sat_to_fiat

MEMO_MAX_CHARACTERS = 5000


def record(*, user: User, **fields: Any) -> Activity:
    """Add a `line` to the user's statement."""
    activity = line(user_id=user.id, **fields)
    activity.user = user
    record_all([activity])
    return activity


def line(
    *,
    user_id: UUID,
    type: str,
    status: str,
    amount_sat: int,
    hash: str,
    currency: str,
    rate: Decimal | None,
    id: UUID | None = None,
    tip_sat: int | None = None,
    fee_sat: int | None = None,
    platform_fee_sat: int | None = None,
    ref: str | None = None,
    payment_hash: str | None = None,
    invoice_id: UUID | None = None,
    counterparty: User | None = None,
    memo: str = "",
    reason: str = "",
    lnurl: dict[str, Any] | None = None,
) -> Activity:
    """A line for `record_all`: positive `amount_sat` for money in, negative for money out, without
    tip and fees. `fee_sat` is the network fee, or its reserve while pending. `reason` is a marked
    sentence of ours, for lines that are more than a payment; `lnurl` what was said when it was
    paid by LNURL."""
    now = timezone.now()
    return Activity(
        user_id=user_id,
        type=type,
        status=status,
        amount_sat=amount_sat,
        tip_sat=tip_sat,
        fee_sat=fee_sat,
        platform_fee_sat=platform_fee_sat,
        hash=hash,
        ref=ref,
        payment_hash=payment_hash,
        invoice_id=invoice_id,
        counterparty=counterparty,
        memo=clean_memo(memo),
        reason=reason,
        lnurl=lnurl or None,
        currency=currency,
        rate=rate,
        created=now,
        settled_at=now if status == Activity.Status.SETTLED else None,
        **({"id": id} if id else {}),
    )


def record_all(lines: Sequence[Activity]) -> dict[UUID, int]:
    """Write new lines, with their days, contacts and events, in one round trip: other payments of
    the same accounts wait meanwhile. Returns the id of each line's event."""
    return dict(ask(writing(lines))) if lines else {}


def writing(lines: Sequence[Activity]) -> Query:
    """What `record_all` would send, to go with the ledger's call in one round trip: then no Python
    runs while the accounts are locked but for the COMMIT."""
    parts = [rows.insert(lines)]
    if days := _days(_counted(one, 1) for one in lines):
        parts.append(Query(_ADD_TO_DAYS, [rows.as_json(_DAY_COLUMNS, days)]))
    paid = {(one.user_id, one.counterparty_id): one.created for one in lines if one.counterparty_id}
    if paid:
        contacts = [(*contact, at) for contact, at in sorted(paid.items())]
        parts.append(Query(_INSERT_CONTACTS, [rows.as_json(_CONTACT_COLUMNS, contacts)]))
    emails.queue_receipts(lines)
    live.ring_after_commit((one.user_id, one.invoice_id) for one in lines)
    return rows.together(*parts, last=_insert_events(lines))


def change(activity: Activity, *, status: str, **fields: Any) -> Activity:
    """Move a line to another status, with what became known: fee, ref, hash, reason.

    The caller holds the lock of the payment or deposit that the line belongs to. One round trip,
    as for new lines.
    """
    counted = [_counted(activity, -1)]
    activity.status = status
    for name, value in fields.items():
        setattr(activity, name, value)
    if status == Activity.Status.SETTLED:
        activity.settled_at = activity.settled_at or timezone.now()
    else:
        activity.settled_at = None
    counted.append(_counted(activity, 1))
    parts = [rows.update([activity], ["status", "settled_at", *fields])]
    if days := _days(counted):
        parts.append(Query(_ADD_TO_DAYS, [rows.as_json(_DAY_COLUMNS, days)]))
    ask(rows.together(*parts, last=_insert_events([activity])))
    emails.queue_receipts([activity])
    live.ring_after_commit([(activity.user_id, activity.invoice_id)])
    return activity


def _kind(activity: Activity) -> str:
    """Of the event that says that this line is new or has changed."""
    return f"payment.{activity.status}"


def clean_memo(memo: str) -> str:
    """What the database can store of any text: no NUL, no lone surrogates, not endless (A02)."""
    text = memo.replace("\x00", "").encode("utf-8", "ignore").decode()
    return text[:MEMO_MAX_CHARACTERS]


def _counted(activity: Activity, sign: int) -> tuple[tuple[Any, ...], list[Any]] | None:
    """The day that a line counts on, and what it adds to (1) or takes off (-1) that day; None for
    a failed line, which is not counted."""
    if activity.status == Activity.Status.FAILED:
        return None
    tip_sat = activity.tip_sat or 0
    fees_sat = (activity.fee_sat or 0) + (activity.platform_fee_sat or 0)
    fiat = fiat_tips = fiat_fees = Decimal(0)
    if activity.rate:
        fiat = sat_to_fiat(activity.amount_sat, activity.rate)
        fiat_tips = sat_to_fiat(tip_sat, activity.rate)
        fiat_fees = sat_to_fiat(fees_sat, activity.rate)
    day = activity.created.astimezone(UTC).date()
    sums: tuple[Any, ...] = (
        *(1, activity.amount_sat, tip_sat, fees_sat),
        *(fiat, fiat_tips, fiat_fees),
    )
    key = (activity.user_id, day, activity.is_incoming, activity.currency)
    return key, [sign * one for one in sums]


def _days(counted: Iterable[tuple[tuple[Any, ...], list[Any]] | None]) -> list[list[Any]]:
    """A row for each day of a user on which something changes, and one for all days, in the order
    of locking."""
    days: dict[tuple[Any, ...], list[Any]] = {}
    for (user_id, a_day, *kind), sums in filter(None, counted):
        for day in (a_day, DailyTotal.ALL_DAYS):
            key = (user_id, day, *kind)
            days[key] = list(map(add, days[key], sums)) if key in days else sums
    return [[*key, *sums] for key, sums in sorted(days.items()) if any(sums)]


def _insert_events(lines: Iterable[Activity]) -> Query:
    events = [(one.user_id, _kind(one), one.id, one.invoice_id) for one in lines]
    return Query(_INSERT_EVENTS, [rows.as_json(_EVENT_COLUMNS, events)])


# --- SQL: the text is the same for one row and for many ------------------------------------------

_DAY_COLUMNS = (
    *("user_id", "day", "incoming", "currency"),
    *("count", "sats", "tips_sat", "fees_sat", "fiat", "fiat_tips", "fiat_fees"),
)

_ADD_TO_DAYS = f"""
    INSERT INTO accounts_dailytotal AS total ({", ".join(_DAY_COLUMNS)})
    SELECT {", ".join(_DAY_COLUMNS)}
    FROM json_populate_recordset(NULL::accounts_dailytotal, %s)
    ON CONFLICT (user_id, day, incoming, currency) DO UPDATE SET
        count = total.count + excluded.count,
        sats = total.sats + excluded.sats,
        tips_sat = total.tips_sat + excluded.tips_sat,
        fees_sat = total.fees_sat + excluded.fees_sat,
        fiat = total.fiat + excluded.fiat,
        fiat_tips = total.fiat_tips + excluded.fiat_tips,
        fiat_fees = total.fiat_fees + excluded.fiat_fees
"""  # noqa: S608 – our own names

_CONTACT_COLUMNS = ("user_id", "contact_id", "last_paid")

_INSERT_CONTACTS = """
    INSERT INTO accounts_contact (user_id, contact_id, last_paid, pinned, trusted)
    SELECT user_id, contact_id, last_paid, false, false
    FROM json_populate_recordset(NULL::accounts_contact, %s)
    ON CONFLICT (user_id, contact_id) DO UPDATE SET last_paid = excluded.last_paid
"""

_EVENT_COLUMNS = ("user_id", "kind", "activity_id", "invoice_id")

_INSERT_EVENTS = """
    INSERT INTO accounts_event (user_id, kind, activity_id, invoice_id)
    SELECT user_id, kind, activity_id, invoice_id
    FROM json_populate_recordset(NULL::accounts_event, %s)
    RETURNING activity_id, id
"""
