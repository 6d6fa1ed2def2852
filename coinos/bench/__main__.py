"""The stages, run by `manage.py bench` with the settings of the server that it has started."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import django

django.setup()

from coinos.bench import arriving, context, fill, leaving, paying, reading, server  # noqa: E402
from coinos.bench.report import Report  # noqa: E402

PEOPLE = 150

STAGES: dict[str, Callable[[context.Bench], None]] = {
    "ceiling": paying.ceiling,
    "api": reading.api,
    "pages": reading.pages,
    "login": reading.login,
    "send": paying.send,
    "invoices": paying.invoices,
    "own": paying.own_invoices,
    "webhooks": leaving.webhooks,
    "out": leaving.payments_out,
    "watcher": arriving.watcher,
    "deposits": arriving.deposits,
    "memory": reading.memory,
}


def main() -> None:
    given = arguments()
    bench = context.Bench(Report(), given.up_pid, given.quick)
    began = time.monotonic()
    bench.report.stage("The server")
    bench.report.fact("start-up, s", given.startup_s)
    bench.report.fact("memory idle, MB", server.memory_mb(given.up_pid))
    lengths = (10, reading.FULL_PAGE, 10_000, 100_000 if given.quick else 1_000_000)
    fill_in(bench, lengths)
    for name, stage in STAGES.items():
        if not given.stages or name in given.stages.split(","):
            stage(bench)
            web_mb = server.memory_mb(given.up_pid)["web"]
            bench.report.fact(f"web memory after {bench.requests_sent} requests, MB", web_mb)
    finish(bench)
    bench.report.fact("the bench took, s", round(time.monotonic() - began))
    bench.report.finish(given.json)
    sys.exit(1 if bench.report.failures else 0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--up-pid", type=int, required=True)
    parser.add_argument("--startup-s", type=float, required=True)
    parser.add_argument("--stages", default="")
    parser.add_argument("--json", default="")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    unknown = set(filter(None, given.stages.split(","))) - STAGES.keys()
    if unknown:
        parser.error(f"no stage {', '.join(unknown)}; there are {', '.join(STAGES)}")
    return given


def fill_in(bench: context.Bench, lengths: tuple[int, ...]) -> None:
    began = time.monotonic()
    bench.people = fill.people("user", PEOPLE)
    for person, length in zip(fill.people("history", len(lengths)), lengths, strict=True):
        fill.history(person, length, bench.people)
        bench.histories[length] = person
    fill.vacuum()
    bench.report.fact("filled in, s", round(time.monotonic() - began, 1))
    bench.report.fact("bytes on disk a payment, with its indexes", fill.bytes_a_payment())


def finish(bench: context.Bench) -> None:
    bench.report.stage("Afterwards")
    bench.report.fact("memory afterwards, MB", server.memory_mb(bench.up_pid))
    bench.report.fact("requests sent", bench.requests_sent)
    context.check_sums(bench, "at the end")
    context.check_rollups(bench)


if __name__ == "__main__":
    main()
