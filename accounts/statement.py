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

from accounts import live
from accounts.models import Activity, Contact, Event, User
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
) -> Activity:
    """Add a line to the statement: positive `amount_sat` for money in, negative for money out,
    without tip and fees. `fee_sat` is the network fee, or its reserve while pending."""
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
        currency=currency,
        rate=rate,
        created=now,
        settled_at=now if status == Activity.Status.SETTLED else None,
        **({"id": id} if id else {}),
    )
    activity.save(force_insert=True)
    _add_to_day(activity, sign=1)
    if counterparty:
        Contact.objects.update_or_create(
            user=user, contact=counterparty, defaults={"last_paid": now}
        )
    announce(activity)
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
    announce(activity)
    return activity


def announce(activity: Activity) -> Event:
    """Note in the statement's transaction that this line is new or has changed."""
    event = Event.objects.create(
        user_id=activity.user_id,
        kind=f"payment.{activity.status}",
        activity=activity,
        invoice_id=activity.invoice_id,
    )
    live.ring_after_commit(user_id=activity.user_id, invoice_id=activity.invoice_id)
    return event


def clean_memo(memo: str) -> str:
    """What the database can store of any text: no NUL, no lone surrogates, not endless (A02)."""
    text = memo.replace("\x00", "").encode("utf-8", "ignore").decode()
    return text[:MEMO_MAX_CHARACTERS]


def _add_to_day(activity: Activity, *, sign: int) -> None:
    """Count the line on its day, or take it off again; failed lines are not counted."""
    if activity.status == Activity.Status.FAILED:
        return
    tip_sat = activity.tip_sat or 0
    fees_sat = (activity.fee_sat or 0) + (activity.platform_fee_sat or 0)
    fiat = fiat_tips = Decimal(0)
    if activity.rate:
        fiat = sat_to_fiat(activity.amount_sat, activity.rate)
        fiat_tips = sat_to_fiat(tip_sat, activity.rate)
    with connection.cursor() as cursor:
        cursor.execute(
            """
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
            """,
            [
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
            ],
        )
