"""Fiat rates: what a bitcoin costs, as several public sources agree.

Rates decorate money and never move it: with no rate, payments go on without one. `refresh`,
rung once a minute, asks every provider and keeps what they agree on. Readers never go to the
network: they see a copy of a few seconds in this process, behind it the shared cache, behind that
the last row of the history.
"""

from __future__ import annotations

import datetime as dt
import functools
import logging
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from babel.core import get_global
from babel.numbers import get_territory_currencies
from django.conf import settings
from django.core.cache import cache
from django.utils import timezone
from django.utils.translation import gettext_noop as _
from redis import RedisError

from coinos.errors import CoinosError
from coinos.http import FetchFailed, fetch
from coinos.models import Rate

logger = logging.getLogger(__name__)

Rates = dict[str, Decimal]
"""Currency → units of it per BTC."""

FRESH_S = 600
"""Older rates are not shown to anybody as the rate."""
COPY_S = 3
MINUTES_KEPT = dt.timedelta(days=30)
HISTORY_GAP = dt.timedelta(hours=2)
TOLERANCE = Decimal("0.05")
"""How far a quote may lie from the median before it counts as wrong."""
CENT = Decimal("0.01")
CACHE_KEY = "rates"
CACHE_S = 24 * 3600


class RateUnavailable(CoinosError):
    status = 503
    code = "rate_unavailable"
    title = _("No rate")
    message = _("There is no exchange rate fresh enough to trust right now")

    def __init__(self, message: str | None = None, *, retry_after_s: int = 60) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class UnknownCurrency(CoinosError):
    message = _("unknown currency")


# --- Providers -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Provider:
    """One public source. `read` yields (currency, price of a BTC) from its JSON answer."""

    name: str
    url: str
    read: Callable[[Any], Iterable[tuple[str, Any]]]


PROVIDERS = [
    Provider(
        "coinbase",
        "https://api.coinbase.com/v2/exchange-rates?currency=BTC",
        lambda answer: answer["data"]["rates"].items(),
    ),
    Provider(
        "coingecko",
        "https://api.coingecko.com/api/v3/exchange_rates",
        lambda answer: [
            (code.upper(), entry["value"])
            for code, entry in answer["rates"].items()
            if entry["type"] == "fiat"
        ],
    ),
    Provider(
        "blockchain.info",
        "https://blockchain.info/ticker",
        lambda answer: [(code, entry["last"]) for code, entry in answer.items()],
    ),
    Provider(
        "kraken",
        "https://api.kraken.com/0/public/Ticker?pair=XBTUSD,XBTEUR,XBTGBP,XBTCAD,XBTCHF,XBTAUD,XBTJPY",
        # The pairs come back as XXBTZUSD or XBTCHF; "c" is the last trade as [price, volume].
        lambda answer: [(pair[-3:], ticker["c"][0]) for pair, ticker in answer["result"].items()],
    ),
    Provider(
        "mempool.space",
        "https://mempool.space/api/v1/prices",
        lambda answer: answer.items(),
    ),
    Provider(
        "bitstamp",
        "https://www.bitstamp.net/api/v2/ticker/btcusd/",
        lambda answer: [("USD", answer["last"])],
    ),
]


def providers() -> list[Provider]:
    """The public ones; on simnet its own, which quotes the same prices every day."""
    if not settings.SIMNET:
        return PROVIDERS
    try:
        port = (settings.SIMNET_DIR / "rates-port").read_text()
    except OSError:
        return []  # simnet is not running
    return [Provider("simnet", f"http://127.0.0.1:{port}/rates", lambda answer: answer.items())]


@functools.cache
def legal_tender() -> frozenset[str]:
    """ISO 4217 codes in use today. Some providers quote other coins under three letters too."""
    today = timezone.now().date()
    return frozenset(
        code
        for territory in get_global("territory_currencies")
        for code in get_territory_currencies(territory, today, tender=True)
    )


def _ask(provider: Provider) -> Rates:
    """The provider's usable quotes; none when it is down or talks nonsense. Never raises."""
    try:
        response = fetch(provider.url, kind="rates")
        if not response.ok:
            raise FetchFailed(f"status {response.status}")
        quotes = {code: _price(raw) for code, raw in provider.read(response.json())}
    except (FetchFailed, LookupError, TypeError, ValueError, AttributeError) as error:
        logger.warning("no rates from %s: %r", provider.name, error)
        return {}
    return {
        code: price
        for code, price in quotes.items()
        if price is not None and code in legal_tender()
    }


def _price(raw: Any) -> Decimal | None:
    if isinstance(raw, bool) or not isinstance(raw, str | int | Decimal):
        return None
    try:
        price = Decimal(raw)
    except InvalidOperation:
        return None
    return price if price.is_finite() and CENT <= price < 10**15 else None


def agree(answers: list[Rates]) -> Rates:
    """One rate per currency: the median of the quotes near the median.

    A provider that is wrong about the dollar is believed about nothing. Where most quotes do
    not lie near each other there is no rate: none is better than a wrong one.
    """
    dollar = _consensus([answer["USD"] for answer in answers if "USD" in answer])
    if dollar is not None:
        answers = [answer for answer in answers if _near(answer.get("USD", dollar), dollar)]
    agreed = {
        currency: _consensus([answer[currency] for answer in answers if currency in answer])
        for currency in {code for answer in answers for code in answer}
    }
    return {
        currency: rate.quantize(CENT)
        for currency, rate in sorted(agreed.items())
        if rate is not None
    }


def _consensus(quotes: list[Decimal]) -> Decimal | None:
    if not quotes:
        return None
    middle = statistics.median(quotes)
    near = [quote for quote in quotes if _near(quote, middle)]
    return statistics.median(near) if len(near) * 2 > len(quotes) else None


def _near(quote: Decimal, middle: Decimal) -> bool:
    return abs(quote - middle) <= middle * TOLERANCE


# --- Refreshing ----------------------------------------------------------------------------


def refresh() -> Rates:
    """Ask all providers, keep what they agree on in the cache and the history, and return it.

    For the Celery task, once a minute; twice or at once does no harm. When nobody answers,
    the old rates stay until they are too old. Takes at most the fetcher's 10 s.
    """
    sources = providers()
    with ThreadPoolExecutor(max_workers=max(1, len(sources))) as threads:
        rates = agree(list(threads.map(_ask, sources)))
    if not rates:
        logger.error("no rates: %d providers asked", len(sources))
        return {}
    now = timezone.now()
    Rate.objects.bulk_create(
        [
            Rate(
                minute=now.replace(second=0, microsecond=0),
                rates={currency: str(rate) for currency, rate in rates.items()},
            )
        ],
        update_conflicts=True,
        unique_fields=["minute"],
        update_fields=["rates"],
    )
    # A currency that only a silent provider quotes keeps its last rate while that is fresh.
    quotes = _load() | {currency: Quote(rate, now) for currency, rate in rates.items()}
    try:
        cache.set(CACHE_KEY, quotes, CACHE_S)
    except RedisError:
        logger.warning("the cache is down: readers use the history")
    forget()
    _thin_history(now)
    return rates


def _thin_history(now: dt.datetime) -> None:
    Rate.objects.filter(minute__lt=now - MINUTES_KEPT).exclude(minute__minute=0).delete()


# --- Reading -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quote:
    rate: Decimal
    at: dt.datetime

    @property
    def is_fresh(self) -> bool:
        return timezone.now() - self.at < dt.timedelta(seconds=FRESH_S)


_copy: tuple[float, dict[str, Quote]] | None = None


def rate(currency: str) -> Decimal:
    """Units of `currency` per BTC. At most one query, usually none.

    Raises RateUnavailable (503) and, for what is no currency, UnknownCurrency (400).
    """
    quote = _quotes().get(currency)
    if quote is not None and quote.is_fresh:
        return quote.rate
    if currency not in legal_tender():
        raise UnknownCurrency
    raise RateUnavailable


def rate_or_none(currency: str | None) -> Decimal | None:
    """`rate`, or None: what a payment is stamped with, since a missing rate never stops money."""
    quote = _quotes().get(currency or "")
    return quote.rate if quote is not None and quote.is_fresh else None


def rates() -> Rates:
    """Every fresh rate, units per BTC, by currency. Raises RateUnavailable when there is none."""
    fresh = {currency: quote.rate for currency, quote in _quotes().items() if quote.is_fresh}
    if not fresh:
        raise RateUnavailable
    return fresh


def fx() -> Rates:
    """Units of each currency per US dollar. Raises RateUnavailable."""
    dollar = rate("USD")
    return {
        currency: round(per_btc / dollar, 8).normalize() for currency, per_btc in rates().items()
    }


def known_currencies() -> list[str]:
    """Currencies a user may choose, sorted: those with a rate, however old; at first, all."""
    return sorted(_quotes() or legal_tender())


def rate_at(currency: str, moment: dt.datetime) -> Decimal | None:
    """Units of `currency` per BTC at `moment`, from the history; None if it has none near by."""
    row = (
        Rate.objects.filter(
            minute__lte=moment, minute__gt=moment - HISTORY_GAP, rates__has_key=currency
        )
        .order_by("-minute")
        .first()
    )
    return Decimal(row.rates[currency]) if row else None


def forget() -> None:
    """Drop this process's copy, so that the next reader sees the shared cache."""
    global _copy
    _copy = None


def _quotes() -> dict[str, Quote]:
    global _copy
    copy = _copy
    if copy is None or time.monotonic() - copy[0] > COPY_S:
        _copy = copy = (time.monotonic(), _load())
    return copy[1]


def _load() -> dict[str, Quote]:
    try:
        quotes: dict[str, Quote] | None = cache.get(CACHE_KEY)
    except RedisError:
        quotes = None
    if quotes is not None:
        return quotes
    row = Rate.objects.order_by("-minute").first()
    if row is None:
        return {}
    return {currency: Quote(Decimal(text), row.minute) for currency, text in row.rates.items()}
