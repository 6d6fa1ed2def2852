"""Exactly once by the client's own key (api.md 2.6).

The key's row is written in the transaction that moves or holds the money, so either both are
there or neither is. Refusals before that leave no row, and the caller may correct and retry.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import IntegrityError, InterfaceError, OperationalError
from django.utils import timezone

from accounts.models import Activity, User
from coinos.constraints import violated_constraint
from coinos.errors import InvalidRequest
from payments.errors import IdempotencyInProgress, IdempotencyKeyReused, PaymentFailed
from payments.models import IdempotencyKey

logger = logging.getLogger(__name__)

_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")
ANSWER_LATEST = timedelta(seconds=60)
"""Every request is answered within this; a key without an answer after it lost its process."""


@dataclass(frozen=True)
class Named:
    """A spend that the client named. `fingerprint` covers the request without its PIN."""

    key: str
    fingerprint: str


def name_of(header: str | None, *, path: str, body: dict[str, object]) -> Named | None:
    """Read an `Idempotency-Key` header, bare or as a quoted string; None when there is none."""
    if header is None:
        return None
    key = header.strip()
    if len(key) >= 2 and key.startswith('"') and key.endswith('"'):
        key = key[1:-1]
    if not _PRINTABLE.fullmatch(key):
        raise InvalidRequest("Idempotency-Key must have 1 to 255 printable characters")
    without_pin = {name: value for name, value in body.items() if name != "pin"}
    content = json.dumps([path, without_pin], default=str, sort_keys=True)
    return Named(key, hashlib.sha256(content.encode()).hexdigest())


def replay(user: User, named: Named | None) -> Activity | None:
    """What the first request with this key did, as it is now; None when there was none.

    Raises `IdempotencyKeyReused` for another request, `IdempotencyInProgress` while the first is
    still being answered, and what that was answered when it failed: `PaymentFailed`.
    """
    if named is None:
        return None
    row = IdempotencyKey.objects.filter(user=user, key=named.key).first()
    if row is None:
        return None
    if row.fingerprint != named.fingerprint:
        raise IdempotencyKeyReused()
    if row.answered_at is None and timezone.now() - row.created < ANSWER_LATEST:
        raise IdempotencyInProgress()
    return unless_failed(Activity.objects.select_related("counterparty").get(id=row.activity_id))


def unless_failed(activity: Activity) -> Activity:
    """The line of a spend that is settled or undecided; raises `PaymentFailed` for one that failed,
    so that no door answers a failure as a success."""
    if activity.status == Activity.Status.FAILED:
        raise PaymentFailed(activity.reason)
    return activity


def claim(user: User, named: Named | None, activity_id: UUID, *, answered: bool) -> None:
    """Write the key inside the transaction of the spend. A second writer waits here for the
    first and then gets an `IntegrityError`, which rolls its whole spend back."""
    if named:
        IdempotencyKey.objects.create(
            user=user,
            key=named.key,
            fingerprint=named.fingerprint,
            activity_id=activity_id,
            answered_at=timezone.now() if answered else None,
        )


def answer(user: User, named: Named | None, spent: Spent) -> Spent:
    """How the spend that has just been held stands now; from now on the key replays it.

    With the database away that is pending, as far as anybody knows: an error would invite the
    caller to pay again what is under way."""
    try:
        _note_answered(user, named)
        return Spent(unless_failed(Activity.objects.get(id=spent.activity.id)))
    except (OperationalError, InterfaceError):
        logger.exception("payment %s is answered without the database", spent.activity.id)
        return spent


def _note_answered(user: User, named: Named | None) -> None:
    if named:
        IdempotencyKey.objects.filter(user=user, key=named.key, answered_at=None).update(
            answered_at=timezone.now()
        )


@dataclass(frozen=True)
class Spent:
    """The payer's line of a spend; `replayed` when an earlier request with the same key made it."""

    activity: Activity
    replayed: bool = False


def once(user: User, named: Named | None, spend: Callable[[], Activity]) -> Spent:
    """Run `spend` unless a request with the same key has; of two at once, one waits and replays."""
    done = replay(user, named)
    if done:
        return Spent(done, replayed=True)
    try:
        return Spent(spend())
    except IntegrityError as error:
        if violated_constraint(error) != "one_spend_per_key":
            raise
        done = replay(user, named)
        if done is None:
            raise
        return Spent(done, replayed=True)
