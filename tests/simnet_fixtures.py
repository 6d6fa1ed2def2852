"""Simnet for tests: the real process, over its real sockets.

`simnet` is one process per test worker, shared by its tests: make your own invoices and look up
your own payment hashes in its truth. Faults are cleared after each test. `own_simnet` is a process
of your own, to kill and restart.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from bitcoinrpc.authproxy import AuthServiceProxy, JSONRPCException

from coinos.simnet.control import Control, ControlError

PROJECT = Path(__file__).resolve().parent.parent
START_SECONDS_MAX = 30.0


class SimnetProcess:
    """`python -m coinos.simnet` in a directory of its own, short enough for unix sockets."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="simnet-", dir="/tmp"))
        self.control = Control(self.directory / "control")
        self._bitcoin_port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, or start again on the same state and port; returns when it is ready."""
        arguments = ["--dir", str(self.directory), "--bitcoin-port", str(self._bitcoin_port)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "coinos.simnet", "--until-eof", *arguments],
            cwd=PROJECT,
            stdin=subprocess.PIPE,  # if pytest is killed, it ends too
        )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._ready():
            if self._process.poll() is not None:
                raise RuntimeError(f"simnet ended at its start: {self._process.returncode}")
            if time.monotonic() > deadline:
                raise RuntimeError("simnet did not start")
            time.sleep(0.01)
        self._bitcoin_port = int((self.directory / "bitcoin-port").read_text())

    def _ready(self) -> bool:
        try:
            self.control.truth()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """kill -9: what it had not written is lost."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def freeze(self) -> None:
        """The nodes hang: connections stay open, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.communicate(timeout=10)
        shutil.rmtree(self.directory)


@pytest.fixture(scope="session")
def simnet() -> Iterator[Control]:
    """The control of this worker's simnet; `lightning_rpc` and `bitcoin_rpc_url` are its nodes."""
    process = SimnetProcess()
    process.start()
    yield process.control
    process.stop()


@pytest.fixture(scope="module")
def own_simnet() -> Iterator[SimnetProcess]:
    process = SimnetProcess()
    process.start()
    yield process
    process.stop()


COINS_MIN = 12
COIN_SAT = 10_000_000


@pytest.fixture(autouse=True)
def nothing_left_over(request: pytest.FixtureRequest) -> Iterator[None]:
    """The next test finds a network without faults, nothing in its mempool, a wallet with coins."""
    yield
    if "simnet" in request.fixturenames:
        control = request.getfixturevalue("simnet")
        control.clear_faults()
        _fill_wallet(control)
    if "own_simnet" in request.fixturenames:
        request.getfixturevalue("own_simnet").control.clear_faults()


def _fill_wallet(control: Control) -> None:
    """Confirmed coins that nobody has locked, as many as at the start of simnet or nearly."""
    wallet = AuthServiceProxy(f"{control.bitcoin_rpc_url}/wallet/coinos")
    try:
        wallet.lockunspent(True)
        if wallet.getmempoolinfo()["size"]:
            control.stuck(False)
            control.mine(1)
        spendable = [coin for coin in wallet.listunspent(1) if coin["amount"] >= Decimal("0.01")]
        if len(spendable) >= COINS_MIN:
            return
        for _ in range(COINS_MIN):
            control.deposit(wallet.getnewaddress(), COIN_SAT, fee_rate=500)
        control.mine(1)
    except (JSONRPCException, ControlError, OSError):
        pass  # what the test has left of the network is its own matter
