"""Behind PgBouncer in transaction mode every job works, one process at a time (K1).

Two workers and the web server reach the database through it. First it is shown what a session's
lock is worth there: two connections have the same one at the same time.
"""

from __future__ import annotations

import time

import psycopg

from tests.pooler import PGBOUNCER, pgbouncer
from tests.proof.harness import Stage, come_to_rest, require, wait_until
from tests.proof.load import Load, lost_and_doubled, people
from tests.proof.scale import size
from tests.proof.t10.bells import ring
from tests.proof.t10.found import Found

SECONDS = size(4, 20)
BALANCE_SAT = 2_000_000


def run(stage: Stage) -> Found:
    from django.utils import timezone

    assert stage.zygote
    if not PGBOUNCER:
        return Found("NOT RUN: PgBouncer is not installed")
    cast = people("pooled", 6, BALANCE_SAT)
    with pgbouncer() as port:
        require(_two_sessions_have_one_lock(port), "the pooler kept sessions apart")
        web = stage.zygote.fork("web", pooler=port)
        workers = [stage.zygote.fork("worker", pooler=port) for _ in range(2)]
        began = timezone.now()
        load = Load("T10", web.port, stage.control, cast, threads=4, onchain=True)
        with load:
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                ring()
                time.sleep(0.2)
        wait_until(lambda: ring() or _worked_since(began), seconds=90, what="each job's work")
        come_to_rest(stage.control, ring=ring)
        for victim in (web, *workers):
            victim.kill()
    return Found(
        f"{load.counts['spends']:,} payments through PgBouncer by transaction",
        lost_and_doubled(load.told),
        {"transfers": len(load.told), "kills": 3},
    )


def _two_sessions_have_one_lock(port: int) -> bool:
    from django.db import connection

    name = connection.settings_dict["NAME"]
    with (
        psycopg.connect(f"host=127.0.0.1 port={port} dbname={name}", autocommit=True) as one,
        psycopg.connect(f"host=127.0.0.1 port={port} dbname={name}", autocommit=True) as other,
    ):
        has = [each.execute("SELECT pg_try_advisory_lock(10)").fetchone() for each in (one, other)]
        one.execute("SELECT pg_advisory_unlock_all()")
    return has == [(True,), (True,)]


def _worked_since(began: object) -> bool:
    from coinos.models import Heartbeat

    return not Heartbeat.objects.filter(job__in=JOBS, succeeded_at__lt=began).exists()


JOBS = ["dispatch", "resolve", "withdrawals", "watch lightning", "sweep lightning", "scan bitcoin"]
