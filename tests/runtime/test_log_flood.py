"""sec-18: strangers do not fill the log, nor hide in it what an operator must see."""

from __future__ import annotations

import logging
from io import StringIO

import pytest
from django.conf import settings
from django.test import Client

from coinos import limits
from coinos.logs import ClientErrors

MINUTE = 1_800_000_000 // 60 * 60


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """What a server at the level INFO writes."""
    text = StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler.addFilter(ClientErrors("INFO"))
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.INFO)
    monkeypatch.setattr("time.time", lambda: float(MINUTE))  # what a log line takes its time from
    monkeypatch.setattr("time.time_ns", lambda: MINUTE * 10**9)
    return text


def test_a_stranger_gets_so_many_lines_a_minute(
    lines: StringIO, monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    for n in range(limits.LOG_LINES.at_most + 40):
        client.get(f"/api/nowhere/{n}")
    written = lines.getvalue().splitlines()
    assert len(written) == limits.LOG_LINES.at_most
    assert {line.split()[0] for line in written} == {"INFO"}

    monkeypatch.setattr("time.time", lambda: MINUTE + 60.0)
    monkeypatch.setattr("time.time_ns", lambda: (MINUTE + 60) * 10**9)
    client.get("/api/nowhere")
    last = lines.getvalue().splitlines()[-1]
    assert last == "INFO Not Found: /api/nowhere (40 more were left out before)"


def test_a_wrong_host_writes_a_line_and_no_traceback(lines: StringIO, client: Client) -> None:
    for _ in range(limits.LOG_LINES.at_most):
        assert client.get("/login", headers={"host": "elsewhere.example"}).status_code == 400
    written = lines.getvalue().splitlines()
    assert len(written) == limits.LOG_LINES.at_most
    assert not [line for line in written if not line.startswith("INFO ")]


def test_what_is_our_own_fault_is_always_written(lines: StringIO, client: Client) -> None:
    for n in range(limits.LOG_LINES.at_most + 1):
        client.get(f"/api/nowhere/{n}")
    for n in range(3):
        logging.getLogger("django.request").error("broken %d", n, extra={"status_code": 500})
        logging.getLogger("coinos").warning("look %d", n)
    assert [line for line in lines.getvalue().splitlines() if not line.startswith("INFO")] == [
        line for n in range(3) for line in (f"ERROR broken {n}", f"WARNING look {n}")
    ]


def test_at_the_level_of_warnings_a_client_error_is_none() -> None:
    record = logging.getLogger("django.request").makeRecord(
        "django.request", logging.WARNING, __file__, 1, "Not Found: /x", (), None
    )
    record.status_code = 404
    assert not ClientErrors("WARNING").filter(record)


def test_the_server_writes_through_it() -> None:
    assert settings.LOGGING["handlers"]["console"]["filters"] == ["client errors"]
    assert [type(found) for handler in _console() for found in handler.filters] == [ClientErrors]


def _console() -> list[logging.Handler]:
    return [handler for handler in logging.getLogger().handlers if handler.name == "console"]
