"""Stages that only read: API, pages, and signing in."""

from __future__ import annotations

from django.urls import reverse

from coinos.bench import fill
from coinos.bench.context import Bench
from coinos.bench.measure import Load, http, queries
from invoices.models import Invoice
from invoices.services import InvoiceDraft, create_invoice

YARDSTICK = "plain view, one statement: balance"
YARDSTICK_LIST = "plain view, one statement: list of 20"
PASSWORD_USERS = 8


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

    rate, level = bench.report.rate, 8
    bench.report.goal("GET /me / plain view", rate("GET /me", level) / rate(YARDSTICK, level), 0.7)
    short, long = _shortest_and_longest(bench, "GET /payments?limit=20, {:,} payments")
    bench.report.goal(
        "GET /payments?limit=20 / plain view", rate(long, level) / rate(YARDSTICK_LIST, level), 0.7
    )
    _goal_flat(bench, short, long)


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
    for name in ("home page, {:,} payments", "history page, {:,} payments"):
        _goal_flat(bench, *_shortest_and_longest(bench, name))


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


def _measure(bench: Bench, subjects: dict[str, list[str]]) -> None:
    counted = {name: queries(requests[0]) for name, requests in subjects.items()}
    for level in bench.levels:
        samples = bench.by_turns(subjects, connections=level)
        for name, sample in samples.items():
            bench.report.sample(name, level, sample, queries=counted[name])
            if level == 32 and "login" not in name and "plain view" not in name:
                bench.report.goal(
                    f"p99 at 32, {name}, ms", sample.percentile(0.99), 100, at_least=False
                )


def _shortest_and_longest(bench: Bench, name: str) -> tuple[str, str]:
    return name.format(min(bench.histories)), name.format(max(bench.histories))


def _goal_flat(bench: Bench, short: str, long: str) -> None:
    """Compared by the median of one connection: the least of everything else is in it."""
    p50 = {row.subject: row.p50_ms or 0 for row in bench.report.rows if row.connections == 1}
    bench.report.goal(f"{long} / {short}, time", p50[long] / p50[short], 1.2, at_least=False)


def open_invoices() -> list[Invoice]:
    """Lightning invoices that nobody has paid, oldest first."""
    return list(
        Invoice.objects.filter(type="lightning", received_sat=0)
        .exclude(hash="")
        .select_related("user")
        .order_by("created")
    )
