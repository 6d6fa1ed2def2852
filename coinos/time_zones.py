"""Times are those of the reader: of the time zone that the browser has named in a cookie, else UTC.

The JSON API, its documents and the admin write UTC, whoever asks.
"""

from __future__ import annotations

import functools
import zoneinfo
from collections.abc import Callable
from datetime import UTC, tzinfo

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from coinos.languages import ENGLISH_PATHS

COOKIE = "time_zone"  # static/wallet.js writes it


def time_zone_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Answer in the caller's time zone."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        with timezone.override(time_zone_of(request)):
            return get_response(request)

    return middleware


def time_zone_of(request: HttpRequest) -> tzinfo:
    name = request.COOKIES.get(COOKIE, "")
    if name not in _known() or f"{request.path_info}/".startswith(ENGLISH_PATHS):
        return UTC
    return zoneinfo.ZoneInfo(name)


@functools.cache
def _known() -> set[str]:
    return zoneinfo.available_timezones()
