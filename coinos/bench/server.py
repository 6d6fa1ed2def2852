"""The server under test: `manage.py up` on a data dir of its own, and a look at its processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent.parent
START_S = 180
STOP_S = 30


@dataclass(frozen=True)
class Started:
    """A running server: how to reach it, and how long it took to answer."""

    pid: int
    environment: dict[str, str]
    startup_s: float


@contextmanager
def started(*, processes: int, database_url: str = "", owner_url: str = "") -> Iterator[Started]:
    """Run everything on a free port and an empty data dir; remove both at the end.

    Without `database_url` the database is the embedded one.
    """
    data_dir = Path(tempfile.mkdtemp(prefix="coinos-bench-"))
    with up(data_dir, _environment(data_dir, processes, database_url, owner_url)) as server:
        yield server


@contextmanager
def up(data_dir: Path, environment: dict[str, str]) -> Iterator[Started]:
    """Run `manage.py up` with this environment, and remove its data dir at the end. Its words go to
    `up.log` there and are shown when it does not start."""
    began = time.monotonic()
    with open(data_dir / "up.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_ready(process, data_dir / "up.log")
        yield Started(process.pid, environment, time.monotonic() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
        shutil.rmtree(data_dir, ignore_errors=True)


def _environment(
    data_dir: Path, processes: int, database_url: str, owner_url: str
) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV") or name.startswith("BENCH_")
    }
    given = {"DATABASE_URL": database_url, "DATABASE_OWNER_URL": owner_url or database_url}
    return (
        inherited
        | (given if database_url else {})
        | {
            "DJANGO_SETTINGS_MODULE": "coinos.bench.settings",
            "COINOS_DATA_DIR": str(data_dir),
            "PORT": str(free_port()),
            "WEB_PROCESSES": str(processes),
            "RATE_LIMITS": "off",
            "LOG_LEVEL": "WARNING",
        }
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(up: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while b"coinos is ready" not in log.read_bytes():
        if up.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.05)


# --- Its processes -------------------------------------------------------------------------------

NAMES = {
    "granian": "web",
    "worker@": "worker and beat",
    "watch@": "watch worker",
    "webhooks@": "webhooks worker",
    "simnet": "simnet",
    "redis": "Redis",
    "postgres": "PostgreSQL",
    "manage.py up": "up",
}


def processes(up_pid: int) -> dict[str, list[psutil.Process]]:
    """The server's processes by what they are."""
    parent = psutil.Process(up_pid)
    found: dict[str, list[psutil.Process]] = {}
    for process in [parent, *parent.children(recursive=True)]:
        try:
            words = " ".join(process.cmdline())
        except psutil.Error:
            continue
        name = next((name for sign, name in NAMES.items() if sign in words), "other")
        if name == "other" and process.parent() in found.get("web", []):
            name = "web"  # granian's workers are spawned by multiprocessing
        found.setdefault(name, []).append(process)
    return found


def memory_mb(up_pid: int) -> dict[str, float]:
    """Proportional set size (shared pages divided among their users) per kind of process."""
    used: dict[str, float] = {}
    for name, group in processes(up_pid).items():
        sizes = []
        for process in group:
            try:
                sizes.append(process.memory_full_info().pss)
            except psutil.Error:
                continue
        used[name] = round(sum(sizes) / 1e6, 1)
    return used


def cpu_s(up_pid: int, name: str) -> float:
    """Processor time that one kind of process has used so far; what the load of the rest of the
    machine changes least."""
    used = 0.0
    for process in processes(up_pid).get(name, []):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        used += times.user + times.system
    return used


@contextmanager
def paused(up_pid: int, name: str) -> Iterator[None]:
    """SIGSTOP one kind of process; it goes on where it was when the block ends."""
    group = processes(up_pid)[name]
    for process in group:
        process.suspend()
    try:
        yield
    finally:
        for process in group:
            process.resume()
