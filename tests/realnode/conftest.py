"""The two worlds in which every story is played, and who plays in them."""

from __future__ import annotations

import pytest

from accounts.models import User
from tests.cast import make_user
from tests.database import Database
from tests.nodes.worlds import WALLET, Simnet, World
from tests.realnode.regtest import AVAILABLE, MISSING, regtest  # noqa: F401

ON_REAL_NODES = [
    pytest.mark.realnode,
    pytest.mark.skipif(not AVAILABLE, reason=MISSING),
]


@pytest.fixture(params=["simnet", pytest.param("regtest", marks=ON_REAL_NODES)])
def world(request: pytest.FixtureRequest, settings) -> World:
    given = request.getfixturevalue(request.param)
    settings.LIGHTNING_RPC = given.lightning_rpc
    settings.BITCOIN_RPC_URL = given.bitcoin_rpc_url
    settings.BITCOIN_WALLET = WALLET
    return Simnet(given) if request.param == "simnet" else given


@pytest.fixture
def alice(cloned_db: Database) -> User:
    """With real commits: a payment is sent by a thread."""
    return make_user("alice")


@pytest.fixture
def bob(cloned_db: Database) -> User:
    return make_user("bob")
