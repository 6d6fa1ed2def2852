"""PgBouncer before the database of the tests, where it is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(not PGBOUNCER, reason="PgBouncer is not installed")


@contextmanager
def through_pooler() -> Iterator[None]:
    """Connections that are opened within the block go through it: each of their transactions may
    reach another session."""
    database = connections.settings["default"]
    with pgbouncer() as port, pytest.MonkeyPatch.context() as patch:
        patch.setitem(database, "HOST", "127.0.0.1")
        patch.setitem(database, "PORT", port)
        yield


@contextmanager
def pgbouncer() -> Iterator[int]:
    """PgBouncer in transaction mode before the server of the tests, on loopback; its port. It does
    not run as root, but as whoever owns the server's socket."""
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    parameters = connection.get_connection_params()
    owner = Path(parameters["host"]).stat()
    as_owner: dict[str, Any] = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.chmod(0o755)
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"""
        [databases]
        * = host={parameters["host"]} port={parameters.get("port", 5432)} user={parameters["user"]}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        default_pool_size = 5
        ignore_startup_parameters = extra_float_digits,options
        """.replace("\n        ", "\n")
    )
    assert PGBOUNCER
    process = subprocess.Popen(
        [PGBOUNCER, "--quiet", str(config)], **(as_owner if os.getuid() == 0 else {})
    )
    try:
        deadline = time.monotonic() + 20
        while not accepts(port):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
