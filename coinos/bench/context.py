"""What the stages share: the cast, how long to measure, and the check of the books."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.db import connection

from accounts import ledger
from accounts.models import Transfer
from coinos.bench import server
from coinos.bench.fill import Person
from coinos.bench.measure import Load, Sample
from coinos.bench.report import Report


@dataclass
class Bench:
    """`levels` are numbers of connections; `seconds` is how long each is measured."""

    report: Report
    up_pid: int
    is_quick: bool
    people: list[Person] = field(default_factory=list)
    histories: dict[int, Person] = field(default_factory=dict)
    requests_sent: int = 0

    @property
    def levels(self) -> tuple[int, ...]:
        return (1, 8) if self.is_quick else (1, 8, 32)

    @property
    def seconds(self) -> float:
        return 1.0 if self.is_quick else 3.0

    @property
    def longest(self) -> Person:
        return self.histories[max(self.histories)]

    def load(
        self, requests: Sequence[str], *, connections: int, seconds: float = 0, once: bool = False
    ) -> Sample:
        """Load the server with these requests, and look at what it cost the processors."""
        before = [server.cpu_s(self.up_pid, name) for name in ("web", "PostgreSQL")]
        sample = Load(
            requests, connections=connections, seconds=seconds or self.seconds, once=once
        ).run()
        after = [server.cpu_s(self.up_pid, name) for name in ("web", "PostgreSQL")]
        sample.web_cpu_s, sample.database_cpu_s = after[0] - before[0], after[1] - before[1]
        self.requests_sent += sample.count
        return sample

    def by_turns(
        self, subjects: Mapping[str, Sequence[str]], *, connections: int, turns: int = 3
    ) -> dict[str, Sample]:
        """Load each subject for `seconds` in all, by turns: what else the machine does meanwhile
        then falls on all of them alike, and their ratios stay true."""
        samples = {name: Sample() for name in subjects}
        for _ in range(turns):
            for name, requests in subjects.items():
                samples[name].add(
                    self.load(requests, connections=connections, seconds=self.seconds / turns)
                )
        return samples


@dataclass(frozen=True)
class Books:
    """The state of the ledger before a load run, to be compared with afterwards."""

    owed_msat: int
    internal: int

    @classmethod
    def now(cls) -> Books:
        return cls(ledger.owed_msat(), Transfer.objects.filter(kind="internal").count())

    def check_internal(self, bench: Bench, what: str, answered: int) -> None:
        """Internal payments: one transfer for each 200, nothing made or lost, all sums right."""
        after = Books.now()
        booked = after.internal - self.internal
        # A request whose answer the load generator did not wait for may have been booked.
        if booked != answered:
            bench.report.fail(f"{what}: {answered} answers 200, {booked} transfers")
        if after.owed_msat != self.owed_msat:
            bench.report.fail(f"{what}: owed {self.owed_msat} before, {after.owed_msat} after")
        check_sums(bench, what, f"{booked} transfers for {answered} answers, ")


def check_sums(bench: Bench, what: str, words: str = "") -> None:
    """Every kept balance is the sum of its transfers, and all accounts together are zero."""
    wrong = ledger.differences()
    if wrong:
        bench.report.fail(f"{what}: {len(wrong)} balances are not the sum of their transfers")
    total = ledger.users_msat() + sum(ledger.house_balance_msat(house) for house in ledger.House)
    if total:
        bench.report.fail(f"{what}: all accounts together are {total} msat, not 0")
    if not wrong and not total:
        bench.report.check(f"{what}: {words}every balance is the sum of its transfers, total 0")


def check_rollups(bench: Bench) -> None:
    """Every daily total is the sum of its lines."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM (
                SELECT user_id, day, currency,
                    amount_sat > 0 AS incoming, count(*) AS count, sum(amount_sat) AS sats
                FROM accounts_activity,
                    unnest(ARRAY[(created AT TIME ZONE 'UTC')::date, '9999-12-31']) AS day
                WHERE status <> 'failed' GROUP BY 1, 2, 3, 4
            ) AS lines
            FULL JOIN accounts_dailytotal AS total USING (user_id, day, incoming, currency)
            WHERE (lines.count, lines.sats) IS DISTINCT FROM (total.count, total.sats)
                AND NOT (lines.count IS NULL AND total.count = 0)
            """
        )
        (wrong,) = cursor.fetchone()
    if wrong:
        bench.report.fail(f"{wrong} daily totals are not the sum of their lines")
    else:
        bench.report.check("every daily total is the sum of its lines")
