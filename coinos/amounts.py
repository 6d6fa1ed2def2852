"""Numbers and money as a language writes them, exactly as babel does but fifty times as fast, and
read again when somebody types or pastes them.

A page of thirty payments writes some ninety of them. Babel is asked once per language and currency
how it writes a sample; what stands around the digits and between them is always the same.
"""

from __future__ import annotations

import functools
import re
import unicodedata
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
    word: str = ""
    """What follows the number where the currency is written out: `円`, `euros`."""

    def readings(self) -> tuple[str, str]:
        """The patterns of a number: as the language writes it, and plainly."""
        whole, fraction = "(?P<whole>[0-9]{0,16})", ""
        groups = re.escape("".join({" ", self.group.strip()}))
        grouped = f"[1-9][0-9]{{0,2}}(?P<group>[{groups}])[0-9]{{3}}(?:(?P=group)[0-9]{{3}}){{0,4}}"
        if self.decimals:
            fraction = f"(?P<fraction>[0-9]{{1,{self.decimals}}})"
        point = re.escape(self.point)
        return (
            f"(?P<whole>{grouped}|[0-9]{{0,16}})" + (f"(?:{point}{fraction})?" if fraction else ""),
            whole + (f"(?:[.,]{fraction})?" if fraction else ""),
        )

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


def read(text: str, currency: str, locale: Locale) -> Decimal:
    """What somebody typed or pasted: an amount of a currency, or with "" a whole number. Reads back
    all that `money` and `number` write in that language.

    A number is read as the language writes it, and plainly: digits with a point or a comma before
    no more decimals than the currency has. Raises `ValueError` when it cannot be read, or when the
    two disagree: what is meant is never guessed.
    """
    if any(unicodedata.category(character) == "No" for character in text):
        raise ValueError("a sign that is no plain digit: 1² is not 12")
    form = _form(currency, locale)
    rest = _plain(text)
    for around in map(_plain, (form.before, form.after, currency, form.word)):
        rest = rest.removeprefix(around).removesuffix(around).strip()
    found: set[Decimal] = set()
    for reading in form.readings():
        match = re.fullmatch(reading, rest, re.ASCII)
        if match and any(character.isdigit() for character in rest):
            whole = re.sub("[^0-9]", "", match["whole"]) or "0"
            found.add(Decimal(f"{whole}.{match.groupdict().get('fraction') or 0}"))
    if len(found) != 1:
        raise ValueError("not an amount that can be read in one way")
    return found.pop()


def _plain(text: str) -> str:
    """Without what nobody sees, every space an ordinary one, digits and points of one width."""
    normal = unicodedata.normalize("NFKC", text).lower().replace("\N{HIGH VOLTAGE SIGN}", "")
    shown = "".join(c for c in normal if unicodedata.category(c) not in ("Cf", "Mn"))
    return " ".join(shown.split())


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
    word = ""
    if currency:
        written_out = format_currency(2, currency, locale=locale, format_type="name")
        word = re.sub(r"[\d.,]", "", written_out).strip()
    return _Form(before, after, group, point or "", len(decimals or ""), groups_four_digits, word)
