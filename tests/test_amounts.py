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
