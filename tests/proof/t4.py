"""T4: Lightning payments while the node misbehaves in a third of its answers (M07-M11, A10).

Everybody pays invoices of outside nodes; calls are dropped, executed and reported as errors,
garbled, answered twice or late; parts get stuck. Afterwards the node's truth decides: every
payment ended as it did there, fee included, and nobody got a wrongful refund. First the naive
service, for which an error means failed, must be caught giving refunds.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from coinos.simnet.control import Control
from tests.proof import oracle, table
from tests.proof.harness import (
    NAIVE_DATABASE,
    Client,
    Lost,
    Stage,
    come_to_rest,
    naive_world,
    require,
    require_unbroken,
)
from tests.proof.load import Person, people
from tests.proof.scale import SEED, random_for, size

PAYMENTS = size(120, 2_000)
CALLERS = 24
BALANCE_SAT = 20_000_000
NODES, NODE_WEIGHTS = ["bob", "carol", "fail"], [4, 5, 1]


def _fault(kind: str, method: str, probability: float, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "method": method, "probability": probability, **more}


def faults() -> list[dict[str, Any]]:
    """Three in ten of the calls that pay go wrong, and two in ten of those that ask."""
    rules = [
        _fault("exec_then_drop", "xpay", 0.07),
        _fault("drop_before", "xpay", 0.03),
        *(_fault("exec_then_error", "xpay", 0.012, code=code) for code in (-1, 203, 205, 209, 210)),
        _fault("exec_then_error", "xpay", 0.01, code="Connection to RPC server lost."),
        _fault("duplicate_reply", "xpay", 0.02),
        *(_fault("garbage", "xpay", 0.01, how=how) for how in ("text", "truncated", "empty")),
        *(
            _fault("wrong_type", "xpay", 0.01, field=field, how=how)
            for field, how in (("payment_preimage", "missing"), ("amount_sent_msat", "nan"))
        ),
        *(
            _fault("partial_mpp", "xpay", 0.015, how=how)
            for how in ("fail", "pending", "lost", "in_flight")
        ),
        _fault("hold", "xpay", 0.01),
        _fault("delay", "xpay", 0.01, seconds=4),
    ]
    for method in ("listsendpays", "listpays", "getinfo", "wait"):
        rules += [
            _fault("drop_before", method, 0.05),
            _fault("exec_then_drop", method, 0.04),
            _fault("exec_then_error", method, 0.03),
            _fault("garbage", method, 0.03, how="truncated"),
            _fault("duplicate_reply", method, 0.02),
        ]
    rules += [
        _fault("wrong_type", "listsendpays", 0.02, field=field, how=how)
        for field, how in (
            ("amount_sent_msat", "negative"),
            ("amount_msat", "string"),
            ("status", "missing"),
            ("payment_preimage", "missing"),
        )
    ]
    return rules


def run(stage: Stage) -> None:
    caught = _the_naive_service_refunds(stage) if stage.has_naive_world else 0
    rng = random_for("T4")
    cast = people("chaos", 20, BALANCE_SAT)
    with stage.serving():
        stage.control.set_faults(faults(), seed=SEED)
        before = Counter(stage.control.fault_counts())
        paying = Paying(stage.control, stage.port, cast)
        statuses = paying.pay(PAYMENTS, CALLERS, rng)
        struck = Counter(stage.control.fault_counts()) - before
        stage.control.clear_faults()
        released = _release_all(stage.control, rng)
        seconds = come_to_rest(stage.control)
    broken = oracle.check(stage.control)
    stop_file = stage.data_dir / "stop-sends"
    if stop_file.exists():
        broken.append(f"I9: sends were stopped without a loss: {stop_file.read_text()}")
    table.record(
        test="T4",
        tried=f"{PAYMENTS:,} Lightning payments with {struck.total():,} faults of the node",
        found=len(broken),
        seed=SEED,
        transfers=PAYMENTS,
        answered_200=statuses[200],
        refused_or_failed=sum(n for status, n in statuses.items() if 400 <= status < 500),
        node_unavailable=statuses[503],
        dropped_replies=struck["exec_then_drop"] + struck["drop_before"],
        errors_after_execution=struck["exec_then_error"],
        garbled=struck["garbage"] + struck["wrong_type"] + struck["duplicate_reply"],
        stuck_parts=struck["partial_mpp"] + struck["hold"],
        released_at_the_end=released,
        seconds_to_rest=round(seconds),
        wrongful_refunds=oracle.count(broken, "I7"),
        wrongful_refunds_of_the_naive=caught,
    )
    require(not {status for status in statuses if status == 500}, f"I14: {dict(statuses)}")
    require_unbroken(broken)


class Paying:
    """Callers who pay outside invoices, some the same one twice, some that always fail."""

    def __init__(self, control: Control, port: int, cast: list[Person]) -> None:
        self.control, self.port, self.cast = control, port, cast
        self._local = threading.local()

    def pay(self, count: int, callers: int, rng: random.Random) -> Counter[int]:
        """Pay `count` times; how often each status was answered."""
        jobs = [
            (
                rng.choice(self.cast),
                rng.choices(["bob", "carol", "fail"], [4, 5, 1])[0],
                rng.random(),
            )
            for _ in range(count)
        ]
        with ThreadPoolExecutor(callers) as pool:
            return Counter(pool.map(lambda job: self._pay(*job), jobs))

    def _pay(self, person: Person, node: str, draw: float) -> int:
        client = Client(self.port, person.token)
        bolt11 = self.control.invoice(int(1 + draw * 900_000), node=node)
        body = {"payreq": bolt11}
        key = f"T4:{bolt11[-40:]}"
        for _ in range(30):
            try:
                status, _answer = client.post("/payments", body, key)
            except Lost:
                status = 0
            if status not in (0, 503):
                break
            time.sleep(0.05)
        if draw < 0.05:  # somebody else pays the same invoice, too (M28)
            other = self.cast[int(draw * 1000) % len(self.cast)]
            Client(self.port, other.token).post("/payments", body, f"{key}:again")
        return status


def _release_all(control: Control, rng: random.Random) -> int:
    """Receivers who kept HTLCs decide at last. Returns how many payments were waiting."""
    waiting = control.truth()["pending"]
    for payment_hash in waiting:
        control.release(payment_hash, settle=rng.random() < 0.5)
    return len(waiting)


def _the_naive_service_refunds(stage: Stage) -> int:
    """A service without the release rule, under the same faults: the oracle sees its refunds."""
    assert stage.zygote
    with naive_world() as control:
        victim = stage.zygote.fork(
            "web",
            database=NAIVE_DATABASE,
            lightning_rpc=control.lightning_rpc,
            bitcoin_rpc_url=control.bitcoin_rpc_url,
            without=["release rule"],
        )
        cast = people("naive", 2, BALANCE_SAT)
        control.set_faults([_fault("exec_then_drop", "listsendpays", 0.5)], seed=SEED)
        Paying(control, victim.port, cast).pay(12, 4, random_for("T4", "naive"))
        control.clear_faults()
        broken = oracle.check(control, alone=False)
        victim.kill()
    refunds = sum("was refunded, but the node paid" in sentence for sentence in broken)
    require(refunds > 0, f"the naive service was not caught giving refunds: {broken}")
    return refunds
