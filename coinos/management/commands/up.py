"""`manage.py up`: everything on one machine, in the foreground."""

import fcntl
import http.client
import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from coinos import embedded
from coinos.supervisor import Child, Stopped, Supervisor, start_python


class Command(BaseCommand):
    help = "Starts the database, Redis, simnet, the web server and the workers; Ctrl-C stops all."
    requires_system_checks: list[str] = []

    def handle(self, **options: Any) -> None:
        supervisor = Supervisor(self.say)
        supervisor.stop_on_signals()
        with ExitStack() as stack:
            try:
                stack.enter_context(alone_in(settings.DATA_DIR))
                stack.callback(supervisor.stop)
                self.start(supervisor, stack)
                supervisor.keep_running()
            except Stopped:
                pass
            except embedded.CannotStart as error:
                raise CommandError(str(error)) from None
            finally:
                if supervisor.stages:
                    self.say("stopping …")
        self.say("stopped")

    def start(self, supervisor: Supervisor, stack: ExitStack) -> None:
        """Stage by stage: servers, tables, nodes, then what serves users."""
        self.say(f"coinos starts; data and logs of its servers are in {settings.DATA_DIR}")
        if settings.SIMNET:
            os.environ["SIMNET_BITCOIN_PORT"] = str(simnet_bitcoin_port())
        supervisor.wait(
            lambda: port_is_free(settings.HOST, settings.PORT),
            what=f"Another program listens on port {settings.PORT} of {settings.HOST};"
            " choose another, as in PORT=8001 make up. Waiting for it",
            timeout_seconds=5,
        )

        servers = []
        if settings.DATABASE_IS_EMBEDDED:
            users = stack.enter_context(self.postgres_to_ourselves(supervisor))
            servers.append(self.postgres())
        if settings.REDIS_IS_EMBEDDED:
            servers.append(self.redis())
        supervisor.start_stage(servers)
        if settings.DATABASE_IS_EMBEDDED:
            embedded.prepare_roles(settings.DATA_DIR)
            fcntl.flock(users, fcntl.LOCK_SH)  # commands may use it from here on

        supervisor.run(self.python("migrate", "manage.py", "migrate", DATABASE_ROLE="owner"))
        if settings.SIMNET:
            supervisor.start_stage([self.simnet()])
        # The first invoice shall have a rate already, but a missing rate stops nothing. Real
        # sources may be slow: they wait for Celery's first ring.
        rates = self.python("rates", "manage.py", "refresh_rates")
        if settings.SIMNET:
            rates.process = rates.start()
        supervisor.start_stage([self.web(), *self.workers()])
        supervisor.wait_for_end(rates)

        self.say("")
        self.say(f"coinos is ready: {settings.PUBLIC_URL}")
        self.say(f"An admin account: {command_line('createsuperuser')}")
        self.say("Ctrl-C stops everything; the data stays.")
        self.say("")

    # --- The children ----------------------------------------------------------------------

    def postgres(self) -> Child:
        def start() -> Any:
            with embedded.open_log(settings.DATA_DIR, "postgres") as log:
                return embedded.start_postgres(settings.DATA_DIR, log=log)

        return Child(
            "PostgreSQL",
            start,
            is_ready=lambda: embedded.postgres_is_ready(settings.DATA_DIR),
            stop_signal=signal.SIGINT,  # PostgreSQL's "fast shutdown": it ends open sessions
        )

    def redis(self) -> Child:
        def start() -> Any:
            with embedded.open_log(settings.DATA_DIR, "redis") as log:
                return embedded.start_redis(settings.DATA_DIR, log=log)

        return Child(
            "Redis", start, lambda: accepts(embedded.socket_path(settings.DATA_DIR, "redis/socket"))
        )

    def simnet(self) -> Child:
        sockets = (Path(settings.LIGHTNING_RPC), settings.SIMNET_CONTROL)
        return self.python(
            *("simnet", "manage.py", "simnet", "run"),
            is_ready=lambda: all(map(accepts, sockets)),
        )

    def web(self) -> Child:
        return self.python("web", "-m", "coinos.web_server", is_ready=web_is_healthy)

    def workers(self) -> list[Child]:
        """Threads, not forks: tasks are short or wait for a network, and memory is dear."""

        def worker(name: str, queue: str, concurrency: int, *more: str) -> Child:
            return self.python(
                *(name, "-m", "celery", "--app", "coinos.celery", "--quiet", "worker"),
                *("--queues", queue, "--hostname", f"{name}@{socket.gethostname()}"),
                *("--pool", "threads", "--concurrency", str(concurrency), "--loglevel", "WARNING"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat", *more),
                # Not a warm shutdown: that would wait for the Redis that has gone as well.
                orphaned_signal=signal.SIGKILL,
            )

        schedule = str(settings.DATA_DIR / "beat-schedule")
        return [
            worker("worker", "celery", settings.WORKER_THREADS, "--beat", "--schedule", schedule),
            worker("watch", "watch", 1),
            worker("webhooks", "webhooks", settings.WEBHOOK_THREADS),
        ]

    def python(
        self,
        name: str,
        *argv: str,
        is_ready: Callable[[], bool] = lambda: True,
        orphaned_signal: int = signal.SIGTERM,
        **env: str,
    ) -> Child:
        env["COINOS_DATA_DIR"] = str(settings.DATA_DIR)

        def start() -> Any:
            return start_python(
                name,
                argv,
                cwd=settings.BASE_DIR,
                env=env,
                say=self.say,
                orphaned_signal=orphaned_signal,
            )

        return Child(name, start, is_ready)

    # --- Being alone -----------------------------------------------------------------------

    @contextmanager
    def postgres_to_ourselves(self, supervisor: Supervisor) -> Iterator[Any]:
        """Wait for commands that use the database without us, and end what a crash left behind."""
        with embedded.share_postgres(settings.DATA_DIR) as users:
            if not locked(users):
                self.say("waiting for another manage.py command that uses this database …")
                supervisor.wait(lambda: locked(users), what="That command", timeout_seconds=3600)
            embedded.prepare_postgres(settings.DATA_DIR)
            if embedded.postgres_is_running(settings.DATA_DIR):
                embedded.stop_postgres(settings.DATA_DIR)
            yield users

    _printing = threading.Lock()

    def say(self, line: str) -> None:
        with self._printing:
            self.stdout.write(line)
            self.stdout.flush()


@contextmanager
def alone_in(data_dir: Path) -> Iterator[None]:
    """Raises CannotStart when another `up` runs on this data dir."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with open(data_dir / "up.lock", "a+") as lock:
        if not locked(lock):
            lock.seek(0)
            raise embedded.CannotStart(
                f"coinos already runs on {data_dir} (process {lock.read().strip() or 'unknown'})."
                " Stop it, or set COINOS_DATA_DIR and PORT for a second server."
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def locked(file: Any) -> bool:
    """Take the file's lock if it is free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def port_is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def simnet_bitcoin_port() -> int:
    """The given or last port, or any free one, so that two servers run side by side."""
    if settings.SIMNET_BITCOIN_PORT and port_is_free("127.0.0.1", settings.SIMNET_BITCOIN_PORT):
        return settings.SIMNET_BITCOIN_PORT
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(path: Path) -> bool:
    """Whether a server listens on this unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def web_is_healthy() -> bool:
    any_address = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
    host = any_address.get(settings.HOST, settings.HOST)
    connection = http.client.HTTPConnection(host, settings.PORT, timeout=5)
    try:
        connection.request("GET", "/api/health", headers={"Host": "localhost"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def command_line(command: str) -> str:
    """How to type a command for this server."""
    parts = [os.path.relpath(sys.executable), os.path.relpath(settings.BASE_DIR / "manage.py")]
    if settings.DATA_DIR != settings.BASE_DIR / "data":
        parts.insert(0, f"COINOS_DATA_DIR={shlex.quote(str(settings.DATA_DIR))}")
    return " ".join([*parts, command])
