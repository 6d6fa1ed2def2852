"""A worker goes on after Redis has been away, whatever its threads did meanwhile (O05)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery import Celery

from coinos import embedded
from tests.runtime import broker_tasks

THREADS = 2
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="broker-", dir="/tmp") as name:
        yield Path(name)


@contextmanager
def redis(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with open(folder / "redis.log", "ab") as log:
        process = embedded.start_redis(folder, log=log)
    try:
        wait_for(folder / "redis" / "socket")
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def worker(folder: Path) -> Iterator[None]:
    """Started as `manage.py up` starts the server's workers."""
    env = os.environ | {"REDIS_URL": embedded.redis_url(folder)}
    with open(folder / "worker.log", "ab") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "--app", "tests.runtime.broker_tasks", "worker"),
                *("--pool", "threads", "--concurrency", str(THREADS), "--loglevel", "WARNING"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            ],
            cwd=ROOT,
            env=env,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name} within a minute"
        time.sleep(0.02)


def send(folder: Path, task: str, *args: str) -> None:
    url = embedded.redis_url(folder).replace("unix:", "redis+socket:")
    with Celery(broker=url) as sender:
        sender.send_task(f"{broker_tasks.__name__}.{task}", [str(folder), *args])


def test_a_worker_whose_threads_all_ended_while_redis_was_away_goes_on(folder: Path) -> None:
    with worker(folder):
        with redis(folder):
            names = [f"task {n}" for n in range(THREADS)]
            for name in names:
                send(folder, "hold", name)
            for name in names:
                wait_for(folder / name)
        (folder / "release").touch()
        for name in names:
            wait_for(folder / f"{name} has ended")
        time.sleep(0.5)  # until their threads have told it to the worker
        with redis(folder):
            send(folder, "ring")
            wait_for(folder / "rung")
