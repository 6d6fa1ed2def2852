"""Nobody's webhook waits for those of others (sec-13).

Mallory has any number of endpoints, of addresses that never answer too; Alice has a shop."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.models import Activity, Event, User
from coinos import http, limits
from coinos.places import Places
from invoices import tasks, webhook_turns, webhooks
from invoices.models import Invoice, WebhookAttempt, WebhookDelivery
from tests.cast import make_user
from tests.invoices.receiver import Receiver, receiver

State = WebhookDelivery.State


@pytest.fixture
def mallory(db: None) -> User:
    return make_user("mallory")


@pytest.fixture
def shop() -> Iterator[Receiver]:
    with receiver() as shop:
        yield shop


def waiting(user: User, url: str, count: int = 1, **fields: Any) -> list[UUID]:
    """So many calls of this URL that are due."""
    invoice = Invoice.objects.create(
        user=user,
        amount_sat=5,
        currency="USD",
        expiry_s=60,
        webhook=url,
        webhook_set_by=user.id,
    )
    line = Activity(amount_sat=5, hash="lnbc5", status="settled")
    event = Event.objects.create(user=user, kind="payment.settled")
    news = webhooks.News(invoice, line, event.id, 5, confirmed=True)
    ids = [delivery.id for delivery in webhooks.queue([news] * count)]
    if fields:
        WebhookDelivery.objects.filter(id__in=ids).update(**fields)
    return ids


def endpoints(count: int) -> list[str]:
    return [f"http://127.0.{number // 250}.{number % 250 + 1}:9/" for number in range(count)]


def ago(seconds: float) -> Any:
    return timezone.now() - timedelta(seconds=seconds)


def next_calls(at_most: int) -> list[UUID]:
    return webhook_turns.next_calls(timezone.now(), at_most=at_most)


def lease(ids: list[UUID]) -> None:
    """As if a worker were calling these."""
    until = timezone.now() + webhooks.LEASE
    WebhookDelivery.objects.filter(id__in=ids).update(leased_until=until)


# --- Whose turn it is ----------------------------------------------------------------------------


def test_who_has_fewest_calls_under_way_is_next(alice: User, mallory: User) -> None:
    for url in endpoints(420):
        waiting(mallory, url, next_attempt_at=ago(30))
    hers = waiting(alice, "http://127.9.9.9:9/", next_attempt_at=ago(1))
    of_mallory = next_calls(2)[:1]  # his have waited longer, and none of either is under way
    assert hers[0] in next_calls(2)
    lease(of_mallory)
    assert next_calls(1) == hers


def test_nobody_has_more_than_a_share_of_the_calls(alice: User, mallory: User) -> None:
    for url in endpoints(60):
        waiting(mallory, url)
    hers = waiting(alice, "http://127.9.9.9:9/")
    share = limits.WEBHOOK_CALLS.at_most
    first = next_calls(256)
    assert len(first) == share + 1
    assert hers[0] in first
    lease([id for id in first if id not in hers])
    assert next_calls(256) == hers


def test_first_tries_come_before_retries_and_retries_in_the_end(alice: User, mallory: User) -> None:
    late, soon = webhook_turns.LATE_RETRY.total_seconds() + 5, 30
    [retry] = waiting(alice, endpoints(1)[0], attempts_count=3, next_attempt_at=ago(soon))
    [first] = waiting(mallory, endpoints(2)[1], next_attempt_at=ago(1))
    assert next_calls(1) == [first]
    assert next_calls(2) == [first, retry]
    WebhookDelivery.objects.filter(id=retry).update(next_attempt_at=ago(late))
    assert next_calls(1) == [retry]


def test_an_endpoint_is_told_in_order_and_first_tries_first(alice: User) -> None:
    url = endpoints(1)[0]
    [retry] = waiting(alice, url, attempts_count=1, next_attempt_at=ago(9))
    older, newer = (waiting(alice, url, next_attempt_at=ago(age))[0] for age in (8, 7))
    assert next_calls(1) == [older, newer, retry]
    waiting(alice, url, webhook_turns.RUN_CALLS)
    assert len(next_calls(1)) == webhook_turns.RUN_CALLS
    lease([older])
    assert next_calls(1) == []


def test_calls_that_mallory_has_sent_to_the_shop_do_not_hold_up_its_owners(
    alice: User, mallory: User
) -> None:
    """money-M9: turns are of one user at one endpoint, not of an endpoint that many share."""
    url = endpoints(1)[0]
    lease(waiting(mallory, url))
    hers = waiting(alice, url)
    assert next_calls(5) == hers


@dataclass
class Silent:
    """Accepts connections, reads, and never answers."""

    url: str = ""
    open: list[socket.socket] = field(default_factory=list)


@contextmanager
def silent() -> Iterator[Silent]:
    server, listener = Silent(), socket.create_server(("0.0.0.0", 0), backlog=256)
    server.url = f"http://%s:{listener.getsockname()[1]}/"

    def accept() -> None:
        while True:
            try:
                server.open.append(listener.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server
    finally:
        listener.close()
        for one in server.open:
            one.close()


def test_endpoints_that_never_answer_keep_nobody_waiting(
    cloned_db: Any, shop: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alice is called while all of Mallory's calls are still waiting for an answer."""
    patient = replace(http.KINDS["webhook"], timeout_s=60, first_byte_s=60)
    monkeypatch.setitem(http.KINDS, "webhook", patient)
    alice, mallory = make_user("alice"), make_user("mallory")
    heard, stop = threading.Event(), threading.Event()
    with silent() as nowhere:
        for number in range(120):
            waiting(mallory, nowhere.url % f"127.0.1.{number + 1}", next_attempt_at=ago(30))

        def work() -> None:
            webhooks.deliver_due(stopped=stop.is_set)
            connection.close()

        worker = threading.Thread(target=work)
        worker.start()
        try:
            until(lambda: len(nowhere.open) == limits.WEBHOOK_CALLS.at_most)
            waiting(alice, f"{shop.url}/paid")
            until(lambda: bool(shop.heard))
            heard.set()
            assert not WebhookAttempt.objects.filter(delivery__user=mallory).exists()
            assert len(nowhere.open) == limits.WEBHOOK_CALLS.at_most
        finally:
            stop.set()
            for one in nowhere.open:
                one.close()
            worker.join()
    assert heard.is_set()


def until(condition: Any) -> None:
    """Wait for what must happen before the first of the silent calls ends."""
    ends = time.monotonic() + 45
    while time.monotonic() < ends:
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it has not happened")


# --- By address ----------------------------------------------------------------------------------


def test_an_address_that_is_busy_is_called_a_moment_later(
    alice: User, mallory: User, shop: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(limits.WEBHOOK_CALLS_AT_ADDRESS, at_most=2)
    monkeypatch.setattr(limits, "WEBHOOK_CALLS_AT_ADDRESS", few)
    under_way = [webhooks.ADDRESSES.turn(mallory.id) for _ in range(2)]
    for turn in under_way:
        turn.at("127.0.0.1")
    [his] = waiting(mallory, f"{shop.url}/his", next_attempt_at=ago(1))
    waiting(alice, f"{shop.url}/hers")
    assert webhooks.deliver_due() == 1  # hers: she has no call there
    delivery = WebhookDelivery.objects.get(id=his)
    assert (delivery.state, delivery.attempts_count) == (State.PENDING, 0)
    assert delivery.next_attempt_at > timezone.now() - timedelta(seconds=1)
    assert not delivery.attempts.exists()

    for turn in under_way:
        turn.close()
    WebhookDelivery.objects.update(next_attempt_at=timezone.now())
    assert webhooks.deliver_due() == 1
    assert len(shop.heard) == 2
    assert not webhooks.ADDRESSES._calls  # all given back


def test_an_ipv6_network_is_one_address(mallory: User) -> None:
    addresses = webhook_turns.Addresses()
    for number in range(limits.WEBHOOK_CALLS_AT_ADDRESS.at_most):
        addresses.turn(mallory.id).at(f"2001:4860:1:2::{number + 1:x}")
    with pytest.raises(webhook_turns.AddressBusy):
        addresses.turn(mallory.id).at("2001:4860:1:2:ffff::1")
    addresses.turn(mallory.id).at("2001:4860:1:3::1")


# --- What waits ----------------------------------------------------------------------------------


def test_what_waits_beyond_the_bound_is_given_up_and_can_be_sent_again(
    alice: User, bob: User, shop: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(limits.WEBHOOKS_WAITING, at_most=3)
    monkeypatch.setattr(limits, "WEBHOOKS_WAITING", few)
    hers = waiting(alice, shop.url, 5)
    for number, id in enumerate(hers):
        WebhookDelivery.objects.filter(id=id).update(created=ago(10 - number))
    waiting(bob, shop.url, 3)
    tasks.bound_webhooks()
    given_up = WebhookDelivery.objects.filter(state=State.FAILED)
    assert {one.id for one in given_up} == set(hers[3:])
    assert webhooks.deliver_due() == 6
    webhooks.redeliver(given_up.get(id=hers[4]))
    assert webhooks.deliver_due() == 1


# --- Who shares the workers ----------------------------------------------------------------------


def test_calls_leave_threads_of_their_worker_to_the_e_mails(
    alice: User, shop: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 < tasks._THREADS_FOR_CALLS < settings.WEBHOOK_THREADS
    waiting(alice, shop.url)
    monkeypatch.setattr(tasks, "_calling", Places(1))
    with tasks._calling.take():
        tasks.deliver_webhooks()
        assert not shop.heard
    tasks.deliver_webhooks()
    assert len(shop.heard) == 1
