"""Alice, Bob and Charlie on a database with real commits, and the simulated network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from accounts.models import Activity, User
from coinos.simnet.control import Control
from payments.models import Payment
from tests.cast import Api, api_of, available_sat, fund, make_user
from tests.payments.lnurl_service import service

__all__ = ["Person", "alice", "bob", "charlie", "network", "service"]


@dataclass
class Person:
    """One of the cast: the user, and the user's API client."""

    user: User
    api: Api

    @property
    def available_sat(self) -> int:
        return available_sat(self.user)

    def line(self, **match: Any) -> Activity:
        """The person's only line of statement, or the only one that matches."""
        return Activity.objects.get(user=self.user, **match)

    def payment(self) -> Payment:
        return Payment.objects.get(user=self.user)


def _person(name: str, sats: int) -> Person:
    user = make_user(name)
    if sats:
        fund(user, sats)
    return Person(user, api_of(user))


@pytest.fixture
def alice(cloned_db: Any) -> Person:
    return _person("alice", 100_000)


@pytest.fixture
def bob(cloned_db: Any) -> Person:
    return _person("bob", 0)


@pytest.fixture
def charlie(cloned_db: Any) -> Person:
    return _person("charlie", 50_000)


@pytest.fixture
def network(simnet: Control, settings: Any) -> Control:
    """Our nodes are the simulated ones."""
    settings.LIGHTNING_RPC = simnet.lightning_rpc
    settings.BITCOIN_RPC_URL = simnet.bitcoin_rpc_url
    return simnet
