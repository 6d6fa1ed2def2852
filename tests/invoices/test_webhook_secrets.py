"""A webhook's secret is known to who set it and to the place it was set for (sec-10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from accounts import credentials
from accounts.models import User
from coinos.simnet.control import Control
from invoices import services, webhooks
from invoices.models import WebhookDelivery
from tests.cast import Api, api_of
from tests.invoices.helpers import new_invoice, receive, row
from tests.invoices.receiver import Receiver, receiver

HOOK = "https://93.184.215.14/hook"
ELSEWHERE = "https://93.184.215.14/elsewhere"


@pytest.fixture
def shop() -> Iterator[Receiver]:
    with receiver() as shop:
        yield shop


@pytest.fixture
def other() -> Iterator[Receiver]:
    with receiver() as other:
        yield other


def edit(api: Api, invoice: dict[str, Any], **changes: Any) -> dict[str, Any]:
    answer = api.post(f"/invoice/{invoice['id']}", {"invoice": changes})
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.body
    return body


def key_of(user: User, scope: str) -> Api:
    _, text = credentials.create_api_key(user, name="till", scope=scope)
    return Api(text)


# --- Who sees it ---------------------------------------------------------------------------------


def test_each_credential_sees_of_a_webhook_what_it_may(world: Control, alice: User) -> None:
    invoice = new_invoice(alice, amount=5, webhook=HOOK, secret="order 7")
    callers = {
        "login": (api_of(alice), {"webhook", "secret"}),
        "spend": (key_of(alice, "spend"), {"webhook"}),
        "receive": (key_of(alice, "receive"), {"webhook"}),
        "read": (key_of(alice, "read"), set()),
        "read-only": (Api(credentials.read_only_token(alice)), set()),
    }
    for name, (api, may_see) in callers.items():
        tipped = edit(api, invoice, tip=0)  # nothing of the webhook is set
        for body in (
            api.get(f"/invoice/{invoice['id']}").body,
            api.get("/invoices").body[0],
            tipped,
        ):
            assert body["id"] == invoice["id"]
            assert body.keys() & {"webhook", "secret"} == may_see, name


def test_a_key_sees_the_secret_that_it_has_just_set_and_no_other(
    world: Control, alice: User
) -> None:
    key = key_of(alice, "receive")
    invoice = new_invoice(alice, amount=5, webhook=HOOK, secret="of alice")
    assert "secret" not in edit(key, invoice, webhook=HOOK)
    assert edit(key, invoice, secret="of the till")["secret"] == "of the till"
    made = key.post("/invoice", {"invoice": {"webhook": HOOK, "secret": "mine"}}).body
    assert (made["webhook"], made["secret"]) == (HOOK, "mine")
    assert "secret" not in key.get(f"/invoice/{made['id']}").body


# --- Where it goes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "secret"),
    [
        ({"webhook": ELSEWHERE}, ""),
        ({"webhook": ELSEWHERE, "secret": None}, ""),
        ({"webhook": ELSEWHERE, "secret": "new"}, "new"),
        ({"webhook": HOOK}, "order 7"),
        ({"secret": "new"}, "new"),
        ({"secret": ""}, ""),
        ({"webhook": ""}, ""),
        ({"tip": 1}, "order 7"),
    ],
)
def test_the_secret_of_an_invoice_stays_with_its_webhook(
    world: Control, alice: User, changes: dict[str, Any], secret: str
) -> None:
    invoice = new_invoice(alice, amount=5, webhook=HOOK, secret="order 7")
    edit(api_of(alice), invoice, **changes)
    assert row(invoice).webhook_secret == secret
    edit(api_of(alice), invoice, webhook="https://93.184.215.14/third")
    assert row(invoice).webhook_secret == ""


def test_a_secret_without_a_webhook_is_refused(world: Control, alice: User) -> None:
    """It would be sent to nobody."""
    api = api_of(alice)
    plain = new_invoice(alice, amount=5)["id"]
    told = new_invoice(alice, amount=5, webhook=HOOK, secret="order 7")
    for path, fields in [
        ("/invoice", {"secret": "new"}),
        (f"/invoice/{plain}", {"secret": "new"}),
        (f"/invoice/{told['id']}", {"webhook": "", "secret": "new"}),
    ]:
        refused = api.post(path, {"invoice": fields})
        assert (refused.status_code, refused.body["code"]) == (400, "invalid_request")
        assert refused.body["errors"][0]["pointer"] == "#/invoice/secret"
    assert (row(told).webhook, row(told).webhook_secret) == (HOOK, "order 7")


def test_a_new_place_never_hears_the_old_secret(
    world: Control, alice: User, shop: Receiver, other: Receiver
) -> None:
    """What waits for the old place goes on to it; what comes later goes to the new one."""
    invoice = new_invoice(alice, type="bitcoin", webhook=shop.url, secret="order 7")
    world.deposit(invoice["hash"], 5_000)
    services.scan_bitcoin()
    edit(api_of(alice), invoice, webhook=other.url)
    world.deposit(invoice["hash"], 6_000)
    services.scan_bitcoin()
    assert webhooks.deliver_due() == 2
    assert [call.body["secret"] for call in shop.heard] == ["order 7"]
    assert [call.body.get("secret") for call in other.heard] == [None]


def test_the_account_moves_its_webhook_without_the_old_secret(
    world: Control, alice: User, shop: Receiver, other: Receiver
) -> None:
    services.set_account_webhook(alice, url=shop.url, secret="till 3")
    for url in (shop.url, other.url):
        services.set_account_webhook(alice, url=url)
        world.pay(new_invoice(alice, amount=5)["hash"])
        receive()
    assert webhooks.deliver_due() == 2
    assert [call.body["secret"] for call in shop.heard] == ["till 3"]
    assert [call.body.get("secret") for call in other.heard] == [None]
    services.set_account_webhook(alice, url=shop.url, secret="till 4")
    alice.refresh_from_db()
    assert alice.webhook_secret == "till 4"


def test_a_webhook_that_is_removed_is_not_called_any_more(
    world: Control, alice: User, shop: Receiver
) -> None:
    invoice = new_invoice(alice, amount=5, webhook=shop.url, secret="order 7")
    world.pay(invoice["hash"])
    receive()
    edit(api_of(alice), invoice, webhook="")
    assert webhooks.deliver_due() == 0
    assert not shop.heard
    assert WebhookDelivery.objects.get().state == WebhookDelivery.State.FAILED


@pytest.mark.parametrize(
    ("table", "secret", "row_of"),
    [("invoices_invoice", "secret", "invoice"), ("accounts_user", "webhook_sealed_secret", "user")],
)
def test_the_database_moves_no_webhook_with_its_secret(
    world: Control, alice: User, table: str, secret: str, row_of: str
) -> None:
    services.set_account_webhook(alice, url=HOOK, secret="till 3")
    invoice = new_invoice(alice, amount=5, webhook=HOOK, secret="order 7")
    id = invoice["id"] if row_of == "invoice" else alice.id
    move = f"UPDATE {table} SET webhook = %s"
    with connection.cursor() as cursor:
        with (
            pytest.raises(IntegrityError, match="not sent to another one"),
            transaction.atomic(),
        ):
            cursor.execute(f"{move} WHERE id = %s", [ELSEWHERE, id])
        cursor.execute(f"{move}, {secret} = '' WHERE id = %s", [ELSEWHERE, id])
        assert cursor.rowcount == 1
