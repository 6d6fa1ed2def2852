"""Amounts are written as babel writes them, in every language and currency that we offer."""

from __future__ import annotations

from decimal import Decimal

import pytest
from babel import Locale
from babel.numbers import format_currency, format_decimal, list_currencies
from django.conf import settings

from coinos import amounts

WHOLE = [0, 1, 12, 999, 1000, 1234, 9999, 10_000, 99_999, 1_234_567, 2_100_000_000_000_000]
VALUES = "0 0.01 0.005 0.015 0.5 1.5 2.5 999.5 999.99 999.995 1000 1234.5 9999.995 98765432.10"


@pytest.fixture(params=[code for code, _ in settings.LANGUAGES])
def locale(request: pytest.FixtureRequest) -> Locale:
    return Locale.parse(request.param)


def test_numbers(locale: Locale) -> None:
    for value in WHOLE:
        assert amounts.number(value, locale) == format_decimal(value, locale=locale)


def test_money_of_every_currency(locale: Locale) -> None:
    for currency in list_currencies(locale):
        for value in map(Decimal, VALUES.split()):
            expected = format_currency(value, currency, locale=locale)
            assert amounts.money(value, currency, locale) == expected, (currency, value)


# --- Read again ----------------------------------------------------------------------------------


def test_what_is_written_can_be_typed_back(locale: Locale) -> None:
    """input-I02: in every language and currency, to the last digit."""
    for value in WHOLE:
        assert amounts.read(amounts.number(value, locale), "", locale) == value
    for currency in list_currencies(locale):
        for text in ("0.5", "1", "999.99", "1000", "1234.5", "12505", "98765432.1"):
            written = amounts.money(Decimal(text), currency, locale)
            decimals = amounts._form(currency, locale).decimals
            expected = Decimal(f"{Decimal(text):.{decimals}f}")
            assert amounts.read(written, currency, locale) == expected, (currency, written)


TYPED = [
    ("en", "EUR", "1,000", 1000),
    ("en", "EUR", "1,000.5", "1000.5"),
    ("en", "EUR", "1.000", None),
    ("en", "EUR", "1000", 1000),
    ("en", "EUR", "12,50", "12.5"),
    ("en", "EUR", "12.50", "12.5"),
    ("en", "EUR", "12,505", 12505),
    ("en", "EUR", "12.505", None),
    ("en", "EUR", "€12.50", "12.5"),
    ("en", "EUR", "12.50 EUR", "12.5"),
    ("en", "EUR", "$12.50", None),
    ("en", "EUR", ".5", "0.5"),
    ("en", "EUR", "0,001", None),  # input-B4: no language groups the digits after a 0
    ("en", "EUR", "0.001", None),
    ("en", "", "0,001", None),
    ("en", "EUR", "1²", None),
    ("en", "EUR", "１２", 12),
    ("de", "EUR", "0.001", None),
    ("de", "EUR", "00.500", None),
    ("de", "JPY", "0.001", None),
    ("de", "", "0.001", None),
    ("fr", "EUR", "0 001", None),
    ("en", "KWD", "0,500", "0.5"),
    ("de", "EUR", "1.000", 1000),
    ("de", "EUR", "1.000,50 €", "1000.5"),
    ("de", "EUR", "1,000", None),
    ("de", "EUR", "1,000.50", None),
    ("de", "EUR", "12.50", "12.5"),
    ("de", "EUR", "1 000,50", "1000.5"),
    ("es", "EUR", "1.045,03", "1045.03"),
    ("es", "EUR", "1045,03 €", "1045.03"),
    ("fr", "EUR", "1\N{NARROW NO-BREAK SPACE}000,50\N{NO-BREAK SPACE}€", "1000.5"),
    ("fr", "EUR", "1.000", None),
    ("fr", "EUR", "1,000", None),
    ("pt", "BRL", "R$\N{NO-BREAK SPACE}1.000,00", 1000),
    ("ja", "JPY", "￥1,000", 1000),
    ("ja", "JPY", "１，０００", 1000),
    ("ja", "JPY", "1,500円", 1500),
    ("de", "EUR", "12,50 Euro", "12.5"),
    ("en", "EUR", "12.50 dollars", None),
    ("ja", "JPY", "1.5", None),
    ("en", "JPY", "1.000", None),
    ("en", "KWD", "1,000", None),  # a thousand, or one with three decimals
    ("en", "KWD", "1.000", 1),
    ("de", "KWD", "1.000", None),
    ("de", "KWD", "1,000", 1),
    ("en", "", "1,000", 1000),
    ("en", "", "⚡️1,000", 1000),
    ("en", "", "1.000", None),
    ("de", "", "1.000", 1000),
    ("de", "", "1,000", None),
    ("en", "", "12.5", None),
    ("en", "", "1 000 000", 1_000_000),
    ("en", "", "12 50", None),
    ("en", "", "10,00", None),
    ("en", "", "1,000 000", None),
    ("en", "", "-1", None),
    ("en", "", "+1", None),
    ("en", "", "1e3", None),
    ("en", "", "1_000", None),
    ("en", "", "", None),
    ("en", "EUR", ".", None),
    ("en", "EUR", "1.", None),
    ("en", "EUR", "9" * 17, None),
    ("en", "EUR", "NaN", None),
]


@pytest.mark.parametrize(("language", "currency", "text", "expected"), TYPED)
def test_an_amount_is_read_in_one_way_or_refused(
    language: str, currency: str, text: str, expected: str | int | None
) -> None:
    """input-I02, input-B4: never guessed."""
    locale = Locale.parse(language)
    if expected is None:
        with pytest.raises(ValueError):
            amounts.read(text, currency, locale)
    else:
        assert amounts.read(text, currency, locale) == Decimal(expected)
