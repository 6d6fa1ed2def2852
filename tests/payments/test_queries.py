"""How many statements each endpoint sends, BEGIN and COMMIT included, against nodes that answer.

A number that rises is a decision, not an accident; one that falls is good news: lower it here.
What is sent on another thread, to the node of a payment out, is in `test_round_trips.py`.
"""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import urlsplit

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from coinos import rates
from coinos.models import Rate
from coinos.simnet.control import Control
from payments.models import Payment
from tests.api.endpoints import ENDPOINTS, KEY, NOBODY
from tests.cast import PASSWORD, Api, give_password, token_of
from tests.payments.conftest import Person

STREAMS = {"GET /events"}
MOST = {
    "POST /register": 18,
    "POST /login": 10,
    "POST /logout": 5,
    "GET /me": 2,
    "POST /user": 4,
    "GET /users/alice": 1,
    "GET /ro": 4,
    "GET /contacts": 2,
    "GET /contacts/5": 2,
    "GET /apps": 2,
    "POST /app": 8,
    "GET /app/<id>": 2,
    "POST /apps/delete": 6,
    "POST /invoice": 3,
    "GET /invoice/<id>": 2,
    "POST /invoice/<id>": 2,
    "GET /invoices": 2,
    "GET /pay/alice": 1,
    "GET /pay/alice/1000": 1,
    "GET /lnurlp/alice": 1,
    "GET /lnurl/<id>": 3,
    "GET /lnurl/verify/<id>": 1,
    "GET /payments": 3,
    "POST /payments": 9,
    "GET /payments/<id>": 2,
    "POST /payments/<id>/cancel": 14,
    "POST /payments/<id>/bump": 26,
    "POST /send": 7,
    "POST /send/bob/1": 7,
    "POST /bitcoin/send": 33,
    "POST /bitcoin/fee": 3,
    "POST /parse": 1,
    "GET /decode/lnbcrt1": 0,
    "GET /health": 2,
    "GET /rates": 0,
    "GET /rate": 0,
    "GET /fx": 0,
    "GET /info": 0,
    "GET /schema": 0,
    "GET /schema/docs": 0,
}


def ways(alice: Person, network: Control) -> dict[str, Any]:
    """By endpoint: a function that asks it in a way that succeeds."""
    api, anyone, root = alice.api, Api(), Api(base="")
    api.post("/user", {"display": "Alice"})
    invoice = api.post("/invoice", {"invoice": {"amount": 1000}}).body
    paid = api.post("/send", {"username": "bob", "amount": 1}).body
    network.set_faults([{"kind": "drop_before", "method": "xpay"}])
    waiting = api.post("/payments", {"payreq": network.invoice(1_000)}).body
    network.clear_faults()
    Payment.objects.filter(id=waiting["id"]).update(state=Payment.State.CREATED)
    to_outside = {"address": network.address(), "amount": 5000, "feeRate": 2}
    sent, rates_sat_vb = api.post("/bitcoin/send", to_outside).body, itertools.count(10, 10)
    for name in ("one", "two", "three"):
        api.post("/app", {"name": name})
    apps = [app["pubkey"] for app in api.get("/apps").body]
    sessions = [Api(token_of(alice.user)) for _ in range(2)]
    pay = urlsplit(root.get("/.well-known/lnurlp/alice").body["callback"])
    verify = urlsplit(root.get(f"{pay.path}?amount=5000").body["verify"])
    return {
        "POST /register": lambda: anyone.post(
            "/register",
            {"user": {"username": f"n{timezone.now():%H%M%S%f}", "password": "hunter22"}},
        ),
        "POST /login": lambda: anyone.post("/login", {"username": "alice", "password": PASSWORD}),
        "POST /logout": lambda: sessions.pop().post("/logout", {}),
        "GET /app/<id>": lambda: api.get(f"/app/{apps[0]}"),
        "POST /apps/delete": lambda: api.post("/apps/delete", {"pubkey": apps.pop()}),
        "GET /invoice/<id>": lambda: api.get(f"/invoice/{invoice['hash']}"),
        "POST /invoice/<id>": lambda: api.post(
            f"/invoice/{invoice['id']}", {"invoice": {"tip": 5}}
        ),
        "GET /lnurl/<id>": lambda: root.get(f"{pay.path}?amount=5000"),
        "GET /lnurl/verify/<id>": lambda: root.get(verify.path),
        "POST /payments": lambda: api.post("/payments", {"payreq": network.invoice(1_000)}),
        "GET /payments/<id>": lambda: api.get(f"/payments/{paid['id']}"),
        "POST /payments/<id>/bump": lambda: api.post(
            f"/payments/{sent['id']}/bump", {"feeRate": next(rates_sat_vb)}
        ),
        "POST /payments/<id>/cancel": lambda: api.post(f"/payments/{waiting['id']}/cancel"),
        "POST /bitcoin/send": lambda: api.post(
            "/bitcoin/send", {"address": network.address(), "amount": 5000, "feeRate": 2}
        ),
        "POST /bitcoin/fee": lambda: api.post(
            "/bitcoin/fee", {"address": network.address(), "amount": 5000}
        ),
        "POST /parse": lambda: api.post("/parse", {"payreq": network.invoice(1_000)}),
        "GET /decode/lnbcrt1": lambda: anyone.get(f"/decode/{network.invoice(1_000)}"),
    }


def test_no_endpoint_asks_the_database_more_than_it_did(
    alice: Person, bob: Person, network: Control, redis: Any, settings: Any
) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    give_password(alice.user)
    Rate.objects.create(minute=timezone.now(), rates={"USD": "100000"})
    rates.forget()
    network.mine()
    special = ways(alice, network)
    counted = {}
    for endpoint in ENDPOINTS:
        name = str(endpoint).replace(NOBODY, "<id>").replace(KEY, "<id>")
        if name in STREAMS:
            continue
        ask = special.get(name) or (
            lambda endpoint=endpoint: getattr(alice.api, endpoint.method.lower())(
                endpoint.path, *([endpoint.body] if endpoint.body is not None else [])
            )
        )
        counted[name] = MOST[name] + 100
        for _ in range(2):  # the first may make what is made once, or once a minute
            rates.rates()
            connection.ensure_connection()
            with CaptureQueriesContext(connection) as queries:
                answer = ask()
            assert answer.status_code < 400, f"{name}: {answer.status_code} {answer.body}"
            counted[name] = min(counted[name], len(queries))
    assert counted.keys() == MOST.keys()
    assert {name: n for name, n in counted.items() if n > MOST[name]} == {}
