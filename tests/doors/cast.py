"""Alice, who owns something of everything, and whoever comes to a door: with each credential."""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyotp
import time_machine
from django.contrib.auth.hashers import make_password
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client, override_settings
from django.test.client import ClientHandler
from django.utils import timezone

from accounts import connections, credentials, funds, ledger, links, pictures, services
from accounts.authentication import TOKEN_COOKIE
from accounts.models import ApiKey, Contact, FundManager, Session, User
from coinos import alarms, crypto, rates
from coinos.models import Rate
from coinos.simnet.control import Control
from invoices.models import Invoice, WebhookDelivery
from payments import operations
from payments.models import BookAccount, Gift, OperatorAct, Payment, SuspenseItem
from payments.services import make_gift
from tests import causes
from tests.accounts.pictures import PNG
from tests.cast import PASSWORD, Api, fund, make_user, token_of
from tests.doors.door import NOBODY

PIN = "123456"
NEW_PASSWORD = "a new and longer phrase"
ELSEWHERE = "https://elsewhere.example"
LONG_AGO_S = 600  # longer than a password counts as typed just now


SITE = ClientHandler(enforce_csrf_checks=True)  # one for all: it builds the middleware once


@dataclass(frozen=True)
class Caller:
    """Somebody with a credential, or with none."""

    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        client = Client(raise_request_exception=False)
        client.handler = SITE
        for name, value in self.cookies.items():
            client.cookies[name] = value
        content: dict[str, Any] = {"data": body or {}}
        if path.startswith("/api/"):
            content["content_type"] = "application/json"
        if method == "GET":
            return client.get(path, headers=self.headers)
        if method == "POST":
            return client.post(path, **content, headers=self.headers)
        return client.generic(method, path, headers=self.headers)

    def from_elsewhere(self) -> Caller:
        """The same browser, driven by a page of another site; the cookies go along."""
        return replace(self, headers={**self.headers, "Origin": ELSEWHERE})

    def without_csrf_token(self) -> Caller:
        headers = {name: value for name, value in self.headers.items() if name != "X-CSRFToken"}
        return replace(self, headers=headers)

    def without_origin(self) -> Caller:
        headers = {name: value for name, value in self.headers.items() if name != "Origin"}
        return replace(self, headers=headers)

    def at_host(self, name: str) -> Caller:
        return replace(self, headers={**self.headers, "Host": name})


def bearer(token: str) -> Caller:
    return Caller({"Authorization": f"Bearer {token}"})


def browser(path: str = "/login", fields: dict[str, str] | None = None) -> Caller:
    """A browser that has opened that page and sent its form, if there are fields."""
    client = Client()
    client.get(path)
    if fields:
        answer = client.post(path, fields)
        assert answer.status_code == 302, answer.content
        client.get("/settings")
    return caller_of(client)


def caller_of(client: Client) -> Caller:
    cookies = {name: morsel.value for name, morsel in client.cookies.items()}
    return Caller({"X-CSRFToken": cookies["csrftoken"]}, cookies)


@dataclass
class World:
    """What there is, and who comes. `values` fill the parameters of paths."""

    alice: User
    bob: User
    tara: User
    callers: dict[str, Caller]
    whose: dict[str, Any]
    """Id of the user behind each caller."""
    values: dict[str, str]
    network: Control
    totp: pyotp.TOTP
    invoice: dict[str, Any]
    bobs_invoice: dict[str, Any]
    bobs_address: dict[str, Any]
    app_pubkey: str
    gift: Gift
    pot: User
    olga: User
    dora: User
    rows: dict[str, Any]
    """By model: a row for the actions of the admin."""
    approved_act: OperatorAct
    house_account: BookAccount
    closed_account: BookAccount
    owing_account: BookAccount
    waiting_payment: Payment

    @property
    def code(self) -> str:
        """What Tara's app shows in half a minute: the sign-in may have used the one of now."""
        return self.totp.at(int(time.time()) + 30)

    def withdraws(self) -> None:
        """Alice has sent bitcoin that no block has yet."""
        self.network.mine()
        wish = {"address": self.network.address(), "amount": 5000, "pin": PIN}
        with override_settings(RATE_LIMITS=False):
            sent = Api(token_of(self.alice)).post("/bitcoin/send", wish)
        assert sent.body["confirmed"] is True, sent.body
        self.values["sent"] = sent.body["id"]

    def makes_an_operator(self) -> None:
        call_command("createsuperuser", username="oscar", interactive=False, verbosity=0)

    def changes_password_by_command(self) -> None:
        before, sys.stdin = sys.stdin, io.StringIO(NEW_PASSWORD + "\n")
        try:
            call_command("changepassword", "alice", "--reason", "because", stdout=io.StringIO())
        finally:
            sys.stdin = before

    def asks_by_command(self) -> None:
        before, sys.stdin = sys.stdin, io.StringIO(PASSWORD + "\n")
        words = ["release", str(self.rows["payment"].id), "--paid-nothing", "--operator", "olga"]
        try:
            call_command("operator", *words, "--reason", "because", stdout=io.StringIO())
        finally:
            sys.stdin = before

    def begins_second_factor(self) -> None:
        """Alice has been shown a seed, the one of Tara's app."""
        sealed = crypto.seal(self.totp.secret, place=f"totp:{self.alice.id}")
        User.objects.filter(id=self.alice.id).update(totp_seed=sealed)

    def picture(self) -> SimpleUploadedFile:
        return SimpleUploadedFile("me.png", PNG, content_type="image/png")


def _user(name: str, sats: int, **fields: Any) -> User:
    user = make_user(name, **fields)
    user.password = make_password(PASSWORD)
    user.save()
    user.refresh_from_db()  # the database counts changes of the password
    if sats:
        fund(user, sats)
    return user


def _signed_in(name: str, *, s_ago: int = 0) -> Caller:
    with time_machine.travel(timezone.now() - timedelta(seconds=s_ago)):
        return browser("/login", {"username": name, "password": PASSWORD})


def make_world(network: Control) -> World:
    """Alice has a PIN, an e-mail address, an invoice, a gift, a fund, a key, a connection and a
    webhook; Tara a second factor; Olga is an operator; Dora has nothing at all."""
    cache.delete(rates.CACHE_KEY)
    Rate.objects.create(minute=timezone.now(), rates={"USD": "100000", "CAD": "135000"})
    rates.forget()
    verified = {"email": "alice@private.example", "email_verified_at": timezone.now()}
    alice = _user("alice", 50_000, pin_hash=make_password(PIN), prompt=True, **verified)
    bob, charlie, dora = _user("bob", 5_000), _user("charlie", 5_000), _user("dora", 0)
    seed = pyotp.random_base32()
    tara = _user("tara", 0)
    User.objects.filter(id=tara.id).update(
        totp_seed=crypto.seal(seed, place=f"totp:{tara.id}"), second_factor_at=timezone.now()
    )
    olga = _user("olga", 0, is_staff=True, is_superuser=True)

    session = credentials.start_session(alice, kind=Session.Kind.LOGIN)
    api, bobs = Api(credentials.token_of(session)), Api(token_of(bob))
    wish = {"amount": 1000, "webhook": "https://93.184.215.14/hook", "secret": "of-the-shop"}
    invoice, paid = (api.post("/invoice", {"invoice": wish}).body for _ in range(2))
    expired = api.post("/invoice", {"invoice": {"amount": 1000}}).body
    assert Api(token_of(charlie)).post("/payments", {"payreq": paid["hash"]}).status_code == 200
    Invoice.objects.filter(id=expired["id"]).update(
        created=timezone.now() - timedelta(days=40), expiry_s=60
    )
    sent = {"username": "bob", "amount": 7, "pin": PIN}
    payment = api.post("/send", sent).body
    waiting = _that_waits(network, api)
    key, _text = credentials.create_api_key(alice, name="till", scope="spend")
    texts = {
        scope: credentials.create_api_key(alice, name=scope, scope=scope)[1]
        for scope in ("read", "receive", "spend")
    }
    app = connections.create_default(alice)
    pictures.set_picture(alice, "picture", PNG)
    pictures.set_picture(alice, "banner", PNG)
    with_pin = credentials.Credential(alice, session=session)
    made = make_gift(credential=with_pin, amount_sat=900, days=1, pin=PIN)
    given = make_gift(credential=credentials.Credential(bob), amount_sat=50, days=1)
    pot = funds.create_fund(alice, username="potofalice", display="Pot")
    fund(pot, 2_000)
    spends_from = funds.to_spend_from(pot, with_pin)
    of_pot = make_gift(credential=spends_from, amount_sat=200, days=1, pin=PIN)
    empty = funds.create_fund(alice, username="emptypot", display="Empty")
    funds.add_manager(alice, "potofalice", "charlie", pin=PIN)
    assert made
    assert given
    assert of_pot
    other = credentials.start_session(alice, kind=Session.Kind.LOGIN)
    token = credentials.token_of(session)
    login = {"username": "olga", "password": PASSWORD}
    nobody = browser()
    programs = {
        "login token": bearer(token),
        "token cookie": Caller({"Origin": "http://testserver"}, {TOKEN_COOKIE: token}),
        "read-only token": bearer(credentials.read_only_token(alice)),
        **{f"{scope} key": bearer(text) for scope, text in texts.items()},
    }
    callers = {
        "nobody": nobody,
        "web session": _signed_in("alice"),
        "left open": _signed_in("alice", s_ago=LONG_AGO_S),
        **{name: with_csrf_token(program, nobody) for name, program in programs.items()},
        "operator": browser("/admin/login/", login),
        "operator's wallet": _signed_in("olga"),
        "bob": _signed_in("bob"),
        "charlie": _signed_in("charlie"),
        "dora": _signed_in("dora"),
        "tara": _signed_in_with_code("tara", pyotp.TOTP(seed).now()),
        "half signed in": _half_signed_in(),
    }
    delivery = WebhookDelivery.objects.get()
    pay = Api(base="").get("/.well-known/lnurlp/alice").body["callback"]
    values = {
        "verb": "cancel",
        "key": invoice["id"],
        "limit": "5",
        "pubkey": app.pubkey,
        "lnaddress": "bob",
        "amount": "5",
        "payreq": invoice["hash"],
        "username": "alice",
        "name": "potofalice",
        "empty_fund": "emptypot",
        "token": made[1],
        "bobs_gift": given[1],
        "reset_token": links.reset_url(alice).rsplit("/", 1)[1],
        "verify_token": links.verify_url(alice).rsplit("/", 1)[1],
        "lnurl_token": pay.rsplit("/", 1)[1],
        "invoice_id": invoice["id"],
        "expired_id": expired["id"],
        "session_id": str(other.id),
        "key_id": str(key.id),
        "delivery_id": str(delivery.id),
        "payment": payment["id"],
        "payment_id": payment["id"],
        "waiting": waiting["id"],
        "sent": NOBODY,
        "gift_id": str(made[0].id),
        "fund_gift_id": str(of_pot[0].id),
        "role_id": str(FundManager.objects.get().id),
        "user_id": str(alice.id),
        "content_type_id": str(ContentType.objects.get_for_model(User).id),
        "object_id": str(alice.id),
        "alice": "alice",
        "empty": str(empty.id),
    }
    lost = _lost_payment(charlie, network)
    otto, oona = (_user(name, 0, is_staff=True, is_superuser=True) for name in ("otto", "oona"))
    asked, approved = (
        operations.ask(
            "release",
            {"payment": lost.id, "paid_nothing": True},
            by=operations.By("operator otto", otto),
            reason="because of otto",
        )
        for _ in range(2)
    )
    operations.approve(approved.id, by=operations.By("operator oona", oona), reason="yes")
    closed = _user("carla", 700)
    services.evict(closed, actor="test")
    with transaction.atomic():
        ledger.receive_unmatched(
            source=ledger.House.LIGHTNING,
            external_id="lightning:of-nobody",
            amount_msat=9_000,
            cause=ledger.Cause("receipt", "of nobody"),
        )
    # So that no call has to note that a credential was used.
    Session.objects.update(last_used=timezone.now())
    ApiKey.objects.update(last_used=timezone.now())
    assert Contact.objects.filter(user=alice, contact=bob).exists()
    return World(
        alice=alice,
        bob=bob,
        tara=tara,
        callers=callers,
        whose=dict.fromkeys(callers, alice.id)
        | {"operator": olga.id, "tara": tara.id, "dora": dora.id, "charlie": charlie.id},
        values=values,
        network=network,
        totp=pyotp.TOTP(seed),
        invoice=invoice,
        bobs_invoice=bobs.post("/invoice", {"invoice": {"amount": 100}}).body,
        bobs_address=bobs.post("/invoice", {"invoice": {"type": "bitcoin"}}).body,
        app_pubkey=app.pubkey,
        gift=made[0],
        pot=pot,
        olga=olga,
        dora=dora,
        rows={
            "user": alice,
            "session": other,
            "apikey": key,
            "webhookdelivery": delivery,
            "payment": lost,
            "operatoract": asked,
            "suspenseitem": SuspenseItem.objects.get(external_id="lightning:of-nobody"),
            "bookaccount": BookAccount.objects.get(user=bob),
            "alarm": alarms.note("test", "something is wrong"),
        },
        approved_act=approved,
        house_account=BookAccount.objects.get(id=ledger.House.LIGHTNING),
        closed_account=BookAccount.objects.get(user=closed),
        owing_account=BookAccount.objects.get(user=_owing(bob)),
        waiting_payment=Payment.objects.get(id=waiting["id"]),
    )


def _owing(heir: User) -> User:
    """Somebody who spent a deposit that was undone then."""
    owing = _user("owen", 0)
    with transaction.atomic():
        ledger.receive_onchain([causes.deposit(owing, "ab:0", 9)])
    Api(token_of(owing)).post("/send", {"username": heir.username, "amount": 7})
    with transaction.atomic():
        cause = causes.reversed_deposit("ab:0")
        ledger.reverse_onchain(user_id=owing.id, outpoint="ab:0", amount_msat=9_000, cause=cause)
    return owing


def _lost_payment(payer: User, network: Control) -> Payment:
    """One whose call never reached the node, long enough ago for the node to prove it."""
    network.set_faults([{"kind": "drop_before", "method": "xpay"}])
    Api(token_of(payer)).post("/payments", {"payreq": network.invoice(100_000)})
    network.clear_faults()
    Payment.objects.filter(user=payer).update(deadline=timezone.now() - timedelta(hours=1))
    return Payment.objects.get(user=payer)


def _that_waits(network: Control, api: Api) -> dict[str, Any]:
    """A withdrawal that the node did not prepare: it can be cancelled."""
    network.mine()
    wish = {"address": network.address(), "amount": 5000, "pin": PIN}
    network.set_faults([{"kind": "drop_before", "method": "send", "nth": 2}])
    waiting: dict[str, Any] = api.post("/bitcoin/send", wish).body
    network.clear_faults()
    assert waiting["status"] == "pending"
    return waiting


def _half_signed_in() -> Caller:
    """Tara has typed her password and not yet her code."""
    return caller_of(_client_with_password("tara"))


def _signed_in_with_code(name: str, code: str) -> Caller:
    client = _client_with_password(name)
    assert client.post("/login/code", {"token": code}).status_code == 302
    client.get("/settings")
    return caller_of(client)


def _client_with_password(name: str) -> Client:
    client = Client()
    client.get("/login")
    assert client.post("/login", {"username": name, "password": PASSWORD}).status_code == 302
    return client


def with_csrf_token(caller: Caller, page: Caller) -> Caller:
    """A program that has opened a page, as whoever wants to post to one would."""
    cookies = {**caller.cookies, "csrftoken": page.cookies["csrftoken"]}
    return replace(caller, headers={**page.headers, **caller.headers}, cookies=cookies)


SETTINGS = {
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
    "EMAIL_ENABLED": True,
    "OPERATOR_APPROVAL_SAT": 0,  # no act touches the books in here: each is undone
}


@contextmanager
def settings_of(network: Control) -> Iterator[None]:
    """One moment, and the application with mail, quick hashes and the simulated network."""
    with (
        time_machine.travel(timezone.now(), tick=False),  # what was typed just now stays so
        tempfile.TemporaryDirectory() as folder,
        override_settings(
            **SETTINGS,
            LIGHTNING_RPC=network.lightning_rpc,
            BITCOIN_RPC_URL=network.bitcoin_rpc_url,
            SIMNET_CONTROL=network.path,
            STOP_FILE=Path(folder) / "stop-sends",
        ),
    ):
        yield


# --- What a call did ------------------------------------------------------------------------------

PRIVATE = """
    SELECT md5(concat(
        (SELECT string_agg((to_jsonb(t) - 'last_login')::text, ',' ORDER BY id)
            FROM accounts_user t),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM accounts_fundmanager t),
        (SELECT string_agg((to_jsonb(t) - 'last_used' - 'pin_at')::text, ',' ORDER BY id)
            FROM accounts_session t),
        (SELECT string_agg((to_jsonb(t) - 'last_used')::text, ',' ORDER BY id)
            FROM accounts_apikey t),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM accounts_connection t),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM accounts_contact t),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM accounts_recoverycode t),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM accounts_email t),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM ledger_account t),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM accounts_activity t),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM invoices_invoice t),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM invoices_webhookdelivery t),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM payments_payment t),
        (SELECT string_agg(t::text, ',' ORDER BY id) FROM payments_gift t),
        (SELECT string_agg(t::text, ',') FROM payments_autowithdraw t),
        (SELECT count(*) FROM ledger_transfer)
    ))
"""


def fingerprint() -> str:
    """Of all that a caller could want to change. Failed tries and looks are not in it."""
    with connection.cursor() as cursor:
        cursor.execute(PRIVATE)
        return str(cursor.fetchone()[0])


def has_written() -> bool:
    """Whether this transaction has written anything at all, to any table."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
        return bool(cursor.fetchone()[0])


@contextmanager
def undone() -> Iterator[None]:
    """What happens in here has not happened afterwards."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
