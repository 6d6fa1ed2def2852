"""Exactly once by the client's own key (docs/api.md, Exactly once).

The key's row is written in the transaction that makes what was asked for, so either both are there
or neither is. Refusals before that leave no row, and the caller may correct and retry.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from django.db import IntegrityError
from django.utils import timezone

from accounts.errors import IdempotencyInProgress, IdempotencyKeyReused
from accounts.models import IdempotencyKey, User
from coinos.constraints import violated_constraint
from coinos.errors import InvalidRequest

Made = TypeVar("Made")

ANSWER_LATEST = timedelta(seconds=60)
"""Every request is answered within this; a key without an answer after it lost its process."""

# The header is one String of RFC 8941. Most clients send it without the quotes; then it may hold
# nothing that would make it a list, or give it parameters.
_BARE = re.compile(r'[^"\\,;()]+')
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])+)"')
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")


@dataclass(frozen=True)
class Named:
    """A request that the client named. `fingerprint` covers it without its PIN."""

    key: str
    fingerprint: str


def name_of(header: str | None, *, path: str, body: dict[str, object]) -> Named | None:
    """Read an `Idempotency-Key` header, bare or as a quoted string; None when there is none.
    `path` is with its query. Raises `InvalidRequest` for what is not one key."""
    if header is None:
        return None
    text = header.strip(" \t")
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if not (quoted or _BARE.fullmatch(text)) or not _PRINTABLE.fullmatch(key):
        raise InvalidRequest(
            "Idempotency-Key must be one key of 1 to 255 printable characters, in quotes if it"
            " has any of these: , ; ( )"
        )
    without_pin = {name: value for name, value in body.items() if name != "pin"}
    content = json.dumps([path, without_pin], default=str, sort_keys=True)
    return Named(key, hashlib.sha256(content.encode()).hexdigest())


def made_before(user: User, named: Named | None) -> UUID | None:
    """What the first request with this key made; None when there was none.

    Raises `IdempotencyKeyReused` for another request, and `IdempotencyInProgress` while the first
    is still being answered.
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
    return row.made_id


def claim(user: User, named: Named | None, made_id: UUID, *, answered: bool) -> None:
    """Write the key inside the transaction of what it names. A second writer waits here for the
    first and then gets an `IntegrityError`, which rolls all of its own back."""
    if named:
        IdempotencyKey.objects.create(
            user=user,
            key=named.key,
            fingerprint=named.fingerprint,
            made_id=made_id,
            answered_at=timezone.now() if answered else None,
        )


def note_answered(user: User, named: Named | None, made_id: UUID) -> bool:
    """From now on the key replays what it made. False when another request has taken the key over,
    after `ANSWER_LATEST`."""
    if named is None:
        return True
    own = IdempotencyKey.objects.filter(user=user, key=named.key, made_id=made_id)
    return bool(own.update(answered_at=timezone.now()))


def release(user: User, named: Named | None, made_id: UUID) -> None:
    """Forget a key whose request made nothing after all: the next one starts anew."""
    if named:
        IdempotencyKey.objects.filter(user=user, key=named.key, made_id=made_id).delete()


def once(
    user: User,
    named: Named | None,
    make: Callable[[], Made],
    again: Callable[[UUID], Made | None],
) -> tuple[Made, bool]:
    """Run `make` unless a request with the same key has; of two at once, one waits and replays.

    Returns what was made, and whether it is `again` that has found it. `again` answers None where
    the first request lost its process before anybody could see what it made: it is made anew.
    """
    for is_last in (False, True):
        made_id = made_before(user, named)
        if made_id:
            found = again(made_id)
            if found is not None:
                return found, True
            release(user, named, made_id)
        try:
            return make(), False
        except IntegrityError as error:
            if is_last or violated_constraint(error) != "one_request_per_key":
                raise
    raise AssertionError("the second round returns or raises")
