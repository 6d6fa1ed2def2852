"""The links that come by e-mail: signed, for an hour, once.

Nothing of them is stored. A link is signed over what it will change, so that using it ends it, and
so does whatever else changes that: another password, another address.
"""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.urls import reverse

from accounts.errors import LinkEnded
from accounts.models import User


class _Links(PasswordResetTokenGenerator):
    """Django's generator: an HMAC under SECRET_KEY over the user and the time, in its own words."""

    def __init__(self, purpose: str) -> None:
        super().__init__()
        self.key_salt = f"accounts.links.{purpose}"

    def _make_hash_value(self, user: AbstractBaseUser, timestamp: int) -> str:
        assert isinstance(user, User)
        signed = [user.id, user.password, user.email, user.email_verified_at, timestamp]
        return "\n".join(map(str, signed))


_RESET, _VERIFY = _Links("reset"), _Links("verify")


def reset_url(user: User) -> str:
    return settings.PUBLIC_URL + reverse("reset", args=[user.id, _RESET.make_token(user)])


def verify_url(user: User) -> str:
    return settings.PUBLIC_URL + reverse("verify_email", args=[_VERIFY.make_token(user)])


def user_of_reset(user_id: UUID, token: str, *, lock: bool = False) -> User:
    """Whose password this link resets. With `lock` the row is locked, so that of two requests with
    one link the second finds it used. Raises `LinkEnded`, for every reason alike (P19)."""
    users = User.objects.select_for_update(no_key=True) if lock else User.objects.all()
    user = users.filter(id=user_id, is_active=True, owner=None).first()
    if user is None or not _RESET.check_token(user, token):
        raise LinkEnded()
    return user


def check_verification(user: User, token: str) -> None:
    """Raise `LinkEnded` unless this link confirms the address that the account has now. Locks the
    row."""
    fresh = User.objects.select_for_update(no_key=True).get(id=user.id)
    if not fresh.email or not _VERIFY.check_token(fresh, token):
        raise LinkEnded()
