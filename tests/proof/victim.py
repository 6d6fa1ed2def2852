"""The parent of victims, and what they do: `python -m tests.proof.victim`.

It loads the application once and forks a process for each request on its stdin, a JSON object a
line: {"do": "fork", "role": …}, {"do": "wait", "pid": …, "seconds": …}, {"do": "kill", "pid": …}.
Only the fork is special about a victim: the code it runs, its database, its Redis and its node
are those of the server.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connections  # noqa: E402
from django.urls import get_resolver  # noqa: E402

from coinos import failpoints  # noqa: E402
from coinos.celery import app as celery  # noqa: E402
from coinos.embedded import end_with_parent  # noqa: E402
from coinos.errors import NodeUnavailable  # noqa: E402
from coinos.nodes.base import Failed, Outcome, Settled  # noqa: E402

application = get_wsgi_application()
get_resolver().url_patterns  # noqa: B018  load all views once
celery.loader.import_default_modules()


def main() -> None:
    listening: socket.socket | None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "fork":
            listening = socket.create_server(("127.0.0.1", 0), backlog=256)
            port = listening.getsockname()[1]
            pid = _fork(request, listening)
            listening.close()
            answer: dict[str, Any] = {"pid": pid, "port": port}
        elif request["do"] == "wait":
            answer = {"status": _wait(request["pid"], request["seconds"])}
        else:
            os.kill(request["pid"], signal.SIGKILL)
            answer = {"status": _wait(request["pid"], 10)}
        print(json.dumps(answer), flush=True)


def _fork(request: dict[str, Any], listening: socket.socket) -> int:
    die_with_parent = end_with_parent(signal.SIGKILL)
    pid = os.fork()
    if pid:
        return pid
    try:
        die_with_parent()
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        _prepare(request)
        ROLES[request["role"]](listening, request)
    finally:
        os._exit(1)


def _wait(pid: int, seconds: float) -> int | None:
    """How it ended, negative by a signal; None while it lives."""
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.01)


def _prepare(request: dict[str, Any]) -> None:
    """Arm a failpoint, or take a guard off: then it is a process of the naive world."""
    failpoints._name = request.get("failpoint", "")
    failpoints._visits_left = request.get("visit", 1)
    if "database" in request:
        database = connections.settings["default"]
        database["NAME"] = request["database"]
        database["OPTIONS"].pop("pool", None)
    if "pooler" in request:
        database = connections.settings["default"]
        database |= {"HOST": "127.0.0.1", "PORT": request["pooler"]}
        database["OPTIONS"].pop("pool", None)
        database["OPTIONS"]["prepare_threshold"] = None  # Debian's PgBouncer knows no plans
    settings.LIGHTNING_RPC = request.get("lightning_rpc", settings.LIGHTNING_RPC)
    settings.BITCOIN_RPC_URL = request.get("bitcoin_rpc_url", settings.BITCOIN_RPC_URL)
    for guard in request.get("without", ()):
        WITHOUT[guard]()


# --- Roles ---------------------------------------------------------------------------------------


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


def web(listening: socket.socket, request: dict[str, Any]) -> None:
    """Serve HTTP, a thread a request."""
    server = _Server(("127.0.0.1", 0), _Handler, bind_and_activate=False)
    server.socket = listening
    server.server_name, server.server_port = "localhost", listening.getsockname()[1]
    server.setup_environ()
    server.set_app(application)
    server.serve_forever()


def worker(listening: socket.socket, request: dict[str, Any]) -> None:
    """A Celery worker for all queues."""
    celery.worker_main(
        [
            *("--quiet", "worker", "--queues", "celery,watch,webhooks", "--pool", "threads"),
            *("--concurrency", "8", "--loglevel", "ERROR", "--hostname", f"victim{os.getpid()}@h"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ]
    )


def watcher(listening: socket.socket, request: dict[str, Any]) -> None:
    """Watch Lightning receipts for ever."""
    from invoices import services

    while True:
        try:
            services.watch_lightning(seconds=50)
        except NodeUnavailable:
            pass
        time.sleep(0.05)


ROLES = {"web": web, "worker": worker, "watcher": watcher}


# --- Guards that can be taken off ----------------------------------------------------------------


def _without_lease() -> None:
    """Every watcher believes that it is the only one."""
    from invoices.services import lightning

    @contextmanager
    def always(name: str) -> Any:
        yield True

    vars(lightning)["only_one"] = always


def _without_release_rule() -> None:
    """The naive reading: what is not known to have arrived has failed (M07, M09, M10)."""
    from coinos import nodes
    from payments.services import resolution

    def outcome(payment: Any, **_: Any) -> Outcome:
        try:
            record = nodes.lightning().payment_record(payment.payment_hash)
        except NodeUnavailable:
            return Failed("error")
        if record.complete and record.preimage:
            return Settled(record.sent_msat - record.delivered_msat, record.preimage, True)
        return Failed("error")

    vars(resolution)["_outcome"] = outcome


WITHOUT = {"lease": _without_lease, "release rule": _without_release_rule}

if __name__ == "__main__":
    main()
