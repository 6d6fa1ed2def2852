"""Stages that call others: webhooks, and Lightning payments out."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import transaction

from accounts.models import Activity, Event
from coinos.bench import ceilings, server
from coinos.bench.context import Bench, check_sums
from coinos.bench.measure import http
from coinos.bench.report import Row
from coinos.simnet.control import Control
from invoices import webhooks as hooks
from invoices.models import Invoice, WebhookDelivery

RECEIVER = Path(__file__).with_name("receiver.py")
KEPT_ALIVE = "one kept-alive client: posts"
ALL_LIVE = "webhooks delivered, 10 live endpoints"
ONE_DEAD = "webhooks delivered, 9 live endpoints and 1 dead"
RAW_XPAY = "node call at its pace: xpay"
UNPACED_XPAY = "simnet without a pace: the same"
PAY_OUT = "POST /payments, to another node"
ENDPOINTS = 10


def webhooks(bench: Bench) -> None:
    """Deliveries that wait while their worker is stopped, and how fast it works them off."""
    bench.report.stage("Webhooks")
    count = 400 if bench.is_quick else 4_000
    with _receivers(live=ENDPOINTS, dead=1) as ports:
        body = json.dumps({"amount": 1, "hash": "0" * 64, "text": "x" * 300}).encode()
        kept_alive = ceilings.posts(f"http://127.0.0.1:{ports[0]}/hook", body=body, count=count)
        bench.report.row(Row(KEPT_ALIVE, 1, round(kept_alive, 1)))
        _deliver(bench, ports[:ENDPOINTS], ports[-1], ENDPOINTS)  # the worker's first ever
        for name, used in ((ALL_LIVE, ports[:ENDPOINTS]), (ONE_DEAD, ports[1:])):
            bench.report.row(Row(name, ENDPOINTS, _deliver(bench, used, ports[-1], count)))
    rate = bench.report.rate
    live, dead = rate(ALL_LIVE, ENDPOINTS), rate(ONE_DEAD, ENDPOINTS)
    bench.report.goal("webhooks / kept-alive client", live / kept_alive, 0.3)
    bench.report.goal("webhooks, one endpoint dead / all live", dead / live, 0.8)


def _deliver(bench: Bench, ports: list[int], dead_port: int, count: int) -> float:
    """Deliveries a second to those of `ports` that live, from the moment that their worker may go
    on: many are written down at the same moment, so their times say nothing."""
    person = bench.histories[min(bench.histories)]
    line = Activity.objects.filter(user=person.user).latest("created")
    with server.paused(bench.up_pid, "webhooks worker"), transaction.atomic():
        event = Event.objects.create(user=person.user, kind="payment.settled", activity=line)
        for number in range(count):
            port = ports[number % len(ports)]
            invoice = Invoice.objects.create(
                user=person.user,
                amount_sat=5,
                currency="USD",
                expiry_s=60,
                webhook=f"http://127.0.0.1:{port}/hook",
                webhook_set_by=person.user.id,
            )
            hooks.queue([hooks.News(invoice, line, event.id, 0, confirmed=True)])
    began = time.monotonic()
    told = WebhookDelivery.objects.filter(event=event).exclude(endpoint__endswith=f":{dead_port}")
    open_calls = told.exclude(state=WebhookDelivery.State.DELIVERED)
    deadline = time.monotonic() + 60
    while open_calls.exists():
        if time.monotonic() > deadline:
            bench.report.fail(f"{open_calls.count()} webhooks were not delivered in 60 s")
            break
        time.sleep(0.05)  # seldom: the answer takes the two processors a while
    return round((told.count() - open_calls.count()) / (time.monotonic() - began), 1)


@contextmanager
def _receivers(*, live: int, dead: int) -> Iterator[list[int]]:
    argv = [sys.executable, "-S", str(RECEIVER), str(live), str(dead)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)


def payments_out(bench: Bench) -> None:
    """POST /payments with invoices of a neighbour node, beside `xpay` itself."""
    bench.report.stage("Lightning payments out")
    count, at_once = (48, 16) if bench.is_quick else (480, 16)
    world = Control(settings.SIMNET_CONTROL)
    unpaced = ceilings.at_once(_outside(world, count), _xpay, threads=at_once)
    bench.report.row(Row(UNPACED_XPAY, at_once, round(unpaced, 1)))
    requests = [
        http(
            "POST",
            "/api/payments",
            token=bench.people[number % len(bench.people)].token,
            body={"payreq": world.invoice(1000, node="bob")},
        )
        for number in range(count)
    ]
    with ceilings.paced():
        rate = ceilings.at_once(_outside(world, count), _xpay, threads=at_once)
        bench.report.row(Row(RAW_XPAY, at_once, round(rate, 1)))
        sample = bench.load(requests, connections=at_once, seconds=60, once=True)
        bench.report.sample(PAY_OUT, at_once, sample)
    bench.report.goal(
        f"payments out / raw xpay, {at_once} in flight", sample.per_second / rate, 0.7
    )
    check_sums(bench, PAY_OUT)


def _outside(world: Control, count: int) -> list[str]:
    return [world.invoice(1000, node="bob") for _ in range(count)]


def _xpay(node: ceilings.RawNode, bolt11: str) -> None:
    node.call("xpay", invstring=bolt11, maxfee="10000msat", retry_for=10)
