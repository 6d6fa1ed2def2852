"""Keep the on-chain wallet in many coins, so that many withdrawals fit between two blocks.

A withdrawal takes a coin and leaves its change, which others may spend before it is confirmed, but
not in chains of any length. So few large coins would be as many withdrawals at a time, whoever
makes them. Nothing is kept about it: each round counts what the wallet has.
"""

from __future__ import annotations

import logging

from coinos import killswitch, nodes
from coinos.nodes.base import Coin
from payments.models import WithdrawalInput

logger = logging.getLogger(__name__)

COINS_MIN = 20
COIN_SAT_MIN = 100_000
"""Smaller ones would cost a withdrawal more than they help."""
FEE_RATE_MAX_SAT_VB = 10
"""Dearer, it waits: the house pays for it."""
DEPTH_MIN = 6
"""Of a coin that is split, lest what is built upon it falls with a reorganisation."""


def keep_coins_split() -> int:
    """When the wallet has few coins and fees are low, pay its largest one to itself in pieces.
    Returns how many coins that makes. Raises `NodeUnavailable`."""
    if killswitch.is_stopped():
        return 0
    node = nodes.bitcoin()
    coins = node.coins()
    missing = COINS_MIN - len(coins)
    rate_sat_vb = node.fee_rates().economy
    if missing <= 0 or rate_sat_vb > FEE_RATE_MAX_SAT_VB:
        return 0
    largest = max(_free(coins), key=lambda coin: coin.amount_sat, default=None)
    pieces = min(missing + 1, largest.amount_sat // COIN_SAT_MIN) if largest else 0
    if largest is None or pieces < 2:
        return 0
    if not node.split(largest, pieces=pieces, fee_rate_sat_vb=rate_sat_vb):
        return 0
    logger.info("split a coin of %s sats into %s", largest.amount_sat, pieces)
    return pieces


def _free(coins: tuple[Coin, ...]) -> list[Coin]:
    """Those that lie deep and no withdrawal spends. A node that was started again has forgotten
    its locks, and we have not."""
    taken = set(WithdrawalInput.objects.filter(live=True).values_list("txid", "vout"))
    return [
        coin
        for coin in coins
        if coin.confirmations >= DEPTH_MIN and (coin.txid, coin.vout) not in taken
    ]
