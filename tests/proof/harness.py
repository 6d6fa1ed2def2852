"""The stage of the proof: the processes of `manage.py up`, each of which may be killed.

PostgreSQL, Redis, simnet, the web server and the workers are started just as `up` starts them,
on a data dir of their own. The runner is a Django process on the same database, so that it can
read the rows and ask the oracle.

With DATABASE_URL and REDIS_URL those servers are used instead, an empty database that may be
thrown away. They are not stopped, and no guards are taken off there.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
WEB_PROCESSES = 2
NAIVE_DATABASE = "naive"


class ProofFailed(Exception):
    """A promise did not hold; the text says which."""


def require(promise: bool, otherwise: str) -> None:
    if not promise:
        raise ProofFailed(otherwise)


def require_unbroken(broken: list[str]) -> None:
    """Raise with the first broken invariants that the oracle names."""
    if broken:
        raise ProofFailed("\n".join(broken[:10]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def prepare_environment() -> Path:
    """What `coinos.settings` reads in the runner and in its children; returns the data dir."""
    data_dir = Path(tempfile.mkdtemp(prefix="proof-", dir="/tmp"))
    for name in ("LIGHTNING_RPC", "BITCOIN_RPC_URL", "PUBLIC_URL", "DATABASE_ROLE", "NETWORK"):
        os.environ.pop(name, None)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "coinos.settings",
        "COINOS_DATA_DIR": str(data_dir),
        "PORT": str(free_port()),
        "SIMNET_BITCOIN_PORT": str(free_port()),
        "WEB_PROCESSES": str(WEB_PROCESSES),
        "RATE_LIMITS": "off",
        "SEND_RETRY_FOR": "2",
        "SEND_MARGIN": "3",
        "MAX_IN_FLIGHT": "1000",
        "LOG_LEVEL": "WARNING",
        "DATABASE_POOL_SIZE": "0",  # for the runner, which outlives the database
    }
    import django

    django.setup()
    del os.environ["DATABASE_POOL_SIZE"]
    return data_dir


def wait_until(promise: Callable[[], Any], *, seconds: float, what: str) -> None:
    """Raises ProofFailed when it takes longer."""
    deadline = time.monotonic() + seconds
    while not promise():
        require(time.monotonic() < deadline, f"{what} took longer than {seconds:.0f} s")
        time.sleep(0.05)


def wait_while_it_grows(count: Callable[[], int], *, until: int, seconds: float, what: str) -> None:
    """Wait until the count is reached, however slow the machine. Raises ProofFailed when it has
    not grown for so long: then it is stuck."""
    best, since = count(), time.monotonic()
    while best < until:
        time.sleep(0.05)
        now = count()
        if now > best:
            best, since = now, time.monotonic()
        require(
            time.monotonic() - since < seconds,
            f"{what}: {best:,} of {until:,}, and no more for {seconds:.0f} s",
        )


# --- Asking over HTTP ----------------------------------------------------------------------------


class Lost(Exception):
    """No answer came: nobody listens, or the process died while it was asked."""


class Client:
    """A caller of the API over one connection that is kept open. Not for several threads."""

    def __init__(self, port: int, token: str = "", timeout_s: float = 40) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
        self._headers = {"Content-Type": "application/json", "Host": "localhost"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def post(self, path: str, body: dict[str, Any], key: str = "") -> tuple[int, dict[str, Any]]:
        """Returns status and body. Raises Lost when no answer came."""
        headers = self._headers | ({"Idempotency-Key": key} if key else {})
        try:
            self._connection.request("POST", f"/api{path}", json.dumps(body), headers)
            response = self._connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Lost(str(error)) from error
        is_json = "json" in response.headers.get("Content-Type", "")
        return response.status, json.loads(raw) if is_json else {}


# --- Processes -----------------------------------------------------------------------------------


class Stage:
    """All processes. `kills` counts what was killed with SIGKILL, by name."""

    def __init__(self, data_dir: Path) -> None:
        from coinos.management.commands.up import Command
        from coinos.simnet.control import Control

        self.data_dir = data_dir
        self.port = int(os.environ["PORT"])
        self.log = open(data_dir / "proof.log", "a", buffering=1)  # noqa: SIM115
        self.up = Command()
        self.up.say = self._write_log  # type: ignore[method-assign]
        self.control = Control(data_dir / "simnet" / "control")
        self.children: dict[str, Any] = {}
        self.kills: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._supervised: set[str] = set()
        self._stopping = False
        self.zygote: Zygote | None = None

    @property
    def has_naive_world(self) -> bool:
        """A database without guards is made only on a server of our own."""
        return "PostgreSQL" in self.children

    def _write_log(self, line: str) -> None:
        self.log.write(f"{time.strftime('%H:%M:%S')} {line}\n")

    def start(self) -> None:
        """Servers, tables, a copy of the database without guards, simnet, the zygote."""
        from django.conf import settings

        from coinos import embedded

        if settings.REDIS_IS_EMBEDDED:
            self._start(self.up.redis())
        if settings.DATABASE_IS_EMBEDDED:
            embedded.prepare_postgres(self.data_dir)
            self._start(self.up.postgres())
            embedded.prepare_roles(self.data_dir)
            # As `up` does: a command that ends does not stop a database that others use.
            self._users = embedded.share_postgres(self.data_dir)
            fcntl.flock(self._users, fcntl.LOCK_SH)
        self._run("manage.py", "migrate", "--verbosity", "0", DATABASE_ROLE="owner")
        if settings.DATABASE_IS_EMBEDDED:
            make_naive_database(self.data_dir)
        simnet = self.up.python(
            *("simnet", "manage.py", "simnet", "run", "--block-interval", "0"),
            is_ready=self._simnet_answers,
        )
        self._start(simnet)
        self._run("manage.py", "refresh_rates")
        self.zygote = Zygote(self.data_dir)
        threading.Thread(target=self._supervise, daemon=True, name="supervisor").start()

    def _run(self, *argv: str, **env: str) -> None:
        subprocess.run(
            [sys.executable, *argv], cwd=ROOT, env=os.environ | env, stdout=self.log, check=True
        )

    def _simnet_answers(self) -> bool:
        try:
            self.control.truth()
        except OSError:
            return False
        return True

    def _start(self, *children: Any) -> None:
        for child in children:
            self.children[child.name] = child
            child.process = child.start()
        for child in children:
            self.wait_for(child.name)

    def wait_for(self, name: str, seconds: float = 60) -> None:
        child = self.children[name]
        wait_until(
            lambda: child.is_alive() and child.is_ready(), seconds=seconds, what=f"start of {name}"
        )

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The web server and the workers run, and come back at once when they die."""
        children = [self.up.web(), *self.up.workers()]
        self._start(*children)
        with self._lock:
            self._supervised |= {child.name for child in children}
        try:
            yield
        finally:
            with self._lock:
                self._supervised -= {child.name for child in children}
            for child in children:
                child.signal_group(signal.SIGKILL)
                if child.process:
                    child.process.wait()

    def _supervise(self) -> None:
        """Start again what died. One thread for all: its children end when it does."""
        while not self._stopping:
            with self._lock:
                for name in self._supervised:
                    child = self.children[name]
                    if not child.is_alive():
                        child.signal_group(signal.SIGKILL)
                        child.process = child.start()
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        """kill -9 of a child with all its own children; it comes back when it is supervised."""
        child = self.children[name]
        child.signal_group(signal.SIGKILL)
        child.process.wait()
        self.kills[name] += 1

    def kill_one_web_process(self, choose: Callable[[list[Any]], Any]) -> None:
        """kill -9 of one process that serves requests; granian starts another."""
        import psutil

        try:
            processes = psutil.Process(self.children["web"].process.pid).children()
            choose([p for p in processes if "resource_tracker" not in " ".join(p.cmdline())]).kill()
        except (psutil.Error, IndexError):
            return  # it is just being started again
        self.kills["web process"] += 1

    def restart(self, name: str) -> None:
        """Start a child that is not supervised again, and wait until it is ready."""
        child = self.children[name]
        child.process = child.start()
        self.wait_for(name)

    def how_it_stands(self) -> str:
        """For whoever reads of a failure without its logs: when each job last worked, and the last
        of what the processes complained about, without tracebacks."""
        complaints = re.compile(r" (WARNING|ERROR|CRITICAL) ")
        with open(self.data_dir / "proof.log") as log:
            last = deque((line[:300] for line in log if complaints.search(line)), 25)
        try:
            jobs = [f"{beat.job}: {beat.succeeded_at:%H:%M:%S} {beat.reason}" for beat in _beats()]
        except Exception as error:
            jobs = [f"the jobs cannot be asked for: {error}"]
        now = f"{time.strftime('%H:%M:%S')}: how it stands"
        return "\n".join([now, *jobs, *(line.rstrip() for line in last)])

    def stop(self) -> None:
        self._stopping = True
        if self.zygote:
            self.zygote.stop()
        for child in reversed(self.children.values()):
            if child.is_alive():
                child.process.send_signal(child.stop_signal)
                try:
                    child.process.wait(10)
                except subprocess.TimeoutExpired:
                    pass
            child.signal_group(signal.SIGKILL)
        self.log.close()
        if "PROOF_KEEP" not in os.environ:
            shutil.rmtree(self.data_dir, ignore_errors=True)


def _beats() -> Any:
    from coinos.models import Heartbeat

    return Heartbeat.objects.order_by("job")


class Victim:
    """A forked process, to be killed or to kill itself at a failpoint."""

    def __init__(self, zygote: Zygote, pid: int, port: int) -> None:
        self._zygote, self.pid, self.port = zygote, pid, port

    def died_by_sigkill(self, seconds: float) -> bool:
        """Wait for its end; False when it is still alive. Raises ProofFailed on another end."""
        status = self._zygote.ask(do="wait", pid=self.pid, seconds=seconds)["status"]
        require(status in (None, -signal.SIGKILL), f"a victim ended with {status}")
        return status is not None

    def kill(self) -> None:
        self._zygote.ask(do="kill", pid=self.pid)


class Zygote:
    """The parent of victims: one process that has run django.setup() and forks on demand."""

    def __init__(self, data_dir: Path) -> None:
        log = open(data_dir / "victims.log", "ab")  # noqa: SIM115
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.proof.victim"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            assert self._process.stdin
            assert self._process.stdout
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        require(bool(line), "the parent of the victims has died (see victims.log)")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def fork(self, role: str, **more: Any) -> Victim:
        """Fork a process in one of the roles of `victim.py`."""
        answer = self.ask(do="fork", role=role, **more)
        return Victim(self, answer["pid"], answer["port"])

    def stop(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(10)


# --- A world without guards ----------------------------------------------------------------------


def make_naive_database(data_dir: Path) -> None:
    """A copy of the tables in which the guards are off: no lock, no unique id, no overdraft check.

    What finds nothing there would find nothing anywhere: each race is shown there first."""
    import psycopg

    from coinos import embedded

    superuser = embedded.postgres_url(data_dir, role=embedded.SUPERUSER_ROLE, database="postgres")
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {NAIVE_DATABASE} TEMPLATE {embedded.DATABASE}"
            f" OWNER {embedded.OWNER_ROLE}"
        )
    owner = embedded.postgres_url(data_dir, role=embedded.OWNER_ROLE, database=NAIVE_DATABASE)
    with psycopg.connect(owner) as connection:
        connection.execute((Path(__file__).parent / "naive.sql").read_text())


@contextmanager
def naive_world() -> Iterator[Any]:
    """The runner's rows are those of the naive database; gives the control of its own simnet."""
    from django.conf import settings
    from django.db import connection, connections

    from tests.simnet_fixtures import SimnetProcess

    database, owner = connections.settings["default"], settings.DATABASE_OWNER
    before = database["NAME"]
    simnet = SimnetProcess()
    simnet.start()
    connection.close()
    database["NAME"] = connection.settings_dict["NAME"] = owner["NAME"] = NAIVE_DATABASE
    try:
        yield simnet.control
    finally:
        connection.close()
        database["NAME"] = connection.settings_dict["NAME"] = owner["NAME"] = before
        simnet.stop()


# --- Coming to rest ------------------------------------------------------------------------------


def let_leases_run_out() -> None:
    """The minute that the work of a dead process stays reserved for it passes at once."""
    from datetime import timedelta

    from django.utils import timezone

    from invoices.models import WebhookDelivery
    from payments.models import AutoWithdraw, Payment

    now = timezone.now()
    AutoWithdraw.objects.filter(next_at__gt=now).update(next_at=now)
    pending = WebhookDelivery.objects.filter(state=WebhookDelivery.State.PENDING)
    pending.filter(leased_until__gt=now).update(leased_until=now)
    pending.filter(next_attempt_at__gt=now).update(next_attempt_at=now)
    Payment.objects.filter(
        type=Payment.Type.BITCOIN, state=Payment.State.CREATED, attempted_at__lt=now
    ).update(attempted_at=now - timedelta(seconds=61))
    Payment.objects.filter(type=Payment.Type.BITCOIN, next_look_at__gt=now).update(next_look_at=now)


def still_moving(control: Any) -> list[str]:
    """What is not at rest yet, as sentences."""
    from django.db import connection
    from django.db.models import Q

    from invoices.models import Address, Deposit, LightningRequest, WebhookDelivery
    from payments.models import AutoWithdrawRun, Payment

    truth, chain = control.truth(), control.chain_truth()
    moving = [f"HTLCs of {len(truth['pending'])} payments are pending"] if truth["pending"] else []
    state = Payment.State
    undecided = Payment.objects.filter(
        Q(state__in=[state.CREATED, state.SENDING, state.SIGNED])
        | Q(type=Payment.Type.LIGHTNING, state=state.SETTLED, fee_final=False)
    )
    moving += [f"payment {p.id} ({p.type}) is {p.state}" for p in undecided]
    # A bump that died may be of a transaction that was mined meanwhile: the rounds find out.
    sent = {entry["txid"] for entry in chain["sent"] if entry["confirmations"] >= 0}
    broadcast = Payment.objects.filter(type=Payment.Type.BITCOIN, state=state.BROADCAST)
    moving += [f"withdrawal {p.id} is not on the network" for p in broadcast if p.txid not in sent]
    open_runs = AutoWithdrawRun.objects.filter(state=AutoWithdrawRun.State.OPEN).count()
    if open_runs:
        moving.append(f"{open_runs} runs of auto-withdraw are open")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT external_id FROM ledger_transfer WHERE external_id LIKE 'lightning:%'"
        )
        credited = {row[0].removeprefix("lightning:") for row in cursor.fetchall()}
    moving += [f"receipt {h} is not credited" for h in set(truth["received"]) - credited]
    withdrawn = LightningRequest.objects.filter(state=LightningRequest.State.WITHDRAWN)
    moving += [f"node invoice {request.id} is to be deleted" for request in withdrawn]
    ours = set(Address.objects.values_list("address", flat=True))
    deposits = {d.outpoint: d for d in Deposit.objects.all()}
    for output in chain["received"]:
        deposit = deposits.get(output["outpoint"])
        if output["address"] not in ours:
            continue
        needed = deposit.confirmations_required if deposit else 1
        is_deep, is_credited = (
            output["confirmations"] >= needed,
            deposit is not None and deposit.state == Deposit.State.CREDITED,
        )
        if is_deep != is_credited:
            moving.append(f"deposit {output['outpoint']} is {deposit and deposit.state}")
    untold = WebhookDelivery.objects.filter(state=WebhookDelivery.State.PENDING).count()
    if untold:
        moving.append(f"{untold} webhooks are to be called")
    return moving


def come_to_rest(
    control: Any, *, seconds: float = 70, ring: Callable[[], None] | None = None
) -> float:
    """Wait until nothing moves; returns how long it took. I11: a payment ends within its deadline
    and margin (5 s here) and a minute. Raises ProofFailed."""
    from django.db import connection

    connection.close()
    started = time.monotonic()
    while moving := still_moving(control):
        if time.monotonic() - started > seconds:
            raise ProofFailed(f"I11: after {seconds:.0f} s " + "; ".join(moving[:5]))
        let_leases_run_out()
        if ring:
            ring()
        time.sleep(0.3)
    return time.monotonic() - started
