"""T9: hostile numbers, JSON, URLs and whole schemas against every money endpoint, with the nodes
up: nothing answers 5xx, nothing is accepted that is not the number it must be, no money moves,
and no connection is made to where users may not send us (F04, F08-F10, F20, P10, I14)."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from django.core.cache import cache
from django.core.wsgi import get_wsgi_application
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, seed, settings

from accounts.models import Transfer, User
from coinos import http, nodes, rates
from coinos.http import UrlRefused
from coinos.models import Rate
from coinos.money import MAX_SAT
from coinos.simnet.control import Control
from invoices import webhooks
from invoices.models import WebhookDelivery
from tests.api.endpoints import ENDPOINTS, POSTS, with_value
from tests.api.test_bad_input import NOT_JSON_OBJECTS, NOT_SATS, STRANGE
from tests.cast import Api, api_of, available_sat, fund, make_user, token_of
from tests.database import Database
from tests.invoices.receiver import receiver
from tests.proof import table
from tests.proof.oracle import deviation_msat
from tests.proof.scale import SEED, random_for, size
from tests.test_http import LOCAL_HOSTS

MONEY = 10_000
asked: Counter[str] = Counter()


@dataclass
class Site:
    """The API, with its nodes and rates, and a rich Alice."""

    alice: User
    bob: User
    control: Control
    client: Client
    token: str

    def post(self, path: str, body: str | bytes | dict[str, Any], **headers: str) -> Any:
        raw = json.dumps(body) if isinstance(body, dict) else body
        return self._count(
            self.client.post(
                f"/api{path}", raw, content_type="application/json", headers=self._token | headers
            )
        )

    def get(self, path: str) -> Any:
        return self._count(self.client.get(f"/api{path}", headers=self._token))

    @property
    def _token(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def _count(self, response: Any) -> Any:
        asked["requests"] += 1
        assert response.status_code < 500, (response.status_code, response.content)
        return response


@contextmanager
def open_site(alice: User, bob: User, control: Control, settings: Any) -> Iterator[Site]:
    settings.LIGHTNING_RPC = control.lightning_rpc
    settings.BITCOIN_RPC_URL = control.bitcoin_rpc_url
    settings.STOP_FILE = control.directory / "stop-sends"
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.delete(rates.CACHE_KEY)
    Rate.objects.create(minute=timezone.now(), rates={"USD": "100000"})
    rates.forget()
    fund(alice, MONEY)
    yield Site(alice, bob, control, Client(raise_request_exception=False), token_of(alice))
    rates.forget()


@pytest.fixture
def site(simnet: Control, alice: User, bob: User, redis: Any, settings: Any) -> Iterator[Site]:
    with open_site(alice, bob, simnet, settings) as found:
        yield found


@pytest.fixture
def committed_site(
    simnet: Control, cloned_db: Database, redis: Any, settings: Any
) -> Iterator[Site]:
    """The same for a WSGI server, which closes its database connection after each request."""
    with open_site(make_user("alice"), make_user("bob"), simnet, settings) as found:
        yield found


def nothing_moved(site: Site) -> bool:
    return (
        available_sat(site.alice) == MONEY
        and not Transfer.objects.exclude(kind="operator.credit").exists()
        and deviation_msat() == 0
    )


# --- Numbers -------------------------------------------------------------------------------------


def money_bodies(site: Site) -> list[tuple[str, dict[str, Any], str]]:
    """Every member that is an amount: path, a body that is right but for it, its pointer."""
    outside = site.control.invoice(None)
    address = site.control.address()
    mine = Api(site.token).post("/invoice", {"invoice": {"amount": 5}}).body["id"]
    invoice = {"invoice": {"type": "lightning"}}
    return [
        ("/send", {"username": "bob"}, "/amount"),
        ("/payments", {"payreq": outside}, "/amount"),
        ("/payments", {"payreq": outside, "amount": 1}, "/fee"),
        ("/payments", {"payreq": outside, "amount": 1}, "/maxfee"),
        ("/bitcoin/send", {"address": address}, "/amount"),
        ("/bitcoin/fee", {"address": address}, "/amount"),
        ("/bitcoin/send", {"address": address, "amount": 1000}, "/feeRate"),
        ("/send/bob@nowhere.invalid/5", {}, "/fee"),
        ("/invoice", invoice, "/invoice/amount"),
        ("/invoice", invoice, "/invoice/tip"),
        ("/invoice", invoice, "/invoice/expiry"),
        (f"/invoice/{mine}", {"invoice": {}}, "/invoice/tip"),
        ("/app", {"name": "x"}, "/max_amount"),
        ("/user", {}, "/threshold"),
    ]


def test_no_hostile_number_is_an_amount(site: Site) -> None:
    """F04, F08, F09, F11: the whole corpus, on every amount, through the real services."""
    accepted = []
    for path, body, pointer in money_bodies(site):
        for value in NOT_SATS:
            response = site.post(path, with_value(body, pointer, value))
            if response.status_code == 200:
                accepted.append((path, pointer, value))
    assert accepted == []
    assert nothing_moved(site)


def raw_number(rng: random.Random) -> str:
    """Text that stands where JSON has a value: numbers, nearly numbers, and strings of them."""
    digits = str(rng.choice([rng.randint(0, 20), rng.randint(0, 10**6), rng.randint(0, 10**18)]))
    text = rng.choice(
        [
            digits,
            f"-{digits}",
            f"0{digits}",
            f"{digits}.0",
            f"{digits}.{rng.randint(0, 99)}",
            f"{digits}e{rng.randint(-3, 30)}",
            f"{digits}E+{rng.randint(0, 3)}",
            f"+{digits}",
            f" {digits}",
            f"{digits} ",
            f"{digits}_000",
            f"{digits},000",
            f"0x{digits}",
            "".join(chr(0x660 + int(digit)) for digit in digits),
            "".join(chr(0xFF10 + int(digit)) for digit in digits),
            f"{digits}\\n",
            f"{digits}\\u200b",
            digits + "0" * rng.randint(0, 400),
            rng.choice(["NaN", "Infinity", "-Infinity", "null", "true", "[1]", '{"a":1}', ""]),
        ]
    )
    return f'"{text}"' if rng.random() < 0.5 else text


def is_sats(raw: str) -> bool:
    """The grammar of an amount, written a second time (docs/api.md, Basics)."""
    number = re.fullmatch(r"\s*(?:([1-9][0-9]*)|\"([0-9]{1,16})\")\s*", raw, re.ASCII)
    return number is not None and 1 <= int(number[1] or number[2]) <= MAX_SAT


def test_an_amount_is_accepted_exactly_when_it_is_one(site: Site) -> None:
    """F09: random text in the place of the amount of POST /send."""
    rng = random_for("numbers")
    wrong, spent_sat = [], 0
    for _ in range(size(150, 2_000)):
        raw = raw_number(rng)
        response = site.post("/send", f'{{"username": "bob", "amount": {raw}}}'.encode())
        if response.status_code == 200:
            spent_sat -= response.json()["amount"]
        code = response.json().get("code")
        understood = response.status_code == 200 or code in ("insufficient_funds", "limit_exceeded")
        if understood != is_sats(raw):
            wrong.append((raw, response.status_code, code))
    assert wrong == []
    assert (available_sat(site.alice), available_sat(site.bob)) == (MONEY - spent_sat, spent_sat)


def test_amounts_in_paths_and_queries_are_no_different(site: Site) -> None:
    """F08, F09"""
    bob = api_of(site.bob)
    lnurl = bob.get("/pay/bob").body["callback"].partition("/api")[2]
    for value in NOT_SATS:
        text = quote(value if isinstance(value, str) else json.dumps(value), safe="")[:500]
        if not text:
            continue
        assert site.post(f"/send/bob/{text}", {}).status_code in (400, 404)
        assert site.post(f"/send/bob@nowhere.invalid/5?maxfee={text}", {}).status_code == 400
        answer = site.get(f"{lnurl}?amount={text}").json()
        assert (answer.get("status"), "pr" in answer) == ("ERROR", False)
        site.get(f"/pay/bob/{text}")
    assert nothing_moved(site)


@pytest.mark.parametrize(
    "expiry", [0, -1, 31_536_001, 2**31, 2**53, 2**63 - 1, 2**63, 10**30, 1.5, "1e3", True, [1]]
)
def test_no_expiry_reaches_the_node_that_could_stop_it(site: Site, expiry: Any) -> None:
    """F20: the node stays up."""
    assert site.post("/invoice", {"invoice": {"expiry": expiry}}).status_code == 400
    assert nodes.lightning().info().id


@pytest.mark.parametrize("expiry", [1, 31_536_000, "60"])
def test_an_expiry_within_a_year_is_taken(site: Site, expiry: Any) -> None:
    """F20, the other side."""
    made = site.post("/invoice", {"invoice": {"expiry": expiry}})
    assert (made.status_code, made.json()["expiry"]) == (200, int(expiry))


# --- JSON ----------------------------------------------------------------------------------------


def spoilt(rng: random.Random, body: dict[str, Any]) -> bytes:
    """A right body with some bytes cut, doubled, changed or inserted."""
    raw = bytearray(json.dumps(body).encode())
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(raw))
        match rng.randrange(4):
            case 0:
                del raw[at : at + rng.randint(1, 5)]
            case 1:
                raw[at:at] = raw[at : at + rng.randint(1, 20)]
            case 2:
                raw[at] = rng.randrange(256)
            case _:
                raw[at:at] = rng.choice(
                    [b"\x00", b"\\ud800", b"[[[[", b"1e999", b'"', b"\xff", b"{", b"NaN", b"-"]
                )
        if not raw:
            raw = bytearray(b"{")
    return bytes(raw)


def test_no_body_breaks_an_endpoint(site: Site) -> None:
    """F10, I14: what is no JSON object, what nearly is one, and odd values in every member."""
    rng = random_for("bodies")
    posts = [endpoint for endpoint in POSTS if endpoint.path not in ("/logout", "/register")]
    for _ in range(size(150, 2_000)):
        endpoint = rng.choice(posts)
        body = endpoint.body or {}
        match rng.randrange(3):
            case 0:
                site.post(endpoint.path, spoilt(rng, body))
            case 1:
                site.post(endpoint.path, rng.choice(list(NOT_JSON_OBJECTS.values())))
            case _:
                if endpoint.fields:
                    pointer = rng.choice(endpoint.fields)
                    site.post(endpoint.path, with_value(body, pointer, rng.choice(STRANGE)))
    assert deviation_msat() == 0


# --- Where users may not send us -----------------------------------------------------------------


@pytest.fixture
def private_is_private(settings: Any) -> None:
    """As on mainnet: simnet allows loopback, so that a newcomer's shop can listen there."""
    settings.ALLOW_PRIVATE_URLS = []
    settings.OWN_ADDRESSES = []


def test_no_webhook_points_inside(site: Site, private_is_private: None) -> None:
    """P10: the corpus through POST /invoice and its update; a listener hears nothing."""
    mine = site.post("/invoice", {"invoice": {"amount": 5}}).json()["id"]
    with receiver() as listener:
        port = listener.url.rpartition(":")[2]
        for host in LOCAL_HOSTS:
            for url in (f"http://{host}:{port}/hook", f"https://{host}/hook"):
                for path in ("/invoice", f"/invoice/{mine}"):
                    body = {"invoice": {"amount": 5, "webhook": url}}
                    response = site.post(path, body)
                    assert response.status_code == 400, (url, path, response.content)
        webhooks.deliver_due()
        assert listener.heard == []
    assert not WebhookDelivery.objects.exists()


def test_no_lightning_address_points_inside(site: Site, private_is_private: None) -> None:
    """P10"""
    with receiver() as listener:
        port = listener.url.rpartition(":")[2]
        for host in LOCAL_HOSTS:
            for name in (f"bob@{host}", f"bob@{host}:{port}"):
                path = f"/send/{quote(name, safe='@:[]')}/5"
                assert site.post(path, {}).status_code in (400, 404), name
            site.post("/parse", {"payreq": f"bob@{host}"})
        assert listener.heard == []
    assert nothing_moved(site)


def test_a_name_that_flips_to_loopback_is_not_followed(
    site: Site, private_is_private: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P10: public when the webhook is set, local when it is called; and an address of each kind."""
    answers: dict[str, list[list[str]]] = {
        "flips.example": [["93.184.215.14"], ["127.0.0.1"]],
        "both.example": [["93.184.215.14", "127.0.0.1"]] * 2,
    }
    monkeypatch.setattr(http, "lookup", lambda host: answers[host].pop(0))
    with receiver() as listener:
        port = listener.url.rpartition(":")[2]
        for host, expected in (("flips.example", 200), ("both.example", 400)):
            body = {"invoice": {"amount": 5, "webhook": f"http://{host}:{port}/"}}
            assert site.post("/invoice", body).status_code == expected
        with pytest.raises(UrlRefused):
            http.fetch(f"http://flips.example:{port}/", kind="webhook", method="POST", body=b"{}")
        assert listener.heard == []


def test_the_listener_would_have_heard(site: Site) -> None:
    """Could it fail? With the guard open to loopback the very same webhook is taken."""
    with receiver() as listener:
        body = {"invoice": {"amount": 5, "webhook": listener.url}}
        assert site.post("/invoice", body).status_code == 200
        http.fetch(listener.url, kind="webhook", method="POST", body=b"{}")
        assert len(listener.heard) == 1


# --- The schema ----------------------------------------------------------------------------------


def server_errors(operation: Any, headers: dict[str, str]) -> list[str]:
    """What answers 5xx among random requests to one operation of the schema."""
    found: list[str] = []

    @seed(SEED)
    @settings(
        max_examples=size(4, 40),
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def call(case: Any) -> None:
        asked["requests"] += 1
        response = case.call(headers=headers | dict(case.headers or {}))
        if response.status_code >= 500:
            found.append(f"{response.status_code}: {case.as_curl_command()}")

    call()
    return found


def test_schemathesis_finds_no_5xx(committed_site: Site) -> None:
    """I14: requests made from our own OpenAPI schema, right ones and wrong ones."""
    schema = schemathesis.openapi.from_wsgi("/api/schema", get_wsgi_application())
    found: list[str] = []
    operations = [result.ok() for result in schema.get_all_operations()]
    tested = [operation for operation in operations if operation.path != "/api/events"]
    for operation in tested:
        found += server_errors(operation, {"Authorization": f"Bearer {committed_site.token}"})
    assert found == []
    assert len(tested) >= len({endpoint.path for endpoint in ENDPOINTS}) - 6
    table.record(
        test="T9",
        tried="hostile numbers, JSON, URLs and random requests from the schema",
        found=len(found),
        seed=SEED,
        requests=asked["requests"],
        operations=len(tested),
        local_hosts=len(LOCAL_HOSTS),
        server_errors=len(found),
    )
