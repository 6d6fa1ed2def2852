"""T6: every receipt is credited exactly once, whoever watches and dies (M04-M06, A03, A04).

Invoices are paid from outside while five watchers compete, some of which believe that they are
alone, and are killed again and again. Then everything is replayed in parallel: the books may not
change by a byte. First without guards, where the same watchers must credit twice.
"""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.proof import oracle, table
from tests.proof.books import transfers_digest
from tests.proof.harness import (
    NAIVE_DATABASE,
    Client,
    Stage,
    Victim,
    come_to_rest,
    naive_world,
    require,
    require_unbroken,
    wait_until,
    wait_while_it_grows,
)
from tests.proof.load import people
from tests.proof.scale import SEED, random_for, size

INVOICES = size(60, 1_000)
KILLS = size(6, 30)
WATCHERS = 5
REPLAYS = 10


def run(stage: Stage) -> None:
    assert stage.zygote
    doubled = _without_guards_credits_double(stage) if stage.has_naive_world else 0
    rng = random_for("T6")
    cast = people("payee", 10)
    before = _credits()
    watchers = Watchers(stage, rng)
    web = stage.zygote.fork("web")
    with ThreadPoolExecutor(4) as pool:
        tokens = [rng.choice(cast).token for _ in range(INVOICES)]
        amounts = [rng.choice([0, rng.randint(1, 900)]) for _ in range(INVOICES)]
        extra_msat = [rng.randint(1, 999_999) for _ in range(INVOICES)]
        paying = [
            pool.submit(_invoice_and_pay, stage, web.port, *job)
            for job in zip(tokens, amounts, extra_msat, strict=True)
        ]
        while watchers.kills < KILLS or not all(job.done() for job in paying):
            time.sleep(rng.uniform(0.05, 0.6))
            watchers.kill_one()
        paid = [job.result() for job in paying]
    web.kill()
    watchers.let_one_live()
    wait_while_it_grows(
        lambda: _credits() - before, until=len(paid), seconds=60, what="crediting every receipt"
    )
    watchers.stop()
    worker = stage.zygote.fork("worker")
    come_to_rest(stage.control, ring=_ring)
    worker.kill()
    replayed = _replay_everything(stage)
    broken = oracle.check(stage.control) + replayed
    table.record(
        test="T6",
        tried=f"{len(paid):,} paid invoices, {WATCHERS} competing watchers, {REPLAYS} replays each",
        found=len(broken),
        seed=SEED,
        kills=watchers.kills,
        credits=_credits() - before,
        replayed_receipts=REPLAYS * len(stage.control.truth()["received"]),
        double_credits=oracle.count(broken, "I5"),
        double_credits_without_guards=doubled,
        deviation_msat=oracle.deviation_msat(),
    )
    require(_credits() - before == len(paid), f"{_credits() - before} credits of {len(paid)}")
    require_unbroken(broken)


class Watchers:
    """Five processes that watch; two of them do not ask whether another does."""

    def __init__(self, stage: Stage, rng: random.Random) -> None:
        self.stage, self.rng, self.kills = stage, rng, 0
        self._all = [self._fork(n) for n in range(WATCHERS)]

    def let_one_live(self) -> None:
        """The killing is over: all that are left may be armed to die by themselves."""
        assert self.stage.zygote
        self._all.append(self.stage.zygote.fork("watcher"))

    def _fork(self, number: int) -> Victim:
        assert self.stage.zygote
        alone = ["lease"] if number < 2 else []
        failpoint = self.rng.choice(["", "recv.before_commit", "recv.after_commit"])
        return self.stage.zygote.fork(
            "watcher", without=alone, failpoint=failpoint, visit=self.rng.randint(1, 40)
        )

    def kill_one(self) -> None:
        """kill -9 of any; in its place another, that may be armed to die by itself."""
        number = self.rng.randrange(WATCHERS)
        if not self._all[number].died_by_sigkill(0):
            self._all[number].kill()
        self.kills += 1
        self._all[number] = self._fork(number)

    def stop(self) -> None:
        for watcher in self._all:
            if not watcher.died_by_sigkill(0):
                watcher.kill()


def _invoice_and_pay(stage: Stage, port: int, token: str, amount: int, extra_msat: int) -> str:
    """An invoice, fixed or any amount, and the outside pays it; returns its payment hash."""
    status, invoice = Client(port, token).post(
        "/invoice", {"invoice": {"type": "lightning", "amount": amount}}
    )
    require(status == 200, f"no invoice: {status} {invoice}")
    amount_msat = None if amount else extra_msat
    return str(stage.control.pay(invoice["hash"], amount_msat)["payment_hash"])


def _credits() -> int:
    """Receipts in the books: a row of whole sats, or of a remainder alone."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(DISTINCT external_id) FROM ledger_transfer"
            " WHERE kind IN ('receive.lightning', 'rounding.receive.lightning')"
        )
        return int(cursor.fetchone()[0])


def _replay_everything(stage: Stage) -> list[str]:
    """Every receipt of the node again, many times and at once, with the cursor back at 0."""
    from django.db import connection

    from coinos.nodes import lightning
    from invoices.models import Cursor
    from invoices.services.lightning import record_lightning_receipts

    before = transfers_digest()
    receipts: list[Any] = []
    cursor = 0
    while receipt := lightning().next_receipt(after_pay_index=cursor, timeout_s=1):
        receipts.append(receipt)
        cursor = receipt.pay_index
    Cursor.objects.filter(name="lightning").update(value="0")
    Cursor.objects.filter(name="lightning-sweep").update(value="0")

    def replay(number: int) -> None:
        try:
            order = receipts if number % 2 else receipts[::-1]
            size = 1 if number % 3 else 25
            for start in range(0, len(order), size):
                record_lightning_receipts(order[start : start + size], moves_cursor=True)
        finally:
            connection.close()

    with ThreadPoolExecutor(REPLAYS) as pool:
        list(pool.map(replay, range(REPLAYS)))
    if transfers_digest() != before:
        return ["I5: replaying receipts changed the books"]
    return []


def _without_guards_credits_double(stage: Stage) -> int:
    """The same receipts with no unique id in the database: competing watchers credit twice."""
    assert stage.zygote
    with naive_world() as control:
        world = {
            "database": NAIVE_DATABASE,
            "lightning_rpc": control.lightning_rpc,
            "bitcoin_rpc_url": control.bitcoin_rpc_url,
        }
        from invoices.models import Cursor

        Cursor.objects.all().delete()  # another test may have been here with another node
        web = stage.zygote.fork("web", **world)
        payee = people("naive", 1)[0]
        for _ in range(5):
            status, invoice = Client(web.port, payee.token).post(
                "/invoice", {"invoice": {"type": "lightning", "amount": 500}}
            )
            require(status == 200, f"no invoice: {status} {invoice}")
            control.pay(invoice["hash"])
        web.kill()
        watchers = [
            stage.zygote.fork("watcher", without=["lease"], **world) for _ in range(WATCHERS)
        ]
        wait_until(lambda: _credits() >= 5, seconds=30, what="crediting without guards")
        time.sleep(1)
        for watcher in watchers:
            watcher.kill()
        broken = oracle.check(control, alone=False)
    doubled = oracle.count(broken, "I5")
    require(doubled > 0, f"without guards nothing was credited twice: {broken}")
    return doubled


def _ring() -> None:
    from coinos import bell

    bell.ring("invoices.tasks.withdraw_node_invoices")
