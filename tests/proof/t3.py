"""T3: many spend the same last sats at once, over HTTP; exactly one may succeed (M01, M02).

Three ways to spend all that one has: to a user by name, over Lightning with a hold, and the same
invoice of another user paid by everybody (M35). First on a ledger without guards, where the race
must be lost.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.proof import oracle, table
from tests.proof.harness import (
    NAIVE_DATABASE,
    Client,
    Stage,
    naive_world,
    require,
    require_unbroken,
)
from tests.proof.load import Person, people
from tests.proof.scale import SEED, random_for, size

WIDTH = size(32, 64)
ROUNDS = size(15, 100)
AMOUNT_SAT = 1_000
KINDS = ["by name", "over Lightning", "one invoice"]


class Racers:
    """Clients that ask at the same moment, each over a connection of its own."""

    def __init__(self, port: int, token: str, width: int) -> None:
        self._clients = [Client(port, token) for _ in range(width)]
        self._pool = ThreadPoolExecutor(width)
        self._width = width

    def race(self, path: str, bodies: list[dict[str, Any]]) -> Counter[int]:
        """All bodies at once; how often each status was answered."""
        start = threading.Barrier(self._width)

        def run(client: Client, body: dict[str, Any]) -> int:
            start.wait()
            return client.post(path, body)[0]

        return Counter(self._pool.map(run, self._clients, bodies))


def run(stage: Stage) -> None:
    assert stage.zygote
    found_without_guards = _the_race_exists(stage) if stage.has_naive_world else 0
    rng = random_for("T3")
    payer, payee = people("last", 2)
    statuses: Counter[int] = Counter()
    successes = 0
    with stage.serving():
        racers = Racers(stage.port, payer.token, WIDTH)
        for number in range(ROUNDS):
            kind = rng.choices(KINDS, [6, 1, 3])[0]
            answers = _round(stage, racers, payer, payee, kind)
            statuses += answers
            successes += answers[200]
            where = f"round {number}, {kind}: {dict(answers)}"
            require(
                answers[200] == 1, f"I2, M01: {answers[200]} of {WIDTH} spends succeeded, {where}"
            )
            require(max(answers) < 500, f"I14: {where}")
            require(_posted_sat(payer) == 0, f"I2: {_posted_sat(payer)} sat are left, {where}")
    broken = oracle.check(stage.control)
    table.record(
        test="T3",
        tried=f"{WIDTH} spends of the same sats at once × {ROUNDS} rounds over HTTP",
        found=len(broken),
        seed=SEED,
        requests=statuses.total(),
        transfers=successes,
        refused=statuses.total() - successes,
        overspent_without_guards=found_without_guards,
        deviation_msat=oracle.deviation_msat(),
    )
    require_unbroken(broken)


def _round(stage: Stage, racers: Racers, payer: Person, payee: Person, kind: str) -> Counter[int]:
    _fund(payer, AMOUNT_SAT)
    if kind == "by name":
        body = {"username": payee.name, "amount": AMOUNT_SAT}
        return racers.race("/send", [body] * WIDTH)
    if kind == "over Lightning":
        bodies = [
            {"payreq": stage.control.invoice(AMOUNT_SAT * 1000, node="bob"), "maxfee": 0}
            for _ in range(WIDTH)
        ]
        return racers.race("/payments", bodies)
    status, invoice = Client(stage.port, payee.token).post(
        "/invoice", {"invoice": {"type": "lightning", "amount": AMOUNT_SAT}}
    )
    require(status == 200, f"no invoice: {status} {invoice}")
    return racers.race("/payments", [{"payreq": invoice["hash"]}] * WIDTH)


def _the_race_exists(stage: Stage) -> int:
    """The same race without guards: more than one spend succeeds, and the oracle sees it."""
    assert stage.zygote
    with naive_world() as control:
        victim = stage.zygote.fork(
            "web",
            database=NAIVE_DATABASE,
            lightning_rpc=control.lightning_rpc,
            bitcoin_rpc_url=control.bitcoin_rpc_url,
        )
        payer, payee = people("naive", 2)
        _fund(payer, AMOUNT_SAT)
        body = {"username": payee.name, "amount": AMOUNT_SAT}
        successes = Racers(victim.port, payer.token, 8).race("/send", [body] * 8)[200]
        broken = oracle.check(control)
        victim.kill()
    require(successes > 1, "without guards the race was not lost: the test proves nothing")
    require(oracle.count(broken, "I2") > 0, f"the oracle overlooked an overdraft: {broken}")
    return successes - 1


def _fund(person: Person, sats: int) -> None:
    from accounts.models import User
    from tests.cast import fund

    fund(User.objects.get(id=person.id), sats)


def _posted_sat(person: Person) -> int:
    from accounts.models import LedgerAccount

    return int(LedgerAccount.objects.get(user_id=person.id).posted_msat) // 1000
