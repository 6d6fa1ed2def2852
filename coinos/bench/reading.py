"""Stages that only read: API, pages, and signing in."""

from __future__ import annotations

from django.urls import reverse

from coinos.bench import fill, server
from coinos.bench.context import Bench
from coinos.bench.measure import Load, http, queries
from invoices.models import Invoice
from invoices.services import InvoiceDraft, create_invoice

YARDSTICK = "plain view, one statement: balance"
YARDSTICK_LIST = "plain view, one statement: list of 20"
PASSWORD_USERS = 8
FULL_PAGE = 40
"""A short history that fills a page: the list asks for 20 lines, the history page shows 30."""


def api(bench: Bench) -> None:
    """GET /me, /payments and /invoice/:hash beside plain Django views."""
    bench.report.stage("Reading through the API")
    person = bench.people[0]
    invoice = create_invoice(person.user, InvoiceDraft(amount_sat=1000), own=True)
    tokens = [other.token for other in bench.people]
    subjects = {
        YARDSTICK: [http("GET", "/api/bench/balance", token=token) for token in tokens],
        "GET /me": [http("GET", "/api/me", token=token) for token in tokens],
        YARDSTICK_LIST: [http("GET", "/api/bench/payments", token=bench.longest.token)],
    }
    for length, owner in bench.histories.items():
        subjects[f"GET /payments?limit=20, {length:,} payments"] = [
            http("GET", "/api/payments?limit=20", token=owner.token)
        ]
    subjects["GET /invoice/:hash"] = [http("GET", f"/api/invoice/{invoice.payment_hash}")]
    _measure(bench, subjects)

    _goals_beside(bench, "GET /me", YARDSTICK)
    every = "GET /payments?limit=20, {:,} payments"
    _goals_beside(bench, every.format(max(bench.histories)), YARDSTICK_LIST)
    _goals_flat(bench, every)


def pages(bench: Bench) -> None:
    """The wallet's first page and the history, as a signed-in browser gets them."""
    bench.report.stage("Reading pages")
    subjects = {}
    for length, owner in bench.histories.items():
        cookie = fill.page_cookie(owner)
        home, history = reverse("person", args=[owner.name]), reverse("payments")
        subjects[f"home page, {length:,} payments"] = [http("GET", home, cookie=cookie)]
        subjects[f"history page, {length:,} payments"] = [http("GET", history, cookie=cookie)]
    _measure(bench, subjects)
    _goals_flat(bench, "home page, {:,} payments")
    _goals_flat(bench, "history page, {:,} payments")


def login(bench: Bench) -> None:
    """Signing in, and what it does to those who are signed in already."""
    bench.report.stage("Signing in")
    users = fill.people("login", PASSWORD_USERS, password=fill.PASSWORD)
    signing_in = [
        http("POST", "/api/login", body={"username": user.name, "password": fill.PASSWORD})
        for user in users
    ]
    _measure(bench, {"POST /login": signing_in})
    me = [http("GET", "/api/me", token=user.token) for user in bench.people]
    seconds = bench.seconds * 2
    alone = bench.load(me, connections=4, seconds=seconds)
    logins = Load(signing_in, connections=8, seconds=seconds).start()
    beside = bench.load(me, connections=4, seconds=seconds)
    logins.wait()
    bench.report.sample("GET /me", 4, alone)
    bench.report.sample("GET /me beside 8 logins", 4, beside)
    bench.report.goal(
        "p99 of GET /me beside 8 logins / without",
        beside.percentile(0.99) / alone.percentile(0.99),
        3,
        at_least=False,
    )


def memory(bench: Bench) -> None:
    """What people and programs ask most, again and again: the web's memory may not grow."""
    bench.report.stage("Memory")
    count = 10_000 if bench.is_quick else 100_000
    invoice = create_invoice(bench.people[0].user, InvoiceDraft(amount_sat=1000), own=True)
    requests = [http("GET", f"/api/invoice/{invoice.payment_hash}")]
    for person in [*bench.people[:20], bench.longest]:
        requests += [
            *[http("GET", "/api/me", token=person.token)] * 4,
            *[http("GET", "/api/payments?limit=20", token=person.token)] * 4,
            http("GET", reverse("person", args=[person.name]), cookie=fill.page_cookie(person)),
        ]
    _send(bench, requests, count // 5)  # what is made once is there
    before_mb = server.memory_mb(bench.up_pid)["web"]
    _send(bench, requests, count)
    after_mb = server.memory_mb(bench.up_pid)["web"]
    bench.report.fact(f"web memory before and after {count:,} requests, MB", [before_mb, after_mb])
    bench.report.goal(
        f"memory of the web after {count:,} requests / before",
        after_mb / before_mb,
        1.05,
        at_least=False,
    )


def _send(bench: Bench, requests: list[str], count: int) -> None:
    ends = bench.requests_sent + count
    while bench.requests_sent < ends:
        bench.load(requests, connections=8, seconds=bench.seconds)


def _measure(bench: Bench, subjects: dict[str, list[str]]) -> None:
    counted = {name: queries(requests[0]) for name, requests in subjects.items()}
    for level in bench.levels:
        samples = bench.by_turns(subjects, connections=level)
        for name, sample in samples.items():
            bench.report.sample(name, level, sample, queries=counted[name])
            if level == 32 and name.startswith("GET"):
                bench.report.goal(
                    f"p99 at 32, {name}, ms", sample.percentile(0.99), 100, at_least=False
                )


def _goals_beside(bench: Bench, subject: str, yardstick: str) -> None:
    """By requests a second, and by processor time, which says the same on a quieter machine."""
    ours, plain = bench.report.find(subject, 8), bench.report.find(yardstick, 8)
    bench.report.goal(f"{subject} / plain view", ours.per_second / plain.per_second, 0.7)
    if ours.web_cpu_ms and plain.web_cpu_ms:
        by_cpu = plain.web_cpu_ms / ours.web_cpu_ms
        bench.report.goal(f"{subject} / plain view, by processor time", by_cpu, 0.7)


def _goals_flat(bench: Bench, name: str) -> None:
    """Compared by the median of one connection: the least of everything else is in it. Like with
    like: with histories that fill the page as the longest does. One of ten payments does not; its
    row in the table says what a page of ten lines costs."""
    *shorter, longest = sorted(bench.histories)
    long = bench.report.find(name.format(longest), 1)
    for length in shorter:
        if length < FULL_PAGE:
            continue
        short = bench.report.find(name.format(length), 1)
        ratio = (long.p50_ms or 0) / (short.p50_ms or 1)
        subject = f"{name.format(longest)} / {length:,}, time"
        bench.report.goal(subject, ratio, 1.2, at_least=False)


def open_invoices() -> list[Invoice]:
    """Lightning invoices that nobody has paid, oldest first."""
    return list(
        Invoice.objects.filter(type="lightning", received_sat=0)
        .exclude(hash="")
        .select_related("user")
        .order_by("created")
    )
