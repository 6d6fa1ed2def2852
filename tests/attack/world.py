"""The world of the attacks: a server started as the README does, its mail, and people on it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from coinos.bench import server
from tests.accounts.mailbox import Mailbox, open_mailbox
from tests.attack.strangers import Answer, Crowd, Stranger, all_at_once
from tests.proof.harness import free_port, wait_until

BANK_SAT = 5_000_000
PASSWORD = "seven tall ships 1492"
WARM_UP = 200

# What a web process starts when it needs it, and keeps: the threads for requests (coinos.asgi) with
# the server's own, and a connection of each to Redis. How many of them a warm-up starts is chance.
KEPT_THREADS = 150
KEPT_FILES = 200
ONION_URL = f"http://{'coinos' * 9}23.onion"


@dataclass(frozen=True)
class Footprint:
    """What the web processes hold."""

    memory_mb: float
    threads: int
    files: int

    def is_near(self, before: Footprint) -> bool:
        return not self.grown_since(before)

    def grown_since(self, before: Footprint) -> str:
        """What is above `before` by more than chance, as words; "" when nothing is."""
        grown = []
        if self.memory_mb > before.memory_mb + 64:
            grown.append(f"memory {before.memory_mb:.0f} → {self.memory_mb:.0f} MB")
        if self.threads > max(before.threads, KEPT_THREADS) + 16:
            grown.append(f"threads {before.threads} → {self.threads}")
        if self.files > max(before.files, KEPT_FILES) + 32:
            grown.append(f"open files {before.files} → {self.files}")
        return ", ".join(grown)


@dataclass
class Person:
    """Somebody with an account. `program` has the token of its registration, from `address`."""

    name: str
    password: str
    address: str
    program: Stranger

    @property
    def balance_sat(self) -> int:
        return int(self.program.get("/me").body["balance"])


class World:
    """One server for all attacks. Every person and every address in it is used once."""

    def __init__(self, started: server.Started, mailbox: Mailbox) -> None:
        from django.conf import settings

        from coinos.simnet.control import Control

        self.pid = started.pid
        self.environment = started.environment
        self.port = int(started.environment["PORT"])
        self.data_dir = Path(started.environment["COINOS_DATA_DIR"])
        self.domain = f"127.0.0.1:{self.port}"
        self.mailbox = mailbox
        self.outside = Control(settings.SIMNET_CONTROL)
        self.secrets: dict[str, str] = {}
        """Whatever must not be in a log, by what it is."""
        self._hosts = itertools.count()
        self.abandoned = Crowd(self.port)
        """Connections that were begun before all attacks and are left alone since `began`."""
        self.began = 0.0
        self.bank = self.newcomer("bank")
        self.receive_from_outside(self.bank, BANK_SAT)

    # --- Addresses ---------------------------------------------------------------------------

    def address(self) -> str:
        """An address that nobody has had, in another network than the last one."""
        number = next(self._hosts)
        return f"127.0.{number % 250 + 1}.{number // 250 + 2}"

    def addresses(self, count: int) -> list[str]:
        return [self.address() for _ in range(count)]

    def stranger(self, *, address: str = "", token: str = "") -> Stranger:
        return Stranger(self.port, address or self.address(), token)

    # --- People ------------------------------------------------------------------------------

    def newcomer(self, name: str, *, sats: int = 0, address: str = "") -> Person:
        """Register somebody with a name that begins so, and give them sats of the bank."""
        name = f"{name}{uuid.uuid4().hex[:8]}"
        stranger = self.stranger(address=address)
        password = f"{PASSWORD} {uuid.uuid4().hex[:6]}"
        answer = self.expect(
            lambda: stranger.post("/register", {"user": {"username": name, "password": password}})
        )
        stranger.token = answer.body["token"]
        self.keep_secret("a login token", stranger.token)
        self.keep_secret("a password", password)
        person = Person(name, password, stranger.address, stranger)
        if sats:
            self.expect(lambda: self.bank.program.post("/send", {"username": name, "amount": sats}))
        return person

    def browser_of(self, person: Person, *, address: str = "") -> Stranger:
        """A browser in which this person is signed in, at the person's own address if no other."""
        browser = self.stranger(address=address or person.address)
        answer = browser.sign_in(person.name, person.password)
        if answer.status != 302:
            raise RuntimeError(f"{person.name} could not sign in: {answer}")
        for name, value in browser.cookies.items():
            if "session" in name:
                self.keep_secret("a session cookie", value)
        return browser

    def keep_secret(self, what: str, value: str) -> None:
        self.secrets[value] = what

    def receive_from_outside(self, person: Person, amount_sat: int) -> None:
        """Sats arrive over Lightning, and are in the balance when this returns."""
        wanted = {"invoice": {"amount": amount_sat, "type": "lightning"}}
        invoice = self.expect(lambda: person.program.post("/invoice", wanted)).body
        self.outside.pay(invoice["hash"])
        wait_until(
            lambda: person.balance_sat >= amount_sat, seconds=30, what="a payment from outside"
        )

    def expect(self, ask: Callable[[], Answer], *, seconds: float = 20) -> Answer:
        """Ask until the answer is 200: what is told to wait for a limit waits. Raises RuntimeError
        on any other refusal: the preparation of an attack must work."""
        deadline = time.monotonic() + seconds
        while True:
            answer = ask()
            if answer.status == 200:
                return answer
            wait_s = float(answer.headers.get("retry-after", 1))
            if answer.status not in (429, 503) or time.monotonic() + wait_s > deadline:
                raise RuntimeError(f"preparing an attack: {answer} {answer.text[:300]}")
            time.sleep(wait_s)

    # --- The server --------------------------------------------------------------------------

    def web_processes(self) -> list[psutil.Process]:
        return server.processes(self.pid).get("web", [])

    def footprint(self) -> Footprint:
        memory, threads, files = 0.0, 0, 0
        for process in self.web_processes():
            try:
                memory += process.memory_info().rss / 1e6
                threads += process.num_threads()
                files += process.num_fds()
            except psutil.Error:
                continue
        return Footprint(memory, threads, files)

    def spooled_files(self, larger_than: int) -> list[int]:
        """The sizes of the nameless temporary files that the web processes hold."""
        sizes = []
        for process in self.web_processes():
            for link in Path(f"/proc/{process.pid}/fd").glob("*"):
                try:
                    target = os.readlink(link)
                    if target.startswith("/") and target.endswith(" (deleted)"):
                        sizes.append(link.stat().st_size)
                except OSError:
                    continue
        return [size for size in sizes if size > larger_than]

    def manage(self, *argv: str, typed: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run a management command as the operator does in another terminal."""
        return subprocess.run(
            [sys.executable, "manage.py", *argv],
            cwd=server.ROOT,
            env=self.environment | env,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            start_new_session=True,  # without a terminal it reads passwords from its input
        )

    @contextmanager
    def as_onion_service(self) -> Iterator[Callable[[], Stranger]]:
        """A second web process on the same data, which Tor would connect to; gives what makes
        visitors of it, who all have one address."""
        port = free_port()
        environment = self.environment | {"PORT": str(port), "PUBLIC_URL": ONION_URL}
        with open(self.data_dir / "up.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "coinos.web_server"],
                cwd=server.ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            visitor = partial(Stranger, port, "127.0.0.1", host=urlsplit(ONION_URL).hostname)
            wait_until(
                lambda: visitor().get("/health").status == 200,
                seconds=60,
                what="a second web server",
            )
            yield visitor
        finally:
            process.terminate()
            process.wait(20)

    def log(self) -> str:
        """All that the server has said so far."""
        return (self.data_dir / "up.log").read_text(errors="replace")

    def warm_up(self) -> None:
        """Let the web process start the threads and connections that it keeps for good."""
        callers = [self.stranger() for _ in range(WARM_UP)]
        profile = f"/users/{self.bank.name}"  # asks Redis and the database
        all_at_once([partial(one.get, profile) for one in callers], threads=WARM_UP)


@contextmanager
def started(**settings: str) -> Iterator[World]:
    """A server on an empty data dir and a free port, with every other setting at its default, a
    mail server and people; removed at the end."""
    with open_mailbox() as mailbox:
        data_dir = Path(tempfile.mkdtemp(prefix="coinos-attack-"))
        kept = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
        environment: dict[str, str] = {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "COINOS_DATA_DIR": str(data_dir),
            "PORT": str(free_port()),
            "EMAIL_URL": f"smtp://127.0.0.1:{mailbox.port}",
            "EMAIL_FROM": "wallet@server.example",
            **settings,
        }
        with server.up(data_dir, environment) as running:
            _become_django(environment)
            yield World(running, mailbox)


def _become_django(environment: dict[str, Any]) -> None:
    """The attackers read the site's routes from its code, which is public."""
    for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "NETWORK", "RATE_LIMITS"):
        os.environ.pop(name, None)
    os.environ.update(environment, DJANGO_SETTINGS_MODULE="coinos.settings")
    import django

    django.setup()
