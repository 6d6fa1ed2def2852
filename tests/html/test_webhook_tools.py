"""Who builds a receiver tries it, and finds out whether a call was ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from invoices.models import WebhookDelivery
from tests.html.conftest import Browser, Person
from tests.invoices.receiver import Receiver, receiver
from tests.invoices.test_webhook_turns import waiting


@pytest.fixture
def shop() -> Iterator[Receiver]:
    with receiver() as shop:
        yield shop


def test_a_test_call_is_signed_pays_nothing_and_shows_the_answer(
    alice: Person, shop: Receiver
) -> None:
    page = alice.post("/webhooks/try", **{"try-url": f"{shop.url}/paid"}).page
    assert "answered 200" in page.text
    [call] = shop.heard
    assert (call.body["test"], call.body["amount"], call.body["received"]) == (True, 0, 0)
    assert not call.body["confirmed"]
    assert not WebhookDelivery.objects.exists()

    signed = {
        "check-message_id": call.headers["webhook-id"],
        "check-timestamp": call.headers["webhook-timestamp"],
        "check-signature": call.headers["webhook-signature"],
        "check-body": call.raw.decode(),
    }
    assert "signed with your secret" in alice.post("/webhooks/check", **signed).page.text
    changed = signed | {"check-body": signed["check-body"].replace("0", "9")}
    assert "not signed with your secret" in alice.post("/webhooks/check", **changed).page.text


def test_somebody_elses_call_is_not_ones_own(alice: Person, bob: Person, shop: Receiver) -> None:
    alice.post("/webhooks/try", **{"try-url": f"{shop.url}/paid"})
    [call] = shop.heard
    answer = bob.post(
        "/webhooks/check",
        **{
            "check-message_id": call.headers["webhook-id"],
            "check-timestamp": call.headers["webhook-timestamp"],
            "check-signature": call.headers["webhook-signature"],
            "check-body": call.raw.decode(),
        },
    )
    assert "not signed with your secret" in answer.page.text


def test_a_receiver_that_fails_is_shown_as_it_is(alice: Person, shop: Receiver) -> None:
    shop.answers = [(500, {})]
    page = alice.post("/webhooks/try", **{"try-url": f"{shop.url}/paid"}).page
    assert "answered 500" in page.text


@pytest.mark.parametrize(
    "url", ["", "ftp://shop.example", "http://169.254.169.254/latest/", "javascript:alert(1)"]
)
def test_no_test_call_goes_where_no_webhook_may(alice: Person, url: str) -> None:
    answer = alice.post("/webhooks/try", **{"try-url": url})
    assert answer.status_code == 422
    assert "answered" not in answer.page.text


@pytest.mark.parametrize("timestamp", ["", "now", "-1", "9" * 12, "1e9"])
def test_odd_headers_are_no_signature(alice: Person, timestamp: str) -> None:
    fields = {"message_id": "msg_1", "timestamp": timestamp, "signature": "v1,ü", "body": "{}"}
    answer = alice.post(
        "/webhooks/check", **{f"check-{name}": text for name, text in fields.items()}
    )
    assert answer.status_code in (200, 422)
    assert "This call was signed" not in answer.page.text


def test_a_stranger_makes_no_calls(stranger: Browser, shop: Receiver) -> None:
    assert stranger.post("/webhooks/try", **{"try-url": shop.url}).status_code == 302
    assert not shop.heard


# --- The webhook of the account ------------------------------------------------------------------


def save(person: Person, url: str, secret: str = "") -> Any:
    return person.post("/webhooks/account", **{"account-url": url, "account-secret": secret})


def test_alice_sets_tries_and_switches_off_the_webhook_of_her_account(
    alice: Person, shop: Receiver
) -> None:
    answer = save(alice, f"{shop.url}/all", "till 3")
    assert answer.status_code == 302
    page = alice.get("/webhooks").page
    assert "Your webhook is saved" in page.text
    assert page.value("account-url") == page.value("try-url") == f"{shop.url}/all"
    assert "till 3" not in page.html  # nobody sees it again
    assert "A secret is set" in page.text
    save(alice, f"{shop.url}/all")
    alice.user.refresh_from_db()
    assert alice.user.webhook_secret == "till 3"
    save(alice, f"{shop.url}/others")
    alice.user.refresh_from_db()
    assert (alice.user.webhook, alice.user.webhook_secret) == (f"{shop.url}/others", "")
    assert "A secret is set" not in alice.get("/webhooks").page.text
    save(alice, "")
    assert "Your webhook is switched off" in alice.get("/webhooks").page.text
    alice.user.refresh_from_db()
    assert (alice.user.webhook, alice.user.webhook_secret) == ("", "")
    assert not shop.heard


@pytest.mark.parametrize(
    "url", ["ftp://shop.example", "http://169.254.169.254/latest/", "javascript:alert(1)"]
)
def test_it_is_refused_where_no_webhook_may_go(alice: Person, shop: Receiver, url: str) -> None:
    save(alice, shop.url)
    answer = save(alice, url)
    assert answer.status_code == 422
    assert "aria-invalid" in answer.page.html
    alice.user.refresh_from_db()
    assert alice.user.webhook == shop.url


def test_each_sees_and_changes_only_ones_own(
    alice: Person, bob: Person, stranger: Browser, shop: Receiver
) -> None:
    save(alice, shop.url)
    assert shop.url not in bob.get("/webhooks").page.html
    assert save(bob, "").status_code == 302
    assert stranger.post("/webhooks/account", **{"account-url": ""}).status_code == 302
    assert shop.url not in stranger.get("/alice").page.html
    alice.user.refresh_from_db()
    assert alice.user.webhook == shop.url


def test_a_paused_webhook_says_so_until_it_is_saved_again(alice: Person, shop: Receiver) -> None:
    save(alice, shop.url)
    User.objects.filter(id=alice.user.id).update(webhook_disabled_at=timezone.now())
    assert "Paused on" in alice.get("/webhooks").page.text
    assert "Webhooks paused" in alice.get("/settings").page.text
    save(alice, shop.url)
    assert "Paused on" not in alice.get("/webhooks").page.text
    assert "Webhooks paused" not in alice.get("/settings").page.text


def test_a_call_that_was_given_up_untried_says_so(alice: Person, shop: Receiver) -> None:
    waiting(alice.user, shop.url)
    assert "Not tried yet" in alice.get("/webhooks").page.text
    WebhookDelivery.objects.update(state="failed")
    assert "too many calls were waiting" in alice.get("/webhooks").page.text
