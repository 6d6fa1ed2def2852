"""Fees, reserves and limits. Pure."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings

from coinos.nodes.base import FeeRates

DUST_SAT = 546
"""No output below this: it would cost more to spend than it is worth (P2PKH at 3 sat/vB)."""

FEE_RATE_MAX_SAT_VB = 500

USUAL_SIZE_VB = 141
"""Of a transaction that spends one coin to an address and gives change; for a rough first word."""


def routing_reserve_sat(amount_sat: int) -> int:
    """What is held for Lightning routing when the caller names no maximum: 0.5 %, at least 5."""
    return max(5, -(-amount_sat // 200))


def platform_fee_sat(amount_sat: int) -> int:
    """The house's own fee on an external payment (`OURFEE`, parts per million), rounded up."""
    return -(-amount_sat * settings.OURFEE_PPM // 1_000_000)


def most_sendable_sat(available_sat: int) -> int:
    """The largest Lightning amount whose amount, reserve and platform fee fit a balance."""
    low, high = 0, available_sat
    while low < high:
        amount_sat = (low + high + 1) // 2
        if (
            amount_sat + routing_reserve_sat(amount_sat) + platform_fee_sat(amount_sat)
            <= available_sat
        ):
            low = amount_sat
        else:
            high = amount_sat - 1
    return low


def least_fee_rate_sat_vb(fees: FeeRates) -> int:
    """What a withdrawal must pay: enough to be in a block within a day. The wallet is everybody's,
    and what never confirms keeps its coins from others."""
    return fees.economy


def promised_wait(rate_sat_vb: int, fees: FeeRates) -> timedelta:
    """How long a withdrawal at this rate waits for its block, by the estimates it was chosen by.
    Without them nothing sooner than a day is promised."""
    if not fees.estimated:
        return timedelta(days=1)
    if rate_sat_vb >= fees.half_hour:
        return timedelta(minutes=30)
    if rate_sat_vb >= fees.hour:
        return timedelta(hours=1)
    return timedelta(days=1)


def miner_fee_reserve_sat(quoted_sat: int, spare_sat: int) -> int:
    """What is held for miners: half as much again as quoted, as far as the balance allows."""
    return quoted_sat + max(0, min(quoted_sat // 2, spare_sat))
