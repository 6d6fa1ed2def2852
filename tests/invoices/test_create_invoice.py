"""POST /invoice and GET /invoice/:key, as api.md promises them."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from coinos.nodes import lightning
from coinos.simnet.control import Control
from invoices.models import Invoice, LightningRequest
from tests.cast import Api, api_of, token_of
from tests.invoices.helpers import new_invoice, row, seen


def test_alice_asks_for_1000_sats_over_lightning(world: Control, alice: User) -> None:
    before = int(time.time() * 1000)
    body = new_invoice(alice, amount=1000, type="lightning")
    assert body["hash"] == body["text"] == body["hash"].lower()
    assert re.fullmatch(r"[A-Za-z0-9]+", body["hash"])
    assert body["amount"] == 1000
    assert "tip" in body
    assert body["tip"] is None
    assert (body["received"], body["pending"], body["status"]) == (0, 0, "open")
    assert (body["rate"], body["currency"]) == (100000, "USD")
    assert body["uid"] == body["aid"] == str(alice.id)
    assert body["expiry"] == 2592000
    assert before <= body["created"] <= time.time() * 1000
    assert body["items"] == []
    assert body["prompt"] is False
    assert body["own"] is True
    decoded = lightning().decode(body["hash"])
    assert decoded.amount_msat == 1_000_000
    assert decoded.payment_hash == body["paymentHash"]


def test_the_payer_may_choose_the_amount(world: Control, alice: User) -> None:
    for fields in ({}, {"amount": 0}, {"amount": "0"}, {"amount": None, "fiat": False}):
        body = new_invoice(alice, **fields)
        assert body["amount"] == 0
        assert lightning().decode(body["hash"]).amount_msat is None


@pytest.mark.parametrize("amount", [1, "2100000000000000"])
def test_the_smallest_and_the_largest_amount(
    world: Control, alice: User, amount: int | str
) -> None:
    body = new_invoice(alice, amount=amount)
    assert body["amount"] == int(amount)
    assert lightning().decode(body["hash"]).amount_msat == int(amount) * 1000


def test_a_bitcoin_invoice_has_an_address_and_a_uri(world: Control, alice: User) -> None:
    body = new_invoice(alice, amount=3141, type="bitcoin")
    assert body["hash"].startswith("bcrt1q")
    assert body["text"] == f"bitcoin:{body['hash']}?amount=0.00003141"
    assert "paymentHash" not in body

    with_memo = new_invoice(alice, amount=3141, tip=9, type="bitcoin", memo="rent & food")
    assert with_memo["text"] == (
        f"bitcoin:{with_memo['hash']}?amount=0.00003150&message=rent%20%26%20food"
    )
    bare = new_invoice(alice, type="bitcoin")
    assert bare["text"] == bare["hash"]


def test_the_largest_amount_is_written_in_bitcoin_without_an_exponent(
    world: Control, alice: User
) -> None:
    """input-C9"""
    body = new_invoice(alice, amount=2_100_000_000_000_000, type="bitcoin")
    assert body["text"] == f"bitcoin:{body['hash']}?amount=21000000.00000000"


@pytest.mark.parametrize(
    ("address_type", "prefix"), [("bech32", "bcrt1q"), ("bech32m", "bcrt1p"), ("legacy", "m|n")]
)
def test_the_kind_of_address_can_be_chosen(
    world: Control, alice: User, address_type: str, prefix: str
) -> None:
    body = new_invoice(alice, type="bitcoin", address_type=address_type)
    assert re.match(prefix, body["hash"])
    assert body["address_type"] == address_type


@pytest.mark.parametrize(
    ("fields", "sats"),
    [
        ({"fiat": 5, "currency": "USD"}, 5000),
        ({"fiat": True, "amount": 5}, 5000),
        ({"fiat": True, "amount": "5.50"}, 5500),
        ({"fiat": "13.5", "currency": "CAD"}, 10000),
        ({"fiat": 5, "amount": 1}, 5000),
        ({"fiat": False, "amount": 5}, 5),
        ({"fiat": 0, "amount": "2500"}, 2500),
        ({"fiat": 5, "rate": 1e9}, 5000),  # F15: the rate is ours
        ({"fiat": 0.0005}, 1),
    ],
)
def test_amounts_in_sats_and_in_money(
    world: Control, alice: User, fields: dict[str, Any], sats: int
) -> None:
    """input-C3: half a sat is one."""
    body = new_invoice(alice, **fields)
    assert body["amount"] == sats
    assert body["rate"] in (100000, 135000)


@pytest.mark.parametrize(
    "amount",
    [
        -5,
        1.5,
        1000.0,
        "12.7",
        " 1000",
        "1,000",
        "0x10",
        "1e3",
        True,
        [],
        {},
        2100000000000001,
        2**63,
        "١٢",
        "1_000",
        "+1",
        "",
        "1.0",
    ],
)
def test_f08_f09_an_amount_that_is_no_whole_number_of_sats_is_refused(
    world: Control, alice: User, amount: Any
) -> None:
    response = api_of(alice).post("/invoice", {"invoice": {"amount": amount}})
    assert response.status_code == 400
    assert response.body["code"] == "invalid_amount"
    assert response.body["errors"][0]["pointer"] == "#/invoice/amount"
    assert response.body["message"] == response.body["error"] == response.body["detail"]
    assert not Invoice.objects.exists()


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"type": "carrier pigeon"}, "invalid_type", "type"),
        ({"type": "bolt12"}, "invalid_type", "type"),
        ({"tip": -1}, "invalid_tip", "tip"),
        ({"tip": 1.5}, "invalid_tip", "tip"),
        ({"memo": "m" * 5001}, "memo_too_long", "memo"),
        ({"fiat": "many"}, "invalid_amount", "fiat"),
        ({"fiat": -1}, "invalid_amount", "fiat"),
        ({"fiat": True}, "invalid_amount", "amount"),
        ({"fiat": True, "amount": 0.000001}, "invalid_amount", "amount"),
        ({"fiat": 0.00049}, "invalid_amount", "amount"),  # less than half a sat
        *(
            ({"amount": 1, "currency": currency}, "invalid_request", "currency")
            for currency in ("XXX", "usd", "USDT", "BTC")
        ),
        ({"fiat": 1, "currency": "ZZZ"}, "invalid_request", "currency"),
        ({"type": "bitcoin", "amount": 299}, "amount_below_minimum", "amount"),  # F13
        ({"expiry": 0}, "invalid_request", "expiry"),
        ({"expiry": 2**63}, "invalid_request", "expiry"),  # F20
        ({"webhook": "ftp://example.com"}, "invalid_request", "webhook"),
        ({"webhook": "http://169.254.169.254/"}, "invalid_request", "webhook"),  # P10
        ({"bolt11": "lnbc10u1p…"}, "invalid_request", "bolt11"),  # M22
        ({"items": "coffee"}, "invalid_request", "items"),
        ({"items": ["c" * 8189]}, "invalid_request", "items"),  # sec-17: 8,193 bytes
        ({"prompt": "yes"}, "invalid_request", "prompt"),
        ({"address_type": "p2wsh", "type": "bitcoin"}, "invalid_request", "address_type"),
    ],
)
def test_each_bad_field_is_named(
    world: Control, alice: User, fields: dict[str, Any], code: str, pointer: str
) -> None:
    """M22: a bolt11 of the caller's is one of them; input-C3: so is less than half a sat;
    input-C10: and a currency that is none."""
    response = api_of(alice).post("/invoice", {"invoice": fields})
    assert response.status_code == 400, response.content
    assert response.body["code"] == code
    assert response.body["errors"][0]["pointer"] == f"#/invoice/{pointer}"
    assert not Invoice.objects.exists()


@pytest.mark.parametrize("body", [{}, {"amount": 700}, {"invoice": 7}, {"invoice": []}])
def test_the_wrapper_is_required(world: Control, alice: User, body: Any) -> None:
    response = api_of(alice).post("/invoice", body)
    assert response.status_code == 400
    assert response.body["code"] == "invalid_request"


def test_nulls_and_unknown_fields_do_no_harm(world: Control, alice: User) -> None:
    body = new_invoice(
        alice, amount=7, webhook=None, secret=None, memo=None, type=None, tip=None, colour="red"
    )
    assert body["amount"] == 7
    assert body["type"] == "lightning"
    assert "webhook" not in body
    assert "secret" not in body
    assert "memo" not in body


def test_what_the_shop_keeps_with_an_invoice_comes_back(world: Control, alice: User) -> None:
    items = [{"name": "coffee", "price": 2.5, "quantity": 2}, "anything", None]
    body = new_invoice(
        alice, amount=7, items=items, request_id="r-7", prompt=True, memoPrompt=True, memo="☕"
    )
    got = seen(body)
    assert got["items"] == items
    assert got["request_id"] == "r-7"
    assert got["prompt"] is True
    assert got["memoPrompt"] is True
    assert got["memo"] == "☕"


def test_a_number_that_the_database_keeps_as_a_longer_one_is_refused_and_read(
    world: Control, alice: User
) -> None:
    """Found by make fuzz: one such invoice, which anybody could make, took the list of all away."""
    for number in ("1e20", "9223372036854775808", "-1e300", "1e400"):
        answer = Client().post(
            "/api/invoice",
            f'{{"invoice": {{"amount": 7, "items": [{number}]}}}}',
            content_type="application/json",
            headers={"Authorization": f"Bearer {token_of(alice)}"},
        )
        assert answer.status_code == 400, number
        assert answer.json()["errors"][0]["pointer"].startswith("#/invoice/items"), answer.json()
    kept = new_invoice(alice, amount=7, items=[1e18])
    Invoice.objects.filter(id=kept["id"]).update(items=[10**20, "é"])
    assert api_of(alice).get("/invoices").body[0]["items"] == [10**20, "é"]
    assert seen(kept)["items"] == [10**20, "é"]


@pytest.mark.parametrize("memo", ["x" * 640, "é" * 5000, "☕" * 5000])
def test_a_long_memo_is_kept_and_cut_only_for_the_node(
    world: Control, alice: User, memo: str
) -> None:
    """input-C2: BOLT11 has room for 639 bytes; no letter is cut in half."""
    body = new_invoice(alice, amount=7, memo=memo)
    assert body["memo"] == memo
    description = lightning().decode(body["hash"]).description or ""
    assert set(description) == {memo[0]}
    assert 639 - len(memo[0].encode()) < len(description.encode()) <= 639


def test_anybody_can_make_an_invoice_for_a_user_by_name(
    world: Control, alice: User, bob: User, anyone: Api
) -> None:
    request = {"invoice": {"amount": 500}, "user": {"username": "Alice"}}
    by_nobody = anyone.post("/invoice", request)
    assert by_nobody.body["uid"] == str(alice.id)
    assert by_nobody.body["own"] is False
    by_bob = api_of(bob).post("/invoice", request)
    assert by_bob.body["uid"] == str(alice.id)
    assert by_bob.body["own"] is False
    by_alice = api_of(alice).post("/invoice", request)
    assert by_alice.body["own"] is True


def test_without_token_and_user_there_is_nobody_to_pay(world: Control, anyone: Api) -> None:
    assert anyone.post("/invoice", {"invoice": {"amount": 5}}).status_code == 401
    unknown = anyone.post("/invoice", {"invoice": {"amount": 5}, "user": {"username": "nobody"}})
    assert unknown.status_code == 404
    assert unknown.body["detail"] == "User not found"
    assert Api("bad.token.here").post("/invoice", {"invoice": {"amount": 5}}).status_code == 401


def test_p26_a_callers_id_never_takes_an_invoice_over(
    world: Control, alice: User, bob: User
) -> None:
    hers = new_invoice(alice, amount=1000)
    his = new_invoice(bob, id=hers["id"], amount=1)
    assert his["id"] != hers["id"]
    assert seen(hers)["uid"] == str(alice.id)
    assert seen(hers)["amount"] == 1000


def test_an_invoice_is_found_by_each_of_its_names(world: Control, alice: User) -> None:
    body = new_invoice(alice, amount=1000)
    names = [
        body["hash"],
        body["hash"].upper(),
        "lightning:" + body["hash"],
        "LIGHTNING:" + body["hash"].upper(),
        body["paymentHash"],
        body["paymentHash"].upper(),
        body["id"],
        body["id"].upper(),
    ]
    coins = new_invoice(alice, amount=1000, type="bitcoin")
    for name, expected in [(n, body) for n in names] + [
        (coins["hash"], coins),
        (coins["hash"].upper(), coins),
        (coins["id"], coins),
    ]:
        found = Api().get(f"/invoice/{name}")
        assert found.status_code == 200, name
        assert found.body["id"] == expected["id"]
        assert found.body["user"]["username"] == "alice"


@pytest.mark.parametrize(
    "key",
    ["0" * 64, str(uuid.UUID(int=7)), "lnbcrt1nothing", "bcrt1qnothing", "é%01", "é", "x" * 500],
)
def test_an_unknown_invoice_is_not_found(world: Control, anyone: Api, key: str) -> None:
    response = anyone.get(f"/invoice/{key}")
    assert response.status_code == 404
    assert response.body["detail"] == "invoice not found"


def test_p15_only_the_owner_sees_webhook_and_secret(
    world: Control, alice: User, bob: User, anyone: Api
) -> None:
    fields = {"amount": 9, "webhook": "https://example.com/hook", "secret": "webhooksecret"}
    made = new_invoice(alice, **fields)
    assert made["webhook"] == fields["webhook"]
    assert made["secret"] == "webhooksecret"
    for reader in (anyone, api_of(bob)):
        body = reader.get(f"/invoice/{made['hash']}").body
        assert "webhook" not in body
        assert "secret" not in body
    assert api_of(alice).get(f"/invoice/{made['hash']}").body["secret"] == "webhooksecret"
    assert row(made).secret != "webhooksecret"  # sealed at rest

    read_only = Api(api_of(alice).get("/ro").content.decode())
    listed = read_only.get("/invoices").body
    assert listed[0]["id"] == made["id"]
    assert "webhook" not in listed[0]
    assert "secret" not in listed[0]
    assert api_of(alice).get("/invoices").body[0]["webhook"] == fields["webhook"]


def test_invoices_are_listed_newest_first_to_their_owner_only(
    world: Control, alice: User, bob: User, anyone: Api
) -> None:
    first, second, third = (new_invoice(alice, amount=n) for n in (1, 2, 3))
    new_invoice(bob, amount=4)
    listed = api_of(alice).get("/invoices").body
    assert [i["id"] for i in listed] == [third["id"], second["id"], first["id"]]
    page = api_of(alice).get("/invoices?limit=1&offset=1").body
    assert [i["id"] for i in page] == [second["id"]]
    assert api_of(alice).get("/invoices?limit=abc").status_code == 400
    assert anyone.get("/invoices").status_code == 401


def test_with_the_node_away_nothing_half_made_is_visible(
    world: Control, alice: User, settings: Any
) -> None:
    settings.LIGHTNING_RPC = "/nonexistent/lightning-rpc"
    response = api_of(alice).post("/invoice", {"invoice": {"amount": 5}})
    assert response.status_code == 503
    assert response.body["code"] == "node_unavailable"
    assert int(response.headers["Retry-After"]) > 0
    assert api_of(alice).get("/invoices").body == []
    label = str(LightningRequest.objects.get().id)
    assert Api().get(f"/invoice/{Invoice.objects.get().id}").status_code == 404
    assert label  # the row remembers what the node may have made


def test_a_lost_answer_of_the_node_leaves_no_invoice_behind(world: Control, alice: User) -> None:
    from datetime import timedelta

    from django.utils import timezone

    from invoices import services

    world.set_faults([{"kind": "exec_then_drop", "method": "invoice", "times": 1}])
    assert api_of(alice).post("/invoice", {"invoice": {"amount": 5}}).status_code == 503
    world.clear_faults()
    request = LightningRequest.objects.get()
    assert lightning().invoice_by_label(str(request.id)) is not None
    LightningRequest.objects.update(created=timezone.now() - timedelta(hours=2))
    services.clear_unfinished()
    assert lightning().invoice_by_label(str(request.id)) is None
    assert not Invoice.objects.exists()
    assert not LightningRequest.objects.exists()
