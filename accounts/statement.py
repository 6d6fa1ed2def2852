"""A user's statement: what the user sees of every movement, its daily totals and its events.

The service that moves the money writes here, in the same transaction and after the ledger call,
so that the locks are always taken in the same order. Nothing here can refuse a payment: a missing
rate or an odd memo never stops one.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from accounts import emails, live
from accounts.models import Activity, Event, User
from coinos.money import sat_to_fiat

MEMO_MAX_CHARACTERS = 5000


def record(
    *,
    user: User,
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
) -> Activity:
    """Add a line to the statement: positive `amount_sat` for money in, negative for money out,
    without tip and fees. `fee_sat` is the network fee, or its reserve while pending. `reason` is a
    marked sentence of ours, for lines that are more than a payment."""
    now = timezone.now()
    activity = Activity(
        user=user,
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
        currency=currency,
        rate=rate,
        created=now,
        settled_at=now if status == Activity.Status.SETTLED else None,
        **({"id": id} if id else {}),
    )
    _insert(activity)
    emails.queue_receipt(activity)
    live.ring_after_commit(user_id=user.id, invoice_id=invoice_id)
    return activity


def change(activity: Activity, *, status: str, **fields: Any) -> Activity:
    """Move a line to another status, with what became known: fee, ref, hash, reason.

    The caller holds the lock of the payment or deposit that the line belongs to.
    """
    _add_to_day(activity, sign=-1)
    activity.status = status
    for name, value in fields.items():
        setattr(activity, name, value)
    if status == Activity.Status.SETTLED:
        activity.settled_at = activity.settled_at or timezone.now()
    else:
        activity.settled_at = None
    activity.save(update_fields=["status", "settled_at", *fields])
    _add_to_day(activity, sign=1)
    emails.queue_receipt(activity)
    announce(activity)
    return activity


def announce(activity: Activity) -> Event:
    """Note in the statement's transaction that this line is new or has changed."""
    event = Event.objects.create(
        user_id=activity.user_id,
        kind=_kind(activity),
        activity=activity,
        invoice_id=activity.invoice_id,
    )
    live.ring_after_commit(user_id=activity.user_id, invoice_id=activity.invoice_id)
    return event


def _insert(activity: Activity) -> None:
    """Write the line, its day, its contact and its event in one round trip: other payments of
    the same accounts wait meanwhile."""
    with connection.cursor() as cursor:
        values = [
            field.get_db_prep_save(getattr(activity, field.attname), connection)
            for field in _LINE_FIELDS
        ]
        parts = [f"line AS ({_INSERT_LINE})"]
        if activity.status != Activity.Status.FAILED:
            parts.append(f"day AS ({_ADD_TO_DAY})")
            values += _day_values(activity, sign=1)
        if activity.counterparty_id:
            parts.append(f"contact AS ({_INSERT_CONTACT})")
            values += [activity.user_id, activity.counterparty_id, activity.created]
        values += [activity.user_id, _kind(activity), activity.id, activity.invoice_id]
        cursor.execute(f"WITH {', '.join(parts)} {_INSERT_EVENT}", values)
    activity._state.adding = False


def _kind(activity: Activity) -> str:
    """Of the event that says that this line is new or has changed."""
    return f"payment.{activity.status}"


def clean_memo(memo: str) -> str:
    """What the database can store of any text: no NUL, no lone surrogates, not endless (A02)."""
    text = memo.replace("\x00", "").encode("utf-8", "ignore").decode()
    return text[:MEMO_MAX_CHARACTERS]


def _add_to_day(activity: Activity, *, sign: int) -> None:
    """Count the line on its day, or take it off again; failed lines are not counted."""
    if activity.status == Activity.Status.FAILED:
        return
    with connection.cursor() as cursor:
        cursor.execute(_ADD_TO_DAY, _day_values(activity, sign))


def _day_values(activity: Activity, sign: int) -> list[Any]:
    """The parameters of `_ADD_TO_DAY`."""
    tip_sat = activity.tip_sat or 0
    fees_sat = (activity.fee_sat or 0) + (activity.platform_fee_sat or 0)
    fiat = fiat_tips = Decimal(0)
    if activity.rate:
        fiat = sat_to_fiat(activity.amount_sat, activity.rate)
        fiat_tips = sat_to_fiat(tip_sat, activity.rate)
    return [
        activity.user_id,
        activity.created,
        activity.is_incoming,
        activity.currency,
        sign,
        sign * activity.amount_sat,
        sign * tip_sat,
        sign * fees_sat,
        sign * fiat,
        sign * fiat_tips,
    ]


# --- SQL -----------------------------------------------------------------------------------------

_LINE_FIELDS = Activity._meta.concrete_fields

_INSERT_LINE = f"""
    INSERT INTO accounts_activity ({", ".join(str(field.column) for field in _LINE_FIELDS)})
    VALUES ({", ".join(["%s"] * len(_LINE_FIELDS))})
"""  # noqa: S608 – our own names

_ADD_TO_DAY = """
    INSERT INTO accounts_dailytotal AS total
        (user_id, day, incoming, currency, count, sats, tips_sat, fees_sat, fiat, fiat_tips)
    VALUES (%s, (%s AT TIME ZONE 'UTC')::date, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (user_id, day, incoming, currency) DO UPDATE SET
        count = total.count + excluded.count,
        sats = total.sats + excluded.sats,
        tips_sat = total.tips_sat + excluded.tips_sat,
        fees_sat = total.fees_sat + excluded.fees_sat,
        fiat = total.fiat + excluded.fiat,
        fiat_tips = total.fiat_tips + excluded.fiat_tips
"""

_INSERT_CONTACT = """
    INSERT INTO accounts_contact (user_id, contact_id, pinned, trusted, last_paid)
    VALUES (%s, %s, false, false, %s)
    ON CONFLICT (user_id, contact_id) DO UPDATE SET last_paid = excluded.last_paid
"""

_INSERT_EVENT = """
    INSERT INTO accounts_event (user_id, kind, activity_id, invoice_id) VALUES (%s, %s, %s, %s)
"""
