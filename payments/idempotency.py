"""A spend that the client named happens once: `accounts.idempotency`, for money going out.

The key's row is written in the transaction that moves or holds the money.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.db import InterfaceError, OperationalError

from accounts import idempotency
from accounts.idempotency import Named, claim, made_before, name_of
from accounts.models import Activity, User
from payments.errors import PaymentFailed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spent:
    """The payer's line of a spend; `replayed` when an earlier request with the same key made it."""

    activity: Activity
    replayed: bool = False


def replay(user: User, named: Named | None) -> Activity | None:
    """What the first request with this key did, as it is now; None when there was none.

    Raises what `made_before` raises, and what the first was answered when it failed:
    `PaymentFailed`, marked as replayed.
    """
    made_id = made_before(user, named)
    return _again(made_id) if made_id else None


def _again(activity_id: UUID) -> Activity:
    try:
        return unless_failed(Activity.objects.select_related("counterparty").get(id=activity_id))
    except PaymentFailed as failure:
        failure.replayed = True
        raise


def unless_failed(activity: Activity) -> Activity:
    """The line of a spend that is settled or undecided; raises `PaymentFailed` for one that failed,
    so that no door answers a failure as a success."""
    if activity.status == Activity.Status.FAILED:
        raise PaymentFailed(activity.reason)
    return activity


def answer(user: User, named: Named | None, spent: Spent) -> Spent:
    """How the spend that has just been held stands now; from now on the key replays it.

    With the database away that is pending, as far as anybody knows: an error would invite the
    caller to pay again what is under way."""
    try:
        idempotency.note_answered(user, named, spent.activity.id)
        return Spent(unless_failed(Activity.objects.get(id=spent.activity.id)))
    except (OperationalError, InterfaceError):
        logger.exception("payment %s is answered without the database", spent.activity.id)
        return spent


def once(user: User, named: Named | None, spend: Callable[[], Activity]) -> Spent:
    """Run `spend` unless a request with the same key has. Raises what `replay` raises."""
    return Spent(*idempotency.once(user, named, spend, _again))


__all__ = ["Named", "Spent", "answer", "claim", "name_of", "once", "replay", "unless_failed"]
