"""T2: the concurrent bank. Many processes move money among fifty accounts, one of them hot, and a
reader adds everything up in one snapshot every 50 ms: the sum never changes by a millisatoshi,
not even in between (I1-I3, A08). A bank without the guards goes wrong in the same test.
"""

from __future__ import annotations

import multiprocessing
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from django.db import connection, connections, transaction

from accounts import ledger
from accounts.errors import InsufficientFunds
from accounts.ledger import House
from accounts.models import Transfer, User
from tests import causes
from tests.cast import fund, make_user
from tests.database import Database
from tests.proof import table
from tests.proof.oracle import deviation_msat
from tests.proof.scale import SEED, random_for, size

ACCOUNTS = 50
START_SAT = 1_000
PROCESSES = size(4, 16)
TRANSFERS = size(1_000, 20_000)
SNAPSHOT_EVERY_S = 0.05

forked = multiprocessing.get_context("fork")


@dataclass
class Report:
    """What one process did."""

    done: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


# --- The processes -------------------------------------------------------------------------------


def move_money(users: list[User], rounds: int, rng: random.Random) -> Report:
    """Transfers from and to anybody, every second one with the hot account; some payments out."""
    report = Report()
    for _ in range(rounds):
        payer, payee = rng.sample(users, 2)
        if rng.random() < 0.5:
            payer, payee = rng.choice([(users[0], payee), (payer, users[0])])
        step = pay_out if rng.random() < 0.1 else transfer
        if payer == payee:
            payee = users[1]
        started = time.perf_counter()
        try:
            report.done[step(payer, payee, rng)] += 1
        except InsufficientFunds:
            report.done["refused"] += 1
        except Exception as error:
            report.errors.append(repr(error))
        report.seconds.append(time.perf_counter() - started)
    return report


def transfer(payer: User, payee: User, rng: random.Random) -> str:
    sats = rng.randint(1, 500)

    @ledger.atomic
    def move() -> bool:
        return ledger.move_internal(
            from_user_id=payer.id,
            to_user_id=payee.id,
            amount_msat=sats * 1000,
            external_id=uuid.uuid4().hex,
            cause=causes.line(payer, payee, sats),
        )

    assert move()
    return "transfer"


def pay_out(payer: User, payee: User, rng: random.Random) -> str:
    """A hold, and later its end, in two transactions as a real payment has them."""
    payment_id = uuid.uuid4()
    held_sat = rng.randint(2, 100)

    @ledger.atomic
    def hold() -> int:
        hold_id = ledger.hold_for_payment(
            user_id=payer.id,
            through=House.LIGHTNING,
            amount_msat=held_sat * 1000,
            payment_id=payment_id,
        )
        causes.payment(payer, payment_id, hold_id, held_sat, House.LIGHTNING)
        return hold_id

    hold_id = hold()
    if rng.random() < 0.5:
        assert ledger.atomic(ledger.release_payment)(hold_id=hold_id, payment_id=payment_id)
        return "void"
    assert ledger.atomic(ledger.settle_payment)(
        hold_id=hold_id,
        spent_msat=rng.randint(1, held_sat * 1000),
        platform_fee_msat=0,
        payment_id=payment_id,
    )
    return "post"


def read_snapshots(stop: Any) -> Report:
    """Add up everything in REPEATABLE READ snapshots; an error is a sum that was not zero."""
    report = Report()
    while not stop.is_set() or not report.done["snapshot"]:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            off_msat = deviation_msat()
        report.done["snapshot"] += 1
        if off_msat:
            report.errors.append(f"off by {off_msat} msat")
        stop.wait(SNAPSHOT_EVERY_S)
    return report


def in_processes(work: list[Callable[[], Report]], *, stop: Any = None) -> list[Report]:
    """Run each in a process of its own. The last one is told to stop when the others are done."""
    connections.close_all()
    reports = forked.Queue()

    def run(number: int, function: Callable[[], Report]) -> None:
        connections.close_all()
        try:
            reports.put((number, function()))
        except BaseException as error:
            reports.put((number, Report(errors=[repr(error)])))
        connections.close_all()

    processes = [forked.Process(target=run, args=item) for item in enumerate(work)]
    for process in processes:
        process.start()
    found: dict[int, Report] = {}
    while len(found) < len(work):
        if stop is not None and len(found) == len(work) - 1:
            stop.set()
        number, report = reports.get(timeout=600)
        found[number] = report
        if stop is not None and len(found) == len(work) - 1:
            stop.set()
    for process in processes:
        process.join()
    return [found[number] for number in range(len(work))]


# --- The test ------------------------------------------------------------------------------------


def test_the_sum_is_constant_in_every_snapshot(cloned_db: Database) -> None:
    """A08: the hot account is one of fifty, and no house account is ever locked."""
    users = [make_user(f"user{number}") for number in range(ACCOUNTS)]
    for user in users:
        fund(user, START_SAT)
    rounds = TRANSFERS // PROCESSES
    stop = forked.Event()
    started = time.perf_counter()
    *bankers, reader = in_processes(
        [
            *(
                lambda number=number: move_money(users, rounds, random_for("bank", number))
                for number in range(PROCESSES)
            ),
            lambda: read_snapshots(stop),
        ],
        stop=stop,
    )
    took_s = time.perf_counter() - started
    done: Counter[str] = sum((report.done for report in bankers), Counter())
    seconds = sorted(second for report in bankers for second in report.seconds)
    errors = [error for report in (*bankers, reader) for error in report.errors]
    moved = done["transfer"] + done["post"] + done["void"]
    table.record(
        test="T2",
        tried=f"{moved:,} transfers and holds of {PROCESSES} processes among {ACCOUNTS} accounts",
        found=len(errors),
        seed=SEED,
        transfers=moved,
        refused=done["refused"],
        snapshots=reader.done["snapshot"],
        deviation_msat=deviation_msat(),
        per_second=round(moved / took_s),
        p50_ms=round(seconds[len(seconds) // 2] * 1000, 1),
        p99_ms=round(seconds[len(seconds) * 99 // 100] * 1000, 1),
    )
    assert errors == []
    assert deviation_msat() == 0
    assert Transfer.objects.filter(kind="internal").count() == done["transfer"]
    assert sum(done.values()) == rounds * PROCESSES
    assert done["refused"], "nobody ever ran out of money"


# --- Could it fail? ------------------------------------------------------------------------------


def move_carelessly(url: str, users: list[User], rounds: int, rng: random.Random) -> Report:
    """The bank as it is often written: read a balance, compute, write it back. As the owner of
    the tables, because the application's role may not."""
    report = Report()
    with psycopg.connect(url, autocommit=True) as owner:
        for _ in range(rounds):
            pair = rng.sample(users, 2)
            with owner.transaction():
                payer, payee = (
                    owner.execute(
                        "SELECT id, posted_msat FROM ledger_account WHERE user_id = %s", [user.id]
                    ).fetchone()
                    for user in pair
                )
                set_balance = "UPDATE ledger_account SET posted_msat = %s WHERE id = %s"
                owner.execute(
                    "INSERT INTO ledger_transfer (debit_id, credit_id, amount_msat, kind,"
                    " external_id, phase, cause_kind, cause_id)"
                    " VALUES (%s, %s, 1000, 'operator.pay_out', %s, 'posted', 'operator', 'x')",
                    [payer[0], payee[0], uuid.uuid4().hex],
                )
                for account, balance in sorted(
                    [(payer[0], payer[1] - 1000), (payee[0], payee[1] + 1000)]
                ):
                    owner.execute(set_balance, [balance, account])
            report.done["transfer"] += 1
    return report


def test_a_bank_that_reads_and_then_writes_is_caught(cloned_db: Database) -> None:
    users = [make_user(f"user{number}") for number in range(3)]
    for user in users:
        fund(user, START_SAT)
    url = cloned_db.owner_url
    in_processes(
        [
            lambda number=number: move_carelessly(url, users, 100, random_for("careless", number))
            for number in range(4)
        ]
    )
    assert deviation_msat() > 0
