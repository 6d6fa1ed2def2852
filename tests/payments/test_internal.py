"""Alice pays Bob on the same server: one transfer, free, at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from accounts import ledger
from accounts.credentials import Credential
from accounts.models import Activity, Transfer
from accounts.services import freeze
from coinos.simnet.control import Control
from invoices.services import InvoiceDraft, create_invoice
from payments.services.pasted import look, pay, price
from tests.cast import Api, available_sat, give_pin
from tests.payments.conftest import Person


def test_a_payment_to_a_user_arrives_at_once_and_free(alice: Person, bob: Person) -> None:
    paid = alice.api.post("/send", {"amount": 5000, "username": "bob"})
    assert paid.status_code == 200
    body = paid.body
    assert body["amount"] == -5000
    assert (body["type"], body["status"], body["confirmed"]) == ("internal", "settled", True)
    assert (body["fee"], body["ourfee"], body["tip"]) == (0, 0, None)
    assert body["ref"] == str(bob.user.id)
    assert len(body["hash"]) == 32
    assert body["with"]["username"] == "bob"
    assert (alice.available_sat, bob.available_sat) == (95_000, 5000)
    received = bob.api.get("/payments").body["payments"]
    assert [(p["amount"], p["ref"]) for p in received] == [(5000, str(alice.user.id))]


@pytest.mark.parametrize("name", ["BOB", "bob@pay.example", " bob "])
def test_the_recipient_is_found_however_the_name_is_written(
    alice: Person, bob: Person, name: str
) -> None:
    assert alice.api.post("/send", {"amount": 1, "username": name}).status_code == 200
    assert bob.available_sat == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"amount": 100_001, "username": "bob"}, 400, "insufficient_funds"),
        ({"amount": 1, "username": "alice"}, 400, "self_payment"),
        ({"amount": 1, "username": "nobody"}, 404, "not_found"),
        ({"amount": 0, "username": "bob"}, 400, "invalid_amount"),
        ({"amount": -5, "username": "bob"}, 400, "invalid_amount"),
        ({"amount": 1.5, "username": "bob"}, 400, "invalid_amount"),
        ({"amount": "1e3", "username": "bob"}, 400, "invalid_amount"),
        ({"amount": True, "username": "bob"}, 400, "invalid_amount"),
        ({"amount": 2**63, "username": "bob"}, 400, "invalid_amount"),
        ({"amount": 2_100_000_000_000_001, "username": "bob"}, 400, "invalid_amount"),
        ({"username": "bob"}, 400, "invalid_request"),
        ({"amount": 1}, 400, "invalid_request"),
        ({"amount": 1, "username": 7}, 400, "invalid_request"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_nothing_moves(
    alice: Person, bob: Person, body: dict[str, object], status: int, code: str
) -> None:
    """F04, F08, F09"""
    refused = alice.api.post("/send", body)
    assert (refused.status_code, refused.body["code"]) == (status, code)
    assert (alice.available_sat, bob.available_sat) == (100_000, 0)
    assert not Activity.objects.exists()


def test_a_refusal_says_what_is_there_and_what_is_needed(alice: Person, bob: Person) -> None:
    refused = alice.api.post("/send", {"amount": 100_001, "username": "bob"})
    assert refused.body["message"] == "Insufficient funds ⚡️100000 / 100001"


def test_of_many_payments_of_the_whole_balance_at_once_one_succeeds(
    alice: Person, bob: Person
) -> None:
    """M01"""
    codes: list[int] = []

    def pay() -> None:
        codes.append(alice.api.post("/send", {"amount": 100_000, "username": "bob"}).status_code)

    _at_once(pay, 10)
    assert sorted(codes) == [200] + [400] * 9
    assert (alice.available_sat, bob.available_sat) == (0, 100_000)


def test_the_same_key_pays_once_and_answers_the_same(alice: Person, bob: Person) -> None:
    body = {"amount": 700, "username": "bob"}
    first = alice.api.post("/send", body, Idempotency_Key="rent-november")
    again = alice.api.post("/send", body, Idempotency_Key='"rent-november"')
    assert again.body["id"] == first.body["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert bob.available_sat == 700
    other = alice.api.post("/send", {**body, "amount": 701}, Idempotency_Key="rent-november")
    assert (other.status_code, other.body["code"]) == (422, "idempotency_key_reused")


def test_the_same_key_at_once_pays_once(alice: Person, bob: Person) -> None:
    answers = []

    def pay() -> None:
        body = {"amount": 700, "username": "bob"}
        answers.append(alice.api.post("/send", body, Idempotency_Key="once"))

    _at_once(pay, 8)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.body["id"] for answer in answers}) == 1
    assert bob.available_sat == 700


@pytest.mark.parametrize("path", ["/send", "/send/bob/700", "/payments"])
def test_a_replay_looks_at_nothing_again(
    alice: Person, bob: Person, network: Control, path: str
) -> None:
    """input-B2: what was paid is answered as paid, also when the payee has another name by now and
    the payer may not spend any more."""
    bolt11 = create_invoice(bob.user, InvoiceDraft(amount_sat=700), own=True).hash
    body: dict[str, Any] = {
        "/send": {"amount": 700, "username": "bob"},
        "/payments": {"payreq": bolt11},
    }.get(path, {})
    first = alice.api.post(path, body, Idempotency_Key="rent")
    assert first.status_code == 200, first.body
    assert bob.api.post("/user", {"username": "robert"}).status_code == 200
    freeze(alice.user, actor="operator olga", reason="test")
    again = alice.api.post(path, body, Idempotency_Key="rent")
    assert (again.status_code, again.body.get("id")) == (200, first.body["id"]), again.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (alice.available_sat, bob.available_sat) == (99_300, 700)


def test_a_refusal_does_not_use_up_the_key(alice: Person, bob: Person) -> None:
    assert alice.api.post("/send", {"amount": 1, "username": "bo"}, Idempotency_Key="k").status_code
    paid = alice.api.post("/send", {"amount": 1, "username": "bob"}, Idempotency_Key="k")
    assert paid.status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "a,b",
        '"a", "b"',
        '"a";p=1',
        "k;p=1",
        '"unterminated',
        'unbegun"',
        '"a"b',
        r'"a\b"',
        "(a b)",
        '""',
        "",
        " ",
        "x" * 256,
        "caf\u00e9",
        "tab\tbed",
    ],
)
def test_a_header_that_is_not_one_key_is_refused(alice: Person, bob: Person, header: str) -> None:
    """input-I17m"""
    refused = alice.api.post("/send", {"amount": 1, "username": "bob"}, Idempotency_Key=header)
    assert (refused.status_code, refused.body["code"]) == (400, "invalid_request")
    assert "Idempotency-Key" in refused.body["message"]
    assert bob.available_sat == 0


@pytest.mark.parametrize(
    ("header", "same"),
    [
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", '"8e03978e-40d5-43dd-bc93-6894a57f9324"'),
        ("order 7", '"order 7"'),
        ("aGVsbG8+/w==", ' "aGVsbG8+/w==" '),
        (r'"a \"b\", \\c;"', r'"a \"b\", \\c;"'),
        ("x" * 255, '"' + "x" * 255 + '"'),
    ],
)
def test_a_key_may_be_in_quotes_or_bare(alice: Person, bob: Person, header: str, same: str) -> None:
    """input-I17m: clients send bare UUIDs."""
    body = {"amount": 1, "username": "bob"}
    first = alice.api.post("/send", body, Idempotency_Key=header)
    again = alice.api.post("/send", body, Idempotency_Key=same)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.body["id"] == first.body["id"]
    assert bob.available_sat == 1


def test_another_query_is_another_request(alice: Person, bob: Person) -> None:
    first = alice.api.post("/send/bob/5?maxfee=1", {}, Idempotency_Key="k")
    assert first.status_code == 200
    assert alice.api.post("/send/bob/5?maxfee=1", {}, Idempotency_Key="k").status_code == 200
    other = alice.api.post("/send/bob/5?maxfee=2", {}, Idempotency_Key="k")
    assert (other.status_code, other.body["code"]) == (422, "idempotency_key_reused")


def test_opposite_payments_at_once_do_not_lose_a_sat(alice: Person, charlie: Person) -> None:
    """A08"""

    def back_and_forth() -> None:
        for _ in range(5):
            assert alice.api.post("/send", {"amount": 10, "username": "charlie"}).status_code == 200
            assert charlie.api.post("/send", {"amount": 10, "username": "alice"}).status_code == 200

    _at_once(back_and_forth, 4)
    assert (alice.available_sat, charlie.available_sat) == (100_000, 50_000)
    assert Transfer.objects.filter(kind="internal").count() == 40


def test_a_payment_is_committed_in_the_round_trip_that_makes_it(
    alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a busy process would keep everybody waiting who pays, or is paid by, one account."""
    seen_by_others = []

    def move_and_look(**given: Any) -> bool:
        moved = move(**given)
        with ThreadPoolExecutor(1) as others:
            seen_by_others.append(others.submit(look).result())
        return moved

    def look() -> int:
        try:
            return bob.available_sat
        finally:
            connection.close()

    move = ledger.move_internal
    monkeypatch.setattr(ledger, "move_internal", move_and_look)
    assert alice.api.post("/send", {"username": "bob", "amount": 1}).status_code == 200
    assert seen_by_others == [1]
    assert (alice.available_sat, bob.available_sat) == (99_999, 1)


def test_a_pin_is_asked_for_every_spend(alice: Person, bob: Person) -> None:
    """P22"""
    give_pin(alice.user)
    for body in ({}, {"pin": "000000"}, {"pin": 123456}):
        refused = alice.api.post("/send", {"amount": 1, "username": "bob", **body})
        assert (refused.status_code, refused.body["code"]) == (403, "invalid_pin")
    paid = alice.api.post("/send", {"amount": 1, "username": "bob", "pin": "123456"})
    assert paid.status_code == 200


def test_only_the_parties_see_the_memo(alice: Person, bob: Person, charlie: Person) -> None:
    """I13"""
    sent = alice.api.post("/send", {"amount": 5, "username": "bob", "memo": "for lunch"})
    path = f"/payments/{sent.body['id']}"
    assert alice.api.get(path).body["memo"] == "for lunch"
    seen = charlie.api.get(path)
    assert seen.status_code == 200
    assert not {"memo", "ref", "iid", "uid", "with"} & set(seen.body)
    assert available_sat(charlie.user) == 50_000


@pytest.mark.parametrize("named_by", ["payreq", "hash"])
def test_no_more_is_paid_than_the_payer_named_whatever_tip_a_stranger_sets(
    alice: Person, bob: Person, network: Control, named_by: str
) -> None:
    """M17, P16"""
    invoice = bob.api.post("/invoice", {"invoice": {"amount": 1000}}).body
    changed = Api().post(f"/invoice/{invoice['id']}", {"invoice": {"tip": 900}}).body
    ref = changed["hash"] if named_by == "payreq" else invoice["id"]
    refused = alice.api.post("/payments", {named_by: ref, "amount": 1000})
    assert (refused.status_code, refused.body["code"]) == (400, "invalid_amount")
    assert alice.available_sat == 100_000
    assert alice.api.post("/payments", {named_by: ref, "amount": 1900}).status_code == 200
    assert (alice.available_sat, bob.available_sat) == (98_100, 1900)


def test_a_tip_that_was_added_since_the_payer_looked_is_asked_for_again(
    alice: Person, bob: Person, network: Control
) -> None:
    """money-M3: an id does not say what it costs; a bolt11 does."""
    invoice = bob.api.post("/invoice", {"invoice": {"amount": 1000}}).body
    assert alice.api.get(f"/invoice/{invoice['id']}").body["amount"] == 1000
    changed = bob.api.post(f"/invoice/{invoice['id']}", {"invoice": {"tip": 90_000}}).body
    refused = alice.api.post("/payments", {"hash": invoice["id"]})
    assert (refused.status_code, refused.body["code"]) == (400, "invalid_amount")
    assert refused.body["message"] == "The invoice is for 91000 sats"
    assert alice.available_sat == 100_000
    with_the_sum = {"hash": invoice["id"], "amount": 91_000}
    assert alice.api.post("/payments", with_the_sum).status_code == 200
    assert changed["tip"] == 90_000


@pytest.mark.parametrize("named_by", ["hash", "paymentHash"])
def test_what_names_its_sum_is_paid_without_saying_it_again(
    alice: Person, bob: Person, network: Control, named_by: str
) -> None:
    """money-M3: also an earlier bolt11, at the sum of its day."""
    invoice = bob.api.post("/invoice", {"invoice": {"amount": 1000, "tip": 50}}).body
    assert bob.api.post(f"/invoice/{invoice['id']}", {"invoice": {"tip": 100}}).status_code == 200
    assert alice.api.post("/payments", {"hash": invoice[named_by]}).status_code == 200
    assert (alice.available_sat, bob.available_sat) == (98_950, 1050)


def test_an_earlier_bolt11_is_shown_with_the_sum_that_it_is_paid_with(
    alice: Person, bob: Person, network: Control
) -> None:
    """money-L4: the page showed the new sum, and was then refused."""
    invoice = bob.api.post("/invoice", {"invoice": {"amount": 1000}}).body
    assert bob.api.post(f"/invoice/{invoice['id']}", {"invoice": {"tip": 200}}).status_code == 200
    target = look(alice.user, invoice["hash"])
    assert target.fixed_sat == 1000
    bill = price(alice.user, target, target.fixed_sat)
    pay(credential=Credential(alice.user), text=invoice["hash"], amount_sat=bill.amount_sat)
    assert (alice.available_sat, bob.available_sat) == (99_000, 1000)


def test_the_largest_payment_is_the_same_at_every_door(
    alice: Person, bob: Person, network: Control, settings: Any
) -> None:
    """P08"""
    settings.MAX_PAYMENT_SAT = 5000
    for path, body in (
        ("/send", {"username": "bob", "amount": 5001}),
        ("/payments", {"payreq": network.invoice(5_001_000)}),
        ("/bitcoin/send", {"address": network.address(), "amount": 5001}),
    ):
        refused = alice.api.post(path, body)
        assert (refused.status_code, refused.body["code"]) == (403, "limit_exceeded")
    assert alice.available_sat == 100_000
    assert alice.api.post("/send", {"username": "bob", "amount": 5000}).status_code == 200


def _at_once(function: object, times: int) -> None:
    from django.db import connection

    def run() -> None:
        try:
            function()  # type: ignore[operator]
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
