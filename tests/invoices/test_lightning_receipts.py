"""A paid bolt11 is credited once, whatever happens around it."""

from __future__ import annotations

import dataclasses
import itertools
import random
import threading
import time
import uuid
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection
from pyln.client import LightningRpc

from accounts import ledger, statement
from accounts.models import DailyTotal, Event, Transfer, User
from coinos.errors import NodeUnavailable
from coinos.nodes import lightning
from coinos.nodes.base import Receipt
from coinos.simnet.control import Control
from invoices import services, webhooks
from invoices.models import Cursor, Invoice, LightningRequest
from invoices.services.lightning import record_lightning_receipts
from invoices.services.node import CHANGES
from tests.cast import Api, api_of, available_sat, make_user
from tests.invoices.helpers import (
    credits_of,
    new_invoice,
    receive,
    row,
    seen,
    statement_of,
)
from tests.invoices.receiver import receiver


def receipt_for(invoice: dict[str, Any], **changes: Any) -> Receipt:
    """A receipt as the node would report it."""
    request = LightningRequest.objects.get(payment_hash=invoice["paymentHash"])
    fields: dict[str, Any] = {
        "label": str(request.id),
        "payment_hash": invoice["paymentHash"],
        "received_msat": 1_000_000,
        "preimage": "ab" * 32,
        "paid_at_s": 1,
        "pay_index": 1,
    }
    return Receipt(**fields | changes)


def test_a_paid_invoice_is_credited_once_and_says_so(world: Control, alice: User) -> None:
    invoice = new_invoice(alice, amount=1000, memo="coffee")
    paid = world.pay(invoice["hash"])
    receive()
    assert available_sat(alice) == 1000
    after = seen(invoice)
    assert (after["received"], after["status"]) == (1000, "paid")
    assert after["preimage"] == paid["preimage"]
    assert after["settled"] >= after["created"]
    [line] = statement_of(alice)
    assert (line.type, line.status, line.amount_sat) == ("lightning", "settled", 1000)
    assert (line.hash, line.ref, line.memo) == (invoice["hash"], paid["preimage"], "coffee")
    assert line.tip_sat is None
    assert str(line.invoice_id) == invoice["id"]
    assert world.payment(invoice["paymentHash"])["status"] == "settled"


def test_m31_an_unpaid_any_amount_invoice_is_not_paid(world: Control, alice: User) -> None:
    invoice = new_invoice(alice)
    assert seen(invoice)["status"] == "open"
    world.pay(invoice["hash"], amount_msat=1)
    receive()
    after = seen(invoice)
    assert (after["received"], after["status"]) == (0, "open")
    assert "preimage" not in after
    assert available_sat(alice) == 0
    assert statement_of(alice) == []
    world_sum = Transfer.objects.get(kind="rounding.receive.lightning")
    assert world_sum.amount_msat == 1  # the books still equal the node's


def test_f06_parts_of_a_sat_go_to_rounding(world: Control, alice: User) -> None:
    invoice = new_invoice(alice)
    world.pay(invoice["hash"], amount_msat=1_234_567)
    receive()
    assert seen(invoice)["received"] == 1234
    assert available_sat(alice) == 1234
    booked = Transfer.objects.filter(external_id=f"lightning:{invoice['paymentHash']}")
    assert sorted(booked.values_list("amount_msat", flat=True)) == [567, 1_234_000]


def test_m06_replaying_every_receipt_changes_nothing(world: Control, alice: User) -> None:
    invoices = [new_invoice(alice, amount=n) for n in (10, 20, 30)]
    for invoice in invoices:
        world.pay(invoice["hash"])
    receive()
    before = list(Transfer.objects.order_by("id").values())
    for _ in range(3):
        Cursor.objects.filter(name=CHANGES).delete()
        receive()
    assert list(Transfer.objects.order_by("id").values()) == before
    assert available_sat(alice) == 60
    assert len(statement_of(alice)) == 3


def test_m21_money_for_a_label_that_is_not_ours_goes_to_suspense(
    world: Control, alice: User
) -> None:
    receive()
    foreign = lightning().create_invoice(
        label=f"mint-{uuid.uuid4()}", amount_msat=5_000, description="a mint's", expiry_s=3600
    )
    also_foreign = lightning().create_invoice(
        label=str(uuid.uuid4()), amount_msat=7_000, description="a uuid, not ours", expiry_s=3600
    )
    world.pay(foreign.bolt11)
    world.pay(also_foreign.bolt11)
    receive()
    for made, msat in ((foreign, 5_000), (also_foreign, 7_000)):
        kept = Transfer.objects.get(external_id=f"lightning:{made.payment_hash}")
        assert (kept.kind, kept.amount_msat) == ("receive.unmatched", msat)
        assert kept.credit_id == ledger.House.SUSPENSE
    assert available_sat(alice) == 0


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param({"label": "x\0y"}, id="NUL in the label"),
        pytest.param({"label": "far", "expiry": 2**52}, id="expiry in a million years"),
    ],
)
def test_an_odd_invoice_of_another_program_holds_up_nobody(
    world: Control, alice: User, settings: Any, wanted: dict[str, Any]
) -> None:
    """money-M6, money-M7: once it is paid, watcher and sweep meet it in every list."""
    node = LightningRpc(settings.LIGHTNING_RPC)
    foreign = node.call("invoice", {"amount_msat": "1000msat", "description": "d"} | wanted)
    ours = new_invoice(alice, amount=1000)
    start_at_the_end()
    world.pay(foreign["bolt11"])
    world.pay(ours["hash"])
    services.watch_lightning(seconds=20, stopped=lambda: available_sat(alice) == 1000)
    kept = Transfer.objects.get(external_id=f"lightning:{foreign['payment_hash']}")
    assert (kept.kind, kept.amount_msat) == ("receive.unmatched", 1_000)
    receive()
    assert available_sat(alice) == 1000


@pytest.mark.parametrize("comment", ["x" * 100_000, "null \x00 and \ud800 surrogates", "‮⁦"])
def test_a02_no_payers_note_loses_a_deposit(world: Control, alice: User, comment: str) -> None:
    invoice = new_invoice(alice, amount=1000)
    # What an earlier version could have stored; PostgreSQL itself refuses NUL and surrogates.
    LightningRequest.objects.update(
        comment=comment.encode("utf-8", "ignore").decode().replace("\x00", "")
    )
    world.pay(invoice["hash"])
    receive()
    assert available_sat(alice) == 1000
    assert len(statement_of(alice)[0].memo) <= 5000


def test_with_no_exchange_rate_at_all_money_still_arrives(world: Control, alice: User) -> None:
    from django.core.cache import cache

    from coinos import rates
    from coinos.models import Rate

    Rate.objects.all().delete()
    cache.delete(rates.CACHE_KEY)
    rates.forget()
    invoice = new_invoice(alice, amount=1000)
    assert invoice["rate"] == 0
    world.pay(invoice["hash"])
    receive()
    assert available_sat(alice) == 1000
    refused = api_of(alice).post("/invoice", {"invoice": {"fiat": 5, "currency": "USD"}})
    assert refused.status_code == 503


def test_an_evicted_and_frozen_user_still_receives(world: Control, alice: User) -> None:
    from accounts import services as accounts

    invoice = new_invoice(alice, amount=1000)
    accounts.freeze(alice, actor="test", reason="test")
    accounts.evict(alice, actor="test")
    world.pay(invoice["hash"])
    receive()
    assert available_sat(alice) == 1000


def test_an_expired_invoice_that_was_paid_is_credited(world: Control, alice: User) -> None:
    """input-C4, over Lightning"""
    from datetime import timedelta

    from django.utils import timezone

    invoice = new_invoice(alice, amount=1000)
    Invoice.objects.update(created=timezone.now() - timedelta(days=40))
    assert seen(invoice)["status"] == "expired"
    world.pay(invoice["hash"])
    receive()
    assert available_sat(alice) == 1000
    assert seen(invoice)["status"] == "paid"


def test_a_node_that_was_started_again_is_heard_again(world: Control, alice: User) -> None:
    """input-C25: by the sweep."""
    invoice = new_invoice(alice, amount=1000)
    world.restart(down_s=0.2)
    world.pay(invoice["hash"])
    receive()
    assert available_sat(alice) == 1000


# --- Tips ----------------------------------------------------------------------------------------


def test_a_tip_makes_a_new_bolt11_and_is_kept_apart(
    world: Control, alice: User, anyone: Api
) -> None:
    invoice = new_invoice(alice, amount=1000)
    changed = anyone.post(f"/invoice/{invoice['id']}", {"invoice": {"tip": 150}}).body
    assert (changed["amount"], changed["tip"], changed["received"]) == (1000, 150, 0)
    assert changed["hash"] == changed["text"] != invoice["hash"]
    assert changed["paymentHash"] != invoice["paymentHash"]
    assert lightning().decode(changed["hash"]).amount_msat == 1_150_000
    assert seen(invoice)["id"] == changed["id"]  # the earlier bolt11 still finds it
    world.pay(changed["hash"])
    receive()
    assert available_sat(alice) == 1150
    [line] = statement_of(alice)
    assert (line.amount_sat, line.tip_sat) == (1000, 150)
    assert seen(invoice)["received"] == 1150


def test_the_earlier_bolt11_of_a_tipped_invoice_still_credits(
    world: Control, alice: User, anyone: Api
) -> None:
    invoice = new_invoice(alice, amount=1000)
    anyone.post(f"/invoice/{invoice['id']}", {"invoice": {"tip": 150}})
    world.pay(invoice["hash"])
    receive()
    assert available_sat(alice) == 1000
    [line] = statement_of(alice)
    assert (line.amount_sat, line.tip_sat, line.hash) == (1000, None, invoice["hash"])


def test_m18_a_tip_never_exceeds_what_arrived(world: Control, alice: User, anyone: Api) -> None:
    invoice = new_invoice(alice)
    anyone.post(f"/invoice/{invoice['id']}", {"invoice": {"tip": 500}})
    world.pay(seen(invoice)["hash"], amount_msat=100_000)
    receive()
    [line] = statement_of(alice)
    assert line.amount_sat > 0
    assert (line.tip_sat or 0) >= 0
    assert line.amount_sat + (line.tip_sat or 0) == 100 == available_sat(alice)


def test_m17_after_payment_the_tip_is_fixed(world: Control, alice: User, anyone: Api) -> None:
    invoice = new_invoice(alice, amount=1000, tip=10)
    world.pay(invoice["hash"])
    receive()
    refused = anyone.post(f"/invoice/{invoice['id']}", {"invoice": {"tip": 900}})
    assert refused.status_code == 409
    assert refused.body["code"] == "invoice_already_paid"
    assert refused.body["detail"] == "Invoice already settled"
    assert seen(invoice)["tip"] == 10


@pytest.mark.parametrize("tip", [-1, 1.5, "1e3", True, 2100000000000001, [], "١٢"])
def test_f08_a_tip_that_is_no_number_of_sats_is_refused(
    world: Control, alice: User, anyone: Api, tip: Any
) -> None:
    invoice = new_invoice(alice, amount=1000)
    refused = anyone.post(f"/invoice/{invoice['id']}", {"invoice": {"tip": tip}})
    assert (refused.status_code, refused.body["code"]) == (400, "invalid_tip")
    assert seen(invoice)["hash"] == invoice["hash"]


def test_m32_p16_nothing_else_of_an_invoice_can_be_edited(
    world: Control, alice: User, bob: User, anyone: Api
) -> None:
    invoice = new_invoice(alice)
    world.pay(invoice["hash"], amount_msat=5_000)
    receive()
    before = seen(invoice)
    edit = {"received": 0, "pending": 9, "amount": 1, "uid": str(bob.id), "created": 1, "memo": "x"}
    for editor in (anyone, api_of(bob), api_of(alice)):
        answer = editor.post(f"/invoice/{invoice['id']}", {"invoice": edit})
        assert answer.status_code == 200
    assert seen(invoice) == before


def test_p16_only_the_owner_sets_the_webhook(
    world: Control, alice: User, bob: User, anyone: Api
) -> None:
    invoice = new_invoice(alice, amount=1000)
    hook = {"invoice": {"webhook": "https://thief.example/", "secret": "x"}}
    for editor in (anyone, api_of(bob)):
        refused = editor.post(f"/invoice/{invoice['id']}", hook)
        assert (refused.status_code, refused.body["code"]) == (403, "forbidden")
        assert refused.body["errors"][0]["pointer"] == "#/invoice/webhook"
    assert api_of(alice).post(f"/invoice/{invoice['id']}", hook).body["secret"] == "x"
    assert row(invoice).webhook == "https://thief.example/"
    missing = api_of(alice).post(f"/invoice/{uuid.uuid4()}", hook)
    assert missing.status_code == 404


# --- The watcher ---------------------------------------------------------------------------------


def start_at_the_end() -> None:
    """Put the watcher's cursor behind what earlier tests of this simnet received."""
    position = 0
    while receipt := lightning().next_receipt(after_pay_index=position, timeout_s=1):
        position = receipt.pay_index
    Cursor.objects.create(name="lightning", value=str(position))


def test_the_watcher_credits_while_it_waits_and_moves_its_cursor(
    world: Control, alice: User
) -> None:
    start_at_the_end()
    invoices = [new_invoice(alice, amount=n) for n in (1, 2, 3)]
    for invoice in invoices:
        world.pay(invoice["hash"])
    before = int(Cursor.objects.get(name="lightning").value)
    services.watch_lightning(seconds=20, stopped=lambda: available_sat(alice) == 6)
    assert available_sat(alice) == 6
    assert int(Cursor.objects.get(name="lightning").value) == before + 3
    assert [line.amount_sat for line in statement_of(alice)] == [1, 2, 3]


def test_a_watcher_whose_node_was_started_again_hears_it_again(world: Control, alice: User) -> None:
    """input-C25: its wait ends with the connection, and the next one hears what came meanwhile."""
    start_at_the_end()
    invoice = new_invoice(alice, amount=1000)
    restart = threading.Timer(0.3, world.restart)
    restart.start()
    with suppress(NodeUnavailable):
        services.watch_lightning(seconds=20, stopped=lambda: not restart.is_alive())
    restart.join()
    world.pay(invoice["hash"])
    services.watch_lightning(seconds=20, stopped=lambda: available_sat(alice) == 1000)
    assert available_sat(alice) == 1000


def test_a04_a_receipt_that_cannot_be_recorded_does_not_move_the_cursor(
    world: Control, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_at_the_end()
    invoice = new_invoice(alice, amount=1000)
    world.pay(invoice["hash"])
    before = Cursor.objects.get(name="lightning").value
    with monkeypatch.context() as broken:
        broken.setattr("accounts.statement.line", lambda **_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            services.watch_lightning(seconds=5)
    assert Cursor.objects.get(name="lightning").value == before
    assert available_sat(alice) == 0
    services.watch_lightning(seconds=20, stopped=lambda: available_sat(alice) == 1000)
    assert available_sat(alice) == 1000


def test_a_receipt_that_cannot_be_recorded_does_not_hold_up_the_others(
    world: Control, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive()
    cursor = Cursor.objects.get(name=CHANGES).value
    odd, plain = new_invoice(alice, amount=1000), new_invoice(bob, amount=2000)
    world.pay(odd["hash"])
    world.pay(plain["hash"])
    line = statement.line

    def refuse_alice(**fields: Any) -> Any:
        return 1 / 0 if fields["user_id"] == alice.id else line(**fields)

    with monkeypatch.context() as broken:
        broken.setattr(statement, "line", refuse_alice)
        receive()
    assert (available_sat(alice), available_sat(bob)) == (0, 2000)
    assert Cursor.objects.get(name=CHANGES).value == cursor
    receive()
    assert (available_sat(alice), available_sat(bob)) == (1000, 2000)


def test_receipts_that_wait_are_recorded_in_one_transaction(
    world: Control, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_at_the_end()
    before = int(Cursor.objects.get(name="lightning").value)
    for number in range(1, 6):
        invoice = new_invoice(alice if number % 2 else bob, amount=number)
        world.pay(invoice["hash"])
    batches = counting_batches(monkeypatch)
    services.watch_lightning(seconds=20, stopped=lambda: available_sat(alice) == 9)
    assert batches == [5]
    assert (available_sat(alice), available_sat(bob)) == (9, 6)
    assert [line.amount_sat for line in statement_of(alice)] == [1, 3, 5]
    assert int(Cursor.objects.get(name="lightning").value) == before + 5
    today, ever = DailyTotal.objects.filter(user=alice).order_by("day")
    assert (today.count, today.sats) == (ever.count, ever.sats) == (3, 9)
    assert Event.objects.filter(user=alice, kind="payment.settled").count() == 3


def test_a_batch_takes_as_many_queries_as_one_receipt(
    world: Control, alice: User, bob: User, django_assert_num_queries: Any
) -> None:
    start_at_the_end()
    for many in (1, 8):
        receipts = []
        for number in range(many):
            invoice = new_invoice(alice if number % 2 else bob, amount=5)
            receipts.append(receipt_for(invoice, received_msat=5000))
        with django_assert_num_queries(9):
            record_lightning_receipts(receipts, moves_cursor=True)
    assert available_sat(alice) + available_sat(bob) == 45


def test_m04_the_same_receipt_twice_in_a_batch_is_credited_once(
    world: Control, alice: User
) -> None:
    start_at_the_end()
    receipt = receipt_for(new_invoice(alice, amount=1000))
    record_lightning_receipts([receipt, receipt])
    record_lightning_receipts([receipt, receipt])
    assert available_sat(alice) == 1000
    assert len(credits_of(alice)) == len(statement_of(alice)) == 1
    assert Invoice.objects.get().received_sat == 1000


def test_m21_unknown_labels_in_a_batch_go_to_suspense_and_the_others_are_credited(
    world: Control, alice: User
) -> None:
    ours = receipt_for(new_invoice(alice, amount=1000), pay_index=8)
    foreign = [
        dataclasses.replace(ours, label=label, payment_hash=payment_hash)
        for label, payment_hash in (("a mint's", "cd" * 32), (str(uuid.uuid4()), "ef" * 32))
    ]
    record_lightning_receipts([foreign[0], ours, foreign[1]])
    record_lightning_receipts([foreign[1], ours, foreign[0]])
    assert available_sat(alice) == 1000
    assert ledger.house_balance_msat(ledger.House.SUSPENSE) == 2_000_000
    kept = Transfer.objects.filter(kind="receive.unmatched")
    assert {row.external_id[10:] for row in kept} == {"cd" * 32, "ef" * 32}


def test_both_bolt11s_of_one_invoice_in_a_batch_are_credited_and_add_up(
    world: Control, alice: User, anyone: Api
) -> None:
    with receiver() as shop:
        invoice = new_invoice(alice, amount=1000, webhook=shop.url)
        tipped = anyone.post(f"/invoice/{invoice['id']}", {"invoice": {"tip": 150}}).body
        first = receipt_for(invoice, preimage="11" * 32)
        second = receipt_for(tipped, received_msat=1_150_000, preimage="22" * 32)
        record_lightning_receipts([first, second])
        webhooks.deliver_due()
    assert available_sat(alice) == 2150
    assert [(line.amount_sat, line.tip_sat) for line in statement_of(alice)] == [
        (1000, None),
        (1000, 150),
    ]
    after = seen(invoice)
    assert (after["received"], after["preimage"]) == (2150, "22" * 32)
    assert sorted(call.body["received"] for call in shop.heard) == [1000, 2150]
    assert set(LightningRequest.objects.values_list("state", flat=True)) == {"paid"}


def test_a_batch_with_a_receipt_that_cannot_be_recorded_credits_all_others(
    world: Control, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_at_the_end()
    before = int(Cursor.objects.get(name="lightning").value)
    payees = [bob, alice, bob, bob]
    for payee in payees:
        world.pay(new_invoice(payee, amount=1000)["hash"])
    with monkeypatch.context() as broken:
        line = statement.line
        broken.setattr(
            statement,
            "line",
            lambda **fields: 1 / 0 if fields["user_id"] == alice.id else line(**fields),
        )
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                services.watch_lightning(seconds=5)
    assert (available_sat(alice), available_sat(bob)) == (0, 3000)
    assert len(statement_of(bob)) == 3
    assert int(Cursor.objects.get(name="lightning").value) == before + 1  # A04
    services.watch_lightning(seconds=20, stopped=lambda: available_sat(alice) == 1000)
    assert (available_sat(alice), available_sat(bob)) == (1000, 3000)
    assert int(Cursor.objects.get(name="lightning").value) == before + 4


def test_rule_6_a_webhook_that_cannot_be_queued_costs_the_others_of_its_batch_nothing(
    world: Control, alice: User
) -> None:
    with receiver() as shop:
        odd = new_invoice(alice, amount=1, webhook=shop.url, secret="x")
        plain = new_invoice(alice, amount=2, webhook=shop.url)
        Invoice.objects.filter(id=odd["id"]).update(secret="v1.broken")
        record_lightning_receipts(
            [receipt_for(odd, received_msat=1000), receipt_for(plain, received_msat=2000)]
        )
        webhooks.deliver_due()
    assert available_sat(alice) == 3
    assert [call.body["amount"] for call in shop.heard] == [2]


def counting_batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Becomes the sizes of the batches that are recorded from now on."""
    sizes: list[int] = []

    def record(receipts: list[Receipt], **how: Any) -> None:
        sizes.append(len(receipts))
        record_lightning_receipts(receipts, **how)

    monkeypatch.setattr("invoices.services.lightning.record_lightning_receipts", record)
    return sizes


def test_the_cursor_never_moves_back(world: Control, alice: User) -> None:
    start_at_the_end()
    Cursor.objects.filter(name="lightning").update(value="900")
    invoice = new_invoice(alice, amount=1000)
    record_lightning_receipts([receipt_for(invoice, pay_index=7)], moves_cursor=True)
    assert available_sat(alice) == 1000
    assert Cursor.objects.get(name="lightning").value == "900"


# --- Several at once -----------------------------------------------------------------------------


def in_threads(count: int, work: Any) -> list[BaseException]:
    """Run `work` in threads that start together; returns what they raised."""
    raised: list[BaseException] = []
    together = threading.Barrier(count)

    def run() -> None:
        together.wait()
        try:
            work()
        except BaseException as error:
            raised.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_m04_twenty_handlers_of_one_receipt_credit_it_once(
    simnet_nodes: Control, cloned_db: Any, redis: Any
) -> None:
    alice = make_user("alice")
    invoice = new_invoice(alice, amount=1000)
    receipt = receipt_for(invoice)
    assert in_threads(20, lambda: record_lightning_receipts([receipt])) == []
    assert available_sat(alice) == 1000
    assert len(credits_of(alice)) == 1
    assert len(statement_of(alice)) == 1
    assert seen(invoice)["received"] == 1000


def test_m04_batches_that_overlap_credit_each_receipt_once(
    simnet_nodes: Control, cloned_db: Any, redis: Any
) -> None:
    users = [make_user(name) for name in ("alice", "bob", "charlie")]
    receipts = [
        receipt_for(new_invoice(users[n % 3], amount=7), received_msat=7000) for n in range(12)
    ]
    shuffled = itertools.count()

    def record() -> None:
        mine = receipts[:]
        random.Random(next(shuffled)).shuffle(mine)
        record_lightning_receipts(mine[:8])
        record_lightning_receipts(mine[4:])

    assert in_threads(12, record) == []
    assert [available_sat(user) for user in users] == [28, 28, 28]
    assert [len(statement_of(user)) for user in users] == [4, 4, 4]
    assert ledger.differences() == []


def test_five_watchers_at_once_are_one_watcher(
    simnet_nodes: Control, cloned_db: Any, redis: Any
) -> None:
    alice = make_user("alice")
    start_at_the_end()
    invoices = [new_invoice(alice, amount=1) for _ in range(10)]
    for invoice in invoices:
        simnet_nodes.pay(invoice["hash"])
    deadline = time.monotonic() + 20

    def done() -> bool:
        return available_sat(alice) == 10 or time.monotonic() > deadline

    raised = in_threads(5, lambda: services.watch_lightning(seconds=20, stopped=done))
    assert raised == []
    assert available_sat(alice) == 10
    assert len(credits_of(alice)) == 10


# --- Closing invoices at the node ----------------------------------------------------------------


def test_an_unpaid_bolt11_of_a_paid_invoice_is_taken_off_the_node(
    world: Control, alice: User, anyone: Api
) -> None:
    invoice = new_invoice(alice, amount=1000)
    tipped = anyone.post(f"/invoice/{invoice['id']}", {"invoice": {"tip": 5}}).body
    world.pay(tipped["hash"])
    receive()
    services.withdraw_node_invoices()
    states = dict(LightningRequest.objects.values_list("payment_hash", "state"))
    assert states == {invoice["paymentHash"]: "closed", tipped["paymentHash"]: "paid"}
    request = LightningRequest.objects.get(payment_hash=invoice["paymentHash"])
    assert lightning().invoice_by_label(str(request.id)) is None
