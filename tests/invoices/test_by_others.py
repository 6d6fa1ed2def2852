"""What strangers may make in somebody's name has a ceiling; the owner is not behind it (sec-17).

An invoice for alice can be made by anybody, and so can its bitcoin address, which the node then
watches for ever; a tip changes what stands on the screen of her till."""

from __future__ import annotations

import time
import tracemalloc
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from coinos import limits, throttling
from coinos.limits import Rate
from coinos.places import Places
from coinos.simnet.control import Control
from invoices import api
from invoices.models import Address, Invoice
from invoices.selectors import invoices_of
from tests.cast import Api, api_of
from tests.html.conftest import sign_in
from tests.invoices.helpers import new_invoice, receive, row, seen

HERE = "127.0.0.1"
BITCOIN = {"type": "bitcoin", "amount": 5000}


@pytest.fixture(autouse=True)
def counted(settings: Any, redis: Any) -> None:
    """Nobody has been counted yet."""
    settings.RATE_LIMITS = True


def use_up(redis: Any, rate: Rate, who: str) -> None:
    """In this window and in the next, which may begin at any moment."""
    for at in (time.time(), time.time() + rate.window_s):
        redis.set(throttling.key_of(rate, who, at), rate.at_most)


def ask(payee: User, address: str = HERE, **fields: Any) -> Any:
    """A stranger's wish for an invoice of this user."""
    body = {"invoice": {"amount": 1000} | fields, "user": {"username": payee.username}}
    return Client(REMOTE_ADDR=address).post("/api/invoice", body, content_type="application/json")


def refused(answer: Any) -> bool:
    if answer.status_code == 429:
        assert answer.json()["code"] == "rate_limited"
        assert int(answer["Retry-After"]) > 0
    return bool(answer.status_code == 429)


# --- Invoices -------------------------------------------------------------------------------------


def made_by_others(user: User, count: int, **fields: Any) -> None:
    spam = [
        Invoice(user=user, own=False, type="lightning", currency="USD", expiry_s=3600, **fields)
        for _ in range(count)
    ]
    Invoice.objects.bulk_create(spam)


def test_unpaid_invoices_of_strangers_have_a_ceiling_and_ones_own_do_not(
    world: Control, alice: User, bob: User
) -> None:
    most = limits.UNPAID_BY_OTHERS.at_most
    made_by_others(alice, most - 1, hash="spam")
    assert ask(alice).status_code == 200
    assert refused(ask(alice))
    assert refused(ask(alice, "203.0.113.9"))
    assert refused(Client().get(_callback_of(alice), {"amount": "1000000"}))
    assert new_invoice(alice, amount=1000)["own"] is True
    assert ask(bob).status_code == 200

    an_hour_ago = timezone.now() - timedelta(hours=1, minutes=1)
    Invoice.objects.filter(hash="spam").update(created=an_hour_ago)
    assert ask(alice).status_code == 200


def _callback_of(user: User) -> str:
    answer: dict[str, Any] = Api().get(f"/lnurlp/{user.username}").body
    return "/api/" + str(answer["callback"]).partition("/api/")[2]


def test_invoices_that_were_paid_are_no_flood(world: Control, alice: User) -> None:
    """Somebody popular is paid by thousands within an hour."""
    made_by_others(alice, limits.UNPAID_BY_OTHERS.at_most, hash="paid", received_sat=1)
    assert ask(alice).status_code == 200


def test_one_network_leaves_room_for_the_others(
    world: Control, alice: User, bob: User, redis: Any
) -> None:
    use_up(redis, limits.INVOICE_FOR_ANOTHER, f"{alice.id}:{HERE}")
    assert refused(ask(alice))
    assert ask(alice, "203.0.113.9").status_code == 200
    assert ask(bob).status_code == 200
    assert new_invoice(alice, amount=1000)["own"] is True


def test_a_shop_that_polls_finds_its_own_among_those_of_strangers(
    world: Control, alice: User
) -> None:
    """Beside 1,000 newer ones, which is all that one answer shows."""
    own = new_invoice(alice, amount=1000)
    made_by_others(alice, 1000, hash="spam")
    shop = api_of(alice)
    assert own["id"] not in [one["id"] for one in shop.get("/invoices").body]
    assert [one["id"] for one in shop.get("/invoices?own=true").body] == [own["id"]]
    theirs = shop.get("/invoices?own=false&limit=5").body
    assert [one["own"] for one in theirs] == [False] * 5
    wrong = shop.get("/invoices?own=maybe")
    assert (wrong.status_code, wrong.body["errors"][0]["pointer"]) == (400, "#/own")


# --- What stands in them --------------------------------------------------------------------------


def test_a_thousand_invoices_full_of_items_are_listed_a_few_at_a_time(
    world: Control, alice: User
) -> None:
    """Lists in parallel took 900 MB for 150 invoices, and a thousand of them the server."""
    full = {"items": [[{}] * 60] * 40, "hash": "lnbc1"}  # {} has 64 bytes of memory for 2 on paper
    made_by_others(alice, limits.UNPAID_BY_OTHERS.at_most // 10, **full)
    tracemalloc.start()
    try:
        answer = api.list_of(invoices_of(alice), shown=set())
        _now, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10 * len(answer.content)


def test_so_many_lists_are_made_at_a_time_and_the_next_one_comes_again(
    alice: User, monkeypatch: Any
) -> None:
    monkeypatch.setattr(api, "for_lists", Places(1))
    with api.for_lists.take():
        answer = api_of(alice).get("/invoices")
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0
    assert api_of(alice).get("/invoices").status_code == 200


# --- Addresses ------------------------------------------------------------------------------------


def test_strangers_use_up_no_more_than_a_days_addresses(
    world: Control, alice: User, redis: Any
) -> None:
    assert ask(alice, **BITCOIN).status_code == 200
    use_up(redis, limits.ADDRESS_FOR_PAYEE, str(alice.id))
    assert refused(ask(alice, "203.0.113.9", **BITCOIN))
    assert ask(alice).status_code == 200  # over Lightning
    assert new_invoice(alice, **BITCOIN)["own"] is True
    assert Address.objects.count() == 2


def test_one_network_makes_addresses_for_few(
    world: Control, alice: User, bob: User, redis: Any
) -> None:
    use_up(redis, limits.ADDRESS_FROM_NETWORK, HERE)
    assert refused(ask(alice, **BITCOIN))
    assert refused(ask(bob, **BITCOIN))
    assert ask(alice, "203.0.113.9", **BITCOIN).status_code == 200


def test_ones_own_addresses_have_a_ceiling_too_and_the_page_goes_on_over_lightning(
    world: Control, alice: User, redis: Any
) -> None:
    use_up(redis, limits.ADDRESS, str(alice.id))
    assert api_of(alice).post("/invoice", {"invoice": BITCOIN}).status_code == 429
    answer = sign_in(alice).post("/receive", amount="5000", unit="sats", memo="", type="any")
    assert answer.status_code == 302
    invoice = Invoice.objects.get(user=alice)
    assert (invoice.type, invoice.addresses.count()) == ("lightning", 0)


# --- Tips -----------------------------------------------------------------------------------------


def tip(api: Api, invoice: dict[str, Any], tip_sat: int) -> Any:
    return api.post(f"/invoice/{invoice['id']}", {"invoice": {"tip": tip_sat}})


def test_a_strangers_tip_is_no_larger_than_the_amount(
    world: Control, alice: User, anyone: Api
) -> None:
    """What alice's till shows goes on being what her guest scans."""
    till = new_invoice(alice, amount=1000)
    answer = tip(anyone, till, 2_000_000)
    assert (answer.status_code, answer.body["code"]) == (400, "invalid_tip")
    assert seen(till)["hash"] == till["hash"]
    assert tip(anyone, till, 1001).status_code == 400
    assert tip(anyone, till, 1000).body["tip"] == 1000
    assert tip(api_of(alice), till, 5000).body["tip"] == 5000

    page = Client().post(f"/invoice/{till['id']}/tip", {"tip": "5001"})
    assert page.status_code == 422
    assert seen(till)["tip"] == 5000


def test_a_tip_where_the_payer_chooses_the_amount_is_the_payers_word(
    world: Control, alice: User, anyone: Api
) -> None:
    jar = new_invoice(alice, amount=0)
    assert tip(anyone, jar, 500).body["tip"] == 500


def test_strangers_do_not_change_the_tip_all_the_time(
    world: Control, alice: User, anyone: Api, redis: Any
) -> None:
    till = new_invoice(alice, amount=1000)
    assert tip(anyone, till, 100).status_code == 200
    use_up(redis, limits.TIP_BY_ANOTHER, till["id"])
    assert tip(anyone, till, 200).status_code == 429
    assert tip(anyone, till, 0).body["tip"] == 0  # alice's guest takes the stranger's tip back
    assert tip(anyone, till, 100).status_code == 429
    changed = tip(api_of(alice), till, 300).body
    world.pay(changed["hash"])
    receive()
    assert (row(till).received_sat, seen(till)["status"]) == (1300, "paid")
