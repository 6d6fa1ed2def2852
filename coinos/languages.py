"""Which language a page speaks, and how that language writes times.

The choice of the signed-in user counts first, then this browser's cookie, then what the browser
asks for. The JSON API and the admin speak English, whatever is asked: their words are a contract.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import date, datetime, timedelta

from babel import Locale
from babel.dates import format_date, format_skeleton, format_timedelta
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _

ENGLISH_PATHS = ("/api/", "/.well-known/", "/admin/")
COOKIE_AGE_S = 365 * 24 * 3600

# --- Choosing ------------------------------------------------------------------------------------


def language_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Answer in the caller's language. Stands behind what finds `request.credential`."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if f"{request.path_info}/".startswith(ENGLISH_PATHS):
            with translation.override("en"):
                return get_response(request)
        language = language_of(request)
        with translation.override(language):
            response = get_response(request)
        if not response.get("Content-Type", "").startswith("image/"):
            patch_vary_headers(response, ("Accept-Language", "Cookie"))
            response.setdefault("Content-Language", language)
        return response

    return middleware


def language_of(request: HttpRequest) -> str:
    """One of `settings.LANGUAGES`."""
    credential = getattr(request, "credential", None)
    if credential and is_offered(credential.user.language):
        return str(credential.user.language)
    # Django's own order: the cookie, then Accept-Language, then the default.
    return translation.get_language_from_request(request)


def is_offered(language: str) -> bool:
    return language in dict(settings.LANGUAGES)


def keep_in_cookie(response: HttpResponseBase, language: str) -> None:
    """Remember the choice of a visitor for a year."""
    response.set_cookie(
        settings.LANGUAGE_COOKIE_NAME,
        language,
        max_age=COOKIE_AGE_S,
        secure=settings.LANGUAGE_COOKIE_SECURE,
        httponly=settings.LANGUAGE_COOKIE_HTTPONLY,
        samesite="Lax",
    )


# --- Writing -------------------------------------------------------------------------------------


def locale() -> Locale:
    """Of the language being spoken; for numbers and currencies."""
    return _locale_of((translation.get_language() or "en").split("-")[0])


@functools.cache
def _locale_of(language: str) -> Locale:
    return Locale.parse(language)


def _calendar() -> Locale:
    """For times. English ones are read all over the world: 23 Nov 2026, not Nov 23, 2026."""
    spoken = locale()
    return _BRITISH if spoken.language == "en" else spoken


_BRITISH = Locale("en", "GB")


def ended(sentence: str) -> str:
    """With its full stop, which the API's short sentences lack."""
    if not sentence or sentence[-1] in ".!?…。！？":
        return sentence
    return sentence + ("。" if locale().language == "ja" else ".")


def moment(when: datetime) -> str:
    """`23 Nov 2026, 07:46 UTC`, or `08:46 UTC+1` for a reader in Berlin."""
    local = timezone.localtime(when)
    day = _date("yMMMd", local.date(), _calendar())
    return f"{day}, {local:%H:%M} UTC{_ahead(local.utcoffset() or timedelta(0))}"


def _ahead(offset: timedelta) -> str:
    """`+1`, `−3:30`, nothing for none."""
    hours, minutes = divmod(abs(offset) // timedelta(minutes=1), 60)
    if not offset:
        return ""
    sign = "+" if offset > timedelta(0) else "−"
    return f"{sign}{hours}:{minutes:02}" if minutes else f"{sign}{hours}"


def day(when: date) -> str:
    """`Monday, 23 November 2026`."""
    return format_date(when, "full", locale=_calendar())


def ago(when: datetime) -> str:
    """`5 minutes ago` today, else the date."""
    now = timezone.now()
    passed = now - when
    if passed < timedelta(minutes=1):
        return _("just now")
    if passed < timedelta(days=1):
        return _minutes_ago(round(passed / timedelta(minutes=1)), _calendar())
    local = timezone.localtime(when)
    this_year = local.year == timezone.localtime(now).year
    return _date("MMMd" if this_year else "yMMMd", local.date(), _calendar())


# Babel takes a tenth of a millisecond for each, and a page has many that are alike.


@functools.lru_cache(maxsize=10_000)
def _minutes_ago(minutes: int, locale: Locale) -> str:
    passed = timedelta(minutes=minutes)
    return format_timedelta(-passed, add_direction=True, threshold=1, locale=locale)


@functools.lru_cache(maxsize=10_000)
def _date(skeleton: str, when: date, locale: Locale) -> str:
    return format_skeleton(skeleton, when, locale=locale)
