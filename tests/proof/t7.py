"""T7: PostgreSQL stops at once and Redis forgets everything, under load (M27, O05).

People send, pay and receive while PostgreSQL is stopped with `immediate` and Redis is flushed and
killed, several times each. What a client was told must be there afterwards, once, and everything
else must have come to its end. First the check itself is shown to notice a payment that is gone.
"""

from __future__ import annotations

import signal
import time
import uuid

from tests.proof import oracle, table
from tests.proof.harness import Client, Lost, Stage, come_to_rest, require, require_unbroken
from tests.proof.load import Load, Told, lost_and_doubled, people, replays_that_differ
from tests.proof.scale import SEED, random_for, size

ROUNDS = size(1, 3)
BALANCE_SAT = 5_000_000


def run(stage: Stage) -> None:
    from tests.invoices.receiver import receiver

    rng = random_for("T7")
    cast = people("outage", 12, BALANCE_SAT)
    outages_s: list[float] = []
    with receiver() as shop, stage.serving():
        load = Load("T7", stage.port, stage.control, cast, threads=8, webhook=shop.url)
        with load:
            for _ in range(ROUNDS):
                time.sleep(rng.uniform(2, 4))
                if "PostgreSQL" in stage.children:
                    outages_s.append(_stop_postgres(stage))
                time.sleep(rng.uniform(2, 4))
                _flush_redis()
                time.sleep(rng.uniform(1, 2))
                if "Redis" in stage.children:
                    stage.kill("Redis")
                    time.sleep(rng.uniform(0.2, 1))
                    stage.restart("Redis")
            time.sleep(2)
        resting_s = come_to_rest(stage.control, seconds=100)
        wrong = lost_and_doubled(load.told)
        wrong += replays_that_differ(load.told[:100], stage.port)
    invented = [Told(cast[0], "/send", {}, uuid.uuid4().hex, str(uuid.uuid4()))]
    require(len(lost_and_doubled(invented)) == 2, "a payment that is gone was not noticed")
    broken = oracle.check(stage.control) + wrong
    table.record(
        test="T7",
        tried=f"PostgreSQL stopped at once × {len(outages_s)}, Redis flushed × {ROUNDS} and killed"
        f" × {stage.kills['Redis']}",
        found=len(broken),
        seed=SEED,
        spends=load.counts["spends"],
        transfers=len(load.told),
        answers_lost=load.counts["lost answers"],
        answers_503=load.counts["status 503"],
        answers_500=load.counts["status 500"],
        paid_from_outside=load.counts["paid from outside"],
        lost=sum(sentence.startswith("lost") for sentence in wrong),
        kills=stage.kills["Redis"],
        longest_outage_s=round(max(outages_s, default=0), 1),
        seconds_to_rest=round(resting_s),
        double_credits=oracle.count(broken, "I5"),
        wrongful_refunds=oracle.count(broken, "I7"),
    )
    require(len(load.told) > 0, f"nothing worked under load: {dict(load.counts)}")
    require_unbroken(broken)


def _stop_postgres(stage: Stage) -> float:
    """Stop at once, start again; returns how long until the server answered a client."""
    started = time.monotonic()
    child = stage.children["PostgreSQL"]
    child.process.send_signal(signal.SIGQUIT)  # pg_ctl's "immediate"
    child.process.wait()
    stage.restart("PostgreSQL")
    while True:
        require(time.monotonic() - started < 60, "after PostgreSQL came back nobody was served")
        try:
            if Client(stage.port).post("/login", {})[0] < 500:
                return time.monotonic() - started
        except Lost:
            pass
        time.sleep(0.1)


def _flush_redis() -> None:
    from django.conf import settings
    from redis import Redis

    with Redis.from_url(settings.REDIS_URL) as client:
        (client.flushall if settings.REDIS_IS_EMBEDDED else client.flushdb)()
