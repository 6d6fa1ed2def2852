"""Alice, Bob and Charlie with browsers, known rates, and the simulated network."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from accounts import credentials
from accounts.authentication import SESSION_ROW
from accounts.models import Activity, Session, User
from accounts.step_up import CONFIRMED_AT
from coinos import rates
from coinos.caller import Caller, calling
from coinos.models import Rate
from coinos.simnet.control import Control
from tests.cast import available_sat, fund, make_user

RATES = {"USD": "100000", "CAD": "135000", "EUR": "92000"}
VOID = {"input", "meta", "link", "br", "hr", "img", "path", "use"}


class Page(HTMLParser):
    """What a reader of the page finds: text, and each element with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str]]] = []
        self._words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self._words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self._words)).replace("⚡️ ", "⚡️").replace("− ", "−")

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for found, attributes in self.elements if found == tag]

    def value(self, name: str) -> str:
        """The value of the input of that name; the last one, which the main form has."""
        return [found for found in self.all("input") if found.get("name") == name][-1]["value"]

    def hidden(self) -> dict[str, str]:
        """The hidden fields, as a browser sends them back."""
        return {
            found["name"]: found.get("value", "")
            for found in self.all("input")
            if found.get("type") == "hidden" and found["name"] != "csrfmiddlewaretoken"
        }


@dataclass
class Browser:
    """A browser window, signed in or not."""

    client: Client = field(default_factory=lambda: Client(raise_request_exception=True))

    def get(self, path: str, **headers: str) -> Any:
        return self._answer(self.client.get(path, headers=headers))

    def post(self, path: str, /, **fields: Any) -> Any:
        return self._answer(self.client.post(path, fields))

    def _answer(self, response: Any) -> Any:
        is_page = "text/html" in response.headers.get("Content-Type", "")
        response.page = Page(response.content.decode()) if is_page else None
        return response


@dataclass
class Person(Browser):
    """One of the cast, signed in."""

    user: User = field(default_factory=User)

    @property
    def available_sat(self) -> int:
        return available_sat(self.user)

    def line(self, **match: Any) -> Activity:
        return Activity.objects.get(user=self.user, **match)


def sign_in(user: User) -> Person:
    """A browser as it is after the sign-in page, without the cost of hashing."""
    person = Person(user=user)
    person.client.force_login(user)
    session = person.client.session
    with calling(Caller("page", address="127.0.0.1")):
        row = credentials.start_session(user, kind=Session.Kind.WEB)
    session[SESSION_ROW] = str(row.id)
    session[CONFIRMED_AT] = time.time()
    session.save()
    return person


def _person(name: str, sats: int) -> Person:
    user = make_user(name)
    if sats:
        fund(user, sats)
    return sign_in(user)


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def database(db: None) -> None:
    """Rolled back after the test. Stories with threads ask for a database of their own instead."""


@pytest.fixture
def known_rates(database: None, redis: Any) -> Iterator[None]:
    cache.delete(rates.CACHE_KEY)
    Rate.objects.create(minute=timezone.now(), rates=RATES)
    rates.forget()
    yield
    rates.forget()


@pytest.fixture
def alice(known_rates: None) -> Person:
    return _person("alice", 100_000)


@pytest.fixture
def bob(known_rates: None) -> Person:
    return _person("bob", 0)


@pytest.fixture
def charlie(known_rates: None) -> Person:
    return _person("charlie", 50_000)


@pytest.fixture
def stranger(known_rates: None) -> Browser:
    """Somebody without an account."""
    return Browser()


@pytest.fixture
def network(simnet: Control, settings: Any, tmp_path: Path) -> Control:
    """Our nodes are the simulated ones, and the simnet page moves the same world."""
    settings.LIGHTNING_RPC = simnet.lightning_rpc
    settings.BITCOIN_RPC_URL = simnet.bitcoin_rpc_url
    settings.SIMNET_CONTROL = simnet.path
    settings.STOP_FILE = tmp_path / "stop-sends"
    return simnet
