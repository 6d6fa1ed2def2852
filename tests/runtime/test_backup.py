"""A database is lost in the middle of traffic, and an older copy takes its place. The nodes have
gone on meanwhile; at the end every sat is where it belongs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.runtime.test_up import Server

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="coinos-backup-"))
    server = Server(folder / "data", OPERATOR_APPROVAL_SAT="50000")
    yield server
    server.stop()
    shutil.rmtree(folder)


def manage(server: Server, *words: str) -> str:
    done = server.run(".venv/bin/python", "manage.py", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(server: Server, *words: str) -> str:
    done = server.run(".venv/bin/python", "manage.py", *words)
    assert done.returncode == 1, done.stdout
    return done.stderr


def until(server: Server, promise: Any) -> None:
    server.wait_until(promise)


def test_a_database_lost_in_traffic_comes_back_from_a_copy_and_every_sat_with_it(
    server: Server,
) -> None:
    """money-K3, money-M10: receipts, deposits, payments and withdrawals of the gap. What users sent
    to each other in the gap is in no node, so it has not happened: docs/operating.md says so."""
    server.start()
    token = server.post("/api/register", {"user": {"username": "alice", "password": "correct h"}})[
        "token"
    ]
    server.post("/api/register", {"user": {"username": "bob", "password": "correct h"}})

    def balance() -> int:
        return int(server.get("/api/me", token=token)["balance"])

    def invoice(**wish: Any) -> dict[str, Any]:
        return server.post("/api/invoice", {"invoice": wish}, token=token)

    manage(server, "simnet", "pay", invoice(amount=100_000)["hash"])
    before = invoice(amount=3_000)
    address = invoice(type="bitcoin")["hash"]
    until(server, lambda: balance() == 100_000)

    copy = server.data_dir.parent / "copy"
    assert "is a whole copy" in manage(server, "backup", str(copy))
    assert "exists already" in refused(server, "backup", str(copy))
    assert "coinos already runs" in refused(server, "restore", str(copy))

    # --- the gap ---
    in_gap = invoice(amount=2_000)
    manage(server, "simnet", "pay", before["hash"])
    manage(server, "simnet", "pay", in_gap["hash"])
    manage(server, "simnet", "deposit", address, "20000")
    manage(server, "simnet", "mine")
    until(server, lambda: balance() == 125_000)
    outside = manage(server, "simnet", "invoice", "5000").strip()
    paid = server.post("/api/payments", {"payreq": outside}, token=token)
    assert paid["status"] == "settled"
    target = manage(server, "simnet", "address").strip()
    sent = server.post("/api/bitcoin/send", {"address": target, "amount": 10_000}, token=token)
    assert sent["hash"]
    truth = balance()
    assert truth == 125_000 - 5_000 - paid["fee"] - 10_000 - sent["fee"]

    # --- the disk is gone ---
    server.process("bin/postgres").send_signal(signal.SIGKILL)
    everything = server.processes()
    os.killpg(server.make.pid, signal.SIGKILL)
    server.make.wait(timeout=30)
    for process in everything:
        process.wait(timeout=30)
    shutil.rmtree(server.data_dir / "postgres")

    said = manage(server, "restore", str(copy))
    assert "The database is that of" in said
    stop_file = server.data_dir / "stop-sends"
    assert "restored from a copy" in stop_file.read_text()

    # --- what the nodes know comes in by itself, or is listed ---
    server.start()
    until(server, lambda: balance() == 100_000 + 3_000 + 20_000)
    other = manage(server, "simnet", "invoice", "1000").strip()
    with pytest.raises(HTTPError, match="403"):
        server.post("/api/payments", {"payreq": other}, token=token)
    until(server, lambda: "2,000 sats open" in manage(server, "operator", "suspense"))
    listed = manage(server, "operator", "compare")
    item = re.search(r"item (\d+), 2,000 sats", listed)
    paid_lines = dict(re.findall(r"no payment here: (\w{64})  (\w+)", listed))
    assert item
    assert sorted(paid_lines.values()) == ["bitcoin", "lightning"]

    manage(server, "operator", "credit", item[1], "alice", "--reason", "the label is her invoice")
    for ref in paid_lines:
        said = manage(server, "operator", "charge", ref, "alice", "--reason", "her own account")
        assert "of alice now" in said
    assert balance() == truth
    assert "The books and the nodes agree" in manage(server, "operator", "compare")
    assert "NO" not in manage(server, "check_ledger")

    # --- and life goes on ---
    for number in re.findall(
        r"^(\d+)  .*not acknowledged", manage(server, "operator", "alarms"), re.M
    ):
        manage(server, "operator", "acknowledge", number, "--reason", "the restore")
    stop_file.unlink()
    manage(server, "simnet", "mine")
    last = manage(server, "simnet", "invoice", "1000").strip()
    until(server, lambda: _pays(server, last, token))
    lines = server.get("/api/payments", token=token)["payments"]
    assert {paid["hash"], sent["hash"]} & {line["hash"] for line in lines}
    assert [line["amount"] for line in lines].count(-10_000) == 1


def _pays(server: Server, payreq: str, token: str) -> bool:
    """Sends go on once the auditor has compared books and nodes again."""
    try:
        return server.post("/api/payments", {"payreq": payreq}, token=token)["status"] == "settled"
    except HTTPError:
        return False


def test_a_copy_that_is_not_whole_is_not_restored(server: Server) -> None:
    manage(server, "migrate", "--verbosity", "0")
    copy = server.data_dir.parent / "copy"
    manage(server, "backup", str(copy))
    assert "no copy that" in refused(server, "restore", str(server.data_dir / "postgres"))
    (copy / "PG_VERSION").write_text("17\n")
    assert "is not as it was copied" in refused(server, "restore", str(copy))
    assert not (server.data_dir / "stop-sends").exists()
    assert (server.data_dir / "postgres" / "PG_VERSION").exists()
