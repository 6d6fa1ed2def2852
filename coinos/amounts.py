"""Numbers and money as a language writes them, exactly as babel does, at a fiftieth of its time.

A page of thirty payments writes some ninety of them. Babel is asked once for each language and
currency how it writes a sample; what is around the digits, and between them, is always the same.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from decimal import Decimal

from babel import Locale
from babel.numbers import format_currency, format_decimal

_SAMPLE = Decimal("1234567.89")


@dataclass(frozen=True)
class _Form:
    """How digits become a text: `before`, groups of three, `point`, decimals, `after`."""

    before: str
    after: str
    group: str
    point: str
    decimals: int
    groups_four_digits: bool  # not 1234 but 1.234

    def write(self, value: Decimal | int) -> str:
        whole, _, decimals = f"{value:,.{self.decimals}f}".partition(".")
        group = self.group if self.groups_four_digits or len(whole) > len("1,234") else ""
        whole = whole.replace(",", group)
        return f"{self.before}{whole}{self.point}{decimals}{self.after}"


def number(value: int, locale: Locale) -> str:
    """A whole number that is not negative: `1,000`."""
    return _form("", locale).write(value)


def money(value: Decimal, currency: str, locale: Locale) -> str:
    """An amount of a currency that is not negative, rounded to its smallest coin: `$10.50`."""
    return _form(currency, locale).write(value)


@functools.cache
def _form(currency: str, locale: Locale) -> _Form:
    """Of a currency, or of whole numbers; there are about 160 currencies and six languages."""

    def write(value: Decimal | int) -> str:
        if currency:
            return format_currency(value, currency, locale=locale)
        return format_decimal(int(value), locale=locale)

    found = re.fullmatch(r"(\D*)1(\D*)234(\D*)56[78](?:(\D*)(\d+))?(\D*)", write(_SAMPLE))
    assert found, f"{currency} in {locale} is not written in groups of three digits"
    before, group, _, point, decimals, after = found.groups()
    groups_four_digits = write(1234).startswith(f"{before}1{group}2")
    return _Form(before, after, group, point or "", len(decimals or ""), groups_four_digits)
