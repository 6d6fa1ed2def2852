"""Shops are told of every payment, signed, until they have heard."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from jsonschema import Draft202012Validator
from standardwebhooks import Webhook

from accounts.models import Activity, Event, User
from coinos.simnet.control import Control
from invoices import services, webhook_turns, webhooks
from invoices.models import Invoice, WebhookAttempt, WebhookDelivery
from invoices.selectors import deliveries_of
from tests.api.test_schema import closed
from tests.cast import Api, api_of, fund, make_user
from tests.invoices.helpers import new_invoice, receive, row, seen
from tests.invoices.receiver import Receiver, receiver
from tests.invoices.test_internal import pay
from tests.invoices.test_lightning_receipts import in_threads
from tests.vectors import STANDARD_WEBHOOKS

State = WebhookDelivery.State


@pytest.fixture
def shop() -> Iterator[Receiver]:
    with receiver() as shop:
        yield shop


def deliver() -> int:
    return webhooks.deliver_due()


def make_due() -> None:
    """As if the wait until the next attempt were over."""
    WebhookDelivery.objects.update(next_attempt_at=timezone.now())


def paid_with_webhook(world: Control, user: User, shop: Receiver, **fields: Any) -> dict[str, Any]:
    invoice = new_invoice(user, webhook=shop.url + "/paid", **({"amount": 1000} | fields))
    world.pay(invoice["hash"])
    receive()
    return invoice


def test_a_lightning_payment_is_told_once_as_documented(
    world: Control, alice: User, shop: Receiver
) -> None:
    invoice = paid_with_webhook(world, alice, shop, memo="coffee", secret="webhooksecret")
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
        "secret": "webhooksecret",
    }
    assert call.headers["content-type"] == "application/json"
    assert deliver() == 0
    assert WebhookDelivery.objects.get().state == State.DELIVERED


def test_every_call_is_as_the_schema_describes_it(
    world: Control, alice: User, bob: User, shop: Receiver
) -> None:
    """With all that a call can have: a deposit that is seen and credited, of an invoice with note
    and secret, and a payment to one that somebody else made."""
    invoice = new_invoice(
        alice, type="bitcoin", amount=5_000, memo="coffee", webhook=shop.url, secret="s"
    )
    world.deposit(invoice["hash"], 5_000)
    services.scan_bitcoin()
    world.mine(1)
    services.scan_bitcoin()
    services.set_account_webhook(alice, url=shop.url, secret="all")
    by_bob = {"invoice": {"amount": 7}, "user": {"username": "alice"}}
    world.pay(api_of(bob).post("/invoice", by_bob).body["hash"])
    receive()
    deliver()
    schema = Api().get("/schema").body
    described = closed(schema, schema["components"]["schemas"]["WebhookCall"])
    assert sorted(call.body["confirmed"] for call in shop.heard) == [False, True, True]
    for call in shop.heard:
        assert list(Draft202012Validator(described).iter_errors(call.body)) == []
        for one in schema["webhooks"]["payment"]["post"]["parameters"]:
            assert call.headers[one["name"]]
    assert {name for call in shop.heard for name in call.body} == set(described["properties"])


def test_p11_the_receiver_can_verify_the_signature(
    world: Control, alice: User, shop: Receiver
) -> None:
    paid_with_webhook(world, alice, shop, secret="webhooksecret")
    deliver()
    [call] = shop.heard
    alice.refresh_from_db()
    key = webhooks.signing_secret(alice)
    assert key.startswith("whsec_")
    assert key not in alice.webhook_signing_secret  # sealed at rest
    Webhook(key).verify(call.raw, call.headers)
    assert abs(int(call.headers["webhook-timestamp"]) - time.time()) < 60
    with pytest.raises(Exception, match="signature"):
        Webhook(key).verify(call.raw + b" ", call.headers)


@pytest.mark.parametrize("row", STANDARD_WEBHOOKS.valid, ids=lambda row: row["what"])
def test_the_signature_is_that_of_the_published_vector(
    monkeypatch: pytest.MonkeyPatch, row: dict[str, str]
) -> None:
    at = datetime.fromtimestamp(int(row["timestamp"]), tz=UTC)
    monkeypatch.setattr(timezone, "now", lambda: at)
    headers = webhooks.headers(row["id"], row["payload"].encode(), row["secret"])
    assert headers["webhook-id"] == row["id"]
    assert headers["webhook-timestamp"] == row["timestamp"]
    assert headers["webhook-signature"] == row["text"]


def test_a_deposit_is_told_when_seen_and_when_confirmed(
    world: Control, alice: User, shop: Receiver
) -> None:
    invoice = new_invoice(alice, type="bitcoin", amount=80_000, webhook=shop.url, secret="c")
    world.deposit(invoice["hash"], 80_000)
    services.scan_bitcoin()
    deliver()
    world.mine()
    services.scan_bitcoin()
    services.scan_bitcoin()
    deliver()
    common = {"amount": 80_000, "hash": invoice["hash"], "text": invoice["text"], "secret": "c"}
    assert [call.body for call in shop.heard] == [
        common | {"confirmed": False, "received": 0, "status": "pending"},
        common | {"confirmed": True, "received": 80_000, "status": "settled"},
    ]
    assert len({call.headers["webhook-id"] for call in shop.heard}) == 2


def test_a_deposit_of_another_amount_is_told_with_all_that_was_received(
    world: Control, alice: User, shop: Receiver
) -> None:
    """input-C18: `amount` is what came now, `received` what came in all."""
    invoice = new_invoice(alice, type="bitcoin", amount=10_000, webhook=shop.url)
    for amount_sat, received_sat in ((25_000, 25_000), (5_000, 30_000)):
        world.deposit(invoice["hash"], amount_sat)
        world.mine()
        services.scan_bitcoin()
        deliver()
        told = shop.heard[-1].body
        assert (told["amount"], told["received"]) == (amount_sat, received_sat)
        assert told["confirmed"] is True


def test_an_internal_payment_is_told_once(
    world: Control, alice: User, bob: User, shop: Receiver
) -> None:
    """input-C16: bob pays an invoice of another user of this server."""
    fund(bob, 5_000)
    invoice = new_invoice(alice, amount=1000, tip=50, webhook=shop.url)
    pay(bob, invoice["hash"])
    deliver()
    [call] = shop.heard
    assert (call.body["amount"], call.body["received"], call.body["confirmed"]) == (
        1000,
        1050,
        True,
    )
    assert "secret" not in call.body


def test_a_payment_to_the_earlier_bolt11_names_that_one(
    world: Control, alice: User, shop: Receiver
) -> None:
    invoice = new_invoice(alice, amount=1000, webhook=shop.url)
    api_of(alice).post(f"/invoice/{invoice['id']}", {"invoice": {"tip": 5}})
    world.pay(invoice["hash"])
    receive()
    deliver()
    assert shop.heard[0].body["hash"] == shop.heard[0].body["text"] == invoice["hash"]


def test_a_failing_receiver_is_called_again_with_the_same_id_and_body(
    world: Control, alice: User, shop: Receiver
) -> None:
    """input-C17"""
    shop.answers = [(500, {}), (302, {"location": "http://127.0.0.1:1/"}), (404, {})]
    paid_with_webhook(world, alice, shop)
    waits = []
    for _ in range(4):
        deliver()
        delivery = WebhookDelivery.objects.get()
        waits.append((delivery.next_attempt_at - timezone.now()).total_seconds())
        assert deliver() == 0  # not before its time
        make_due()
    assert WebhookDelivery.objects.get().state == State.DELIVERED
    assert len({(call.headers["webhook-id"], call.raw) for call in shop.heard}) == 1
    assert [a.status for a in WebhookAttempt.objects.order_by("id")] == [500, 302, 404, 200]
    for wait_s, planned_s in zip(waits, [5, 300, 1800], strict=False):
        assert 0.85 * planned_s < wait_s < 1.15 * planned_s


def test_a_second_call_is_signed_with_a_timestamp_of_its_own(
    world: Control, alice: User, shop: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """input-C17: receivers refuse old ones."""
    shop.answers = [(500, {})]
    paid_with_webhook(world, alice, shop)
    deliver()
    make_due()
    later = timezone.now() + timedelta(seconds=6)
    monkeypatch.setattr(timezone, "now", lambda: later)
    deliver()
    first, second = (call.headers for call in shop.heard)
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) == int(later.timestamp())
    assert int(first["webhook-timestamp"]) < int(second["webhook-timestamp"])
    assert first["webhook-signature"] != second["webhook-signature"]


def test_after_ten_attempts_the_webhook_is_given_up_and_its_owner_told(
    world: Control, alice: User, shop: Receiver
) -> None:
    shop.answers = [(500, {})] * 20
    invoice = paid_with_webhook(world, alice, shop)
    for _ in range(12):
        deliver()
        make_due()
    assert len(shop.heard) == 10
    assert WebhookDelivery.objects.get().state == State.FAILED
    assert row(invoice).webhook_disabled_at is not None
    assert Event.objects.filter(user=alice, kind="webhook.disabled").exists()
    total = sum(webhooks.RETRY_AFTER, timedelta())
    assert len(webhooks.RETRY_AFTER) == 9
    assert timedelta(hours=75) < total < timedelta(hours=76)


def test_410_ends_it_at_once(world: Control, alice: User, shop: Receiver) -> None:
    shop.answers = [(410, {})]
    invoice = new_invoice(alice, type="bitcoin", webhook=shop.url)
    world.deposit(invoice["hash"], 5_000)
    services.scan_bitcoin()
    deliver()
    world.mine()
    services.scan_bitcoin()
    assert deliver() == 0
    assert len(shop.heard) == 1
    again = api_of(alice).post(f"/invoice/{invoice['id']}", {"invoice": {"webhook": shop.url}})
    assert again.status_code == 200
    world.deposit(invoice["hash"], 6_000)
    services.scan_bitcoin()
    assert deliver() == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(world: Control, alice: User, shop: Receiver, status: int) -> None:
    shop.answers = [(status, {"retry-after": "900"})]
    paid_with_webhook(world, alice, shop)
    deliver()
    wait_s = (WebhookDelivery.objects.get().next_attempt_at - timezone.now()).total_seconds()
    assert 880 < wait_s < 901


def test_a_receiver_that_is_down_is_tried_again(world: Control, alice: User) -> None:
    with receiver() as shop:
        paid_with_webhook(world, alice, shop)
    deliver()
    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, delivery.attempts_count) == (State.PENDING, 1)
    assert WebhookAttempt.objects.get().error


def test_p10_a_webhook_into_a_private_network_is_never_called(
    world: Control, alice: User, shop: Receiver, settings: Any
) -> None:
    invoice = new_invoice(alice, amount=1000, webhook=shop.url)
    settings.ALLOW_PRIVATE_URLS = []
    world.pay(invoice["hash"])
    receive()
    deliver()
    assert shop.heard == []
    assert WebhookDelivery.objects.get().state == State.FAILED
    refused = api_of(alice).post("/invoice", {"invoice": {"amount": 1, "webhook": shop.url}})
    assert refused.status_code == 400


def test_one_slow_endpoint_delays_only_itself(world: Control, alice: User, shop: Receiver) -> None:
    with receiver() as slow:
        slow.delay_s = 0.6
        for _ in range(3):
            paid_with_webhook(world, alice, slow)
        for _ in range(5):
            paid_with_webhook(world, alice, shop)
        assert deliver() == 8
    assert slow.most_at_once == 1
    assert shop.most_at_once == 1
    calls = WebhookAttempt.objects.order_by("created").values_list("delivery__url", flat=True)
    assert [url.startswith(shop.url) for url in calls][-2:] == [False, False]


def test_a_run_of_calls_takes_one_connection_and_is_recorded_together(
    world: Control, alice: User, shop: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        paid_with_webhook(world, alice, shop)
    recorded: list[int] = []
    record = webhooks._record

    def counting(made: list[webhooks.Made]) -> None:
        recorded.append(len(made))
        record(made)

    monkeypatch.setattr(webhooks, "_record", counting)
    monkeypatch.setattr(webhooks, "GATHER_S", 20)  # the end of the run comes long before
    assert deliver() == 5
    assert (shop.connections, recorded) == (1, [5])
    assert WebhookDelivery.objects.filter(state=State.DELIVERED).count() == 5


def test_a_worker_that_cannot_begin_a_run_ends_and_the_next_one_calls(
    world: Control, alice: User, shop: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid_with_webhook(world, alice, shop)
    with monkeypatch.context() as broken:
        broken.setattr(webhooks, "Fetcher", lambda *_, **__: Path("/nowhere").read_text())
        with pytest.raises(FileNotFoundError):
            deliver()
    WebhookDelivery.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert deliver() == 1
    assert len(shop.heard) == 1


def test_the_owner_can_have_it_delivered_again(
    world: Control, alice: User, bob: User, shop: Receiver
) -> None:
    paid_with_webhook(world, alice, shop)
    deliver()
    [delivery] = deliveries_of(alice)
    webhooks.redeliver(delivery)
    deliver()
    assert len({call.headers["webhook-id"] for call in shop.heard}) == 1
    assert len(shop.heard) == 2
    assert list(deliveries_of(bob)) == []


def test_rule_6_a_webhook_that_cannot_be_queued_loses_no_money(
    world: Control, alice: User, shop: Receiver
) -> None:
    from accounts.ledger import balance_of

    invoice = new_invoice(alice, amount=1000, webhook=shop.url, secret="x")
    Invoice.objects.filter(id=invoice["id"]).update(secret="v1.broken")
    world.pay(invoice["hash"])
    receive()
    assert balance_of(alice.id).available_sat == 1000
    assert not WebhookDelivery.objects.exists()


def test_what_is_stored_of_a_call_does_not_show_the_secret(
    world: Control, alice: User, shop: Receiver
) -> None:
    invoice = paid_with_webhook(world, alice, shop, secret="webhooksecret")
    assert "webhooksecret" not in WebhookDelivery.objects.get().body
    assert "webhooksecret" not in row(invoice).secret
    assert "secret" not in seen(invoice)


def test_five_workers_at_once_call_each_delivery_once(
    simnet_nodes: Control, cloned_db: Any, redis: Any, shop: Receiver
) -> None:
    alice = make_user("alice")
    for _ in range(10):
        paid_with_webhook(simnet_nodes, alice, shop, amount=1)
    assert in_threads(5, deliver) == []
    assert len(shop.heard) == 10
    assert len({call.headers["webhook-id"] for call in shop.heard}) == 10
    assert shop.most_at_once == 1


def test_a_delivery_whose_worker_died_is_taken_over_after_its_lease(
    world: Control, alice: User, shop: Receiver
) -> None:
    paid_with_webhook(world, alice, shop)
    assert len(webhooks._claim(10)) == 1  # and the worker dies here
    assert deliver() == 0
    WebhookDelivery.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert deliver() == 1
    assert len(shop.heard) == 1


def test_a_long_queue_costs_a_claim_no_more_than_reading_it(
    world: Control, alice: User, shop: Receiver
) -> None:
    """M27: one shop that is away must not slow down the calls to all others."""
    paid_with_webhook(world, alice, shop)
    first = WebhookDelivery.objects.get()
    line, waiting = Activity.objects.get(invoice_id=first.invoice_id), 1_000
    for other in ("one", "two"):
        invoice = Invoice.objects.get(id=first.invoice_id)
        invoice.webhook = f"https://{other}.example/hook"
        news = webhooks.News(invoice, line, first.event_id, 0, confirmed=True)
        webhooks.queue([news] * (waiting // 2))
    before = rows_read()
    claimed = webhooks._claim(at_most=1)
    assert [len(run) for run in claimed] == [1]  # the first
    again = webhooks._claim(at_most=1)
    assert [len(run) for run in again] == [webhook_turns.RUN_CALLS]
    assert rows_read() - before < 6 * waiting


def rows_read() -> int:
    """Of the table of deliveries, by this transaction so far."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables"
            " WHERE relname = 'invoices_webhookdelivery'"
        )
        return int(cursor.fetchone()[0])
