"""Browsers in which an account has been signed in to: what strangers do elsewhere does not keep its
owner out of them (the "device cookie" of OWASP).

The cookie is signed and names an account; it opens nothing. It outlives the session, so that the
owner who signs in again is told from those who guess.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponseBase

from accounts.models import User

COOKIE = "__Host-browser" if settings.PUBLIC_IS_HTTPS else "browser"
COOKIE_AGE_S = 365 * 24 * 3600
SALT = "accounts.browsers"


@dataclass
class _Visit:
    """What this request's browser sent, and what it shall keep."""

    sent: str = ""
    keep: str = ""


_visit: ContextVar[_Visit | None] = ContextVar("visit", default=None)


def browser_of(user: User | None) -> str | None:
    """The id of the browser that sends this request, when this account was signed in to there,
    under the authenticators that it has now: who was thrown out by a new password is a stranger."""
    visit = _visit.get()
    if user is None or visit is None or not visit.sent:
        return None
    try:
        user_id, browser, state = signing.loads(visit.sent, salt=SALT, max_age=COOKIE_AGE_S)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    is_owners = (user_id, state) == (str(user.id), user.authenticators_version)
    return str(browser) if is_owners else None


def remember(user: User) -> None:
    """This request comes from the account's owner: its browser keeps that."""
    visit = _visit.get()
    if visit is not None and browser_of(user) is None:
        signed = [str(user.id), secrets.token_hex(8), user.authenticators_version]
        visit.keep = signing.dumps(signed, salt=SALT)


def browser_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    def middleware(request: HttpRequest) -> HttpResponseBase:
        visit = _Visit(sent=request.COOKIES.get(COOKIE, ""))
        before = _visit.get()
        _visit.set(visit)
        try:
            response = get_response(request)
        finally:
            _visit.set(before)
        if visit.keep:
            response.set_cookie(
                COOKIE,
                visit.keep,
                max_age=COOKIE_AGE_S,
                secure=settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Lax",
            )
        return response

    return middleware
