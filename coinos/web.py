"""The edge kit of the pages: errors as messages, and what every template may use.

Nothing here knows about money. A `CoinosError` says what happened in the reader's language: beside
the field at fault when a form is shown, else on a page of its own.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from decimal import Decimal
from functools import cached_property
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlencode

from babel import Locale
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import InterfaceError, OperationalError
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from coinos import amounts, languages, limits, rates, throttling
from coinos.drf import problem_response
from coinos.errors import (
    CoinosError,
    DatabaseUnavailable,
    Forbidden,
    NotFound,
    RateLimited,
    Unauthorized,
)
from coinos.limits import Rate
from coinos.money import sat_to_fiat

MINUS = "\N{MINUS SIGN}"


class Units:
    """How this visitor reads amounts: currency, today's rate, which unit first, which digits."""

    def __init__(self, user: Any) -> None:
        self.currency: str = getattr(user, "currency", "") or "USD"
        self._wants_fiat: bool = getattr(user, "fiat", False)

    @cached_property
    def rate(self) -> Decimal | None:
        """Units of the currency per BTC; None when no rate is fresh enough to trust."""
        return rates.rate_or_none(self.currency)

    @property
    def fiat_first(self) -> bool:
        return self._wants_fiat and self.rate is not None

    @cached_property
    def _locale(self) -> Locale:
        return languages.locale()

    def number(self, number: int) -> str:
        return amounts.number(number, self._locale)

    def money(self, value: Decimal, currency: str) -> str:
        return amounts.money(value, currency, self._locale)

    def sats(self, amount_sat: int, *, sign: bool = False) -> SafeString:
        """`⚡️1,000`, with + or − before it when `sign`; screen readers hear "1,000 sats"."""
        return mark_safe(  # noqa: S308 – digits and what a language puts between them
            f'<span class="amount">{_sign(amount_sat, always=sign)}'
            f'<span class="bolt" aria-hidden="true">⚡️</span>{self.number(abs(amount_sat))}'
            '<span class="hidden-text"> sats</span></span>'
        )

    def fiat(
        self,
        amount_sat: int,
        *,
        sign: bool = False,
        rate: Decimal | None = None,
        currency: str = "",
    ) -> SafeString:
        """The amount in currency: at the rate and currency given, else at today's in the user's.

        Empty when there is no rate: a missing rate never hides an amount in sats."""
        rate, currency = (rate, currency) if rate else (self.rate, self.currency)
        if rate is None:
            return mark_safe("")
        text = self.money(sat_to_fiat(abs(amount_sat), rate), currency)
        return format_html('<span class="amount">{}{}</span>', _sign(amount_sat, always=sign), text)

    def both(
        self,
        amount_sat: int,
        *,
        sign: bool = False,
        rate: Decimal | None = None,
        currency: str = "",
    ) -> tuple[SafeString, SafeString]:
        """The amount in the unit that the user wants to see first, and in the other one: in sats
        and empty when there is no rate."""
        sats = self.sats(amount_sat, sign=sign)
        fiat = self.fiat(amount_sat, sign=sign, rate=rate, currency=currency)
        return (fiat, sats) if self.fiat_first and fiat else (sats, fiat)


def _sign(amount_sat: int, *, always: bool) -> str:
    if amount_sat < 0:
        return MINUS
    return "+" if always and amount_sat else ""


def page_context(request: HttpRequest) -> dict[str, Any]:
    """Context processor: what the base template and the amount tags need.

    `user` is who signed in to the wallet; an operator signed in at /admin only is nobody here."""
    credential = getattr(request, "credential", None)
    user = credential.user if credential else AnonymousUser()
    return {
        "user": user,
        "units": Units(user),
        "simnet": settings.SIMNET,
        "public_url": settings.PUBLIC_URL,
        "domain": settings.DOMAIN,
        "languages": settings.LANGUAGES,
        "email_enabled": settings.EMAIL_ENABLED,
        "support_contact": settings.SUPPORT_CONTACT,
    }


# --- Errors --------------------------------------------------------------------------------------


def add_error(form: BaseForm, error: CoinosError) -> None:
    """Show a refusal on the form: at the field that the error names, else above all fields."""
    name = (error.field or "").rsplit("/", 1)[-1]
    form.add_error(name if name in form.fields else None, sentence(error))


def sentence(error: CoinosError) -> str:
    """What the error says, in the language of the page, numbers and full stop too. The one place
    where errors are translated; where they are raised they are only marked. A value called `reason`
    is a sentence of ours too.
    """
    translated = _(error.page_template)
    if error.values is None:
        return languages.ended(translated)
    values = dict(error.values)
    if values.get("reason"):
        values["reason"] = _(str(values["reason"]))
    for name, value in values.items():
        if isinstance(value, int):
            values[name] = amounts.number(value, languages.locale())
    return languages.ended(translated % values)


class ErrorPages:
    """Middleware: a `CoinosError` that no view has handled becomes a page with its sentence.

    The API has its own handler, which sees its errors before this does."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\x00" in request.path_info:  # no name has one, and PostgreSQL would refuse to look
            return not_found(request, NotFound())
        refusal: CoinosError | None = getattr(request, "refusal", None)
        if refusal:  # the web server has not read the body
            return error_page(request, refusal)
        response: HttpResponse = self.get_response(request)
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, CoinosError):
            return None
        if isinstance(error, Unauthorized):
            return sign_in_first(request)
        return error_page(request, error)


def error_page(request: HttpRequest, error: CoinosError) -> HttpResponse:
    context = {"status": error.status, "title": _(error.title), "message": sentence(error)}
    response = render(request, "error.html", context, status=error.status)
    if error.retry_after_s is not None:
        response["Retry-After"] = str(error.retry_after_s)
    return response


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form without its token: usually a page that stood open while the user signed in again."""
    context = {
        "status": 403,
        "title": _("This page is out of date"),
        "message": _("Nothing was done. Go back, reload the page and try again."),
    }
    return render(request, "error.html", context, status=403)


class InternalError(CoinosError):
    status = 500
    code = "internal_error"
    title = gettext_noop("Something broke on our side")
    message = gettext_noop(
        "Your sats are safe: no payment is left half done. If you were sending, look at your"
        " payments before you try again."
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """What no page and no middleware has handled: a bug of ours, or a database that is away. Needs
    no database itself."""
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        error: CoinosError = DatabaseUnavailable()
    else:
        error = InternalError()
    context = {"status": error.status, "title": _(error.title), "message": sentence(error)}
    response = HttpResponse(render_to_string("500.html", context), status=error.status)
    if error.retry_after_s is not None:
        response["Retry-After"] = str(error.retry_after_s)
    return response


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    message = gettext_noop("Your browser sent something that we do not understand")
    return error_page(request, CoinosError(message))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return error_page(request, Forbidden(gettext_noop("You may not open this page")))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.resolver_match is None:  # no view was counted
        try:
            throttling.count(request, limits.PAGE)
        except RateLimited as error:
            return error_page(request, error)
    message = gettext_noop(
        "There is nothing at this address. It may be mistyped or no longer exist"
    )
    return error_page(request, NotFound(message))


# --- What caches may keep ------------------------------------------------------------------------


def private_pages(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: no cache keeps what is seen with a session or begins one, the signed-in view of a
    public page included. A view says otherwise for what is the same for everybody, like a picture.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        cookies = {settings.SESSION_COOKIE_NAME, settings.ADMIN_SESSION_COOKIE_NAME}
        if not cookies.isdisjoint([*request.COOKIES, *response.cookies]):
            response.setdefault("Cache-Control", "no-store")
        return response

    return middleware


# --- Who may open a page, and how often ----------------------------------------------------------

P = ParamSpec("P")


def signed_in(
    view: Callable[Concatenate[HttpRequest, P], HttpResponse],
) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """A page for people who are signed in to the wallet; others go to the sign-in page first."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if request.credential is None:  # type: ignore[attr-defined]
            return sign_in_first(request)
        return view(request, *args, **kwargs)

    return guarded


def sign_in_first(request: HttpRequest) -> HttpResponse:
    """To the sign-in page and back again; not back to what only a form can open."""
    if request.method != "GET":
        return redirect("login")
    return redirect(f"{reverse('login')}?{urlencode({'next': request.get_full_path()})}")


class RateLimits:
    """Middleware: count every request to a page against what its view says with `limited`, before
    it runs. Endpoints of the API count for themselves: they know their caller later."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response: HttpResponse = self.get_response(request)
        return response

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        if hasattr(view, "cls"):
            return None
        limit = throttling.limit_of(getattr(view, "limits", throttling.OF_PAGES), request.method)
        if not isinstance(limit, Rate):
            return None
        try:
            throttling.count(request, limit)
        except RateLimited as error:
            is_api = request.path_info.startswith("/api/")
            return problem_response(error) if is_api else error_page(request, error)
        return None


def posted(request: HttpRequest) -> QueryDict | None:
    """What a form is bound to: the fields that were sent, None when the page is only opened."""
    return request.POST if request.method == "POST" else None


def said(request: HttpRequest, name: str) -> str:
    """A field that no form reads, as PostgreSQL can keep and compare it: without NULs."""
    return request.POST.get(name, "").replace("\x00", "")


def next_url(request: HttpRequest, default: str) -> str:
    """Where a form asks to go on to; only within this site (P12)."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    allowed = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    # What begins otherwise is no path: `redirect` would look for a view of that name.
    return wanted if allowed and wanted.startswith("/") else default
