"""What a flood leaves behind in the memory of the web server."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.database import Database
from tests.web_server import WebServer, serving

SIGN_INS = 60
KEPT_MB_AT_MOST = 80


def memory_mb(server: WebServer) -> float:
    return sum(worker.memory_info().rss for worker in server.workers()) / 1e6


def test_sign_ins_leave_no_memory_behind(cloned_db: Database, redis: None, tmp_path: Path) -> None:
    """sec-5: each hash takes 19 MiB, in any of the threads, and gives them back."""
    with serving(cloned_db, tmp_path) as server:

        def sign_in(number: int) -> bytes:
            body = {"username": f"nobody{number}", "password": "correct horse"}
            return server.ask(
                *("POST", "/api/login", json.dumps(body).encode()),
                source=f"127.0.1.{number + 1}",
                Content_Type="application/json",
            )

        with ThreadPoolExecutor(8) as callers:
            list(callers.map(server.ask, ["GET"] * 200, ["/api/users/nobody"] * 200))
            before_mb = memory_mb(server)
            answers = list(callers.map(sign_in, range(SIGN_INS)))
        assert sum(answer.startswith(b"HTTP/1.1 401") for answer in answers) > SIGN_INS // 2
        assert memory_mb(server) < before_mb + KEPT_MB_AT_MOST
