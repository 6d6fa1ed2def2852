"""Invoices against simnet: the outside world pays, mines and reorganises."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone

from coinos import rates
from coinos.models import Rate
from coinos.simnet.control import Control

PRICES = {"USD": "100000", "CAD": "135000"}


@pytest.fixture
def simnet_nodes(simnet: Control, settings: Any, tmp_path: Path) -> Control:
    """The application's nodes are this worker's simnet; returns the control of its world."""
    settings.LIGHTNING_RPC = simnet.lightning_rpc
    settings.BITCOIN_RPC_URL = simnet.bitcoin_rpc_url
    settings.STOP_FILE = tmp_path / "stop-sends"
    return simnet


@pytest.fixture
def world(simnet_nodes: Control, db: None, redis: Any) -> Iterator[Control]:
    """Simnet, an empty database and known rates."""
    cache.delete(rates.CACHE_KEY)
    Rate.objects.create(minute=timezone.now(), rates=PRICES)
    rates.forget()
    assert rates.rate("USD") == Decimal(100000)
    yield simnet_nodes
    rates.forget()
