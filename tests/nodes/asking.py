"""Calls to the adapters with arguments filled in, and the recordings by their names."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from coinos.nodes.base import CreatedInvoice, PayReply
from coinos.nodes.cln import CoreLightning
from tests.nodes.replay import recorded


def trace(scenario: str) -> dict[str, Any]:
    return recorded("lightning", scenario)


def pending_trace(scenario: str) -> dict[str, Any]:
    return recorded("lightning-pending", scenario)


def pay(lightning: CoreLightning, **changes: Any) -> PayReply:
    arguments: dict[str, Any] = {
        "payment_request": "lnbcrt1",
        "amount_msat": None,
        "max_fee_msat": 5_000,
        "retry_for_s": 0,
        "label": "payment-1",
    }
    return lightning.pay(**arguments | changes)


def create(lightning: CoreLightning, **changes: Any) -> CreatedInvoice:
    arguments: dict[str, Any] = {
        "label": "fixed-fbc69d",
        "amount_msat": 1_000_000,
        "description": "one thousand sats",
        "expiry_s": 3600,
    }
    return lightning.create_invoice(**arguments | changes)


def eventually(look: Callable[[], Any], seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
    return found
