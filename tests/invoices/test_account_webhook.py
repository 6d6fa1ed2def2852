"""An account's webhook hears of every payment to an invoice that has none of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from standardwebhooks import Webhook

from accounts.models import Event, User
from coinos.http import UrlRefused
from coinos.simnet.control import Control
from invoices import services, webhooks
from invoices.models import WebhookAttempt, WebhookDelivery
from invoices.services.lightning import record_lightning_receipts
from tests.cast import Api, api_of, available_sat, fund
from tests.invoices.helpers import new_invoice, receive, row
from tests.invoices.receiver import Receiver, receiver
from tests.invoices.test_internal import pay
from tests.invoices.test_lightning_receipts import receipt_for, start_at_the_end
from tests.invoices.test_webhooks import deliver, make_due

State = WebhookDelivery.State


@pytest.fixture
def shop() -> Iterator[Receiver]:
    with receiver() as shop:
        yield shop


@pytest.fixture
def alice(alice: User, shop: Receiver) -> User:
    """She has a webhook."""
    services.set_account_webhook(alice, url=f"{shop.url}/all", secret="till 3")
    return alice


def paid(world: Control, user: User, **fields: Any) -> dict[str, Any]:
    invoice = new_invoice(user, **({"amount": 1000} | fields))
    world.pay(invoice["hash"])
    receive()
    return invoice


# --- What is told --------------------------------------------------------------------------------


def test_a_lightning_payment_is_told_signed_and_with_the_accounts_secret(
    world: Control, alice: User, shop: Receiver
) -> None:
    invoice = paid(world, alice, memo="coffee")
    assert deliver() == 1
    [call] = shop.heard
    assert call.body == {
        "amount": 1000,
        "confirmed": True,
        "hash": invoice["hash"],
        "received": 1000,
        "status": "settled",
        "text": invoice["hash"],
        "memo": "coffee",
        "secret": "till 3",
    }
    alice.refresh_from_db()
    Webhook(webhooks.signing_secret(alice)).verify(call.raw, call.headers)
    assert "till 3" not in alice.webhook_sealed_secret


def test_what_the_watcher_finds_at_once_is_told_of_each(
    world: Control, alice: User, bob: User, shop: Receiver
) -> None:
    start_at_the_end()
    for number in range(1, 6):
        invoice = new_invoice(alice if number % 2 else bob, amount=number)
        world.pay(invoice["hash"])
    services.watch_lightning(seconds=20, stopped=lambda: available_sat(alice) == 9)
    deliver()
    assert sorted(call.body["amount"] for call in shop.heard) == [1, 3, 5]  # and none of Bob's


def test_a_deposit_is_told_when_seen_and_when_confirmed(
    world: Control, alice: User, shop: Receiver
) -> None:
    invoice = new_invoice(alice, type="bitcoin", amount=80_000)
    world.deposit(invoice["hash"], 80_000)
    services.scan_bitcoin()
    world.mine()
    services.scan_bitcoin()
    deliver()
    told = [(call.body["confirmed"], call.body["received"]) for call in shop.heard]
    assert told == [(False, 0), (True, 80_000)]


def test_a_deposit_that_is_taken_back_is_told_as_its_coming_was(
    world: Control, alice: User, shop: Receiver
) -> None:
    """money-M2"""
    invoice = new_invoice(alice, type="bitcoin", amount=80_000)
    txid = world.deposit(invoice["hash"], 80_000)
    world.mine()
    services.scan_bitcoin()
    world.conflict(txid)
    world.mine()
    services.scan_bitcoin()
    deliver()
    told = [
        [call.body[name] for name in ("confirmed", "received", "status")] for call in shop.heard
    ]
    assert told == [
        [False, 0, "pending"],
        [True, 80_000, "settled"],
        [False, 0, "pending"],
        [False, 0, "failed"],
    ]


def test_an_internal_payment_is_told(
    world: Control, alice: User, bob: User, shop: Receiver
) -> None:
    fund(bob, 5_000)
    pay(bob, new_invoice(alice, amount=1000)["hash"])
    deliver()
    assert [call.body["received"] for call in shop.heard] == [1000]


def test_a_payment_without_an_invoice_is_not(
    world: Control, alice: User, bob: User, shop: Receiver
) -> None:
    fund(bob, 5_000)
    assert api_of(bob).post("/send", {"username": "alice", "amount": 7}).status_code == 200
    assert deliver() == 0


def test_an_invoice_with_a_webhook_of_its_own_tells_only_that_one(
    world: Control, alice: User, shop: Receiver
) -> None:
    with receiver() as other:
        invoice = paid(world, alice, webhook=other.url, secret="order 7")
        deliver()
        assert [call.body["secret"] for call in other.heard] == ["order 7"]
        other.answers = [(410, {})]
        webhooks.redeliver(WebhookDelivery.objects.get())
        deliver()
    assert row(invoice).webhook_disabled_at
    paid(world, alice)
    deliver()
    assert [call.body["secret"] for call in shop.heard] == ["till 3"]
    alice.refresh_from_db()
    assert alice.webhook_disabled_at is None


def test_an_invoice_whose_own_webhook_is_switched_off_does_not_tell_the_accounts(
    world: Control, alice: User, shop: Receiver
) -> None:
    with receiver() as other:
        other.answers = [(410, {})]
        invoice = new_invoice(alice, type="bitcoin", webhook=other.url)
        for sats in (5_000, 6_000):
            world.deposit(invoice["hash"], sats)
            services.scan_bitcoin()
            deliver()
    assert len(other.heard) == 1
    assert not shop.heard


def test_nothing_of_it_is_shown_to_others_or_added_to_the_api(
    world: Control, alice: User, shop: Receiver
) -> None:
    invoice = paid(world, alice)
    answers = [
        Api().get(f"/invoice/{invoice['hash']}"),
        Api().get("/users/alice"),
        api_of(alice).get(f"/invoice/{invoice['id']}"),
        api_of(alice).get("/invoices"),
        api_of(alice).get("/me"),
        api_of(alice).post("/invoice", {"invoice": {"amount": 5}}),
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert shop.url not in answer.content.decode()
        assert "webhook" not in answer.content.decode()
        assert "till 3" not in answer.content.decode()


# --- Switched off --------------------------------------------------------------------------------


def test_gone_pauses_it_until_it_is_saved_again(
    world: Control, alice: User, shop: Receiver
) -> None:
    shop.answers = [(410, {})]
    for _ in range(2):
        paid(world, alice)
    deliver()
    paid(world, alice)
    assert deliver() == 0
    assert len(shop.heard) == 1  # the second call was given up with the first
    assert {one.state for one in WebhookDelivery.objects.all()} == {State.FAILED}
    alice.refresh_from_db()
    assert alice.webhook_disabled_at
    event = Event.objects.get(user=alice, kind="webhook.disabled")
    assert event.invoice_id is None  # whoever watches the invoice is not told

    services.set_account_webhook(alice, url=alice.webhook)
    paid(world, alice)
    assert deliver() == 1
    assert shop.heard[-1].body["secret"] == "till 3"


def test_never_answering_pauses_it_after_ten_attempts(
    world: Control, alice: User, shop: Receiver
) -> None:
    shop.answers = [(500, {})] * 20
    paid(world, alice)
    for _ in range(12):
        deliver()
        make_due()
    assert len(shop.heard) == 10
    alice.refresh_from_db()
    assert alice.webhook_disabled_at


def test_one_call_that_is_always_refused_does_not_silence_the_others(
    world: Control, alice: User, shop: Receiver
) -> None:
    shop.answers = [(500, {})] * 9
    paid(world, alice)
    for _ in range(9):
        deliver()
        make_due()
    WebhookDelivery.objects.update(leased_until=None, next_attempt_at="2100-01-01T00:00Z")
    paid(world, alice)
    deliver()
    assert WebhookAttempt.objects.filter(status=200).count() == 1
    shop.answers = [(500, {})]
    make_due()
    deliver()
    assert WebhookDelivery.objects.filter(state=State.FAILED).count() == 1
    alice.refresh_from_db()
    assert alice.webhook_disabled_at is None


def test_an_old_url_that_is_gone_does_not_pause_the_new_one(
    world: Control, alice: User, shop: Receiver
) -> None:
    shop.answers = [(410, {})]
    paid(world, alice)
    with receiver() as other:
        services.set_account_webhook(alice, url=other.url)
        deliver()
        paid(world, alice)
        deliver()
        assert len(other.heard) == 1
    assert len(shop.heard) == 1


def test_emptying_it_switches_it_off_and_gives_up_what_waits(
    world: Control, alice: User, shop: Receiver
) -> None:
    own = new_invoice(alice, amount=1, webhook=shop.url)
    world.pay(own["hash"])
    paid(world, alice)
    services.set_account_webhook(alice, url="")
    paid(world, alice)
    assert deliver() == 1
    assert [call.body["hash"] for call in shop.heard] == [own["hash"]]
    alice.refresh_from_db()
    assert (alice.webhook, alice.webhook_sealed_secret) == ("", "")


# --- Rules ---------------------------------------------------------------------------------------


def test_p10_it_never_calls_into_a_private_network(
    world: Control, alice: User, shop: Receiver, settings: Any
) -> None:
    settings.ALLOW_PRIVATE_URLS = []
    paid(world, alice)
    deliver()
    assert shop.heard == []
    alice.refresh_from_db()
    assert alice.webhook_disabled_at
    with pytest.raises(UrlRefused):
        services.set_account_webhook(alice, url="http://169.254.169.254/latest")


def test_rule_6_a_secret_that_does_not_open_loses_no_money(
    world: Control, alice: User, bob: User, shop: Receiver
) -> None:
    services.set_account_webhook(bob, url=f"{shop.url}/bob")
    User.objects.filter(id=alice.id).update(webhook_sealed_secret="v1.broken")
    start_at_the_end()
    invoices = [new_invoice(user, amount=1000) for user in (alice, bob)]
    record_lightning_receipts([receipt_for(invoice) for invoice in invoices])
    assert (available_sat(alice), available_sat(bob)) == (1000, 1000)
    deliver()
    assert [call.body["hash"] for call in shop.heard] == [invoices[1]["hash"]]


def test_a_batch_takes_as_many_queries_as_one_receipt(
    world: Control, alice: User, bob: User, django_assert_num_queries: Any
) -> None:
    start_at_the_end()
    for many in (1, 8):
        receipts = []
        for number in range(many):
            invoice = new_invoice(bob if number % 2 else alice, amount=5)
            receipts.append(receipt_for(invoice, received_msat=5000))
        with django_assert_num_queries(9 + 3):  # a savepoint around one INSERT
            record_lightning_receipts(receipts, moves_cursor=True)
    assert WebhookDelivery.objects.count() == 1 + 4
