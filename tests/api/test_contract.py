"""Every member that a request may have does what docs/api.md says, or is refused by its name.

The table has a row for every member of every body and query: of those in the schema, and of those
that clients of the original send. A row is a request and what has to come of it. A member of the
schema without a row fails `test_every_member_has_a_row`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from coinos import nostr, rates
from coinos.models import Rate
from coinos.simnet.control import Control
from tests.accounts.test_second_factor import turn_on
from tests.cast import (
    PASSWORD,
    Api,
    api_of,
    fund,
    give_password,
    give_pin,
    make_user,
)
from tests.database import ROOT, Database

PIN = "123456"
NOBODY = "00000000-0000-4000-8000-000000000000"
HOOK = "https://93.184.215.14/paid"
PAIR = nostr.generate_keypair()


class World:
    """Alice, Pia and Tess have money and a password, Pia a PIN and Tess a second factor. Bob is
    there to be paid."""

    def __init__(self, network: Control) -> None:
        self.network = network
        self.users: dict[str, User] = {}
        for name, sats in {"alice": 300_000, "pia": 300_000, "tess": 1, "bob": 100}.items():
            self.users[name] = give_password(make_user(name))
            fund(self.users[name], sats)
        give_pin(self.users["pia"], PIN)
        _, self.codes = turn_on(self.users["tess"])
        self.apis = {name: api_of(user) for name, user in self.users.items()} | {"nobody": Api()}
        self.alice, self.bob, self.pia = (self.apis[name] for name in ("alice", "bob", "pia"))

    def id(self, name: str) -> str:
        return str(self.users[name].id)

    def bobs(self, **fields: Any) -> dict[str, Any]:
        body: dict[str, Any] = self.bob.post("/invoice", {"invoice": fields}).body
        return body

    def alices(self, **fields: Any) -> dict[str, Any]:
        body: dict[str, Any] = self.alice.post("/invoice", {"invoice": fields}).body
        return body

    def outside(self, sats: int | None = 100) -> str:
        return self.network.invoice(sats * 1000 if sats else None)

    def address(self) -> str:
        return self.network.address()


Outcome = Callable[[World, Any], bool]


@dataclass(frozen=True)
class Row:
    """A member, a request that has it, and what has to come of it."""

    member: str
    request: Any
    """Body or query, or a function of the world that makes it."""
    outcome: Outcome
    by: str = "alice"
    path: Callable[[World], str] | None = None
    before: Callable[[World], object] = lambda w: None


@dataclass(frozen=True)
class Done:
    """A success that looks like this."""

    look: Outcome

    def __call__(self, w: World, a: Any) -> bool:
        return a.status_code == 200 and self.look(w, a)


def done(look: Outcome = lambda w, a: True) -> Outcome:
    return Done(look)


def shows(name: str, value: Any) -> Outcome:
    return done(lambda w, a: a.body[name] == value)


def refused(pointer: str, status: int = 400, says: str = "") -> Outcome:
    """By its name, with a sentence."""
    return lambda w, a: (
        a.status_code == status
        and [one["pointer"] for one in a.body["errors"]] == [f"#/{pointer}"]
        and says in a.body["message"]
    )


def code(status: int, code: str) -> Outcome:
    return lambda w, a: (a.status_code, a.body["code"]) == (status, code)


MEANS_NOTHING = done()
"""docs/api.md says of it that it asks for nothing here, and it does no harm."""


def setting(member: str, value: Any, **more: Any) -> Row:
    """It is in the account from then on, in the answer and in GET /me."""
    return Row(
        member,
        {member: value} | more,
        done(lambda w, a: a.body["user"][member] == value == w.alice.get("/me").body[member]),
    )


def kept(member: str, value: Any, **more: Any) -> Row:
    """It is in the invoice from then on, whoever looks."""
    return Row(
        f"invoice/{member}",
        {"invoice": {member: value} | more},
        done(
            lambda w, a: (
                a.body[member] == value == Api().get(f"/invoice/{a.body['id']}").body[member]
            )
        ),
    )


def of_own_account(request: Callable[[World], dict[str, Any]], member: str = "aid") -> list[Row]:
    """The caller's own account; another's and nobody's are the same 404 (input-I17n)."""
    return [
        Row(member, lambda w: request(w) | {"aid": w.id("alice")}, done()),
        Row(member, lambda w: request(w) | {"aid": w.id("bob")}, refused(member, 404)),
        Row(member, lambda w: request(w) | {"aid": NOBODY}, refused(member, 404)),
        Row(member, lambda w: request(w) | {"aid": "alice"}, refused(member, 404)),
    ]


def with_pin(request: Callable[[World], dict[str, Any]]) -> list[Row]:
    return [
        Row("pin", request, code(403, "invalid_pin"), by="pia"),
        Row("pin", lambda w: request(w) | {"pin": "000000"}, code(403, "invalid_pin"), by="pia"),
        Row("pin", lambda w: request(w) | {"pin": PIN}, done(), by="pia"),
    ]


NO_ROUTE_SO_CHEAP = code(400, "payment_failed")


def withdrawal(w: World, **more: Any) -> dict[str, Any]:
    return {"address": w.address(), "amount": 5000} | more


def to_bob(w: World, **more: Any) -> dict[str, Any]:
    return {"username": "bob", "amount": 5} | more


def lists(*sats: int) -> Outcome:
    return done(lambda w, a: [one["amount"] for one in a.body["payments"]] == list(sats))


def lists_invoices(*sats: int) -> Outcome:
    return done(lambda w, a: [one["amount"] for one in a.body] == list(sats))


def signs_in(name: str, password: str = PASSWORD) -> bool:
    status: int = Api().post("/login", {"username": name, "password": password}).status_code
    return status == 200


NEW = "a new and longer phrase"


def registration(username: str, **more: Any) -> dict[str, Any]:
    return {"user": {"username": username, "password": NEW} | more}


ACCOUNTS = {
    "POST /register": [
        Row("user/username", registration("Dora D"), shows("username", "dorad")),
        Row("user/username", registration("flat")["user"], shows("username", "flat")),
        Row("user/username", {"user": {"password": NEW}}, refused("user/username")),
        Row("user/username", registration("a-b"), refused("user/username")),
        Row("user/password", registration("emil"), done(lambda w, a: signs_in("emil", NEW))),
        Row("user/password", {"user": {"username": "emilia"}}, refused("user/password")),
        Row(
            "user/pubkey",
            registration("frida", pubkey=PAIR.pubkey),
            done(lambda w, a: a.body["pubkey"] == PAIR.pubkey and "sk" not in a.body),
        ),
        Row("user/pubkey", registration("fritz", pubkey="x"), refused("user/pubkey")),
        Row(
            "user/picture",
            registration("gil", picture="https://x.example/p.png"),
            shows("picture", "https://x.example/p.png"),
        ),
        Row("user/fresh", registration("hans", fresh=True), MEANS_NOTHING),
    ],
    "POST /login": [
        Row(
            "username",
            {"username": " ALICE@pay.example", "password": PASSWORD},
            done(lambda w, a: a.body["user"]["id"] == w.id("alice")),
        ),
        Row("password", {"username": "alice", "password": "x"}, code(401, "invalid_credentials")),
        Row("token", {"username": "tess", "password": PASSWORD}, code(401, "otp_required")),
        Row(
            "token",
            lambda w: {"username": "tess", "password": PASSWORD, "token": w.codes[0]},
            done(),
        ),
        Row(
            "recaptcha",
            {"username": "alice", "password": PASSWORD, "recaptcha": "x"},
            MEANS_NOTHING,
        ),
    ],
    "POST /user": [
        setting("display", "Alice B."),
        setting("about", "bakes bread"),
        setting("picture", "https://x.example/p.png"),
        setting("banner", "https://x.example/b.png"),
        setting("email", "alice@mail.example", current_password=PASSWORD),
        setting("currency", "CAD"),
        Row("currency", {"currency": "cad"}, refused("currency")),
        setting("currencies", ["CAD", "EUR"]),
        Row("currencies", {"currencies": ["CAD", "XXX"]}, refused("currencies")),
        setting("fiat", True),
        setting("language", "de"),
        setting("theme", "dark"),
        Row("theme", {"theme": "Dark"}, refused("theme", says="light, dark, system")),
        setting("prompt", True),
        setting("tip", 12),
        setting("memoPrompt", True),
        setting("hidepay", True),
        setting("notify", True),
        setting("push", False),
        Row("push", {"push": True}, refused("push", says="pushes nothing")),
        Row("pubkey", {"pubkey": PAIR.pubkey}, refused("pubkey", says="cannot be changed")),
        Row("pubkey", lambda w: {"pubkey": w.users["alice"].pubkey}, done()),
        Row("event", {"event": {"kind": 27235}}, refused("event", says="cannot be changed")),
        Row("autowithdraw", {"autowithdraw": True}, refused("current_password", 403)),
        Row(
            "autowithdraw",
            {
                "autowithdraw": True,
                "threshold": 900_000,
                "reserve": 5,
                "destination": "bob",
                "current_password": PASSWORD,
            },
            done(
                lambda w, a: (
                    (
                        a.body["user"]["autowithdraw"],
                        a.body["user"]["threshold"],
                        a.body["user"]["reserve"],
                        a.body["user"]["destination"],
                    )
                    == (True, 900_000, 5, "bob")
                )
            ),
        ),
        setting("threshold", 800_000, current_password=PASSWORD),
        setting("reserve", 6, current_password=PASSWORD),
        Row("reserve", {"reserve": 7}, refused("current_password", 403)),
        setting("destination", "pia", current_password=PASSWORD),
        setting("locktime", 60),
        Row("locktime", {"locktime": 60}, refused("pin", 403), by="pia"),
        Row("twofa", {"twofa": True}, refused("twofa", says="settings page")),
        Row("twofa", {"twofa": False}, refused("token", 403), by="tess"),
        Row(
            "token",
            lambda w: {"twofa": False, "token": w.codes[1]},
            done(lambda w, a: a.body["user"]["twofa"] is False),
            by="tess",
        ),
        Row("confirm", {"confirm": NEW}, refused("confirm")),
        Row("confirm", {"password": NEW, "confirm": "x"}, refused("confirm")),
        Row("newpin", {"newpin": "654321"}, refused("current_password", 403)),
        Row(
            "newpin",
            {"newpin": "654321", "current_password": PASSWORD},
            done(lambda w, a: a.body["user"]["haspin"]),
        ),
        Row("pin", {"newpin": "delete", "pin": "111111"}, refused("pin", 403)),
        Row(
            "pin",
            {"newpin": "delete", "pin": "654321"},
            done(lambda w, a: not a.body["user"]["haspin"]),
        ),
        Row("current_password", {"password": NEW}, refused("current_password", 403)),
        Row(
            "password",
            {"password": NEW, "confirm": NEW, "current_password": PASSWORD},
            done(lambda w, a: signs_in("alice", NEW)),
        ),
        setting("username", "alicia"),
    ],
    "POST /app": [
        Row("name", {"name": "shop"}, done(lambda w, a: app(w, "name") == "shop")),
        Row("name", {"pubkey": PAIR.pubkey}, refused("name")),
        Row(
            "pubkey",
            {"name": "till", "pubkey": PAIR.pubkey},
            done(lambda w, a: app(w, "pubkey") == PAIR.pubkey),
        ),
        Row(
            "secret",
            {"name": "till", "secret": PAIR.secret},
            done(lambda w, a: app(w, "secret") == PAIR.secret),
        ),
        Row("secret", {"name": "till", "secret": "x"}, refused("secret")),
        Row(
            "pubkey",
            {"name": "till", "secret": PAIR.secret, "pubkey": "ab" * 32},
            refused("pubkey", says="that of the secret"),
        ),
        *(
            Row(
                name,
                {"name": "till", "pubkey": PAIR.pubkey, name: value},
                done(lambda w, a, name=name, value=value: app(w, name) == value),
            )
            for name, value in {
                "max_amount": 7,
                "max_fee": 2,
                "budget_renewal": "daily",
                "notify": True,
            }.items()
        ),
        Row(
            "budget_renewal",
            {"name": "till", "budget_renewal": "DAILY"},
            refused("budget_renewal", says="daily"),
        ),
        *with_pin(lambda w: {"name": "shop"}),
    ],
    "POST /apps/delete": [
        Row("pubkey", {}, refused("pubkey")),
        Row("pubkey", {"pubkey": PAIR.pubkey}, code(404, "not_found")),
        Row(
            "pubkey",
            {"pubkey": PAIR.pubkey},
            done(lambda w, a: w.alice.get("/apps").body == []),
            before=lambda w: w.alice.post("/app", {"name": "shop", "pubkey": PAIR.pubkey}),
        ),
    ],
}


def app(w: World, name: str) -> Any:
    """A member of Alice's newest connection."""
    return w.alice.get("/apps").body[-1][name]


def to_alice(**fields: Any) -> dict[str, Any]:
    return {"invoice": {"amount": 700}, "user": {"username": "alice"} | fields}


INVOICES = {
    "POST /invoice": [
        kept("type", "bitcoin"),
        Row("invoice/type", {"invoice": {"type": "liquid"}}, refused("invoice/type")),
        kept("amount", 1000),
        Row("invoice/amount", {"invoice": {"amount": "12.7"}}, refused("invoice/amount")),
        Row("invoice/fiat", {"invoice": {"fiat": 5}}, shows("amount", 5000)),
        Row("invoice/fiat", {"invoice": {"fiat": True, "amount": 5}}, shows("amount", 5000)),
        Row("invoice/fiat", {"invoice": {"fiat": 5, "amount": 9}}, shows("amount", 5000)),
        Row("invoice/fiat", {"invoice": {"fiat": False, "amount": 5}}, shows("amount", 5)),
        kept("currency", "CAD"),
        *(
            Row("invoice/currency", {"invoice": {"currency": text}}, refused("invoice/currency"))
            for text in ("XXX", "usd", "USDT", "BTC")
        ),
        kept("tip", 7, amount=1000),
        kept("memo", "coffee"),
        kept("expiry", 60),
        Row(
            "invoice/webhook",
            {"invoice": {"webhook": HOOK}},
            done(lambda w, a: w.alice.get(f"/invoice/{a.body['id']}").body["webhook"] == HOOK),
        ),
        Row(
            "invoice/webhook",
            {"invoice": {"webhook": HOOK}, "user": {"username": "bob"}},
            refused("invoice/webhook", 403),
        ),
        Row(
            "invoice/webhook",
            {"invoice": {"webhook": "ftp://shop.example/paid"}},
            refused("invoice/webhook", says="begin with https:// or http://"),
        ),
        Row("invoice/webhook", {"invoice": {"webhook": "http://93.184.215.14/"}}, done()),
        Row(
            "invoice/secret",
            {"invoice": {"webhook": HOOK, "secret": "s"}},
            done(lambda w, a: w.alice.get(f"/invoice/{a.body['id']}").body["secret"] == "s"),
        ),
        Row(
            "invoice/secret",
            {"invoice": {"secret": "s"}},
            refused("invoice/secret", says="name one"),
        ),
        kept("items", [{"name": "coffee"}]),
        kept("prompt", True),
        kept("memoPrompt", True),
        kept("request_id", "r-7"),
        kept("address_type", "legacy", type="bitcoin"),
        Row(
            "invoice/address_type",
            {"invoice": {"address_type": "legacy"}},
            refused("invoice/address_type", says="type bitcoin"),
        ),
        Row("invoice/aid", lambda w: {"invoice": {"aid": w.id("alice")}}, done()),
        Row(
            "invoice/aid", lambda w: {"invoice": {"aid": w.id("bob")}}, refused("invoice/aid", 404)
        ),
        Row("invoice/aid", {"invoice": {"aid": NOBODY}}, refused("invoice/aid", 404)),
        Row("invoice/bolt11", {"invoice": {"bolt11": "lnbc1"}}, refused("invoice/bolt11")),
        Row("invoice/bolt12", {"invoice": {"bolt12": "lno1"}}, refused("invoice/bolt12")),
        Row(
            "invoice/usePreimage",
            {"invoice": {"usePreimage": True}},
            refused("invoice/usePreimage"),
        ),
        Row("invoice/usePreimage", {"invoice": {"usePreimage": False}}, done()),
        Row(
            "invoice/id",
            {"invoice": {"id": NOBODY}},
            done(lambda w, a: a.body["id"] != NOBODY),
        ),
        Row(
            "invoice/rate",
            {"invoice": {"rate": 1, "fiat": 5}},
            done(lambda w, a: (a.body["rate"], a.body["amount"]) == (100_000, 5000)),
        ),
        Row(
            "user/username",
            to_alice(),
            done(lambda w, a: (a.body["uid"], a.body["own"]) == (w.id("alice"), False)),
            by="nobody",
        ),
        Row("user/username", to_alice(username="zoe"), code(404, "not_found")),
        Row(
            "user/username",
            lambda w: {"invoice": {}, "user": {"id": w.id("bob")}},
            refused("user/username"),
        ),
    ],
    "POST /invoice/{key}": [
        Row("invoice/tip", {"invoice": {"tip": 5}}, shows("tip", 5), by="nobody"),
        Row("invoice/tip", {"invoice": {"tip": 0}}, shows("tip", 0)),
        Row("invoice/tip", {"invoice": {"tip": -1}}, refused("invoice/tip")),
        Row("invoice/webhook", {"invoice": {"webhook": HOOK}}, shows("webhook", HOOK)),
        Row(
            "invoice/webhook",
            {"invoice": {"webhook": HOOK}},
            refused("invoice/webhook", 403),
            by="bob",
        ),
        Row("invoice/secret", {"invoice": {"webhook": HOOK, "secret": "s"}}, shows("secret", "s")),
        Row(
            "invoice/secret",
            {"invoice": {"secret": "s"}},
            refused("invoice/secret", says="name one"),
        ),
        Row(
            "invoice/amount",
            {"invoice": {"amount": 1, "received": 1, "uid": NOBODY}},
            done(lambda w, a: (a.body["amount"], a.body["received"]) == (1000, 0)),
        ),
    ],
    "GET /invoices": [
        Row("limit", "limit=1", lists_invoices(2)),
        Row("limit", "limit=0", lists_invoices(2, 1)),
        Row("limit", "limit=-1", refused("limit")),
        Row("limit", "limit=1&limit=2", refused("limit", says="once")),
        Row("offset", "offset=1", lists_invoices(1)),
        Row("own", "own=true", lists_invoices(1)),
        Row("own", "own=false", lists_invoices(2)),
        Row("own", "own=TRUE", refused("own", says="true or false")),
        Row("aid", lambda w: f"aid={w.id('alice')}", lists_invoices(2, 1)),
        Row("aid", lambda w: f"aid={w.id('bob')}", refused("aid", 404)),
        Row("aid", "aid=x", refused("aid", 404)),
    ],
}


def bobs_invoice(w: World) -> dict[str, Any]:
    return {"payreq": w.bobs(amount=20)["hash"]}


PAYMENTS = {
    "GET /payments": [
        Row("start", "", lists(-8, 7)),
        Row("start", "start=1", lists(-8, 7)),
        Row("start", "start=4102444800", lists()),
        Row("start", "start=yesterday", refused("start")),
        Row("end", "end=1", lists()),
        Row("end", "end=4102444800000", lists(-8, 7)),
        Row(
            "end",
            lambda w: "start={0}&end={0}".format(newest(w)["created"]),
            done(lambda w, a: newest(w)["id"] in [one["id"] for one in a.body["payments"]]),
        ),
        Row("limit", "limit=1", lists(-8)),
        Row("limit", "limit=0", lists(-8, 7)),
        Row("limit", "limit=1.5", refused("limit")),
        Row("offset", "offset=1", lists(7)),
        Row("offset", "offset=-1", refused("offset")),
        Row("received", "received=true", lists(7)),
        Row("received", "received=1", lists(7)),
        Row("received", "received=false", lists(-8, 7)),
        Row("received", "received=xyz", refused("received", says="true or false")),
        Row("status", "status=all", lists(-1000, -8, 7)),
        Row("status", "status=failed", lists(-1000)),
        Row("status", "status=settled", lists(-8, 7)),
        Row("status", "status=pending", lists()),
        Row("status", "status=SETTLED", refused("status", says="all, pending, settled, failed")),
        Row("status", "status=settled&status=failed", refused("status", says="once")),
        Row("aid", lambda w: f"aid={w.id('alice')}", lists(-8, 7)),
        Row("aid", lambda w: f"aid={w.id('bob')}", refused("aid", 404)),
        Row("aid", f"aid={NOBODY}", refused("aid", 404)),
        Row("aid", "aid=x", refused("aid", 404)),
    ],
    "POST /payments": [
        Row("payreq", lambda w: {"payreq": w.outside()}, shows("amount", -100)),
        Row("payreq", {}, refused("payreq")),
        Row("hash", lambda w: {"hash": w.bobs(amount=30)["id"]}, shows("amount", -30)),
        Row(
            "hash",
            lambda w: {"payreq": w.bobs(amount=40)["hash"], "hash": w.bobs(amount=41)["hash"]},
            shows("amount", -40),  # payreq comes first, as docs/api.md says
        ),
        Row("amount", lambda w: {"payreq": w.outside(None), "amount": 70}, shows("amount", -70)),
        Row("amount", lambda w: {"payreq": w.outside(None)}, refused("amount", says="no amount")),
        Row("amount", lambda w: {"payreq": w.outside(100), "amount": 99}, refused("amount")),
        Row("fee", lambda w: {"payreq": w.outside(50_000), "fee": 0}, NO_ROUTE_SO_CHEAP),
        Row("fee", lambda w: {"payreq": w.outside(50_000), "fee": 999}, done()),
        Row("maxfee", lambda w: {"payreq": w.outside(50_000), "maxfee": 0}, NO_ROUTE_SO_CHEAP),
        Row("memo", lambda w: {"payreq": w.outside(), "memo": "lunch"}, shows("memo", "lunch")),
        Row("fund", {"fund": "kitty", "amount": 5}, refused("fund", says="its page")),
        Row(
            "fund",
            lambda w: {"payreq": w.outside(), "fund": "kitty"},
            refused("fund", says="its page"),
        ),
        *of_own_account(bobs_invoice),
        *with_pin(bobs_invoice),
    ],
    "POST /send": [
        Row("username", lambda w: to_bob(w, username="BOB"), done()),
        Row("username", lambda w: to_bob(w, username="zoe"), code(404, "not_found")),
        Row("amount", lambda w: to_bob(w, amount="6"), shows("amount", -6)),
        Row("amount", lambda w: to_bob(w, amount=0), refused("amount")),
        Row("memo", lambda w: to_bob(w, memo="rent"), shows("memo", "rent")),
        *of_own_account(to_bob),
        *with_pin(to_bob),
    ],
    "POST /send/{lnaddress}/{amount}": [
        Row("fee", {"fee": "x"}, refused("fee")),
        Row("fee", {"fee": 1}, shows("amount", -5)),
        Row("maxfee", {"maxfee": "x"}, refused("maxfee")),
        Row(
            "maxfee",
            {},
            refused("maxfee"),
            path=lambda w: "/send/bob/5?maxfee=x",
        ),
        Row("memo", {"memo": "rent"}, shows("memo", "rent")),
        Row("payerData", {"payerData": ["age"]}, refused("payerData")),
        Row("payerData", {"payerData": ["name"]}, done()),  # bob does not ask; test_payer_data.py
        *of_own_account(lambda w: {}),
        *with_pin(lambda w: {}),
    ],
    "POST /bitcoin/send": [
        Row("address", lambda w: withdrawal(w, address="x"), refused("address")),
        Row("amount", lambda w: withdrawal(w, amount=6000), shows("amount", -6000)),
        Row("feeRate", lambda w: withdrawal(w, feeRate=0), refused("feeRate")),
        Row(
            "feeRate",
            lambda w: withdrawal(w, feeRate=9),
            done(lambda w, a: a.body["fee"] >= 9 * 100),
        ),
        Row(
            "subtract",
            lambda w: withdrawal(w, subtract=True),
            done(lambda w, a: a.body["amount"] - a.body["fee"] == -5000),
        ),
        Row("memo", lambda w: withdrawal(w, memo="rent"), shows("memo", "rent")),
        Row("hex", lambda w: withdrawal(w, hex="0200"), refused("hex", says="signs it")),
        Row("signed", lambda w: withdrawal(w, signed=True), refused("signed", says="signs it")),
        Row("inputs", lambda w: withdrawal(w, inputs=[{}]), refused("inputs", says="coins")),
        Row("hex", lambda w: withdrawal(w, hex="", inputs=[], signed=False), done()),
        Row("rate", lambda w: withdrawal(w, rate=1), done(lambda w, a: a.body["rate"] == 100_000)),
        *of_own_account(withdrawal),
        *with_pin(withdrawal),
    ],
    "POST /bitcoin/fee": [
        Row("address", lambda w: withdrawal(w, address="x"), refused("address")),
        Row("amount", lambda w: withdrawal(w, amount=10**9), code(400, "insufficient_funds")),
        Row("feeRate", lambda w: withdrawal(w, feeRate=7), shows("feeRate", 7)),
        Row("subtract", lambda w: withdrawal(w, subtract=True), shows("subtract", True)),
        *of_own_account(withdrawal),
    ],
    "POST /payments/{key}/bump": [
        Row("feeRate", {"feeRate": 20, "pin": PIN}, done(), by="pia"),
        Row("feeRate", {"pin": PIN}, refused("feeRate"), by="pia"),
        *with_pin(lambda w: {"feeRate": 20}),
    ],
    "POST /parse": [
        Row("payreq", lambda w: {"payreq": w.outside(5)}, shows("type", "bolt11 invoice")),
        Row("payreq", lambda w: {"payreq": w.outside(5)}, shows("amount", 5)),
        Row("payreq", {"payreq": "x"}, refused("payreq")),
    ],
}

LNURL = {
    "GET /lnurl/{token}": [
        Row("amount", "amount=1000", done(lambda w, a: a.body["pr"].startswith("lnbcrt10n"))),
        Row("amount", "amount=1e3", shows("status", "ERROR")),
        Row("comment", "amount=1000&comment=hi", done(lambda w, a: "pr" in a.body)),
        Row("comment", lambda w: f"amount=1000&comment={'x' * 513}", shows("status", "ERROR")),
    ],
}

TABLE: dict[str, list[Row]] = ACCOUNTS | INVOICES | PAYMENTS | LNURL

MEAN_NOTHING = {
    "POST /register": {"user/fresh"},
    "POST /login": {"recaptcha"},
    "POST /invoice": {"invoice/id", "invoice/rate"},
    "POST /invoice/{key}": {"invoice/amount"},
    "POST /bitcoin/send": {"rate"},
}
"""What clients of the original send, and is in no schema of ours: as docs/api.md lists them."""


def newest(w: World) -> dict[str, Any]:
    body: dict[str, Any] = w.alice.get("/payments?limit=1").body["payments"][0]
    return body


# --- How a row is run -----------------------------------------------------------------------------


def history(w: World) -> None:
    w.bob.post("/send", {"username": "alice", "amount": 7})
    w.alice.post("/send", {"username": "bob", "amount": 8})
    w.alice.post("/payments", {"payreq": w.network.invoice(1_000_000, node="fail")})


def two_invoices(w: World) -> None:
    w.alices(amount=1)
    w.bob.post("/invoice", {"invoice": {"amount": 2}, "user": {"username": "alice"}})


BEFORE: dict[str, Callable[[World], None]] = {
    "GET /payments": history,
    "GET /invoices": two_invoices,
}


def lnurl_path(w: World) -> str:
    callback: str = Api().get("/lnurlp/alice").body["callback"]
    return callback.partition("/api")[2]


def waiting_path(w: World) -> str:
    sent = w.pia.post("/bitcoin/send", withdrawal(w, pin=PIN)).body
    return f"/payments/{sent['id']}/bump"


PATHS: dict[str, Callable[[World], str]] = {
    "/invoice/{key}": lambda w: f"/invoice/{w.alices(amount=1000)['id']}",
    "/send/{lnaddress}/{amount}": lambda w: "/send/bob/5",
    "/payments/{key}/bump": waiting_path,
    "/lnurl/{token}": lnurl_path,
}


def run(w: World, endpoint: str, row: Row) -> Any:
    method, path = endpoint.split(" ")
    row.before(w)
    path = (row.path or PATHS.get(path, lambda w: path))(w)
    request = row.request(w) if callable(row.request) else row.request
    api = w.apis[row.by]
    return api.post(path, request) if method == "POST" else api.get(f"{path}?{request}")


@pytest.fixture
def world(cloned_db: Database, simnet: Control, settings: Any, redis: Any) -> Iterator[World]:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.LIGHTNING_RPC = simnet.lightning_rpc
    settings.BITCOIN_RPC_URL = simnet.bitcoin_rpc_url
    prices = {"USD": "100000.00", "CAD": "137000.00", "EUR": "92000.00"}
    Rate.objects.create(minute=timezone.now(), rates=prices)
    rates.forget()
    simnet.mine(1)
    yield World(simnet)
    rates.forget()


@pytest.mark.parametrize("endpoint", TABLE)
def test_each_member_does_what_is_documented_or_is_refused(world: World, endpoint: str) -> None:
    """input-I17n, input-I17o"""
    BEFORE.get(endpoint, lambda w: None)(world)
    wrong = []
    for row in TABLE[endpoint]:
        answer = run(world, endpoint, row)
        if not row.outcome(world, answer):
            wrong.append(f"{row.member}: {row.request} -> {answer.status_code} {answer.content!r}")
    assert wrong == []


@pytest.mark.parametrize("endpoint", TABLE)
def test_members_that_nobody_knows_and_nulls_do_no_harm(world: World, endpoint: str) -> None:
    """What is done without them is done with them."""
    BEFORE.get(endpoint, lambda w: None)(world)
    row = next(one for one in TABLE[endpoint] if isinstance(one.outcome, Done))
    request = row.request(world) if callable(row.request) else row.request
    members = [one.member for one in TABLE[endpoint]]
    more = f"{request}&colour=red" if isinstance(request, str) else with_nulls(request, members)
    answer = run(world, endpoint, replace(row, request=more))
    assert row.outcome(world, answer), answer.content


def with_nulls(body: dict[str, Any], members: list[str]) -> dict[str, Any]:
    """The body with null for every other member, and one that nobody knows."""
    known = {member for member in members if "/" not in member}
    more: dict[str, Any] = dict.fromkeys(known) | {"colour": "red"} | body
    for name in {member.partition("/")[0] for member in members} - known:
        if isinstance(body.get(name), dict):
            inner = [one.partition("/")[2] for one in members if one.startswith(f"{name}/")]
            more[name] = with_nulls(body[name], inner)
    return more


def test_every_member_has_a_row(anyone: Api, db: None) -> None:
    schema = anyone.get("/schema").body
    described = {
        f"{method.upper()} {path.removeprefix('/api')}": members
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
        if (members := members_of(schema, operation))
    }
    rows = {endpoint: {row.member for row in found} for endpoint, found in TABLE.items()}
    for endpoint, members in MEAN_NOTHING.items():
        rows[endpoint] -= members
    assert rows == described


def test_what_asks_for_nothing_is_named_in_the_documentation() -> None:
    section = (ROOT / "docs" / "api.md").read_text().partition("## Coming from the original")[2]
    for endpoint, members in MEAN_NOTHING.items():
        for member in members - {"invoice/amount"}:  # one of all but three
            assert f"`{member.rpartition('/')[2]}`" in section, endpoint


def members_of(schema: dict[str, Any], operation: dict[str, Any]) -> set[str]:
    """Names of the query, and of the body as a path ("invoice/amount")."""
    query = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return query | set(leaves(schema, body.get("schema", {})))


def leaves(schema: dict[str, Any], part: dict[str, Any], at: str = "") -> Iterator[str]:
    for one in part.get("allOf", []):
        yield from leaves(schema, one, at)
    if "$ref" in part:
        name = part["$ref"].rsplit("/", 1)[1]
        yield from leaves(schema, schema["components"]["schemas"][name], at)
    for name, value in part.get("properties", {}).items():
        inner = set(leaves(schema, value, f"{at}{name}/"))
        yield from inner or {f"{at}{name}"}
