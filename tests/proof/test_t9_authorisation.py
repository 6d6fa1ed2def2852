"""T9: the authorisation matrix. Every URL of the site × every method × every kind of caller who is
not Alice, or is her own browser driven from another site: nothing of hers changes, nothing private
of hers is told, nothing answers 5xx (P01, P02, P07, P12, P15, P16, P23, I13, I14)."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.client import ClientHandler
from django.urls import get_resolver, resolve
from django.utils import timezone

from accounts import connections, credentials, funds, ledger
from accounts.models import Activity, FundManager, Session, User
from coinos import rates
from coinos.models import Rate
from coinos.simnet.control import Control
from invoices.models import WebhookDelivery
from payments.models import Gift
from payments.services import make_gift
from tests.api.endpoints import ENDPOINTS, routes
from tests.cast import PASSWORD, Api, fund, give_password, make_user, token_of
from tests.database import Database
from tests.proof import table
from tests.proof.oracle import deviation_msat
from tests.proof.scale import SEED, random_for, size

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
EVIL = {"Origin": "https://evil.example", "Referer": "https://evil.example/x"}
ALICE_SAT = 7_654_321
SITE = ClientHandler(enforce_csrf_checks=True)  # one for all: it builds the middleware once
CELLS_A_LOOK = 10  # after so many requests all rows of hers are compared

# A page that is missing here is not for strangers.
PUBLIC_PAGES = {
    "/",
    "/register",
    "/login",
    "/login/code",
    "/forgot",
    "/reset/<uuid:user_id>/<str:token>",
    "/privacy",
    "/support",
    "/logout",
    "/swap",
    "/language",
    "/manifest.webmanifest",
    "/service-worker.js",
    "/offline",
    "/picture/<uuid:user_id>",
    "/picture/<uuid:user_id>/banner",
    "/payment/<uuid:payment_id>",  # a receipt for whoever has the link; nothing private on it
    "/gift/<str:token>",  # whoever has the link may see it, and nobody has hers
    "/docs",
    "/docs/errors",
    "/.well-known/lnurlp/<str:username>",
    "/invoice/<uuid:invoice_id>",
    "/invoice/<uuid:invoice_id>/events",
    "/invoice/<uuid:invoice_id>/qr.svg",
    "/invoice/<uuid:invoice_id>/qr.png",
    "/invoice/<uuid:invoice_id>/tip",
    "/simnet",
    "/<str:username>",
    "/<str:username>/sticker",
    "/<str:username>/qr.svg",
    "/<str:username>/qr.png",
    "/admin/login/",
}


# --- Alice and what is hers ----------------------------------------------------------------------


@dataclass
class Alice:
    """The owner, her objects to fill URLs with, and words that only she may read."""

    user: User
    invoice: dict[str, Any]
    payment: Activity
    session: Session
    key_id: str
    app_pubkey: str
    delivery: WebhookDelivery
    gift: Gift
    private: list[bytes] = field(default_factory=list)

    def path(self, route: str) -> str:
        """A URL of this route that points at something of hers, herself if nothing else."""
        values = {
            "key": str(self.payment.id) if "/payments/" in route else self._key(route),
            "limit": "5",
            "pubkey": self.app_pubkey,
            "lnaddress": "alice",
            "amount": "1",
            "payreq": self.invoice["hash"],
            "username": "alice",
            "name": "fundofalice",
            "token": self.invoice["id"],
            "invoice_id": self.invoice["id"],
            "session_id": str(self.session.id),
            "key_id": self.key_id,
            "delivery_id": str(self.delivery.id),
            "payment_id": str(self.payment.id),
            "gift_id": str(self.gift.id),
            "role_id": str(FundManager.objects.get().id),
            "content_type_id": "1",
        }
        return re.sub(
            r"<(?:\w+:)?(\w+)>", lambda match: values.get(match[1], str(self.user.id)), route
        )

    def _key(self, route: str) -> str:
        return "alice" if "/users/" in route else str(self.invoice["hash"])


@pytest.fixture
def alice(cloned_db: Database, simnet: Control, redis: Any, settings: Any) -> Alice:
    settings.LIGHTNING_RPC = simnet.lightning_rpc
    settings.BITCOIN_RPC_URL = simnet.bitcoin_rpc_url
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.delete(rates.CACHE_KEY)
    Rate.objects.create(minute=timezone.now(), rates={"USD": "100000"})
    rates.forget()
    user = make_user("alice", email="alice@private.example")
    give_password(user)
    user.webhook = "https://93.184.215.14/account-of-alice"
    user.webhook_secret = "s3cr3t-b"
    user.save()
    charlie = make_user("charlie")
    fund(user, ALICE_SAT)
    session = credentials.start_session(user, kind=Session.Kind.LOGIN)
    api = Api(credentials.token_of(session))
    wish = {"amount": 1000, "webhook": "https://93.184.215.14/hook-of-alice", "secret": "s3cr3t-a"}
    invoice = api.post("/invoice", {"invoice": wish}).body
    paid = api.post("/invoice", {"invoice": wish}).body
    payer = Api(token_of(charlie))
    fund(charlie, 1000)
    assert payer.post("/payments", {"payreq": paid["hash"]}).status_code == 200
    sent = {"amount": 7, "username": "charlie", "memo": "for the lawyer"}
    payment = api.post("/send", sent).body
    key, _ = credentials.create_api_key(user, name="till of alice", scope="spend")
    app = connections.create_default(user)
    made = make_gift(
        credential=credentials.Credential(user), amount_sat=9, days=1, memo="gift of alice"
    )
    assert made
    pot = funds.create_fund(user, username="fundofalice", display="Pot of Alice")
    fund(pot, 1234)
    funds.add_manager(user, "fundofalice", "charlie")
    return Alice(
        user=user,
        invoice=invoice,
        payment=Activity.objects.get(id=payment["id"]),
        session=session,
        key_id=str(key.id),
        app_pubkey=app.pubkey,
        delivery=WebhookDelivery.objects.get(),
        gift=made[0],
        private=[
            word.encode()
            for word in (
                "alice@private.example",
                "hook-of-alice",
                "s3cr3t-a",
                "account-of-alice",
                "s3cr3t-b",
                "for the lawyer",
                "till of alice",
                "gift of alice",
                key.hint,
                str(ledger.balance_of(user.id).available_sat),
                f"{ledger.balance_of(user.id).available_sat:,}",
                credentials.token_of(session),
            )
        ],
    )


HERS = """
    SELECT md5(concat(
        (SELECT string_agg((to_jsonb(t) - 'last_login')::text, ',' ORDER BY id)
            FROM accounts_user t WHERE id = %(user)s),
        (SELECT string_agg(t::text, ',' ORDER BY id)
            FROM accounts_user t WHERE owner_id = %(user)s),
        (SELECT string_agg(manager::text, ',' ORDER BY manager.id)
            FROM accounts_fundmanager manager JOIN accounts_user fund ON fund.id = fund_id
            WHERE owner_id = %(user)s),
        (SELECT string_agg((to_jsonb(t) - 'last_used')::text, ',' ORDER BY id)
            FROM accounts_session t WHERE user_id = %(user)s AND kind <> 'web'),
        (SELECT string_agg((to_jsonb(t) - 'last_used')::text, ',' ORDER BY id)
            FROM accounts_apikey t WHERE user_id = %(user)s),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM accounts_connection t
            WHERE user_id = %(user)s),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM accounts_contact t
            WHERE user_id = %(user)s),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM ledger_account t
            WHERE user_id = %(user)s),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM accounts_activity t
            WHERE user_id = %(user)s),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM invoices_invoice t
            WHERE user_id = %(user)s AND id = ANY(%(invoices)s)),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM invoices_webhookdelivery t
            WHERE invoice_id = ANY(%(invoices)s)),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM payments_payment t
            WHERE user_id = %(user)s),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM payments_gift t
            WHERE giver_id = %(user)s),
        (SELECT string_agg(t::text, ',') FROM payments_autowithdraw t
            WHERE user_id = %(user)s),
        (SELECT count(*) FROM ledger_transfer)
    ))
"""


def fingerprint(alice: Alice) -> str:
    """Of every row of hers; of invoices those she made: anybody may ask to pay her."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT array_agg(id) FROM invoices_invoice WHERE user_id = %s AND webhook <> ''",
            [alice.user.id],
        )
        [invoices] = cursor.fetchone()
        cursor.execute(HERS, {"user": alice.user.id, "invoices": invoices})
        return str(cursor.fetchone()[0])


# --- The callers ---------------------------------------------------------------------------------


@dataclass
class Caller:
    """Somebody with a credential, or none. `web`: signed in to the pages, as another user.
    `is_nobody`: the server must treat this one as a stranger."""

    name: str
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    is_nobody: bool = False
    is_alice: bool = False

    def call(self, method: str, path: str, body: dict[str, Any]) -> Any:
        client = Client(raise_request_exception=False)
        client.handler = SITE
        for name, value in self.cookies.items():
            client.cookies[name] = value
        form = not path.startswith("/api/") and method == "POST"
        return client.generic(
            method,
            path,
            "&".join(f"{name}={value}" for name, value in body.items() if isinstance(value, str))
            if form
            else json.dumps(body),
            content_type="application/x-www-form-urlencoded" if form else "application/json",
            headers=self.headers,
        )


def bearer(name: str, token: str, **kwargs: Any) -> Caller:
    return Caller(name, {"Authorization": f"Bearer {token}"}, **kwargs)


def browser(user: User) -> dict[str, str]:
    """The cookies of a browser in which this user has signed in."""
    client = Client()
    client.get("/login")
    entered = client.post("/login", {"username": user.username, "password": PASSWORD})
    assert entered.status_code == 302
    client.get("/settings")
    return {name: morsel.value for name, morsel in client.cookies.items()}


def unsigned(token: str) -> str:
    """The same claims with `alg: none`."""
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{header}.{token.split('.')[1]}."


def callers(alice: Alice) -> list[Caller]:
    bob, evicted = make_user("bob"), make_user("evicted")
    give_password(bob)
    evicted_token = token_of(evicted)
    User.objects.filter(id=evicted.id).update(is_active=False)
    gone = credentials.start_session(alice.user, kind=Session.Kind.LOGIN)
    revoked_token = credentials.token_of(gone)
    credentials.revoke_session(alice.user, gone.id)
    hers = credentials.token_of(alice.session)
    claims = jwt.decode(hers, options={"verify_signature": False})
    bobs = browser(bob)
    keys = {
        scope: credentials.create_api_key(bob, name=scope, scope=scope)[1]
        for scope in ("read", "receive", "spend")
    }
    return [
        Caller("no token", is_nobody=True),
        bearer("nonsense", "nonsense", is_nobody=True),
        bearer("unsigned", unsigned(hers), is_nobody=True),
        bearer("signed by another", jwt.encode(claims, "x" * 64, "HS512"), is_nobody=True),
        bearer("evicted", evicted_token, is_nobody=True),
        bearer("revoked", revoked_token, is_nobody=True),
        bearer("bob", token_of(bob)),
        bearer("bob, read-only", credentials.read_only_token(bob)),
        *(bearer(f"bob's {scope} key", key) for scope, key in keys.items()),
        Caller("bob's browser", {"X-CSRFToken": bobs["csrftoken"]}, bobs),
        Caller("alice's browser from elsewhere", EVIL, browser(alice.user), is_alice=True),
        Caller("alice's token cookie from elsewhere", EVIL, {"token": hers}, is_alice=True),
    ]


# --- What they try -------------------------------------------------------------------------------

_numbers = itertools.count(1)


def greedy(alice: Alice) -> dict[str, Any]:
    """One body with whatever any endpoint might read, pointing at what is Alice's."""
    number = next(_numbers)
    return {
        "invoice": {
            "id": alice.invoice["id"],
            "hash": alice.invoice["hash"],
            "uid": str(alice.user.id),
            "aid": str(alice.user.id),
            "webhook": "https://93.184.215.14/of-mallory",
            "secret": "mallory",
            "amount": 1,
            "received": 1000,
        },
        "user": {"username": f"mallory{number}", "password": PASSWORD},
        "id": alice.invoice["id"],
        "uid": str(alice.user.id),
        "hash": alice.invoice["hash"],
        "pubkey": alice.app_pubkey,
        "name": "mallory",
        "display": "mallory",
        "currency": "EUR",
        "language": "fr",
        "password": "mallory-password",
        "newpin": "666666",
        "destination": "mallory",
        "autowithdraw": True,
        "scope": "spend",
        "amount": "1",
        "payreq": alice.invoice["hash"],
        "username": "bob",
        "address": "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
        "_method": "DELETE",
        "post": "yes",
    }


Cell = tuple[Caller, str, str]


def chosen_cells(matrix: list[Cell]) -> list[Cell]:
    """What this run visits, in an order of the seed: everything; of the admin, whose hundred routes
    are all alike, every route with every method by one caller. The short form visits a sample."""
    rng = random_for("matrix")
    one_caller = {
        (method, route): caller for caller, method, route in rng.sample(matrix, len(matrix))
    }
    chosen = [
        cell
        for cell in matrix
        if not cell[2].startswith("/admin/") or one_caller[cell[1:]] is cell[0]
    ]
    return rng.sample(chosen, len(chosen) * size(4, 100) // 100)


def known(route: str, method: str) -> Any:
    """What the table of the API's endpoints says of this cell."""
    for endpoint in ENDPOINTS:
        if endpoint.method == method and "/" + resolve(f"/api{endpoint.path}").route == route:
            return endpoint
    return None


def complaint(alice: Alice, caller: Caller, method: str, route: str, answer: Any) -> str | None:
    """What is wrong with this answer, if anything. Alice herself may read in her own browser."""
    status = answer.status_code
    if status >= 500:
        return "a server error"
    content = b"" if answer.streaming else answer.content
    told = [word for word in alice.private if word in content]
    if told and not (caller.is_alice and method in ("GET", "HEAD")):
        return f"tells {told}"
    is_api = route.startswith("/api/")
    endpoint = known(route, "GET" if method == "HEAD" else method) if is_api else None
    needs_nobody = endpoint is not None and endpoint.scope == "none"
    is_open = route in PUBLIC_PAGES or needs_nobody or (endpoint and endpoint.optional)
    if method in ("PUT", "PATCH", "DELETE") and status < 300 and route != "/admin/login/":
        return "an unknown method worked"  # Django's own sign-in shows its form to any method
    if caller.is_alice and method == "POST" and status < 300 and not needs_nobody:
        return "another site may act for her"
    if route.startswith("/admin/") and route not in PUBLIC_PAGES and status < 300:
        return "an operator's page"
    if caller.is_nobody and not is_open and status < 300:
        return "open to strangers"
    if is_api and caller.is_nobody and endpoint and not is_open and status != 401:
        return "not 401"
    return None


def test_nobody_else_changes_or_learns_what_is_alices(alice: Alice) -> None:
    """P01, P02, P07, P12, P15, P16, P23, I13, I14, M03"""
    everybody = callers(alice)
    matrix = [
        (caller, method, route)
        for route, _ in routes(get_resolver().url_patterns)
        for method in METHODS
        for caller in everybody
        if "^" not in route and "(?P" not in route
    ]
    chosen = chosen_cells(matrix)
    before, unchecked = fingerprint(alice), []
    wrong: list[str] = []
    statuses: Counter[int] = Counter()
    for cell in chosen:
        caller, method, route = cell
        answer = caller.call(method, alice.path(route), greedy(alice))
        statuses[answer.status_code] += 1
        told = f"{caller.name}: {method} {route} → {answer.status_code}"
        if reason := complaint(alice, caller, method, route, answer):
            wrong.append(f"{told}: {reason}")
        unchecked.append(told)
        if len(unchecked) == CELLS_A_LOOK or cell is chosen[-1]:
            now = fingerprint(alice)
            if now != before:
                wrong.append("one of these changed something of hers:\n  " + "\n  ".join(unchecked))
            before, unchecked = now, []
    table.record(
        test="T9",
        tried=f"{len(chosen):,} of {len(matrix):,} cells of the authorisation matrix",
        found=len(wrong),
        seed=SEED,
        refused=sum(count for status, count in statuses.items() if 400 <= status < 500),
        server_errors=sum(count for status, count in statuses.items() if status >= 500),
        deviation_msat=deviation_msat(),
    )
    assert not wrong, "\n".join(wrong)


def test_the_matrix_would_notice(alice: Alice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Could it fail? Without the check of scopes and owners the same cells complain."""
    from coinos.api import HasScope

    monkeypatch.setattr(HasScope, "has_permission", lambda *_: True)
    monkeypatch.setattr(credentials, "credential_of", lambda _: None)
    monkeypatch.setattr(
        "accounts.authentication.credential_of",
        lambda _: credentials.Credential(alice.user, session=alice.session),
    )
    caller = bearer("nonsense", "nonsense", is_nobody=True)
    answer = caller.call("GET", "/api/me", {})
    assert complaint(alice, caller, "GET", "/api/me", answer)
    before = fingerprint(alice)
    caller.call("POST", "/api/user", {"display": "mallory"})
    assert fingerprint(alice) != before
