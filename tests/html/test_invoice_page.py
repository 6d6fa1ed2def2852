"""What becomes of an invoice while somebody looks at it: on its way, confirmed, late, short."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Activity
from coinos.simnet.control import Control
from invoices import services, webhooks
from invoices.models import Deposit, Invoice, WebhookAttempt, WebhookDelivery
from tests.html.conftest import Browser, Person

HOOK = "https://shop.example/paid"


def invoice_of(person: Person, **draft: Any) -> Invoice:
    return services.create_invoice(person.user, services.InvoiceDraft(**draft), own=True)


def path(invoice: Invoice) -> str:
    return f"/invoice/{invoice.id}"


def expire(invoice: Invoice) -> None:
    Invoice.objects.filter(id=invoice.id).update(
        created=timezone.now() - timedelta(seconds=invoice.expiry_s + 1)
    )


def look_of(page: Any) -> str:
    """What the open page asks for when something has happened."""
    return next(found["hx-get"] for _, found in page.elements if "seen=" in found.get("hx-get", ""))


# --- Open ----------------------------------------------------------------------------------------


def test_the_time_that_is_left_is_told_in_full_and_counted_in_silence(
    alice: Person, network: Control
) -> None:
    page = alice.get(path(invoice_of(alice, amount_sat=1000, expiry_s=600))).page
    assert "valid until" in page.text
    timer = next(found for found in page.all("span") if "data-countdown" in found)
    assert timer["role"] == "timer"
    assert "hidden" in timer  # until the script fills it
    live = [found["id"] for _, found in page.elements if found.get("role") == "status"]
    assert live == ["news", "toasts"]
    assert not [
        found for found in page.all("div") if found.get("id") == "state" and "aria-live" in found
    ]


def test_each_part_of_an_onchain_request_can_be_copied_alone(
    alice: Person, network: Control
) -> None:
    invoice = invoice_of(alice, amount_sat=5000, type="bitcoin", memo="rent")
    page = alice.get(path(invoice)).page
    values = [found["value"] for found in page.all("input") if "readonly" in found]
    assert values == [
        f"bitcoin:{invoice.hash}?amount=0.00005000&message=rent",
        invoice.hash,
        "0.00005000",
    ]
    assert len([found for found in page.all("button") if "data-copy" in found]) == 3


def test_the_least_amount_stands_beside_an_address_for_any_amount(
    alice: Person, network: Control
) -> None:
    page = alice.get(path(invoice_of(alice, type="bitcoin"))).page
    assert "send at least ⚡️300 sats" in page.text


# --- On its way ----------------------------------------------------------------------------------


def test_a_large_deposit_counts_its_confirmations_on_the_open_page(
    alice: Person, network: Control, settings: Any
) -> None:
    settings.CONFIRMATION_TIERS = ((0, 1), (4000, 3))
    invoice = invoice_of(alice, amount_sat=5000, type="bitcoin")
    network.deposit(invoice.hash, 5000)
    services.scan_bitcoin()
    page = alice.get(path(invoice)).page
    assert "0 of 3 confirmations" in page.text
    txid = Deposit.objects.get().txid
    assert txid in [found.get("value") for found in page.all("input")]

    network.mine(1)
    services.scan_bitcoin()
    changed = alice.get(look_of(page))
    assert changed.status_code == 200
    assert "1 of 3 confirmations" in changed.page.text
    assert "every 15s" in changed.page.html  # a confirmation rings no bell
    assert alice.get(look_of(changed.page)).status_code == 204

    network.mine(2)
    services.scan_bitcoin()
    settled = alice.get(look_of(changed.page)).page
    assert "Received ⚡️5,000" in settled.text
    assert "Confirmed" in settled.text
    assert "every 15s" not in settled.html


def test_the_payer_is_done_while_the_owner_waits(
    alice: Person, stranger: Browser, network: Control
) -> None:
    invoice = invoice_of(alice, amount_sat=5000, type="bitcoin")
    network.deposit(invoice.hash, 5000)
    services.scan_bitcoin()
    theirs = stranger.get(path(invoice)).page
    assert "Paid, unconfirmed ⚡️5,000" in theirs.text
    assert "data-confetti" in theirs.html
    mine = alice.get(path(invoice)).page
    assert "Seen, not yet confirmed ⚡️5,000" in mine.text
    assert "data-confetti" not in mine.html
    assert alice.available_sat == 100_000


def test_too_little_on_its_way_leaves_the_rest_to_pay(
    alice: Person, stranger: Browser, network: Control
) -> None:
    invoice = invoice_of(alice, amount_sat=5000, with_address=True)
    address = invoice.addresses.get().address
    network.deposit(address, 3000)
    services.scan_bitcoin()
    page = stranger.get(path(invoice)).page
    assert "⚡️3,000 sats of ⚡️5,000 sats are on their way; ⚡️2,000 sats still missing" in page.text
    assert f"bitcoin:{address}?amount=0.00002000" in page.html.replace("&amp;", "&")
    assert invoice.hash not in [
        found.get("value") for found in page.all("input") if "readonly" in found
    ]


# --- Paid ----------------------------------------------------------------------------------------


def test_a_payment_changes_title_and_icon_and_makes_the_page_one_button(
    alice: Person, stranger: Browser, network: Control
) -> None:
    invoice = invoice_of(alice, amount_sat=1000)
    network.pay(invoice.hash)
    services.sweep_lightning()
    for browser, title, on in [(alice, "✓ Received", "/"), (stranger, "✓ Paid", "/alice")]:
        page = browser.get(path(invoice)).page
        assert f"{title} · coinos" in page.text
        assert "1,000 sats have arrived" in page.text
        icon = next(found for found in page.all("link") if found["rel"] == "icon")
        assert icon["href"].endswith("favicon-paid.svg")
        go_on = next(found for found in page.all("a") if "go-on" in found.get("class", ""))
        assert go_on["href"] == on
        assert "data-confetti" in page.html


def test_only_fresh_money_is_celebrated(alice: Person, network: Control) -> None:
    invoice = invoice_of(alice, amount_sat=1000)
    network.pay(invoice.hash)
    services.sweep_lightning()
    Invoice.objects.update(settled_at=timezone.now() - timedelta(minutes=3))
    assert "data-confetti" not in alice.get(path(invoice)).page.html


def test_a_payer_of_somebody_hidden_is_not_led_to_a_missing_page(
    alice: Person, stranger: Browser, network: Control
) -> None:
    invoice = invoice_of(alice, amount_sat=1000)
    alice.user.hidepay = True
    alice.user.save()
    network.pay(invoice.hash)
    services.sweep_lightning()
    page = stranger.get(path(invoice)).page
    go_on = next(found for found in page.all("a") if "go-on" in found.get("class", ""))
    assert stranger.get(go_on["href"]).status_code == 200


def test_who_was_paid_too_much_is_told_how_to_give_it_back(alice: Person, network: Control) -> None:
    invoice = invoice_of(alice, amount_sat=1000, type="bitcoin")
    network.deposit(invoice.hash, 1300)
    network.mine(1)
    services.scan_bitcoin()
    page = alice.get(path(invoice)).page
    assert "⚡️300 sats more than asked" in page.text
    assert "To return ⚡️300 sats" in page.text


# --- Late ----------------------------------------------------------------------------------------


def test_an_expired_invoice_becomes_a_new_one_with_one_press(
    alice: Person, network: Control
) -> None:
    old = invoice_of(alice, amount_sat=1234, memo="lunch", with_address=True)
    expire(old)
    assert f'action="{path(old)}/renew"' in alice.get(path(old)).page.html
    answer = alice.post(f"{path(old)}/renew")
    new = Invoice.objects.exclude(id=old.id).get()
    assert answer.headers["Location"] == path(new)
    assert (new.amount_sat, new.memo, new.own, new.status) == (1234, "lunch", True, "open")
    assert new.addresses.exists()
    assert new.hash != old.hash


def test_a_visitor_renews_what_he_wants_to_pay(
    alice: Person, stranger: Browser, network: Control
) -> None:
    old = invoice_of(alice, amount_sat=1234)
    expire(old)
    stranger.post(f"{path(old)}/renew")
    new = Invoice.objects.exclude(id=old.id).get()
    assert (new.user, new.amount_sat, new.own) == (alice.user, 1234, False)


def test_only_its_owner_renews_the_invoice_of_an_order(
    alice: Person, stranger: Browser, network: Control
) -> None:
    old = invoice_of(alice, amount_sat=1234, webhook=HOOK, secret="order 7")
    expire(old)
    assert "Go back to the shop" in stranger.get(path(old)).page.text
    answer = stranger.post(f"{path(old)}/renew")
    assert answer.status_code == 400
    assert "Go back to the shop" in answer.page.text
    assert Invoice.objects.count() == 1

    alice.post(f"{path(old)}/renew")
    new = Invoice.objects.exclude(id=old.id).get()
    assert (new.webhook, new.webhook_secret) == (HOOK, "order 7")


def test_an_open_invoice_is_not_doubled(alice: Person, network: Control) -> None:
    invoice = invoice_of(alice, amount_sat=1234)
    answer = alice.post(f"{path(invoice)}/renew")
    assert answer.headers["Location"] == path(invoice)
    assert Invoice.objects.count() == 1


def test_coins_that_come_late_are_shown(alice: Person, network: Control) -> None:
    invoice = invoice_of(alice, amount_sat=5000, type="bitcoin")
    expire(invoice)
    page = alice.get(path(invoice)).page
    network.deposit(invoice.hash, 5000)
    services.scan_bitcoin()
    assert "Seen, not yet confirmed ⚡️5,000" in alice.get(look_of(page)).page.text


# --- Whom it tells -------------------------------------------------------------------------------


def delivered_to(alice: Person, network: Control) -> tuple[Invoice, WebhookDelivery]:
    invoice = invoice_of(alice, amount_sat=1000, webhook=HOOK)
    network.pay(invoice.hash)
    services.sweep_lightning()
    return invoice, WebhookDelivery.objects.get()


def test_the_owner_sees_on_the_invoice_whether_his_shop_was_told(
    alice: Person, stranger: Browser, network: Control
) -> None:
    waiting = invoice_of(alice, amount_sat=1000, webhook=HOOK)
    assert f"{HOOK} is called as soon as a payment arrives" in alice.get(path(waiting)).page.text

    invoice, delivery = delivered_to(alice, network)
    assert "Not tried yet" in alice.get(path(invoice)).page.text
    WebhookAttempt.objects.create(
        delivery=delivery, status=503, duration_ms=1234, response="<b>busy</b>"
    )
    WebhookDelivery.objects.update(attempts_count=1)
    page = alice.get(path(invoice)).page
    assert "answered 503 · 1,234 ms" in page.text
    assert "Next attempt on" in page.text
    assert "&lt;b&gt;busy&lt;/b&gt;" in page.html
    assert HOOK not in stranger.get(path(invoice)).page.html


def test_a_call_is_made_again_from_the_invoice(alice: Person, network: Control) -> None:
    invoice, delivery = delivered_to(alice, network)
    WebhookDelivery.objects.update(state="delivered", attempts_count=1)
    assert "Delivered" in alice.get(path(invoice)).page.text
    answer = alice.post(f"/webhooks/{delivery.id}", next=path(invoice))
    assert answer.headers["Location"] == path(invoice)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts_count) == ("pending", 0)


def test_a_webhook_that_is_switched_off_says_so(alice: Person, network: Control) -> None:
    invoice, delivery = delivered_to(alice, network)
    webhooks._disable(delivery)
    assert "Switched off on" in alice.get(path(invoice)).page.text
    assert Activity.objects.filter(user=alice.user, invoice_id=invoice.id).exists()


# --- What a look costs ---------------------------------------------------------------------------


def test_an_open_page_that_asks_again_costs_one_query_and_no_code(
    alice: Person, stranger: Browser, network: Control
) -> None:
    invoice = invoice_of(alice, amount_sat=1000, with_address=True)
    page = stranger.get(path(invoice)).page
    with CaptureQueriesContext(connection) as queries:
        assert stranger.get(look_of(page)).status_code == 204
    assert len(queries) == 1
