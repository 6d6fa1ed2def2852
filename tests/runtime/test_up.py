"""`make up`: one command starts everything, one signal ends all of it, and the data stays."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from coinos import embedded
from coinos.simnet.control import Control

ROOT = Path(__file__).resolve().parent.parent.parent
STOP_SECONDS_MAX = 30  # the children have 10 s of grace; a busy machine takes longer
WAIT_SECONDS_MAX = 240  # a start makes a database; a busy machine takes long

pytestmark = pytest.mark.slow


class Server:
    """A `make up` on a data dir and a port of its own, beside whatever else runs."""

    command: tuple[str, ...] = ("make", "up")

    def __init__(self, data_dir: Path, **more: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.data_dir = data_dir
        self.more = more
        self.log = data_dir.with_suffix(".log")
        self.make: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        """A newcomer's shell: nothing of coinos is set but the data dir and the port."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return kept | {"COINOS_DATA_DIR": str(self.data_dir), "PORT": str(self.port)} | self.more

    def start(self) -> None:
        # A session of its own, as a terminal's: a test can then press its Ctrl-C.
        self.make = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.wait_until(lambda: "coinos is ready" in self.log.read_text())

    def wait_until(self, promise: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not promise():
            assert self.make.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def processes(self) -> list[psutil.Process]:
        return psutil.Process(self.make.pid).children(recursive=True)

    def process(self, word: str) -> psutil.Process:
        """The first process whose command line has this word, parents before children."""
        return next(p for p in self.processes() if word in " ".join(p.cmdline()))

    def stop(self) -> None:
        if self.make and self.make.poll() is None:
            self.make.terminate()
            self.make.wait(timeout=30)

    def post(self, path: str, body: dict[str, Any], *, token: str = "") -> dict[str, Any]:
        return self._ask(path, json.dumps(body).encode(), token)

    def get(self, path: str, *, token: str = "") -> dict[str, Any]:
        return self._ask(path, None, token)

    def _ask(self, path: str, body: bytes | None, token: str) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/health", timeout=5) as a:
                return a.status == 200
        except OSError:
            return False

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, cwd=ROOT, env=self.environment(), capture_output=True, text=True, timeout=60
        )


@pytest.fixture
def server() -> Iterator[Server]:
    # Not pytest's tmp_path: it closes that folder again and again, and as root PostgreSQL runs as
    # another user, who then could not pass.
    folder = Path(tempfile.mkdtemp(prefix="coinos-up-"))
    server = Server(folder / "data")
    yield server
    server.stop()
    shutil.rmtree(folder)


def assert_gone(processes: list[psutil.Process]) -> None:
    assert len(processes) > 8  # web, three workers, simnet, PostgreSQL, Redis, their children
    _, left = psutil.wait_procs(processes, timeout=STOP_SECONDS_MAX)
    assert not [p.cmdline() for p in left if p.status() != psutil.STATUS_ZOMBIE]


ALICE = {"username": "alice", "password": "correct horse"}


def test_one_signal_to_make_stops_all_and_the_next_start_finds_everything(server):
    server.start()
    assert server.is_healthy()
    server.post("/api/register", {"user": ALICE})

    everything = server.processes()
    os.kill(server.make.pid, signal.SIGTERM)
    assert_gone(everything)
    assert server.make.wait(timeout=STOP_SECONDS_MAX) != 0

    server.start()
    assert server.post("/api/login", ALICE)["user"]["username"] == "alice"

    everything = server.processes()
    os.killpg(server.make.pid, signal.SIGINT)  # what Ctrl-C in its terminal sends
    assert_gone(everything)


def test_what_dies_is_started_again_and_a_killed_up_leaves_nothing(server):
    """input-C24: Redis holds nothing that money needs, and while it is away money arrives."""
    server.start()
    refused = Server(server.data_dir).run("make", "up")
    assert refused.returncode != 0
    assert f"coinos already runs on {server.data_dir}" in refused.stderr

    for name, word in (("web", "granian"), ("PostgreSQL", "postgres")):
        server.process(word).kill()
        server.wait_until(lambda name=name: f"{name} ended" in server.log.read_text())
        server.wait_until(server.is_healthy)
    token = server.post("/api/register", {"user": ALICE})["token"]
    invoice = server.post("/api/invoice", {"invoice": {"amount": 1000}}, token=token)

    server.process("redis").kill()
    Control(embedded.socket_path(server.data_dir, "simnet/control")).pay(invoice["hash"])
    server.wait_until(lambda: server.get("/api/me", token=token)["balance"] == 1000)
    server.wait_until(lambda: "Redis ended" in server.log.read_text())
    server.wait_until(server.is_healthy)

    everything = server.processes()
    server.process("manage.py up").kill()
    assert_gone(everything)


def test_a_taken_port_is_named_with_the_way_out(server):
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.port))
        other.listen()
        refused = server.run("make", "up")
    assert refused.returncode != 0
    assert f"listens on port {server.port}" in refused.stderr
    assert "PORT=8001 make up" in refused.stderr


def test_a_command_without_up_starts_the_database_and_stops_it_again(server):
    manage = (str(ROOT / ".venv/bin/python"), "manage.py")
    assert server.run(*manage, "migrate").returncode == 0

    who = server.run(
        *(*manage, "shell", "--verbosity", "0", "--command"),
        "from django.db import connection\n"
        "with connection.cursor() as c:\n"
        "    print(c.execute('SELECT current_user, count(*) FROM accounts_user').fetchall())",
    )
    assert who.stdout.strip() == "[('coinos_app', 0)]", who.stderr

    doctor = server.run(*manage, "doctor")
    assert "manage.py up" in doctor.stdout  # nothing runs, and it says how to start it
    running = [
        p
        for p in psutil.process_iter(["cmdline"])
        if str(server.data_dir) in " ".join(p.info["cmdline"] or [])
    ]
    assert running == []
