"""`python -m tests.attack`: what strangers can do to a running server.

    make attack                     every attack, less than three minutes
    make attack A=streams,logins    these, by their name or that of their group

Each attack runs against the same server, which is started as the README does, with its limits on.
Beside it a stranger asks for health and pays another; neither may wait longer than two seconds,
and five seconds later everything is as it was. An attack that does not hold is repeated once, so
that a busy machine decides nothing; the table says so.
"""

from __future__ import annotations

import importlib
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.attack import attacks, connections, table
from tests.attack.attacks import Attack, Tried
from tests.attack.watch import (
    LONGEST_WAIT_MS,
    QUICK_MS,
    Watch,
    broken_promises,
    is_quick_again,
    worst_ms,
)
from tests.attack.world import Footprint, World, started

GROUPS = (
    "connections",
    "streams",
    "lookups",
    "sign_in",
    "mail",
    "webhooks",
    "invoices",
    "pin",
    "scopes",
    "authenticators",
    "abandoned",
    "logs",  # last: it looks for what all others have used
)
CALM_S = 2
AS_BEFORE_WITHIN_S = 5


def main() -> int:
    for group in GROUPS:
        importlib.import_module(f"tests.attack.{group}")
    try:
        wanted = attacks.chosen(os.environ.get("A", ""))
    except ValueError as error:
        sys.exit(str(error))
    began = time.monotonic()
    with started() as world:
        _allow_many_connections()
        world.warm_up()
        connections.abandon(world)
        with _watched(world) as watch:
            calm_ms = _calm(watch)
            print(
                f"attacks on {world.domain}; in peace health takes {calm_ms['health']:.0f} ms and a"
                f" payment {calm_ms['payment']:.0f} ms at worst\n"
            )
            print(table.heading(), flush=True)
            failed = [one.name for one in wanted if not _stand(one, world, watch, calm_ms)]
        if not _books_are_balanced(world):
            failed.append("books")
    print(f"\n{len(wanted)} attacks in {time.monotonic() - began:.0f} s")
    if failed:
        print(f"FAILED: {', '.join(failed)}. Again with: make attack A={','.join(failed)}")
        return 1
    print("All held: nobody else waited, and everything was as before.")
    return 0


def _stand(attack: Attack, world: World, watch: Watch, calm_ms: dict[str, float]) -> bool:
    """Run one attack, once more if it does not hold, and print its row; whether it held."""
    row = _run(attack, world, watch, calm_ms)
    if row.broken and "ATTACK_ONCE" not in os.environ:
        first = row.broken
        row = _run(attack, world, watch, calm_ms)
        row.repeated = True
        if not row.broken:
            row.answered += f"; the first time: {'; '.join(first)}"
    print(table.render(row), flush=True)
    return not row.broken


def _run(attack: Attack, world: World, watch: Watch, calm_ms: dict[str, float]) -> table.Row:
    before, began = world.footprint(), time.monotonic()
    try:
        tried = attack.run(world)
    except Exception as error:  # an attack that cannot be made tells nothing, which is a failure
        tried = Tried(attack.sentence, broken=[f"{type(error).__name__}: {error}"])
    watch.wait_for_news(since=began, seconds=10)  # also beside the shortest attack
    ended = time.monotonic()
    after_s, why_not = _wait_until_as_before(world, watch, before, ended, calm_ms)
    seen = watch.seen()
    broken = tried.broken + broken_promises(seen, since=began, until=ended)
    return table.Row(
        attack.name,
        tried.what,
        tried.answered() or "-",
        ended - began,
        worst_ms(seen, "health", since=began, until=ended),
        worst_ms(seen, "payment", since=began, until=ended),
        after_s,
        broken + ([f"5 s after the attack: {why_not}"] if why_not else []),
    )


def _wait_until_as_before(
    world: World, watch: Watch, before: Footprint, ended: float, calm_ms: dict[str, float]
) -> tuple[float | None, str]:
    """How many seconds after the attack everything was as before; None and what was not."""
    quick_ms = {kind: min(LONGEST_WAIT_MS, max(QUICK_MS, 3 * calm_ms[kind])) for kind in calm_ms}
    while True:
        grown = world.footprint().grown_since(before)
        quick = is_quick_again(watch.seen(), since=ended, within_ms=quick_ms)
        after_s = time.monotonic() - ended
        if quick and not grown:
            return after_s, ""
        if after_s > AS_BEFORE_WITHIN_S:
            return None, grown or "health or payment still slow"
        time.sleep(0.1)


@contextmanager
def _watched(world: World) -> Iterator[Watch]:
    people = [world.newcomer("calm", sats=1000) for _ in range(2)]
    watch = Watch(
        {
            "port": world.port,
            "address": world.address(),
            "strangers": [
                {"name": one.name, "address": one.address, "token": one.program.token}
                for one in people
            ],
        }
    )
    try:
        yield watch
    finally:
        watch.stop()


def _calm(watch: Watch) -> dict[str, float]:
    """The longest waits while nobody attacks. Raises RuntimeError when even then nothing works."""
    began = time.monotonic()
    time.sleep(CALM_S)
    until = time.monotonic()
    if broken := broken_promises(watch.seen(), since=began, until=until):
        raise RuntimeError(f"before the first attack: {'; '.join(broken)}")
    return {
        kind: worst_ms(watch.seen(), kind, since=began, until=until)
        for kind in ("health", "payment")
    }


def _books_are_balanced(world: World) -> bool:
    checked = world.manage("check_ledger")
    print("\ncheck_ledger: " + (checked.stdout + checked.stderr).strip().replace("\n", "; "))
    return checked.returncode == 0


def _allow_many_connections() -> None:
    """For the attackers; the server was started with what the shell allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
