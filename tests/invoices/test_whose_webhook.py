"""A webhook speaks in the name of who is paid, so only the payee says where it goes (sec-7).

Mallory makes invoices for Alice, as anybody may. What is written into them is told to Alice alone.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction
from standardwebhooks import Webhook

from accounts import credentials
from accounts.models import User
from coinos.simnet.control import Control
from invoices import services, webhooks
from invoices.errors import NotSentAgain, NotTheOwner
from invoices.models import Invoice, WebhookDelivery
from tests.cast import Api, api_of, available_sat, fund, make_user
from tests.database import ROOT, Database
from tests.invoices.helpers import new_invoice, receive, row
from tests.invoices.receiver import Receiver, receiver

HOOK = "https://93.184.215.14/hook"


@pytest.fixture
def mallory(db: None) -> User:
    return make_user("mallory")


@pytest.fixture
def shop() -> Iterator[Receiver]:
    with receiver() as shop:
        yield shop


def made_for_alice(maker: Api, **fields: Any) -> Any:
    body = {"user": {"username": "alice"}, "invoice": {"amount": 7} | fields}
    return maker.post("/invoice", body)


def refusal(answer: Any) -> tuple[int, str, str]:
    return (answer.status_code, answer.body["code"], answer.body["errors"][0]["pointer"])


# --- Who may say where it goes -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "member"),
    [
        ({"webhook": HOOK, "secret": "chosen"}, "webhook"),
        ({"webhook": HOOK}, "webhook"),
        ({"secret": "chosen"}, "secret"),
        ({"type": "bitcoin", "webhook": HOOK}, "webhook"),
    ],
)
def test_a_stranger_names_no_webhook_for_somebody_elses_invoice(
    world: Control, alice: User, mallory: User, anyone: Api, fields: dict[str, str], member: str
) -> None:
    for maker in (anyone, api_of(mallory)):
        answer = made_for_alice(maker, **fields)
        assert refusal(answer) == (403, "forbidden", f"#/invoice/{member}")
    assert not Invoice.objects.exists()


def test_a_stranger_still_makes_invoices_for_others(
    world: Control, alice: User, anyone: Api
) -> None:
    for nothing in (None, ""):
        answer = made_for_alice(anyone, webhook=nothing, secret=nothing)
        assert answer.status_code == 200
        assert answer.body["own"] is False


def test_a_stranger_moves_no_webhook_either(
    world: Control, alice: User, mallory: User, anyone: Api
) -> None:
    theirs = made_for_alice(api_of(mallory)).body
    hers = new_invoice(alice, amount=5, webhook=HOOK, secret="order 7")
    for invoice in (theirs, hers):
        for editor in (anyone, api_of(mallory)):
            for changes in ({"webhook": HOOK}, {"webhook": ""}, {"secret": "x"}):
                answer = editor.post(f"/invoice/{invoice['id']}", {"invoice": changes})
                pointer = f"#/invoice/{next(iter(changes))}"
                assert refusal(answer) == (403, "forbidden", pointer)
    assert (row(theirs).webhook, row(hers).webhook_secret) == ("", "order 7")


def test_the_payee_names_one_also_for_an_invoice_that_somebody_else_made(
    world: Control, alice: User, anyone: Api, shop: Receiver
) -> None:
    invoice = made_for_alice(anyone).body
    changes = {"webhook": shop.url, "secret": "mine"}
    answer = api_of(alice).post(f"/invoice/{invoice['id']}", {"invoice": changes})
    assert answer.body["webhook"] == shop.url
    world.pay(invoice["hash"])
    receive()
    assert webhooks.deliver_due() == 1
    assert (shop.heard[0].body["own"], shop.heard[0].body["secret"]) == (False, "mine")


def test_a_read_only_token_makes_invoices_with_a_webhook_and_moves_none(
    world: Control, alice: User
) -> None:
    read_only = Api(credentials.read_only_token(alice))
    hers = new_invoice(alice, amount=5, webhook=HOOK, secret="order 7")
    assert read_only.post("/invoice", {"invoice": {"amount": 5}}).body["own"] is True
    tipped = read_only.post(f"/invoice/{hers['id']}", {"invoice": {"tip": 1}})
    assert tipped.body["tip"] == 1
    for changes in ({"webhook": "https://93.184.215.14/thief"}, {"secret": "x"}, {"webhook": ""}):
        pointer = f"#/invoice/{next(iter(changes))}"
        moved = read_only.post(f"/invoice/{hers['id']}", {"invoice": changes})
        assert refusal(moved) == (403, "forbidden", pointer)
        assert "API key" in moved.body["message"]
    made = read_only.post("/invoice", {"invoice": {"amount": 5, "webhook": HOOK, "secret": "x"}})
    assert (made.status_code, made.body["webhook"], made.body["secret"]) == (200, HOOK, "x")
    assert (row(hers).webhook, row(hers).webhook_secret) == (HOOK, "order 7")


@pytest.mark.parametrize(("scope", "may"), [("read", False), ("receive", True), ("spend", True)])
def test_an_api_key_sets_a_webhook_when_it_may_receive(
    world: Control, alice: User, scope: str, may: bool
) -> None:
    invoice = new_invoice(alice, amount=5)
    _, text = credentials.create_api_key(alice, name="till", scope=scope)
    answer = Api(text).post(f"/invoice/{invoice['id']}", {"invoice": {"webhook": HOOK}})
    if may:
        assert (answer.status_code, row(invoice).webhook) == (200, HOOK)
    else:
        assert refusal(answer) == (403, "forbidden", "#/invoice/webhook")
        assert row(invoice).webhook == ""


def test_the_service_refuses_whatever_the_door(world: Control, alice: User, mallory: User) -> None:
    with pytest.raises(NotTheOwner):
        services.create_invoice(alice, services.InvoiceDraft(webhook=HOOK), own=False)
    invoice = row(new_invoice(alice, amount=5))
    with pytest.raises(NotTheOwner):
        services.set_webhook(invoice, by=mallory, webhook=HOOK, secret=None)


@pytest.mark.parametrize(
    ("webhook", "secret", "who"),
    [(HOOK, "", None), ("", "v1.x", None), (HOOK, "", "mallory"), ("", "", "mallory")],
)
def test_the_database_refuses_a_webhook_that_is_not_the_payees(
    world: Control, alice: User, mallory: User, webhook: str, secret: str, who: str | None
) -> None:
    invoice = row(new_invoice(alice, amount=5))
    with (
        pytest.raises(IntegrityError, match="webhook_belongs_to_the_payee"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "UPDATE invoices_invoice SET webhook = %s, secret = %s, webhook_set_by = %s"
            " WHERE id = %s",
            [webhook, secret, mallory.id if who else None, invoice.id],
        )


# --- Who is told ---------------------------------------------------------------------------------


def test_the_webhook_of_the_account_hears_of_every_invoice_that_strangers_made(
    world: Control, alice: User, mallory: User, anyone: Api, shop: Receiver
) -> None:
    services.set_account_webhook(alice, url=shop.url, secret="till 3")
    fund(mallory, 100)
    made = made_for_alice(anyone, memo="order 4711 PAID").body
    assert api_of(mallory).post("/payments", {"payreq": made["hash"]}).status_code == 200
    assert available_sat(alice) == 7
    assert webhooks.deliver_due() == 1
    [call] = shop.heard
    assert call.body == {
        "amount": 7,
        "confirmed": True,
        "hash": made["hash"],
        "own": False,
        "received": 7,
        "status": "settled",
        "text": made["hash"],
        "memo": "order 4711 PAID",
        "secret": "till 3",
    }
    alice.refresh_from_db()
    Webhook(webhooks.signing_secret(alice)).verify(call.raw, call.headers)


def test_a_payment_by_lnurl_is_a_strangers_invoice_too(
    world: Control, alice: User, anyone: Api, shop: Receiver
) -> None:
    services.set_account_webhook(alice, url=shop.url)
    terms = anyone.get("/lnurlp/alice").body
    callback = terms["callback"].split("/api", 1)[1]
    bolt11 = anyone.get(f"{callback}?amount=7000&comment=order+77").body["pr"]
    world.pay(bolt11)
    receive()
    assert webhooks.deliver_due() == 1
    assert (shop.heard[0].body["own"], shop.heard[0].body["memo"]) == (False, "order 77")


# --- Upgrading -----------------------------------------------------------------------------------


def migrate(database: Database, to: str) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity=0", "invoices", to],
        env=database.environment | {"DATABASE_ROLE": "owner"},
        check=True,
    )


def test_an_upgrade_ends_the_webhooks_that_strangers_had_set(
    simnet_nodes: Control, cloned_db: Database, redis: Any, shop: Receiver
) -> None:
    """As the rows of before were: the payee's own webhooks stay, and what waits for them."""
    alice = make_user("alice")
    services.set_account_webhook(alice, url=f"{shop.url}/all")
    invoices = {
        "hers": new_invoice(alice, amount=1, webhook=f"{shop.url}/hers", secret="order 7"),
        "theirs": new_invoice(alice, amount=2, webhook=f"{shop.url}/theirs", secret="chosen"),
        "heard": new_invoice(alice, amount=3, webhook=f"{shop.url}/theirs", secret="chosen"),
        "plain": made_for_alice(Api(), amount=4).body,
    }
    simnet_nodes.pay(invoices["heard"]["hash"])
    receive()
    webhooks.deliver_due()
    for name in ("hers", "theirs", "plain"):
        simnet_nodes.pay(invoices[name]["hash"])
    receive()
    del shop.heard[:]

    migrate(cloned_db, "0003")
    with psycopg.connect(cloned_db.owner_url, autocommit=True) as owner:
        strangers = [invoices["theirs"]["id"], invoices["heard"]["id"]]
        owner.execute("UPDATE invoices_invoice SET own = false WHERE id = ANY(%s)", [strangers])
    latest = sorted((ROOT / "invoices" / "migrations").glob("0*.py"))[-1].stem
    migrate(cloned_db, latest)

    kept = {name: (row(made).webhook, row(made).webhook_secret) for name, made in invoices.items()}
    assert kept == {
        "hers": (f"{shop.url}/hers", "order 7"),
        "theirs": ("", ""),
        "heard": ("", ""),
        "plain": ("", ""),
    }
    assert webhooks.deliver_due() == 2
    assert {call.body["amount"] for call in shop.heard} == {1, 4}
    for theirs in WebhookDelivery.objects.filter(invoice__in=strangers):
        with pytest.raises(NotSentAgain):
            webhooks.redeliver(theirs)
