"""How the pages write amounts, icons, times and QR codes."""

from __future__ import annotations

import functools
import re
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

from babel.numbers import format_percent
from django import template
from django.conf import settings
from django.template import Context
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext

from coinos import amounts, languages
from coinos import qr as codes
from coinos.web import Units

register = template.Library()

TXID = re.compile(r"[0-9a-f]{64}")

# --- Amounts -------------------------------------------------------------------------------------


@register.simple_tag(takes_context=True)
def sats(context: Context, amount_sat: int, *, sign: bool = False) -> SafeString:
    """`⚡️1,000`."""
    return _units(context).sats(amount_sat, sign=sign)


@register.simple_tag(takes_context=True)
def fiat(context: Context, amount_sat: int, **options: Any) -> SafeString:
    """`$0.65`, at today's rate or the one that is given."""
    return _units(context).fiat(amount_sat, **options)


@register.simple_tag(takes_context=True)
def first(context: Context, amount_sat: int, **options: Any) -> SafeString:
    """The amount in the unit that the user wants to see first; in sats when there is no rate."""
    return _units(context).both(amount_sat, **options)[0]


@register.simple_tag(takes_context=True)
def second(context: Context, amount_sat: int, **options: Any) -> SafeString:
    """The amount in the other unit; empty when there is no rate."""
    return _units(context).both(amount_sat, **options)[1]


def _units(context: Context) -> Units:
    units: Units = context["units"]
    return units


# --- Everything else -----------------------------------------------------------------------------


@register.simple_tag
@functools.cache  # of names in our templates
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
def banner(person: Any) -> SafeString:
    """The wide picture above the name when it is kept here; see `avatar`."""
    if not person.banner.startswith(f"{settings.PUBLIC_URL}/picture/{person.id}/banner?"):
        return mark_safe("")
    path = person.banner.removeprefix(settings.PUBLIC_URL)
    return format_html('<img class="banner" src="{}" alt="">', path)


@register.simple_tag
def qr(payload: str) -> SafeString:
    """A QR code as inline SVG, black on nothing: the page puts it on white, in dark mode too."""
    return mark_safe(codes.inline(payload))  # noqa: S308 - modules only, never the text


@register.simple_tag
def explorer(transaction: str) -> str:
    """Where the operator's block explorer shows this transaction, named by its txid or by one of
    its outputs; empty when there is no explorer, or the text names none."""
    txid = transaction.partition(":")[0]
    return settings.EXPLORER_URL.replace("{txid}", txid) if TXID.fullmatch(txid) else ""


@register.simple_tag
def transaction(text: str) -> SafeString:
    """A txid, or an output of it, as a link to the block explorer when there is one."""
    url = explorer(text)
    if not url:
        return format_html("{}", text)
    return format_html('<a href="{}" rel="noopener noreferrer">{}</a>', url, text)


@register.filter
def ago(when: datetime) -> SafeString:
    """`5 minutes ago` today, else the date."""
    return format_html('<time datetime="{}">{}</time>', when.isoformat(), languages.ago(when))


@register.filter
def at(when: datetime) -> SafeString:
    """`23 Nov 2026, 07:46 UTC`, or `08:46 UTC+1` for a reader in Berlin."""
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
def host(url: str) -> str:
    """Whose page a link opens."""
    return urlsplit(url).hostname or ""


@register.filter
def ended(sentence: object) -> str:
    """A problem with its full stop."""
    return languages.ended(str(sentence))


@register.filter
def number(value: int) -> str:
    """`1,000`."""
    return amounts.number(value, languages.locale())


@register.filter
def percent(value: int) -> str:
    """`15%`, or `15 %` where a language writes it so."""
    return str(format_percent(value / 100, locale=languages.locale()))


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
