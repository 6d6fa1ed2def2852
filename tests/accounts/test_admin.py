"""The admin: operators see everything and change nothing by hand. It runs as the app's role."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts import credentials, ledger, services
from accounts.models import (
    Activity,
    ApiKey,
    AuditEvent,
    LedgerAccount,
    Session,
    Transfer,
    User,
)
from coinos.heartbeat import periodic
from coinos.models import Heartbeat, Rate
from invoices.models import Address, Deposit, Invoice, LightningRequest, WebhookDelivery
from payments.admin import ActingAdmin
from payments.models import BookAccount, Payment
from tests.cast import (
    PASSWORD,
    Api,
    api_of,
    available_sat,
    fund,
    give_password,
    give_pin,
    office_of,
)

MODELS = [model for model in admin.site._registry if model._meta.app_label != "auth"]
MONEY = [LedgerAccount, Transfer, Activity, Invoice, LightningRequest, Address, Deposit, Payment]


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def operator(db: None) -> User:
    call_command("createsuperuser", username="olga", interactive=False, verbosity=0)
    user = User.objects.get(username="olga")
    give_password(user)
    return user


@pytest.fixture
def office(operator: User) -> Client:
    """A browser in which the operator has signed in."""
    return office_of(operator)


def url(model: Any, page: str = "changelist", *args: object) -> str:
    meta = model._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=args)


def run(office: Client, model: Any, action: str, *rows: Any, **more: str) -> str:
    """Run an action on rows of a list; returns the page that the operator sees then."""
    body = {"action": action, "_selected_action": [str(row.pk) for row in rows], "index": 0} | more
    answer = office.post(url(model), body, follow=True)
    assert answer.status_code == 200
    return str(answer.content.decode())


# --- Who gets in ----------------------------------------------------------------------------------


def test_strangers_are_sent_to_the_sign_in_page(client: Client, db: None) -> None:
    for path in [reverse("admin:index"), *map(url, MODELS)]:
        answer = client.get(path)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith(reverse("admin:login"))


def test_so_are_users_who_are_no_operators(alice: User) -> None:
    client = office_of(alice)
    assert client.get(url(User)).status_code == 302
    answer = client.post(url(User), {"action": "freeze", "_selected_action": str(alice.pk)})
    assert answer.status_code == 302
    alice.refresh_from_db()
    assert alice.frozen_at is None


def test_an_operator_signs_in_with_his_password(client: Client, operator: User) -> None:
    client.post(reverse("admin:login"), {"username": "olga", "password": PASSWORD})
    assert client.get(reverse("admin:index")).status_code == 200


def test_a_user_of_the_wallet_cannot_sign_in_there(client: Client, alice: User) -> None:
    give_password(alice)
    client.post(reverse("admin:login"), {"username": "alice", "password": PASSWORD})
    assert client.get(reverse("admin:index")).status_code == 302


def test_guesses_at_an_operators_password_are_counted(client: Client, operator: User) -> None:
    """P18"""
    for _ in range(20):
        client.post(reverse("admin:login"), {"username": "olga", "password": "guess"})
    client.post(reverse("admin:login"), {"username": "olga", "password": PASSWORD})
    assert client.get(reverse("admin:index")).status_code == 302


def test_an_evicted_operator_is_out_at_once(office: Client, operator: User) -> None:
    services.evict(operator, actor="test")
    assert office.get(reverse("admin:index")).status_code == 302


def test_an_operator_has_a_wallet_as_well(operator: User) -> None:
    me = api_of(operator).get("/me")
    assert (me.status_code, me.body["balance"]) == (200, 0)


def test_a_name_that_no_account_may_have_is_refused(db: None) -> None:
    with pytest.raises(CommandError, match="small letters and digits"):
        call_command("createsuperuser", username="Olga!", interactive=False, verbosity=0)
    assert not User.objects.exists()


# --- What is on the pages -------------------------------------------------------------------------


@pytest.fixture
def busy(alice: User, bob: User) -> Api:
    """Rows to look at, in most tables."""
    fund(alice, 1000)
    api = api_of(alice)
    api.post("/send", {"username": "bob", "amount": 5, "memo": "lunch"})
    credentials.create_api_key(alice, name="shop", scope="read")
    services.freeze(bob, actor="operator", reason="test")
    api.post("/app", {"name": "damus", "secret": "1f0e" * 16})
    periodic("watch", silence_max_s=60)(lambda: None)()
    Rate.objects.create(minute="2026-01-01T00:00Z", rates={"USD": "100000.00"})
    return api


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_list_loads_and_can_be_searched(busy: Api, office: Client, model: Any) -> None:
    for query in ("", "?q=alice", "?q=%27--", "?q=5", "?q=" + "ab" * 32, "?p=2", "?o=-1"):
        assert office.get(url(model) + query).status_code == 200, query


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_row_can_be_opened(
    busy: Api, office: Client, operator: User, rf: RequestFactory, model: Any
) -> None:
    """Of those in the list: an item in suspense is a transfer, and few transfers are one."""
    request = rf.get("/admin/")
    request.user = operator
    row = admin.site._registry[model].get_queryset(request).first()
    if row is None:
        pytest.skip("nothing of this kind has happened in this test")
    assert office.get(url(model, "change", row.pk)).status_code == 200


@pytest.mark.parametrize("model", [LedgerAccount, BookAccount])
def test_the_house_shows_no_balance_since_none_is_kept(busy: Api, alice: User, model: Any) -> None:
    """Theirs are the sums of their transfers; the column of their rows is always zero."""
    shown: Any = admin.site.get_model_admin(model)
    assert shown.posted(model.objects.get(name="lightning")) is None
    assert shown.posted(model.objects.get(user=alice)) == 995_000


def test_a_search_finds_a_user_by_every_name(office: Client, alice: User, bob: User) -> None:
    for term in ("alice", "ali", str(alice.id), alice.pubkey):
        page = office.get(url(User), {"q": term}).content.decode()
        assert str(alice.id) in page
        assert str(bob.id) not in page


def test_no_page_shows_a_secret(busy: Api, office: Client, alice: User) -> None:
    give_password(alice)
    give_pin(alice)
    secret = next(app["secret"] for app in busy.get("/apps").body)
    hidden = [alice.password, alice.pin_hash, secret, ApiKey.objects.get().key_sha256]
    for model in MODELS:
        pages = [url(model)] + [url(model, "change", row.pk) for row in model.objects.all()[:3]]
        for page in pages:
            text = office.get(page).content.decode()
            assert not [value for value in hidden if value in text], page


def test_lists_do_not_count_their_tables(busy: Api, office: Client) -> None:
    """They may have millions of rows."""
    for model in MODELS:
        with connection.execute_wrapper(_refuse_counting):
            assert office.get(url(model)).status_code == 200


def _refuse_counting(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    assert not re.match(r"SELECT COUNT\(", sql), sql
    return execute(sql, params, many, context)


# --- What cannot be done --------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_nothing_is_added_changed_or_deleted_by_hand(busy: Api, office: Client, model: Any) -> None:
    before = list(model.objects.order_by("pk").values())
    row = model.objects.first()
    assert office.post(url(model, "add"), {"name": "x"}).status_code == 403
    for page in ("change", "delete"):
        pk = row.pk if row else "1"
        answer = office.post(url(model, page, pk), {"post": "yes", "amount_msat": "1"})
        assert answer.status_code in (302, 403)  # sent away: no row of this list
    if row:
        run(office, model, "delete_selected", row, post="yes")
    assert list(model.objects.order_by("pk").values()) == before


def test_no_action_touches_money_but_as_an_act_of_operators() -> None:
    """Which has a row, a reason, and above a limit a second operator (tests/payments)."""
    for model in MONEY:
        of_model = admin.site._registry[model]
        assert not of_model.actions or isinstance(of_model, ActingAdmin), model


def test_the_admin_runs_as_the_app_role(office: Client, alice: User) -> None:
    """M03: whoever takes it over cannot write balances either."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, has_table_privilege('ledger_account', 'UPDATE')")
        assert cursor.fetchone() == ("coinos_app", False)


def test_staff_who_may_only_look_cannot_act(alice: User, bob: User) -> None:
    bob.is_staff = True
    bob.save()
    bob.user_permissions.add(Permission.objects.get(codename="view_user"))
    client = office_of(bob)
    assert client.get(url(User)).status_code == 200
    run(client, User, "freeze", alice, reason="because")
    alice.refresh_from_db()
    assert alice.frozen_at is None


# --- What can -------------------------------------------------------------------------------------


def test_an_account_is_frozen_for_a_reason_and_thawed(office: Client, alice: User) -> None:
    fund(alice, 100)
    assert "write a reason" in run(office, User, "freeze", alice)
    run(office, User, "freeze", alice, reason="asked by a court")
    refused = api_of(alice).post("/send", {"username": "olga", "amount": 1})
    assert (refused.status_code, refused.body["code"]) == (403, "account_frozen")
    event = AuditEvent.objects.get(action="account.frozen")
    assert (event.actor, event.user) == ("operator olga", alice)
    assert event.detail == {"reason": "asked by a court"}
    run(office, User, "unfreeze", alice, reason="it was a mistake")
    assert api_of(alice).post("/send", {"username": "olga", "amount": 1}).status_code == 200
    assert available_sat(alice) == 99


def test_an_evicted_account_has_no_door_left(office: Client, alice: User) -> None:
    """P20"""
    api = api_of(alice)
    run(office, User, "evict", alice, reason="fraud")
    assert api.get("/me").status_code == 401
    event = AuditEvent.objects.get(action="account.evicted")
    assert (event.actor, event.detail) == ("operator olga", {"reason": "fraud"})


def test_money_that_came_after_the_end_is_found_and_its_owner_readmitted(
    office: Client, alice: User, bob: User
) -> None:
    give_password(alice)
    former = api_of(alice)
    services.close_account(alice, password=PASSWORD)
    fund(alice, 100)  # as an invoice of before that is paid now
    fund(bob, 100)
    found = office.get("/admin/accounts/ledgeraccount/?closed=yes").content.decode()
    assert "alice" in found
    assert "bob" not in found
    assert "write a reason" in run(office, User, "readmit", alice)
    run(office, User, "readmit", alice, reason="paid after the end")
    event = AuditEvent.objects.get(action="account.readmitted")
    assert (event.actor, event.detail) == ("operator olga", {"reason": "paid after the end"})
    assert former.get("/me").status_code == 401
    sign_in = {"username": "alice", "password": PASSWORD}
    again = Api(Api().post("/login", sign_in).body["token"])
    assert again.post("/send", {"username": "bob", "amount": 100}).status_code == 200


def test_a_session_and_a_key_can_be_revoked(office: Client, alice: User) -> None:
    """P24"""
    api, (key, text) = api_of(alice), credentials.create_api_key(alice, name="x", scope="read")
    run(office, Session, "revoke", Session.objects.get(user=alice), reason="stolen")
    run(office, ApiKey, "revoke", key, reason="stolen")
    assert [api.get("/me").status_code, Api(text).get("/me").status_code] == [401, 401]
    actions = AuditEvent.objects.filter(user=alice).values_list("action", flat=True)
    assert set(actions) == {"key.made", "session.revoked", "key.revoked"}


def test_a_webhook_is_delivered_again(office: Client, alice: User, bob: User) -> None:
    fund(alice, 10)
    api_of(alice).post("/send", {"username": "bob", "amount": 1})
    invoice = Invoice.objects.create(user=bob, type="bitcoin", currency="USD", expiry_s=60)
    delivery = WebhookDelivery.objects.create(
        message_id="msg_1",
        invoice=invoice,
        user=bob,
        event_id=_an_event(),
        url="https://shop.example/paid",
        endpoint="https://shop.example:443",
        body="sealed",
        state="failed",
        attempts_count=10,
    )
    assert "sealed" not in office.get(url(WebhookDelivery, "change", delivery.pk)).content.decode()
    run(office, WebhookDelivery, "redeliver", delivery, reason="asked by the shop")
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts_count) == ("pending", 0)


def _an_event() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(id) FROM accounts_event")
        return int(cursor.fetchone()[0])


def test_the_books_are_untouched_by_all_of_it(busy: Api, office: Client) -> None:
    for model in MODELS:
        office.get(url(model))
    assert ledger.differences() == []
    assert Heartbeat.objects.count() == 1
