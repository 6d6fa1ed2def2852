"""Password and PIN hashes: how they are made, and how many at once.

A hash is made to be slow, so a flood of sign-ins could take every thread and processor of the
server. There are few places, few may wait, and the rest get `Busy` at once. Strangers, who may be
anybody, have places of their own: they cannot keep those who are signed in from their PIN.

A right secret whose hash was made at another cost is hashed anew.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

from django.contrib.auth.hashers import Argon2PasswordHasher, check_password, make_password

from accounts import passwords
from accounts.models import User
from coinos import limits
from coinos.db import let_go_of_connection
from coinos.places import Places

CORES = os.cpu_count() or 1
WAIT_S = 3.0

# Half of the processors, or four: the others answer everybody else meanwhile.
for_strangers = Places(
    min(4, max(1, CORES // 2)), waiting=limits.HASHES_WAITING.at_most, wait_s=WAIT_S
)
for_signed_in = Places(
    2,
    waiting=limits.HASHES_WAITING.at_most,
    wait_s=WAIT_S,
    each=limits.HASHES_OF_USER.at_most,
)


class Argon2(Argon2PasswordHasher):
    """argon2id at the cost that OWASP recommends where many sign in: 19 MiB, twice. Django's own
    (100 MiB, eight lanes) takes eight times as long of a processor."""

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1


def hash_of(secret: str, *, signed_in: User | None) -> str:
    """A new hash of a password or PIN, for somebody who is signed in or for a stranger. Raises
    `Busy`."""
    with _place(signed_in):
        let_go_of_connection()
        return make_password(secret)


def password_is_right(password: str, user: User | None, *, signed_in: bool) -> bool:
    """Whether this is the user's password. For nobody it takes as long, and is not.

    Raises `Busy`: the password was not looked at."""
    with _place(user if signed_in else None):
        let_go_of_connection()
        if user is None:
            for form in passwords.forms(password):  # as many as are tried for somebody
                make_password(form)
            return False
        return user.check_password(password)


def pin_is_right(pin: str, user: User) -> bool:
    """Whether this is the user's PIN. Raises `Busy`: the PIN was not looked at."""

    def renew(pin: str) -> None:
        renewed = make_password(pin)
        if User.objects.filter(id=user.id, pin_hash=user.pin_hash).update(pin_hash=renewed):
            user.pin_hash = renewed

    with _place(user):
        let_go_of_connection()
        return check_password(pin, user.pin_hash, setter=renew)


def _place(user: User | None) -> AbstractContextManager[None]:
    return for_signed_in.take(user.id) if user else for_strangers.take()
