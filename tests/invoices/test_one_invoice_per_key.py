"""Repeating POST /invoice with its Idempotency-Key asks for the same money once."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts import credentials
from accounts.models import IdempotencyKey, User
from coinos.nodes import lightning
from coinos.simnet.control import Control
from invoices import services
from invoices.models import Address, Invoice, LightningRequest
from invoices.services import creation
from tests.cast import Api, api_of, make_user
from tests.database import Database
from tests.invoices.test_kills import run_until_killed

COFFEE = {"invoice": {"amount": 1000, "memo": "coffee"}}


def ask(api: Api, body: Any = COFFEE, key: str = "order-7") -> Any:
    return api.post("/invoice", body, Idempotency_Key=key)


@pytest.mark.parametrize("type", ["lightning", "bitcoin"])
def test_the_same_key_answers_the_same_invoice(world: Control, alice: User, type: str) -> None:
    body = {"invoice": {"amount": 1000, "type": type}}
    api = api_of(alice)
    first, again = ask(api, body), ask(api, body, '"order-7"')
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.body == first.body
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Invoice.objects.count() == 1
    assert LightningRequest.objects.count() + Address.objects.count() == 1


def test_a_replay_shows_the_invoice_as_it_is_now(world: Control, alice: User) -> None:
    api = api_of(alice)
    invoice = ask(api).body
    world.pay(invoice["hash"])
    services.sweep_lightning()
    again = ask(api).body
    assert (again["id"], again["received"], again["status"]) == (invoice["id"], 1000, "paid")


def test_a_key_is_one_request_of_one_account(world: Control, alice: User, bob: User) -> None:
    first = ask(api_of(alice))
    other = ask(api_of(alice), {"invoice": {"amount": 1001, "memo": "coffee"}})
    assert (other.status_code, other.body["code"]) == (422, "idempotency_key_reused")
    spend = api_of(alice).post("/send", {"username": "bob", "amount": 1}, Idempotency_Key="order-7")
    assert (spend.status_code, spend.body["code"]) == (422, "idempotency_key_reused")
    assert ask(api_of(bob)).body["id"] != first.body["id"]


def test_whoever_asks_for_another_has_keys_of_his_own(
    world: Control, alice: User, bob: User
) -> None:
    """Nobody can use up the keys of the payee."""
    for_alice = COFFEE | {"user": {"username": "alice"}}
    by_bob = ask(api_of(bob), for_alice)
    assert ask(api_of(bob), for_alice).body["id"] == by_bob.body["id"]
    by_alice = ask(api_of(alice))
    assert by_alice.status_code == 200
    assert by_alice.body["id"] != by_bob.body["id"]


def test_a_replay_does_not_ask_for_the_name_of_the_payee_again(
    world: Control, alice: User, bob: User
) -> None:
    """input-B2"""
    for_alice = COFFEE | {"user": {"username": "alice"}}
    first = ask(api_of(bob), for_alice)
    assert api_of(alice).post("/user", {"username": "alicia"}).status_code == 200
    again = ask(api_of(bob), for_alice)
    assert (again.status_code, again.body.get("id")) == (200, first.body["id"]), again.body


def test_a_key_without_a_token_is_refused_not_ignored(world: Control, alice: User) -> None:
    refused = ask(Api(), COFFEE | {"user": {"username": "alice"}})
    assert (refused.status_code, refused.body["code"]) == (400, "invalid_request")
    assert "Idempotency-Key needs a token" in refused.body["message"]
    assert not Invoice.objects.exists()


def test_a_refusal_does_not_use_up_the_key(world: Control, alice: User) -> None:
    api = api_of(alice)
    assert ask(api, {"invoice": {"amount": -1}}).status_code == 400
    assert ask(api).status_code == 200


def test_a_replay_shows_no_secret_that_was_set_since(world: Control, alice: User) -> None:
    """P15: a read-only token sees what its own request set, and nothing newer."""
    shop = Api(credentials.read_only_token(alice))
    body = {"invoice": {"webhook": "https://93.184.215.14/a", "secret": "mine"}}
    invoice = ask(shop, body).body
    assert (invoice["webhook"], invoice["secret"]) == ("https://93.184.215.14/a", "mine")
    assert ask(shop, body).body["secret"] == "mine"
    moved = {"invoice": {"webhook": "https://93.184.215.14/b", "secret": "newer"}}
    assert api_of(alice).post(f"/invoice/{invoice['id']}", moved).status_code == 200
    again = ask(shop, body).body
    assert again["id"] == invoice["id"]
    assert "webhook" not in again
    assert "secret" not in again


def test_with_the_node_away_the_key_is_free_again(
    world: Control, alice: User, settings: Any
) -> None:
    api, rpc = api_of(alice), settings.LIGHTNING_RPC
    settings.LIGHTNING_RPC = "/nonexistent/lightning-rpc"
    assert ask(api).status_code == 503
    settings.LIGHTNING_RPC = rpc
    made = ask(api)
    assert (made.status_code, "Idempotent-Replayed" in made.headers) == (200, False)
    assert len(api.get("/invoices").body) == 1


# --- Several at once, and processes that die ------------------------------------------------------


@pytest.fixture
def clerk(simnet_nodes: Control, cloned_db: Database, redis: Any) -> User:
    """In a database with real commits, which other processes see."""
    return make_user("alice")


def test_while_the_first_request_is_answered_the_same_key_is_told_so(
    clerk: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, begun, may_end, answers = api_of(clerk), threading.Event(), threading.Event(), []
    mint = creation._mint

    def slowly(*args: Any, **kwargs: Any) -> None:
        begun.set()
        assert may_end.wait(30)
        mint(*args, **kwargs)

    monkeypatch.setattr(creation, "_mint", slowly)

    def first() -> None:
        answers.append(ask(api))
        connection.close()

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(30)
    early = ask(api)
    may_end.set()
    thread.join()
    assert (early.status_code, early.body["code"]) == (409, "idempotency_in_progress")
    assert early.headers["Retry-After"] == "2"
    assert ask(api).body["id"] == answers[0].body["id"]
    assert Invoice.objects.count() == 1


def test_a_request_that_was_given_up_shows_nothing_when_it_ends_after_all(
    clerk: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node took longer than a minute, and the client has asked again meanwhile."""
    api, answers, mint = api_of(clerk), [], creation._mint

    def while_another_takes_over(*args: Any, **kwargs: Any) -> None:
        monkeypatch.setattr(creation, "_mint", mint)
        mint(*args, **kwargs)
        IdempotencyKey.objects.update(created=timezone.now() - timedelta(seconds=61))
        answers.append(ask(api))

    monkeypatch.setattr(creation, "_mint", while_another_takes_over)
    late = ask(api)
    assert (late.status_code, late.body["code"]) == (409, "idempotency_in_progress")
    assert [invoice["id"] for invoice in api.get("/invoices").body] == [answers[0].body["id"]]
    assert ask(api).body["id"] == answers[0].body["id"]


@pytest.mark.parametrize("type", ["lightning", "bitcoin"])
def test_the_same_key_at_once_makes_one_invoice(clerk: User, type: str) -> None:
    api, answers = api_of(clerk), []

    def order() -> None:
        answers.append(ask(api, {"invoice": {"amount": 1000, "type": type}}))
        connection.close()

    threads = [threading.Thread(target=order) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [answer for answer in answers if answer.status_code == 200]
    assert {answer.body["code"] for answer in answers if answer not in made} <= {
        "idempotency_in_progress"
    }
    assert len({answer.body["id"] for answer in made}) == 1
    assert Invoice.objects.exclude(hash="").count() == 1


@pytest.mark.parametrize("failpoint", ["invoice.row_written", "invoice.after_node"])
def test_a_key_whose_process_was_killed_makes_its_invoice_a_minute_later(
    clerk: User, simnet_nodes: Control, cloned_db: Database, failpoint: str
) -> None:
    api = api_of(clerk)
    run_until_killed(
        "from accounts.idempotency import name_of; from accounts.models import User;"
        "alice = User.objects.get();"
        f"named = name_of('order-7', path='/api/invoice', body={COFFEE!r});"
        "draft = services.InvoiceDraft(amount_sat=1000, memo='coffee');"
        "key = services.Key(alice, named);"
        "create = lambda: services.create_invoice(alice, draft, own=True, key=key);"
        "services.create_invoice_once(key, create)",
        failpoint,
        simnet=simnet_nodes,
        database=cloned_db,
    )
    lost = Invoice.objects.get()
    early = ask(api)
    assert (early.status_code, early.body["code"]) == (409, "idempotency_in_progress")
    IdempotencyKey.objects.update(created=timezone.now() - timedelta(seconds=61))
    made = ask(api)
    assert (made.status_code, "Idempotent-Replayed" in made.headers) == (200, False)
    assert made.body["id"] != str(lost.id)
    assert ask(api).body["id"] == made.body["id"]
    LightningRequest.objects.filter(invoice=lost).update(
        created=timezone.now() - timedelta(hours=2)
    )
    services.clear_unfinished()
    assert str(Invoice.objects.get().id) == made.body["id"]
    assert lightning().decode(made.body["hash"]).amount_msat == 1_000_000
