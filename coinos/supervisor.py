"""Runs a few child processes: starts them in stages, restarts what dies, stops everything.

Nothing is left behind: each child leads a process group of its own, so that its own children are
reached too, and the kernel ends it when the supervisor itself is killed (`end_with_parent`).
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from coinos.embedded import CannotStart, end_with_parent

RESTART_WAIT_SECONDS_MAX = 30
# A child that ran this long was healthy: its next restart does not wait.
HEALTHY_AFTER_SECONDS = 60


@dataclass
class Child:
    """One process: how it starts, when it is ready, and how it is asked to stop."""

    name: str
    start: Callable[[], "subprocess.Popen[bytes]"]
    is_ready: Callable[[], bool] = lambda: True
    stop_signal: int = signal.SIGTERM
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    started_at: float = field(default=0, init=False)
    restart_at: float | None = field(default=None, init=False)
    restart_wait_seconds: float = field(default=0, init=False)

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal_group(self, number: int) -> None:
        """Reaches what the child itself started, too; it may all have gone."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                pass


class Stopped(Exception):
    """Raised out of a wait when the supervisor was asked to stop."""


class Supervisor:
    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.stopping = False
        self.stages: list[list[Child]] = []

    def stop_on_signals(self) -> None:
        """From here on SIGINT, SIGTERM and SIGHUP end the waits below."""

        def stop(number: int, frame: object) -> None:
            self.stopping = True

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, stop)

    def wait(self, is_done: Callable[[], bool], *, what: str, timeout_seconds: float = 120) -> None:
        """Raises Stopped when asked to stop, CannotStart when it takes too long."""
        deadline = time.monotonic() + timeout_seconds
        while not is_done():
            if self.stopping:
                raise Stopped
            if time.monotonic() > deadline:
                raise CannotStart(f"{what} took longer than {timeout_seconds:.0f} s.")
            time.sleep(0.05)

    def run(self, child: Child) -> None:
        """Run a child to its end; raises CannotStart when it fails."""
        self.say(f"{child.name} …")
        child.process = child.start()
        self.wait_for_end(child)
        if child.process.wait() != 0:
            raise CannotStart(f"{child.name} failed; its words are above.")

    def wait_for_end(self, child: Child) -> None:
        try:
            self.wait(lambda: not child.is_alive(), what=child.name, timeout_seconds=3600)
        finally:
            child.signal_group(signal.SIGKILL)

    def start_stage(self, children: Sequence[Child]) -> None:
        """Start these together and wait until all are ready."""
        stage: list[Child] = []
        self.stages.append(stage)
        for child in children:
            child.process = child.start()
            child.started_at = time.monotonic()
            stage.append(child)
        for child in children:

            def is_ready_or_dead(child: Child = child) -> bool:
                return not child.is_alive() or child.is_ready()

            self.wait(is_ready_or_dead, what=child.name)
            if not child.is_alive():
                raise CannotStart(f"{child.name} stopped while starting; its words are above.")
            self.say(f"{child.name} is ready ({time.monotonic() - child.started_at:.1f} s)")

    def keep_running(self) -> None:
        """Restart what dies, each time after a longer wait, until asked to stop."""
        while not self.stopping:
            for stage in self.stages:
                for child in stage:
                    self._restart_if_dead(child)
            time.sleep(0.2)

    def _restart_if_dead(self, child: Child) -> None:
        now = time.monotonic()
        if child.is_alive():
            return
        if child.restart_at is None:
            assert child.process is not None
            child.signal_group(signal.SIGKILL)
            if now - child.started_at > HEALTHY_AFTER_SECONDS:
                child.restart_wait_seconds = 0
            child.restart_at = now + child.restart_wait_seconds
            self.say(
                f"{child.name} ended ({how_it_ended(child.process.returncode)});"
                f" starting it again in {child.restart_wait_seconds:.0f} s"
            )
            child.restart_wait_seconds = min(
                max(1, child.restart_wait_seconds * 2), RESTART_WAIT_SECONDS_MAX
            )
        elif now >= child.restart_at:
            child.process = child.start()
            child.started_at, child.restart_at = now, None

    def stop(self, *, grace_seconds: Sequence[float] = (5, 1.5, 3)) -> None:
        """Stop the stages, last first; what has not gone after its grace is killed.

        Killing is safe for every child: PostgreSQL recovers, and the rows are the queue.
        """
        for stage, grace in zip(reversed(self.stages), grace_seconds, strict=False):
            for child in stage:
                if child.is_alive():
                    assert child.process is not None
                    child.process.send_signal(child.stop_signal)
            deadline = time.monotonic() + grace
            while any(child.is_alive() for child in stage) and time.monotonic() < deadline:
                time.sleep(0.02)
            for child in stage:
                if child.is_alive():
                    self.say(f"{child.name} did not stop in {grace:.0f} s and is killed")
                child.signal_group(signal.SIGKILL)
                if child.process is not None:
                    child.process.wait()


def how_it_ended(returncode: int) -> str:
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}"
    return f"exit code {returncode}"


QUIET = {
    "PYTHONUNBUFFERED": "1",
    # Celery's warning about root, three times; `doctor` says it once.
    "PYTHONWARNINGS": "ignore:::celery.platforms",
}


def start_python(
    name: str,
    argv: Sequence[str],
    *,
    cwd: Path,
    env: dict[str, str],
    say: Callable[[str], None],
    orphaned_signal: int = signal.SIGTERM,
) -> "subprocess.Popen[bytes]":
    """Start `python <argv>`; its lines are said with its name in front.

    It gets `orphaned_signal` when this process is killed.
    """
    process = subprocess.Popen(
        [sys.executable, *argv],
        cwd=cwd,
        env=os.environ | QUIET | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
        preexec_fn=end_with_parent(orphaned_signal),
    )

    def pass_on() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            say(f"{name:>8} | {line.decode(errors='replace').rstrip()}")

    threading.Thread(target=pass_on, name=f"output of {name}", daemon=True).start()
    return process
