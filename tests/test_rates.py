"""Fiat rates: several sources, the median, nothing when nothing can be trusted (F15)."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.cache.backends.redis import RedisCache

from coinos import rates
from coinos.models import Rate
from coinos.rates import Provider, RateUnavailable, UnknownCurrency
from coinos.simnet.control import Control
from coinos.simnet.rates import DEFAULT_RATES

NOON = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def nothing_known_yet(redis: Any, db: None) -> Iterator[None]:
    rates.forget()
    yield
    rates.forget()


class Sources:
    """Public providers on loopback: `answers[path]` is (status, body), or nothing listens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        answers = self.answers

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answers.get(self.path, (404, b"{}"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self._monkeypatch = monkeypatch
        self._providers: list[Provider] = []
        settings.SIMNET = False
        monkeypatch.setattr(rates, "PROVIDERS", self._providers)

    def add(self, provider: Provider, answer: Any, *, status: int = 200) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.answers[f"/{provider.name}"] = (status, body)
        self._providers.append(replace(provider, url=f"{self.base}/{provider.name}"))

    def quote(self, name: str, answer: Any, *, status: int = 200) -> None:
        """A provider that answers plainly: {"USD": 100000}."""
        self.add(Provider(name, "", lambda plain: plain.items()), answer, status=status)

    def add_unreachable(self, name: str) -> None:
        self._providers.append(Provider(name, "http://127.0.0.1:1/", lambda plain: plain.items()))


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Sources]:
    started = Sources(monkeypatch, settings)
    yield started
    started.server.shutdown()
    started.server.server_close()


@pytest.fixture
def quoting_simnet(simnet: Control, settings: Any) -> Iterator[Control]:
    settings.SIMNET = True
    settings.SIMNET_DIR = simnet.directory
    yield simnet
    simnet.rates_down(False)
    for currency, price in DEFAULT_RATES.items():
        simnet.set_rate(currency, price)


# --- What the sources agree on -------------------------------------------------------------


def usd(*quotes: str | int) -> list[rates.Rates]:
    return [{"USD": Decimal(quote)} for quote in quotes]


@pytest.mark.parametrize(
    ("quotes", "agreed"),
    [
        (usd(100_000), "100000.00"),
        (usd(100_000, 101_000), "100500.00"),
        (usd(100_000, 101_000, 99_000), "100000.00"),
        (usd(100_000, 101_000, 1), "100500.00"),
        (usd(100_000, 101_000, 99_000, 10_000_000), "100000.00"),
        (usd("100000.005", "100000.005"), "100000.00"),
    ],
)
def test_the_rate_is_the_median_without_outliers(quotes: list[rates.Rates], agreed: str) -> None:
    assert rates.agree(quotes) == {"USD": Decimal(agreed)}


@pytest.mark.parametrize("quotes", [[], [{}, {}], usd(100_000, 50_000), usd(1, 1, 100, 100)])
def test_without_agreement_there_is_no_rate(quotes: list[rates.Rates]) -> None:
    assert rates.agree(quotes) == {}


def test_who_is_wrong_about_the_dollar_is_believed_about_nothing() -> None:
    honest = {"USD": Decimal(100_000), "CAD": Decimal(135_000)}
    confused = {"USD": Decimal(1_000_000), "VES": Decimal(20_000_000_000)}
    quiet = {"CAD": Decimal(136_000)}
    agreed = rates.agree([honest, honest, confused, quiet])
    assert agreed == {"CAD": Decimal(135_000), "USD": Decimal(100_000)}


# --- Asking the sources --------------------------------------------------------------------

DOCUMENTED_ANSWERS = {
    "coinbase": {
        "data": {"currency": "BTC", "rates": {"USD": "100000.5", "CAD": "135000", "ETH": "30.1"}}
    },
    "coingecko": {
        "rates": {
            "btc": {"name": "Bitcoin", "unit": "BTC", "value": 1.0, "type": "crypto"},
            "usd": {"name": "US Dollar", "unit": "$", "value": 100000.5, "type": "fiat"},
            "cad": {"name": "Canadian Dollar", "unit": "CA$", "value": 135000, "type": "fiat"},
            "xau": {"name": "Gold", "unit": "XAU", "value": 24.7, "type": "commodity"},
        }
    },
    "blockchain.info": {
        "USD": {"15m": 1, "last": 100000.5, "buy": 2, "sell": 3, "symbol": "USD"},
        "CAD": {"15m": 1, "last": 135000.0, "buy": 2, "sell": 3, "symbol": "CAD"},
    },
    "kraken": {
        "error": [],
        "result": {
            "XXBTZUSD": {"a": ["100001.0", "1", "1.000"], "c": ["100000.50000", "0.01"]},
            "XXBTZCAD": {"a": ["135001.0", "1", "1.000"], "c": ["135000.00000", "0.01"]},
        },
    },
    "mempool.space": {"time": 1795402800, "USD": 100000.5, "CAD": 135000},
    "bitstamp": {"last": "100000.5", "bid": "1", "ask": "2", "timestamp": "1795402800"},
}


@pytest.mark.parametrize("provider", rates.PROVIDERS, ids=lambda provider: provider.name)
def test_each_providers_documented_answer_is_understood(
    provider: Provider, sources: Sources
) -> None:
    sources.add(provider, DOCUMENTED_ANSWERS[provider.name])
    expected = {"USD": Decimal("100000.50")}
    if provider.name != "bitstamp":  # asked for the dollar only
        expected["CAD"] = Decimal("135000.00")
    assert rates.refresh() == expected


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"<html>maintenance</html>",
        b"null",
        b"[]",
        b'"USD"',
        b"17",
        b"[" * 50_000,
        b"{}",
        b'{"error":["EService:Unavailable"]}',
        b'{"rates":null,"data":null,"result":null,"USD":null,"last":null}',
        b'{"rates":[],"data":[],"result":[],"USD":[],"last":[]}',
        b'{"rates":{"usd":7},"data":{"rates":7},"result":{"XXBTZUSD":{"c":[]}},"USD":"","last":{}}',
        b'{"USD":{"last":true},"last":true,"result":{"XXBTZUSD":{"c":[null]}}}',
        b"x" * 100_000,
    ],
)
def test_a_provider_that_talks_nonsense_does_not_disturb_the_others(
    nonsense: bytes, sources: Sources
) -> None:
    for provider in list(DOCUMENTED_ANSWERS):
        sources.add(next(p for p in ALL_PROVIDERS if p.name == provider), nonsense)
    sources.quote("good", {"USD": 100_000})
    assert rates.refresh() == {"USD": Decimal("100000.00")}


ALL_PROVIDERS = list(rates.PROVIDERS)


@pytest.mark.parametrize(
    "price",
    [0, -1, "-100000", "", "abc", "1,000", None, True, [], {}, 1e300, "NaN", "Infinity", "1e99"],
)
def test_a_price_that_is_no_price_is_left_out(price: Any, sources: Sources) -> None:
    sources.quote("odd", {"USD": 100_000, "CAD": price, "DOGE": 5, "eur": 7, "": 1})
    assert rates.refresh() == {"USD": Decimal("100000.00")}


def test_a_provider_that_is_down_is_done_without(sources: Sources) -> None:
    sources.add_unreachable("gone")
    sources.quote("busy", {"USD": 1}, status=503)
    sources.quote("moved", {"USD": 1}, status=302)
    sources.quote("good", {"USD": 100_000})
    assert rates.refresh() == {"USD": Decimal("100000.00")}
    assert rates.rate("USD") == Decimal(100_000)


def test_when_all_are_down_there_is_no_rate_and_no_history(sources: Sources) -> None:
    sources.add_unreachable("gone")
    assert rates.refresh() == {}
    assert not Rate.objects.exists()
    with pytest.raises(RateUnavailable) as unavailable:
        rates.rates()
    assert (unavailable.value.status, unavailable.value.retry_after_s) == (503, 60)
    assert rates.rate_or_none("USD") is None


def test_the_last_rate_stays_while_it_is_fresh_and_no_longer(sources: Sources) -> None:
    sources.quote("good", {"USD": 100_000})
    with time_machine.travel(NOON, tick=False) as clock:
        rates.refresh()
        sources.answers.clear()
        clock.shift(rates.FRESH_S - 1)
        assert rates.refresh() == {}
        assert rates.rate("USD") == Decimal(100_000)
        clock.shift(1)
        with pytest.raises(RateUnavailable):
            rates.rate("USD")
        with pytest.raises(RateUnavailable):
            rates.fx()
        assert rates.rate_or_none("USD") is None
        assert rates.known_currencies() == ["USD"]


def test_a_currency_of_a_silent_provider_keeps_its_rate_while_that_is_fresh(
    sources: Sources,
) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        sources.quote("wide", {"USD": 100_000, "CRC": 50_000_000})
        sources.quote("narrow", {"USD": 100_000})
        rates.refresh()
        del sources.answers["/wide"]
        clock.shift(300)
        assert rates.refresh() == {"USD": Decimal("100000.00")}
        assert rates.rate("CRC") == Decimal(50_000_000)
        clock.shift(300)
        with pytest.raises(RateUnavailable):
            rates.rate("CRC")
        assert rates.rate("USD") == Decimal(100_000)


# --- Reading -------------------------------------------------------------------------------


def test_what_is_no_currency_is_the_callers_mistake(sources: Sources) -> None:
    sources.quote("good", {"USD": 100_000})
    rates.refresh()
    for unknown in ("XXX", "usd", "", "DOGE"):
        with pytest.raises(UnknownCurrency):
            rates.rate(unknown)
    with pytest.raises(RateUnavailable):
        rates.rate("CAD")
    assert rates.rate_or_none(None) is None


def test_fx_is_units_per_dollar(sources: Sources) -> None:
    sources.quote("good", {"USD": 100_000, "CAD": 137_000, "KWD": "30712.34"})
    rates.refresh()
    assert rates.fx() == {
        "CAD": Decimal("1.37"),
        "KWD": Decimal("0.3071234"),
        "USD": Decimal(1),
    }


def test_before_the_first_rate_every_currency_may_be_chosen() -> None:
    known = rates.known_currencies()
    assert {"USD", "CAD", "EUR", "JPY", "CRC"} < set(known)
    assert known == sorted(known)


def test_reading_a_rate_costs_no_query_and_after_a_flush_of_the_cache_one(
    sources: Sources, redis: Any, django_assert_num_queries: Any
) -> None:
    sources.quote("good", {"USD": 100_000, "CAD": 135_000})
    rates.refresh()
    with django_assert_num_queries(0):
        assert rates.rate("USD") == Decimal(100_000)
    redis.flushdb()
    rates.forget()
    with django_assert_num_queries(1):
        assert rates.rate("USD") == Decimal(100_000)
        assert rates.rate("CAD") == Decimal(135_000)
        assert rates.rate_or_none("CRC") is None


def test_without_redis_the_history_serves_the_rates(
    sources: Sources, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rates, "cache", RedisCache(f"unix://{tmp_path}/nobody-here", {}))
    sources.quote("good", {"USD": 100_000})
    assert rates.refresh() == {"USD": Decimal("100000.00")}
    assert rates.rate("USD") == Decimal(100_000)


# --- History -------------------------------------------------------------------------------


def test_the_history_has_a_row_a_minute_and_answers_for_a_moment(sources: Sources) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        for quoted in (100_000, 100_001):  # twice in the same minute: the later one stands
            sources.answers.clear()
            rates.PROVIDERS.clear()
            sources.quote("good", {"USD": quoted, "CAD": 135_000})
            rates.refresh()
        clock.shift(60)
        rates.PROVIDERS.clear()
        sources.quote("good", {"USD": 100_500})
        rates.refresh()

    assert Rate.objects.count() == 2
    second = dt.timedelta(seconds=1)
    assert rates.rate_at("USD", NOON - second) is None
    assert rates.rate_at("USD", NOON) == Decimal(100_001)
    assert rates.rate_at("USD", NOON + 59 * second) == Decimal(100_001)
    assert rates.rate_at("USD", NOON + 60 * second) == Decimal(100_500)
    assert rates.rate_at("CAD", NOON + 90 * second) == Decimal(135_000)
    assert rates.rate_at("USD", NOON + dt.timedelta(hours=3)) is None
    assert rates.rate_at("XXX", NOON) is None


def test_old_minutes_are_thinned_to_full_hours(sources: Sources) -> None:
    old = NOON - rates.MINUTES_KEPT - dt.timedelta(hours=2)
    for minute in range(0, 180, 15):
        Rate.objects.create(minute=old + dt.timedelta(minutes=minute), rates={"USD": "1.00"})
    sources.quote("good", {"USD": 100_000})
    with time_machine.travel(NOON, tick=False):
        rates.refresh()
    kept = [row.minute - old for row in Rate.objects.order_by("minute")]
    hour, quarter = dt.timedelta(hours=1), dt.timedelta(minutes=15)
    assert kept[:2] == [0 * hour, hour]
    assert kept[2:6] == [2 * hour + n * quarter for n in range(4)]
    assert kept[6:] == [NOON - old]


# --- simnet --------------------------------------------------------------------------------


def test_simnet_quotes_the_same_prices_every_day(quoting_simnet: Control) -> None:
    assert rates.refresh() == {code: Decimal(price) for code, price in DEFAULT_RATES.items()}
    assert rates.rate("USD") == Decimal(100_000)
    assert rates.rate("CAD") == Decimal(135_000)
    assert rates.rate("EUR") == Decimal(92_000)


def test_simnets_rates_can_be_moved_and_can_fail(quoting_simnet: Control) -> None:
    quoting_simnet.set_rate("USD", 90_000)
    quoting_simnet.set_rate("EUR", None)
    assert rates.refresh()["USD"] == Decimal(90_000)
    assert rates.rate_or_none("EUR") is None
    quoting_simnet.rates_down()
    assert rates.refresh() == {}
    assert rates.rate("USD") == Decimal(90_000)
    quoting_simnet.rates_down(False)
    quoting_simnet.set_rate("USD", "ninety thousand")
    assert "USD" not in rates.refresh()


def test_without_a_running_simnet_there_is_no_rate_and_no_error(
    tmp_path: Path, settings: Any
) -> None:
    settings.SIMNET = True
    settings.SIMNET_DIR = tmp_path
    assert rates.refresh() == {}
    (tmp_path / "rates-port").write_text("1")  # left behind by kill -9
    assert rates.refresh() == {}
    assert rates.rate_or_none("USD") is None
    assert not Rate.objects.exists()
