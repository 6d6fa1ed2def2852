"""Lightning Addresses and LNURL-pay (LUD-06, 12, 16, 21)."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from accounts.models import User
from coinos.nodes import lightning
from coinos.simnet.control import Control
from invoices.models import Invoice
from tests.cast import Api, available_sat, make_user
from tests.invoices.helpers import receive, statement_of

ROOT = Api(base="")


def path_of(url: str) -> str:
    """Our own absolute URL as the path that the test client asks for."""
    from django.conf import settings

    assert url.startswith(settings.PUBLIC_URL)
    return url.removeprefix(settings.PUBLIC_URL)


def pay_request(name: str = "alice") -> dict[str, Any]:
    response = ROOT.get(f"/.well-known/lnurlp/{name}")
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    body: dict[str, Any] = response.body
    return body


def test_a_wallet_pays_a_lightning_address_with_a_comment(world: Control, alice: User) -> None:
    offer = pay_request()
    assert offer["tag"] == "payRequest"
    assert (offer["minSendable"], offer["maxSendable"]) == (1000, 100_000_000_000)
    assert offer["commentAllowed"] == 512
    assert "allowsNostr" not in offer  # zaps are not served, so they are not announced
    texts = json.loads(offer["metadata"])
    assert [kind for kind, _ in texts].count("text/plain") == 1
    assert ["text/identifier", dict(texts)["text/identifier"]] in texts
    assert dict(texts)["text/identifier"].startswith("alice@")

    answer = ROOT.get(path_of(offer["callback"]) + "?amount=1000000&comment=hi%20%E2%98%95").body
    assert answer["routes"] == []
    decoded = lightning().decode(answer["pr"])
    assert decoded.amount_msat == 1_000_000
    assert decoded.description_hash == hashlib.sha256(offer["metadata"].encode()).hexdigest()

    verify = path_of(answer["verify"])
    assert ROOT.get(verify).body == {
        "status": "OK",
        "settled": False,
        "preimage": None,
        "pr": answer["pr"],
    }
    paid = world.pay(answer["pr"])
    receive()
    after = ROOT.get(verify).body
    assert (after["settled"], after["preimage"]) == (True, paid["preimage"])
    [line] = statement_of(alice)
    assert (line.amount_sat, line.memo) == (1000, "hi ☕")
    assert Invoice.objects.get().own is False


@pytest.mark.parametrize("name", ["alice", "Alice", "ALICE"])
@pytest.mark.parametrize("path", ["/.well-known/lnurlp/{}", "/api/lnurlp/{}", "/api/pay/{}"])
def test_every_door_to_the_pay_request(world: Control, alice: User, name: str, path: str) -> None:
    body = ROOT.get(path.format(name)).body
    assert body["tag"] == "payRequest"
    assert body["callback"].rsplit("/", 1)[0].endswith("/api/lnurl")


def test_a_tag_is_echoed(world: Control, alice: User) -> None:
    offer = pay_request("alice+shop")
    assert ["text/tag", "shop"] in json.loads(offer["metadata"])
    pr = ROOT.get(path_of(offer["callback"]) + "?amount=5000").body["pr"]
    expected = hashlib.sha256(offer["metadata"].encode()).hexdigest()
    assert lightning().decode(pr).description_hash == expected


def test_an_invoice_for_a_user_in_two_steps(world: Control, alice: User) -> None:
    offer = ROOT.get("/api/pay/alice/1000").body
    assert offer["minSendable"] == offer["maxSendable"] == 1_000_000
    token = offer["callback"].rsplit("/", 1)[1]
    assert ROOT.get(f"/api/lnurl/{token}?amount=999000").body["status"] == "ERROR"
    assert ROOT.get(f"/api/lnurl/{token}?amount=1000000").body["pr"].startswith("lnbcrt")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?amount=",
        "?amount=999",
        "?amount=100000000001",
        "?amount=-1000",
        "?amount=1e6",
        "?amount=abc",
        "?amount=%D9%A1%D9%A2%D9%A3%D9%A4",
        "?amount=1000.5",
        "?amount=99999999999999999999",
    ],
)
def test_limits_hold_on_the_callback_too(world: Control, alice: User, query: str) -> None:
    response = ROOT.get(path_of(pay_request()["callback"]) + query)
    assert response.status_code == 200
    assert response.body["status"] == "ERROR"
    assert response.body["reason"]
    assert not Invoice.objects.exists()


def test_a_comment_that_is_too_long_is_refused_before_anything_is_made(
    world: Control, alice: User
) -> None:
    callback = path_of(pay_request()["callback"])
    refused = ROOT.get(f"{callback}?amount=1000&comment={'x' * 513}").body
    assert refused["status"] == "ERROR"
    assert not Invoice.objects.exists()
    odd = ROOT.get(f"{callback}?amount=1000&comment=null%00byte").body
    assert odd["pr"]


def test_parts_of_a_sat_are_kept_in_the_invoice_and_not_credited(
    world: Control, alice: User
) -> None:
    pr = ROOT.get(path_of(pay_request()["callback"]) + "?amount=1999").body["pr"]
    assert lightning().decode(pr).amount_msat == 1999
    world.pay(pr)
    receive()
    assert available_sat(alice) == 1
    assert Invoice.objects.get().is_paid


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/lnurlp/nobody",
        "/api/pay/nobody/1000",
        "/api/pay/alice/0",
        "/api/pay/alice/1.5",
        "/api/pay/alice/999999999999999",
        "/api/lnurl/forged?amount=1000",
        "/api/lnurl/a.b.c?amount=1000",
        "/api/lnurl/verify/4b1f",
        "/api/lnurl/verify/7c0e6f9c-54b1-4a3e-9c8b-0f4f2f1f7a10",
    ],
)
def test_errors_are_http_200_with_a_reason(world: Control, alice: User, path: str) -> None:
    response = ROOT.get(path)
    assert response.status_code == 200
    assert response.body["status"] == "ERROR"
    assert isinstance(response.body["reason"], str)


def test_a_callback_ends_after_a_day(world: Control, alice: User) -> None:
    callback = path_of(pay_request()["callback"])
    with time_machine.travel(timezone.now() + timedelta(hours=25), tick=True):
        late = ROOT.get(f"{callback}?amount=1000").body
    assert late["status"] == "ERROR"
    assert "expired" in late["reason"]


def test_a_callback_of_somebody_else_cannot_be_made_up(
    world: Control, alice: User, bob: User
) -> None:
    token = pay_request("alice")["callback"].rsplit("/", 1)[1]
    payload, rest = token.split(".", 1)
    other = pay_request("bob")["callback"].rsplit("/", 1)[1].split(".", 1)[0]
    assert payload != other
    assert ROOT.get(f"/api/lnurl/{other}.{rest}?amount=1000").body["status"] == "ERROR"


def test_m31_an_any_amount_invoice_that_got_nothing_is_not_settled(
    world: Control, alice: User
) -> None:
    from tests.invoices.helpers import new_invoice

    invoice = new_invoice(alice)
    body = ROOT.get(f"/api/lnurl/verify/{invoice['id']}").body
    assert (body["settled"], body["preimage"]) == (False, None)


def test_an_evicted_user_is_not_paid_by_address(world: Control) -> None:
    user = make_user("gone", is_active=False)
    assert ROOT.get(f"/.well-known/lnurlp/{user.username}").body["status"] == "ERROR"


def test_with_the_node_away_the_answer_is_a_reason(
    world: Control, alice: User, settings: Any
) -> None:
    callback = path_of(pay_request()["callback"])
    settings.LIGHTNING_RPC = "/nonexistent/lightning-rpc"
    body = ROOT.get(f"{callback}?amount=1000").body
    assert body["status"] == "ERROR"
