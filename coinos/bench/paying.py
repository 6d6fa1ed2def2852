"""Stages that move money between users, and those that ask the node for invoices."""

from __future__ import annotations

import uuid

from coinos.bench import ceilings
from coinos.bench.context import Bench, Books
from coinos.bench.measure import http, queries
from coinos.bench.reading import open_invoices
from coinos.bench.report import Row

CEILING = "pgbench: ledger_move_internal()"
CEILING_HOT = "pgbench: ledger_move_internal(), one payee"
SEND = "POST /send"
RAW_INVOICE = "node call at its pace: invoice"
UNPACED_INVOICE = "simnet without a pace: the same"
INVOICE = "POST /invoice (Lightning)"


def ceiling(bench: Bench) -> None:
    """The same transfer without Python: what PostgreSQL does on this machine."""
    bench.report.stage("The ledger's function alone (pgbench)")
    first, many = bench.people[0].account, len(bench.people)
    assert bench.people[-1].account == first + many - 1
    before = Books.now()
    for clients in (1, 8, 16):
        for name, hot in ((CEILING, False), (CEILING_HOT, True)):
            if hot and clients == 1:
                continue
            tps, mean_ms = ceilings.transfers(
                first=first, many=many, clients=clients, seconds=bench.seconds, hot=hot
            )
            bench.report.row(Row(name, clients, round(tps, 1), mean_ms, note="mean, not p50"))
    booked = Books.now().internal - before.internal
    before.check_internal(bench, "pgbench", booked)


def send(bench: Bench) -> None:
    """POST /send: everybody to everybody, everybody to one, one to everybody."""
    bench.report.stage("Paying each other")
    people = bench.people
    merchant, spender = bench.histories[min(bench.histories)], bench.longest
    cold = [_send(payer.token, people[number - 7].name) for number, payer in enumerate(people)]
    hot_payee = [_send(payer.token, merchant.name) for payer in people]
    hot_payer = [_send(spender.token, payee.name) for payee in people]
    subjects = {SEND: cold, f"{SEND}, one payee": hot_payee, f"{SEND}, one payer": hot_payer}
    for name, requests in subjects.items():
        counted = queries(requests[0])
        for level in bench.levels:
            if level == 1 and name != SEND:
                continue
            before = Books.now()
            sample = bench.load(requests, connections=level)
            bench.report.sample(name, level, sample, queries=counted)
            before.check_internal(bench, f"{name} at {level}", sample.ok)
            if level == 32:
                p99 = sample.percentile(0.99)
                bench.report.goal(f"p99 at 32, {name}, ms", p99, 100, at_least=False)
    rate = bench.report.rate
    if rate(CEILING, 8):
        bench.report.goal("POST /send / pgbench", rate(SEND, 8) / rate(CEILING, 8), 0.2)
    for name in (f"{SEND}, one payee", f"{SEND}, one payer"):
        bench.report.goal(f"{name} / POST /send", rate(name, 8) / rate(SEND, 8), 0.7)


def _send(token: str, username: str) -> str:
    return http("POST", "/api/send", token=token, body={"username": username, "amount": 1})


def invoices(bench: Bench) -> None:
    """POST /invoice beside the node's own `invoice`."""
    bench.report.stage("Asking for money")
    body = {"invoice": {"type": "lightning", "amount": 21}}
    requests = [http("POST", "/api/invoice", token=one.token, body=body) for one in bench.people]
    counted = queries(requests[0])
    for level in bench.levels:
        count = 40 if level == 1 or bench.is_quick else 300
        with ceilings.paced():
            raw = ceilings.at_once(range(count), _raw_invoice, threads=level)
            bench.report.row(Row(RAW_INVOICE, level, round(raw, 1)))
            sample = bench.load(requests, connections=level)
            bench.report.sample(INVOICE, level, sample, queries=counted)
        raw = ceilings.at_once(range(count), _raw_invoice, threads=level)
        bench.report.row(Row(UNPACED_INVOICE, level, round(raw, 1)))
    rate = bench.report.rate
    bench.report.goal("POST /invoice / raw node call", rate(INVOICE, 8) / rate(RAW_INVOICE, 8), 0.6)


def _raw_invoice(node: ceilings.RawNode, number: int) -> None:
    node.call(
        "invoice",
        amount_msat="21000msat",
        label=f"raw {uuid.uuid4()}",
        description="bench",
        expiry=3600,
    )


def own_invoices(bench: Bench) -> None:
    """Paying an invoice of this very server: the ledger moves the money, the node only forgets."""
    bench.report.stage("Paying invoices of this server")
    payers = {person.user.id: person for person in bench.people}
    everybody = list(payers.values())
    requests = []
    for number, invoice in enumerate(open_invoices()):
        payer = everybody[number % len(everybody)]
        if payer.user.id == invoice.user_id:
            payer = everybody[(number + 1) % len(everybody)]
        if payer.user.id != invoice.user_id:
            requests.append(
                http("POST", "/api/payments", token=payer.token, body={"payreq": invoice.hash})
            )
    counted = queries(requests.pop())
    share = len(requests) // len(bench.levels)
    for number, level in enumerate(bench.levels):
        before = Books.now()
        mine = requests[number * share : (number + 1) * share]
        sample = bench.load(mine, connections=level, once=True)
        bench.report.sample("POST /payments, own invoice", level, sample, queries=counted)
        before.check_internal(bench, f"own invoices at {level}", sample.ok)
