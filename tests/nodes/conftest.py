from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from coinos.nodes.bitcoind import BitcoinCore
from coinos.nodes.cln import CoreLightning
from tests.nodes.replay import ScriptedBitcoin, ScriptedLightning
from tests.nodes.worlds import Simnet, World
from tests.realnode.regtest import AVAILABLE, regtest  # noqa: F401

TIMEOUT_S = 0.5


@pytest.fixture
def lightningd() -> Iterator[ScriptedLightning]:
    # not tmp_path: a socket address holds only 107 bytes
    directory = Path(tempfile.mkdtemp(prefix="coinos-"))
    server = ScriptedLightning(directory / "lightning-rpc")
    yield server
    server.close()
    shutil.rmtree(directory)


@pytest.fixture
def lightning(lightningd: ScriptedLightning) -> CoreLightning:
    return CoreLightning(lightningd.path, timeout_s=TIMEOUT_S, margin_s=TIMEOUT_S)


@pytest.fixture
def bitcoind() -> Iterator[ScriptedBitcoin]:
    server = ScriptedBitcoin()
    yield server
    server.close()


@pytest.fixture
def bitcoin(bitcoind: ScriptedBitcoin) -> BitcoinCore:
    return BitcoinCore(bitcoind.url, wallet="coinos", timeout_s=TIMEOUT_S)


REALNODE = [pytest.param("regtest", marks=pytest.mark.realnode)] if AVAILABLE else []


@pytest.fixture(params=["simnet", *REALNODE])
def world(request: pytest.FixtureRequest) -> World:
    given = request.getfixturevalue(request.param)
    return Simnet(given) if request.param == "simnet" else given
