"""What existing clients read is there: every member that the original server answered, with the
same JSON type, unless it is listed below with the reason.

`original_replies.jsonl` holds recorded answers of the original, on regtest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from coinos import rates
from coinos.models import Rate
from coinos.simnet.control import Control
from invoices import services as invoices
from tests.cast import Api, api_of, fund, make_user
from tests.database import Database

RECORDED: dict[str, Any] = {
    row["scenario"]: row
    for row in map(
        json.loads, Path(__file__).with_name("original_replies.jsonl").read_text().splitlines()
    )
}

LEFT_OUT = {
    "nsec": "an encrypted key for Nostr sign-in, which does not exist yet",
    "fresh": "of the original's own pages",
    "hex": "a signed transaction is the server's business",
    "lightning-dir": "a path on the node's machine",
    "allowsNostr": "zaps are not offered yet",
    "nostrPubkey": "zaps are not offered yet",
}
OTHERWISE_AT = {
    "send: internal/iid": "no invoice is made for it",
    "payments: of the receiver of a send/payments/iid": "no invoice is made for it",
    "payments: an invoice of this server/iid": "the payer's line is not the invoice's",
    "payment by id/iid": "of the other side",
    "invoice with a webhook, read by a stranger/webhook": "for the owner only",
    "invoice: after it was paid/webhook": "for the owner only",
    "invoice: bitcoin, seen unconfirmed/webhook": "for the owner only",
    "neighbour: GET /info/binding": "always empty: no directory names",
    "bitcoin/fee/inputs": "always empty: the server chooses them when it sends",
    **{
        f"{scenario}/payments/tip": "null instead of 0 when nothing was tipped"
        for scenario in (
            "payments: one incoming",
            "payments: of the receiver of a send",
            "payments: a deposit seen unconfirmed",
            "payments: a deposit confirmed",
        )
    },
    **{
        f"payment by txid, no token/{member}": "for the parties only"
        for member in ("aid", "uid", "fee", "ourfee")
    },
}


@pytest.fixture
def network(cloned_db: Database, simnet: Control, settings: Any, redis: Any) -> Iterator[Control]:
    """Nodes, rates, and a database with real commits: payments are made in threads."""
    settings.LIGHTNING_RPC = simnet.lightning_rpc
    settings.BITCOIN_RPC_URL = simnet.bitcoin_rpc_url
    Rate.objects.create(
        minute=timezone.now(), rates={"USD": "100000.00", "CAD": "135000.00", "EUR": "92000.00"}
    )
    rates.forget()
    yield simnet
    rates.forget()


def replies(network: Control) -> Iterator[tuple[str, Any]]:
    """(scenario, our answer) for every recorded one: the same requests, one after the other."""
    anyone = Api()
    account = {"username": "alice", "password": "hunter2"}
    yield "register", anyone.post("/register", {"user": account})
    signed_in = Api().post("/login", account)  # whose cookie anyone does not have
    yield "login", signed_in
    alice = Api(signed_in.body["token"])
    yield "me", alice.get("/me")
    settings = {"display": "Alice", "currency": "USD", "language": "fr"}
    yield "user: display, currency, language", alice.post("/user", settings)
    yield "neighbour: GET /users/:username", anyone.get("/users/alice")
    yield "neighbour: GET /apps", alice.get("/apps")
    for name in ("rates", "rate", "health", "info"):
        yield f"neighbour: GET /{name}", anyone.get(f"/{name}")
    yield "neighbour: GET /lnurlp/:username", anyone.get("/lnurlp/alice")

    def invoice(**fields: Any) -> Any:
        return alice.post("/invoice", {"invoice": fields})

    lightning = invoice(amount=1000, type="lightning")
    yield "invoice: lightning 1000", lightning
    yield "invoice: tip 100", invoice(amount=1000, tip=100)
    yield "invoice: memo", invoice(amount=1000, memo="coffee")
    named = {"invoice": {"amount": 500, "memo": "x"}, "user": {"username": "alice"}}
    yield "invoice: for a named user, no token", anyone.post("/invoice", named)
    bitcoin = invoice(amount=3141, type="bitcoin")
    yield "invoice: bitcoin 3141", bitcoin
    hooked = invoice(webhook="https://example.com/paid", secret="s", memo="coffee")
    yield "invoice: webhook and secret, no amount", hooked
    yield "invoice by bolt11", anyone.get(f"/invoice/{lightning.body['hash']}")
    yield "invoice by bitcoin address", anyone.get(f"/invoice/{bitcoin.body['hash']}")
    yield (
        "invoice with a webhook, read by a stranger",
        anyone.get(f"/invoice/{hooked.body['hash']}"),
    )
    tipped = anyone.post(f"/invoice/{invoice(amount=1000).body['id']}", {"invoice": {"tip": 50}})
    yield "neighbour: POST /invoice/:id sets a tip, no token (note the new hash)", tipped
    yield "neighbour: GET /invoices", alice.get("/invoices")

    network.pay(hooked.body["hash"], 20_000_000)
    invoices.sweep_lightning()
    yield "invoice: after it was paid", anyone.get(f"/invoice/{hooked.body['hash']}")
    yield "payments: one incoming", alice.get("/payments")

    bob = api_of(make_user("bob"))
    sent = alice.post("/send", {"username": "bob", "amount": 500})
    yield "send: internal", sent
    yield "payments: of the receiver of a send", bob.get("/payments")
    yield "payment by id", alice.get(f"/payments/{sent.body['id']}")
    asked = bob.post("/invoice", {"invoice": {"amount": 100}}).body["hash"]
    yield "payments: an invoice of this server", alice.post("/payments", {"payreq": asked})
    yield "neighbour: GET /contacts", api_of(make_user("carol")).get("/contacts")

    outside = network.invoice(500_000, "outside")
    yield "neighbour: GET /decode/:bolt11", anyone.get(f"/decode/{outside}")
    yield "neighbour: POST /parse", alice.post("/parse", {"payreq": outside})
    paid = alice.post("/payments", {"payreq": outside, "memo": "note to self"})
    yield "payments: an outside invoice", paid
    yield "payments: after a payment with memo", alice.get("/payments?limit=1")

    network.deposit(bitcoin.body["hash"], 200_000)
    invoices.scan_bitcoin()
    seen = anyone.get(f"/invoice/{bitcoin.body['hash']}")
    yield "invoice: bitcoin, seen unconfirmed", seen
    yield "payments: a deposit seen unconfirmed", alice.get("/payments?limit=1")
    network.mine(1)
    invoices.scan_bitcoin()
    yield "payments: a deposit confirmed", alice.get("/payments?limit=1")
    destination = {"address": network.address(), "amount": 5000}
    yield "bitcoin/fee", alice.post("/bitcoin/fee", destination)
    withdrawn = alice.post("/bitcoin/send", destination)
    yield "bitcoin/send", withdrawn
    yield "payment by txid, no token", anyone.get(f"/payments/{withdrawn.body['hash']}")
    pin = {"pin": "", "newpin": "123456", "current_password": "hunter2"}
    yield "user: set a PIN", alice.post("/user", pin)
    yield "me: with a PIN set", alice.get("/me")


@pytest.mark.slow
def test_every_member_that_the_original_answers_is_there(network: Control) -> None:
    differences: list[str] = []
    answered: set[str] = set()
    for scenario, answer in replies(network):
        assert answer.status_code == 200, (scenario, answer.content)
        answered.add(scenario)
        differences += compare(scenario, RECORDED[scenario]["response"], answer.body)
    assert "\n".join(differences) == ""
    assert answered == set(RECORDED)


def compare(at: str, theirs: Any, ours: Any) -> list[str]:
    """What a client of theirs would miss in ours. An empty list or a null of theirs says nothing
    about what is in it."""
    if at.split("/")[-1] in LEFT_OUT or at in OTHERWISE_AT or theirs is None:
        return []
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return [
            difference
            for member, value in theirs.items()
            for difference in compare(f"{at}/{member}", value, ours.get(member, MISSING))
        ]
    if isinstance(theirs, list) and isinstance(ours, list):
        if not theirs:
            return []
        return compare(at, theirs[0], ours[0]) if ours else [f"{at}: empty"]
    if kind(theirs) != kind(ours):
        return [f"{at}: {kind(theirs)} became {kind(ours)}"]
    return []


MISSING = object()


def kind(value: Any) -> str:
    if value is MISSING:
        return "missing"
    names = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def test_the_comparison_finds_what_is_missing() -> None:
    """The test above can fail."""
    theirs = {"a": 1, "b": "x", "c": [{"d": True}], "nsec": "n"}
    assert compare("s", theirs, {"a": 1.5, "b": "y", "c": [{"d": False}]}) == []
    assert compare("s", theirs, {"a": "1", "c": [{}]}) == [
        "s/a: number became string",
        "s/b: string became missing",
        "s/c/d: boolean became missing",
    ]


def test_amounts_and_times_keep_their_units(network: Control) -> None:
    """Sats, milliseconds, negative when sent; the sums of the list with two decimals."""
    alice = make_user("alice")
    fund(alice, 10_000)
    make_user("bob")
    sent = api_of(alice).post("/send", {"username": "bob", "amount": "5000"}).body
    recorded = RECORDED["send: internal"]["response"]
    assert sent["amount"] == recorded["amount"] == -5000
    assert len(str(sent["created"])) == len(str(recorded["created"])) == 13
    sums = api_of(alice).get("/payments").body["outgoing"]["USD"]
    assert sums == {"tips": 0, "fiatTips": "0.00", "sats": -5000, "fiat": "-5.00"}
