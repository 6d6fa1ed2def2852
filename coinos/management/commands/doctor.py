"""`manage.py doctor`: what is wrong with this installation, and what mends it."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection
from django.utils import timezone
from redis import Redis, RedisError

from coinos import alarms, embedded, killswitch, nodes
from coinos.errors import CoinosError
from coinos.models import Heartbeat
from coinos.nodes.base import LightningNode

POSTGRES_VERSION_MIN = 150000
LIGHTNING_VERSION_MIN = (26, 6)
BITCOIN_VERSION_MIN = 280000


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `mend` is empty when all is well."""

    subject: str
    text: str
    mend: str = ""
    is_error: bool = True


def warning(subject: str, text: str, mend: str) -> Finding:
    return Finding(subject, text, mend, is_error=False)


class Command(BaseCommand):
    help = (
        "Checks versions, settings, database, Redis and nodes, and says what mends what is wrong."
    )
    requires_system_checks: list[str] = []

    def handle(self, **options: Any) -> None:
        """Prints one line per finding; the exit code is 1 when something must be mended."""
        checks: list[Callable[[], Iterator[Finding]]] = [
            python,
            database,
            redis,
            lightning,
            bitcoin,
            reachable,
            jobs,
            sends,
        ]
        failed = False
        for check in checks:
            for finding in check():
                failed = failed or bool(finding.mend and finding.is_error)
                self.stdout.write(line(finding))
        if failed:
            sys.exit(1)


def line(finding: Finding) -> str:
    if not finding.mend:
        return f"ok       {finding.subject}: {finding.text}"
    state = "WRONG  " if finding.is_error else "warning"
    return f"{state}  {finding.subject}: {finding.text}\n         → {finding.mend}"


def python() -> Iterator[Finding]:
    yield Finding(
        "python", f"{sys.version.split()[0]}, Django {importlib.metadata.version('django')}"
    )
    # Version 5 imports well and fails at the first invoice that is decoded.
    if importlib.metadata.version("bitstring").startswith("5."):
        yield Finding("python", "bitstring 5 breaks pyln-proto", "make install the locked packages")
    if "coincurve" in importlib.metadata.packages_distributions():
        owners = set(importlib.metadata.packages_distributions()["coincurve"])
        if owners != {"coincurve-cp314-fix"}:
            yield Finding(
                "python",
                f"{' and '.join(sorted(owners))} write the same folder",
                "remove .venv and run make again; nothing may install `coincurve` itself",
            )
    if os.geteuid() == 0:
        yield warning("user", "coinos runs as root", "run it as a user of its own")


def database() -> Iterator[Finding]:
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        mend = (
            "start everything with: manage.py up"
            if settings.DATABASE_IS_EMBEDDED
            else "check DATABASE_URL, and that PostgreSQL runs and lets this role in"
        )
        yield Finding("database", first_line(error), mend)
        return
    version = connection.cursor().connection.info.server_version
    where = "embedded" if settings.DATABASE_IS_EMBEDDED else "given"
    if version < POSTGRES_VERSION_MIN:
        yield Finding("database", f"PostgreSQL {version // 10000}", "use PostgreSQL 15 or newer")
    else:
        yield Finding("database", f"PostgreSQL {version // 10000}, {where}")
    yield from roles()
    yield from durability()
    yield from migrations()


def roles() -> Iterator[Finding]:
    """The app role must not be able to change the books, so it must not own them. Asked of the
    tables, so that a process may look that has no password of the owner."""
    app = settings.DATABASE_APP_ROLE
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tableowner, rolsuper OR pg_has_role(current_user, tableowner, 'MEMBER')"
            " FROM pg_tables, pg_roles WHERE tablename = 'ledger_account'"
            " AND rolname = current_user"
        )
        row = cursor.fetchone()
    if not row:
        return  # no tables yet: `migrations` says so
    owner, may_act_as_owner = row
    if owner == app:
        yield warning(
            "roles",
            f"{app} both serves and owns the tables, so grants protect nothing",
            "create a second role: DATABASE_OWNER_URL names the owner, DATABASE_URL the other",
        )
    elif may_act_as_owner:
        yield Finding(
            "roles",
            f"{app} may act as {owner}",
            f"REVOKE {owner} FROM {app}, and no SUPERUSER for it",
        )
    else:
        yield Finding("roles", f"{app} serves, {owner} owns")


def durability() -> Iterator[Finding]:
    """What was answered to a user must not be forgotten, whichever server goes on."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('fsync') = 'on', current_setting('synchronous_commit'),"
            " current_setting('synchronous_standby_names'),"
            " (SELECT count(*) FROM pg_stat_replication)"
        )
        yield of_commits(*cursor.fetchone())


def of_commits(fsync: bool, commit: str, names: str, standbys: int) -> Finding:
    """`names` are the standbys that commits wait for, `standbys` how many there are."""
    if not fsync or commit == "off":
        return Finding(
            "commits",
            "the database says that it has committed before that is on disk",
            "set fsync = on and synchronous_commit = on: a crash forgets payments that were made",
        )
    if names and commit == "local":
        return Finding(
            "commits",
            f"none waits for {names}, since synchronous_commit is local",
            "set synchronous_commit = on",
        )
    if standbys and not names:
        return warning(
            "commits",
            f"{standbys} standbys or copies follow, and no commit waits for them",
            "set synchronous_standby_names, or never promote one: the last payments would be"
            " forgotten (docs/operating.md, after a failover)",
        )
    where = f"by {names}, too" if names else "and no standby follows"
    return Finding("commits", f"on disk before they are answered, {where}")


def migrations() -> Iterator[Finding]:
    from django.db.migrations.executor import MigrationExecutor

    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        yield Finding("tables", first_line(error), "manage.py migrate")
        return
    if missing:
        yield Finding("tables", f"{len(missing)} migrations are not applied", "manage.py migrate")
    else:
        yield Finding("tables", "all migrations are applied")


def redis() -> Iterator[Finding]:
    try:
        with Redis.from_url(
            settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=5
        ) as client:
            version = client.info("server")["redis_version"]
    except (RedisError, OSError) as error:
        mend = (
            "start everything with: manage.py up"
            if settings.REDIS_IS_EMBEDDED
            else "check REDIS_URL, and that Redis runs"
        )
        yield Finding("redis", first_line(error), mend)
        if settings.REDIS_IS_EMBEDDED:
            yield from redis_program()
        return
    yield Finding("redis", f"{version}, {'embedded' if settings.REDIS_IS_EMBEDDED else 'given'}")


def redis_program() -> Iterator[Finding]:
    try:
        yield Finding("redis", f"{embedded.redis_server()} can be started")
    except embedded.CannotStart as error:
        yield Finding("redis", "none is installed", str(error))


def lightning() -> Iterator[Finding]:
    if settings.LIGHTNING_RPC == settings.NOT_FOR_THIS_PROCESS:
        yield Finding("lightning", "not for this process")
        return
    try:
        info = nodes.lightning().info()
    except CoinosError as error:
        yield Finding("lightning", first_line(error), node_mend("LIGHTNING_RPC"))
        return
    yield from of_network("lightning", info.network)
    version = tuple(int(part) for part in info.version.lstrip("v").split("-")[0].split(".")[:2])
    if version < LIGHTNING_VERSION_MIN:
        yield warning(
            "lightning", f"Core Lightning {info.version}", "v26.06 is the oldest that was tested"
        )
    if not info.synced:
        yield warning("lightning", "still catches up with the chain", "wait, or check its bitcoind")
    if not info.num_active_channels:
        yield warning("lightning", "no active channel", "open channels to send and receive")
    yield Finding(
        "lightning", f"{info.alias}, {info.version}, {info.num_active_channels} active channels"
    )
    yield from lightning_memory(nodes.lightning())


def lightning_memory(node: LightningNode) -> Iterator[Finding]:
    """Whether the node keeps what we ask for later, and ends its searches before we ask."""
    try:
        ages_s, routes_within_s = node.deletes_after_s(), node.routes_within_s()
    except CoinosError as error:
        yield warning("lightning", first_line(error), "look at `lightning-cli listconfigs`")
        return
    for option, age_s in ages_s.items():
        yield warning(
            "lightning",
            f"{option}={age_s}: it deletes records by which we find out what became of payments",
            f"set {option}=0 in its configuration",
        )
    most_s = settings.SEND_MARGIN_SECONDS // 4
    if routes_within_s and routes_within_s > most_s:
        yield warning(
            "lightning",
            f"it may seek a route for {routes_within_s} s, and we may take that for a failure",
            f"set askrene-timeout to {most_s} or less in its configuration",
        )


def bitcoin() -> Iterator[Finding]:
    if settings.BITCOIN_RPC_URL == settings.NOT_FOR_THIS_PROCESS:
        yield Finding("bitcoin", "not for this process")
        return
    try:
        info = nodes.bitcoin().info()
    except CoinosError as error:
        yield Finding("bitcoin", first_line(error), node_mend("BITCOIN_RPC_URL and BITCOIN_WALLET"))
        return
    yield from of_network("bitcoin", info.network)
    if info.version < BITCOIN_VERSION_MIN:
        yield warning("bitcoin", f"Bitcoin Core {info.version // 10000}", "use version 28 or newer")
    if not info.synced:
        yield warning("bitcoin", f"at block {info.blocks}, not at the tip yet", "wait")
    yield Finding("bitcoin", f"Bitcoin Core {info.version // 10000}, block {info.blocks}")


def node_mend(variables: str) -> str:
    if settings.SIMNET:
        return "the simulated network is not running; start everything with: manage.py up"
    return f"check {variables}, and that the node runs and lets this user in"


def of_network(subject: str, network: str) -> Iterator[Finding]:
    if network != settings.NETWORK:
        yield Finding(
            subject,
            f"the node is on {network}, coinos on {settings.NETWORK}",
            f"set NETWORK={network}, or give another node",
        )


def reachable() -> Iterator[Finding]:
    yield Finding("public", f"{settings.PUBLIC_URL}, Lightning Addresses end in @{settings.DOMAIN}")


def jobs() -> Iterator[Finding]:
    """When each periodic job last ended a round well, and last found something to do."""
    try:
        beats = list(Heartbeat.objects.order_by("job"))
    except DatabaseError:
        return  # `database` says so
    for beat in beats:
        worked = f"{beat.worked_at:%Y-%m-%d %H:%M:%S}" if beat.worked_at else "never"
        text = (
            f"{beat.job}: last round {beat.succeeded_at:%Y-%m-%d %H:%M:%S} UTC, had work {worked}"
        )
        if is_late(beat):
            mend = "are workers and beat running? Their log says why rounds fail"
            yield warning("job", f"{text}; {beat.reason or 'silent'}", mend)
        else:
            yield Finding("job", text)


def is_late(beat: Heartbeat) -> bool:
    """Not `heartbeat.is_overdue`: this process has only just started."""
    assert beat.succeeded_at is not None
    return (timezone.now() - beat.succeeded_at).total_seconds() > beat.silence_max_s


def sends() -> Iterator[Finding]:
    """What stops payments out, and what an operator has not seen to yet."""
    try:
        standing = list(alarms.standing())
        is_stopped = killswitch.is_stopped()
    except DatabaseError:
        return  # `database` says so
    for alarm in standing:
        if alarms.is_seen_to(alarm):
            yield Finding("alarm", f"{alarm}; acknowledged by {alarm.acknowledged_by}")
        else:
            mend = f"find the cause, then: manage.py operator acknowledge {alarm.id} --reason …"
            yield warning("alarm", str(alarm), mend)
    if is_stopped:
        yield warning("sends", f"stopped by {settings.STOP_FILE}", "remove that file to send again")


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
