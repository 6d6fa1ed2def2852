"""Which passwords are taken, in which form they are hashed, and how a hash is renewed."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils.translation import gettext_noop as _

from coinos.errors import CoinosError, InvalidRequest

LENGTH_MIN, BYTES_MAX = 8, 1024
BYTES_MIN_AT_API_REGISTRATION = 6

# --- The rules -----------------------------------------------------------------------------------


def check_new(password: str) -> str:
    """The password in the form that is hashed. Raises `InvalidRequest` when it is shorter than
    eight characters or one of the twenty thousand that are tried first."""
    normal = normalise(password)
    if len(normal) < LENGTH_MIN or len(password.encode()) > BYTES_MAX:
        raise _wrong_length(LENGTH_MIN)
    try:
        _common().validate(normal)
    except ValidationError:
        raise InvalidRequest(
            _("This password is one of the first that thieves try. Choose another one"),
            field="/password",
        ) from None
    return normal


def check_new_at_api(password: str) -> str:
    """The same for POST /register, whose documented example has seven letters and is on the list:
    see docs/security.md, "Decided otherwise"."""
    if not BYTES_MIN_AT_API_REGISTRATION <= len(password.encode()) <= BYTES_MAX:
        raise _wrong_length(BYTES_MIN_AT_API_REGISTRATION)
    return normalise(password)


def _wrong_length(least: int) -> InvalidRequest:
    return InvalidRequest(
        "password must have %(least)s to %(most)s characters",
        page_message=_("The password must have %(least)s to %(most)s characters"),
        field="/password",
        values={"least": least, "most": BYTES_MAX},
    )


@functools.cache
def _common() -> CommonPasswordValidator:
    return CommonPasswordValidator()


class Rules:
    """The same rules for Django's own forms and commands (AUTH_PASSWORD_VALIDATORS)."""

    def validate(self, password: str, user: Any = None) -> None:
        try:
            check_new(password)
        except CoinosError as error:
            raise ValidationError(error.message) from error

    def get_help_text(self) -> str:
        return f"At least {LENGTH_MIN} characters, and none of the common passwords."


# --- The form that is hashed ---------------------------------------------------------------------


def normalise(password: str) -> str:
    """NFKC: the same letters, whichever keyboard and system they were typed on."""
    return unicodedata.normalize("NFKC", password)


def forms(password: str) -> list[str]:
    """What a hash may be of: the normal form, and the raw one before there was a normal form."""
    return list(dict.fromkeys([normalise(password), password]))


@contextmanager
def only_hashed_again() -> Iterator[None]:
    """What the block writes to `User.password` is a new hash of the same password.

    The database counts every other write to it as a change of the authenticators, which ends all
    sessions (sql/0005_authenticators.sql)."""
    with transaction.atomic():
        _say(True)
        yield
        _say(False)


def _say(only_hashed_again: bool) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('coinos.only_hashed_again', %s, true)",
            ["yes" if only_hashed_again else "no"],
        )
