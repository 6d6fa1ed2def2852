"""How the pages write amounts, icons, times and QR codes."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import segno
from babel.numbers import format_decimal
from django import template
from django.conf import settings
from django.template import Context
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext

from coinos import languages
from coinos.money import sat_to_fiat
from coinos.web import Units

register = template.Library()

MINUS = "\N{MINUS SIGN}"


# --- Amounts -------------------------------------------------------------------------------------


@register.simple_tag(takes_context=True)
def sats(context: Context, amount_sat: int, *, sign: bool = False) -> SafeString:
    """`⚡️1,000`, with + or − before it when `sign`; screen readers hear "1,000 sats"."""
    units: Units = context["units"]
    return format_html(
        '<span class="amount">{}<span class="bolt" aria-hidden="true">⚡️</span>{}'
        '<span class="hidden-text"> sats</span></span>',
        _sign(amount_sat, always=sign),
        units.number(abs(amount_sat)),
    )


@register.simple_tag(takes_context=True)
def fiat(
    context: Context,
    amount_sat: int,
    *,
    sign: bool = False,
    rate: Decimal | None = None,
    currency: str = "",
) -> SafeString:
    """The amount in currency: at the rate and currency given, else at today's in the user's.

    Empty when there is no rate: a missing rate never hides an amount in sats."""
    units: Units = context["units"]
    rate, currency = (rate, currency) if rate else (units.rate, units.currency)
    if rate is None:
        return mark_safe("")
    value = sat_to_fiat(abs(amount_sat), rate)
    return format_html(
        '<span class="amount">{}{}</span>',
        _sign(amount_sat, always=sign),
        units.money(value, currency),
    )


@register.simple_tag(takes_context=True)
def first(context: Context, amount_sat: int, **options: Any) -> SafeString:
    """The amount in the unit that the user wants to see first; in sats when there is no rate."""
    units: Units = context["units"]
    shown = fiat(context, amount_sat, **options) if units.fiat_first else mark_safe("")
    return shown or sats(context, amount_sat, sign=options.get("sign", False))


@register.simple_tag(takes_context=True)
def second(context: Context, amount_sat: int, **options: Any) -> SafeString:
    """The amount in the other unit; empty when there is no rate."""
    units: Units = context["units"]
    shown = fiat(context, amount_sat, **options)
    if units.fiat_first and shown:
        return sats(context, amount_sat, sign=options.get("sign", False))
    return shown


def _sign(amount_sat: int, *, always: bool) -> str:
    if amount_sat < 0:
        return MINUS
    return "+" if always and amount_sat else ""


# --- Everything else -----------------------------------------------------------------------------


@register.simple_tag
def icon(name: str) -> SafeString:
    """A picture beside text that says the same: hidden from screen readers."""
    return format_html(
        '<svg class="icon" aria-hidden="true"><use href="{}#{}"/></svg>',
        static("icons/sprite.svg"),
        name,
    )


@register.simple_tag
def avatar(person: Any, *, large: bool = False) -> SafeString:
    """The picture that this person uploaded here, else the first letter of the name. Pictures
    elsewhere are not loaded: their host would learn who looks. The name stands beside it."""
    css = "badge large" if large else "badge"
    if person.picture.startswith(f"{settings.PUBLIC_URL}/picture/{person.id}?"):
        path = person.picture.removeprefix(settings.PUBLIC_URL)
        return format_html('<img class="{}" src="{}" alt="">', css, path)
    letter = person.username[:1].upper()
    return format_html('<span class="{}" aria-hidden="true">{}</span>', css, letter)


@register.simple_tag
def qr(payload: str) -> SafeString:
    """A QR code as inline SVG, black on nothing: the page puts it on white, in dark mode too."""
    # The parts of a link apart, so that those in capitals take 5.5 bits a letter and not 8.
    parts = [part for part in re.split(r"([?&][a-z]+=)", payload) if part]
    code = segno.make(parts, error="l", boost_error=True, micro=False)  # type: ignore[arg-type]
    return mark_safe(  # noqa: S308 - segno writes modules only, never the text
        code.svg_inline(border=1, omitsize=True, svgclass=None, lineclass=None, dark="#000")
    )


@register.filter
def ago(when: datetime) -> SafeString:
    """`5 minutes ago` today, else the date."""
    return format_html('<time datetime="{}">{}</time>', when.isoformat(), languages.ago(when))


@register.filter
def at(when: datetime) -> SafeString:
    """`23 Nov 2026, 07:46 UTC`."""
    return format_html('<time datetime="{}">{}</time>', when.isoformat(), languages.moment(when))


@register.filter
def day(when: date) -> str:
    """`Monday, 23 November 2026`."""
    return languages.day(when)


@register.filter
def spoken(sentence: str) -> str:
    """A sentence of ours that was stored in English, as the reason of a failure is."""
    return gettext(sentence) if sentence else ""


@register.filter
def number(value: int) -> str:
    """`1,000`."""
    return format_decimal(value, locale=languages.locale())


@register.filter
def short(text: str) -> str:
    """The two ends of a hash or address."""
    return text if len(text) <= 20 else f"{text[:8]}…{text[-8:]}"


@register.simple_tag
def lightning_address(username: str) -> str:
    return f"{username}@{settings.DOMAIN}"


@register.inclusion_tag("_field.html")
def field(bound_field: Any, **attributes: Any) -> dict[str, Any]:
    """One form field with its label, help and problem, tied together for screen readers."""
    return {"field": bound_field, **attributes}
