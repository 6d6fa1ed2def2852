"""Stages in which money comes from outside: Lightning receipts and deposits."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Callable

from django.conf import settings
from django.db import transaction

from accounts.models import Activity
from coinos import bell
from coinos.bench import ceilings, server
from coinos.bench.context import Bench, check_sums
from coinos.bench.report import Row
from coinos.nodes import bitcoin
from coinos.simnet.control import Control
from invoices.models import Address, Cursor, Deposit, Invoice, LightningRequest

WATCHER = "receipts credited, {:,} open invoices"
DRAIN = "node call at its pace: waitanyinvoice, draining"
DRAIN_UNPACED = "simnet without a pace: the same"
EXPIRY_S = 3600
WAIT_S = 120


def watcher(bench: Bench) -> None:
    """The watch worker is stopped while invoices are paid from outside, then has to catch up."""
    bench.report.stage("Lightning receipts")
    few, many = (100, 2_000) if bench.is_quick else (100, 10_000)
    paid = 300 if bench.is_quick else 1_000
    for opened in (few, many):
        _open_invoices(bench, opened)
        to_pay = _open_invoices(bench, paid)
        with ceilings.paced():
            _catch_up(bench, WATCHER.format(opened), to_pay)
        check_sums(bench, WATCHER.format(opened), f"{_credited(to_pay)} receipts credited once, ")
        if _credited(to_pay) != paid:
            bench.report.fail(f"{_credited(to_pay)} of {paid} receipts were credited")
    with ceilings.paced():
        _raw_drain(bench, DRAIN, paid)
    _raw_drain(bench, DRAIN_UNPACED, paid)
    rate_of = bench.report.rate
    bench.report.goal(
        "watcher / raw drain", rate_of(WATCHER.format(many), 1) / rate_of(DRAIN, 1), 0.4
    )
    bench.report.goal(
        f"watcher, {many:,} open / {few} open",
        rate_of(WATCHER.format(many), 1) / rate_of(WATCHER.format(few), 1),
        0.8,
    )
    _time_to_credit(bench, 20 if bench.is_quick else 100)


def _catch_up(bench: Bench, subject: str, to_pay: list[LightningRequest]) -> None:
    """From the moment that the watcher may go on until its cursor stands at the last receipt."""
    kinds = ("watch worker", "PostgreSQL")
    with server.paused(bench.up_pid, "watch worker"):
        _pay(to_pay)
        last = _cursor() + len(to_pay)
        before = [server.cpu_s(bench.up_pid, kind) for kind in kinds]
        began = time.perf_counter()
    _wait(lambda: _cursor() >= last, "receipts", look_every_s=0.02)
    rate = len(to_pay) / (time.perf_counter() - began)
    used_ms = [
        round((server.cpu_s(bench.up_pid, kind) - was) * 1000 / len(to_pay), 2)
        for kind, was in zip(kinds, before, strict=True)
    ]
    bench.report.row(
        Row(subject, 1, round(rate, 1), web_cpu_ms=used_ms[0], database_cpu_ms=used_ms[1])
    )


def _cursor() -> int:
    return int(Cursor.objects.get(name="lightning").value)


def _raw_drain(bench: Bench, subject: str, count: int) -> None:
    node = ceilings.RawNode()
    after = _cursor() - count
    began = time.perf_counter()
    for _ in range(count):
        after = node.call("waitanyinvoice", lastpay_index=after)["pay_index"]
    bench.report.row(Row(subject, 1, round(count / (time.perf_counter() - began), 1)))


def _time_to_credit(bench: Bench, count: int) -> None:
    """From the moment that the payer has the preimage to the moment that the line is written."""
    requests = _open_invoices(bench, count)
    paid_at = {}
    for request in requests:
        _pay([request])
        paid_at[request.payment_hash] = time.time()
        time.sleep(0.02)
    _wait(lambda: _credited(requests) == count, "receipts")
    waits_ms = sorted(
        max(0.0, (line.created.timestamp() - paid_at[line.payment_hash]) * 1000)
        for line in Activity.objects.filter(payment_hash__in=paid_at)
    )
    p50, p99 = waits_ms[len(waits_ms) // 2], waits_ms[int(len(waits_ms) * 0.99)]
    row = Row("from payment to credit", 1, 0.0, round(p50, 1), round(p99, 1), note="not a load")
    bench.report.row(row)
    bench.report.goal("p99 from payment to credit, s", p99 / 1000, 1, at_least=False)


def _open_invoices(bench: Bench, count: int) -> list[LightningRequest]:
    """Invoices as POST /invoice makes them: at the node and in the tables."""
    people = bench.people
    requests = []
    for number in range(count):
        user = people[number % len(people)].user
        invoice = Invoice(user=user, amount_sat=5, currency="USD", rate=65000, expiry_s=EXPIRY_S)
        requests.append(LightningRequest(id=uuid.uuid4(), invoice=invoice, amount_msat=5000))
    ceilings.at_once(requests, _mint, threads=4)
    with transaction.atomic():
        Invoice.objects.bulk_create([request.invoice for request in requests])
        LightningRequest.objects.bulk_create(requests)
    return requests


def _mint(node: ceilings.RawNode, request: LightningRequest) -> None:
    made = node.call(
        "invoice",
        amount_msat="5000msat",
        label=str(request.id),
        description="bench",
        expiry=EXPIRY_S,
    )
    request.bolt11, request.payment_hash = made["bolt11"], made["payment_hash"]
    request.state = LightningRequest.State.OPEN
    request.invoice.hash, request.invoice.payment_hash = made["bolt11"], made["payment_hash"]


def _pay(requests: list[LightningRequest]) -> None:
    world = Control(settings.SIMNET_CONTROL)
    for request in requests:
        assert request.bolt11
        world.pay(request.bolt11)


def _credited(requests: list[LightningRequest]) -> int:
    ids = [request.id for request in requests]
    return LightningRequest.objects.filter(id__in=ids, state=LightningRequest.State.PAID).count()


def deposits(bench: Bench) -> None:
    """Many deposits in one block, found while the worker looks again after a pause: timed from its
    end until the last is credited, since many are credited at the same moment."""
    bench.report.stage("Deposits")
    count = 30 if bench.is_quick else 200
    addresses = [_address(bench, number) for number in range(count)]
    world = Control(settings.SIMNET_CONTROL)
    with server.paused(bench.up_pid, "worker and beat"):
        for address in addresses:
            world.deposit(address, 10_000 + secrets.randbelow(1000))
        world.mine(1)
        bell.ring("invoices.tasks.scan_bitcoin")
    began = time.perf_counter()
    credited = Deposit.objects.filter(state=Deposit.State.CREDITED, address__in=addresses)
    _wait(lambda: credited.count() == count, "deposits", look_every_s=0.01)
    rate = count / (time.perf_counter() - began)
    bench.report.row(Row("deposits credited from one block", 1, round(rate, 1)))
    check_sums(bench, "deposits", f"{count} credited once, ")


def _address(bench: Bench, number: int) -> str:
    user = bench.people[number % len(bench.people)].user
    invoice = Invoice(user=user, type="bitcoin", currency="USD", expiry_s=EXPIRY_S)
    invoice.hash = bitcoin().new_address(label=str(invoice.id), address_type="bech32")
    invoice.address_type = "bech32"
    with transaction.atomic():
        invoice.save(force_insert=True)
        Address.objects.create(address=invoice.hash, invoice=invoice)
    return invoice.hash


def _wait(is_done: Callable[[], bool], what: str, *, look_every_s: float = 0.1) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not arrive within {WAIT_S} s")
        time.sleep(look_every_s)
