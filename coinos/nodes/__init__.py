"""The two nodes as the rest of the wallet sees them: `lightning()` and `bitcoin()`.

Only addresses differ between the simulated network and real nodes; the adapters are the same.
"""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from coinos.nodes.base import BitcoinNode, LightningNode
from coinos.nodes.bitcoind import BitcoinCore
from coinos.nodes.cln import CoreLightning


def lightning() -> LightningNode:
    """The Lightning node at `LIGHTNING_RPC`. Cheap: nothing connects before the first call.

    Raises `ImproperlyConfigured` in a process that was given none."""
    _refuse_none(settings.LIGHTNING_RPC, "LIGHTNING_RPC")
    return CoreLightning(settings.LIGHTNING_RPC)


def bitcoin() -> BitcoinNode:
    """The Bitcoin node at `BITCOIN_RPC_URL` with the wallet `BITCOIN_WALLET`.

    Raises `ImproperlyConfigured` in a process that was given none."""
    _refuse_none(settings.BITCOIN_RPC_URL, "BITCOIN_RPC_URL")
    return BitcoinCore(
        settings.BITCOIN_RPC_URL,
        wallet=settings.BITCOIN_WALLET,
        fallback_fee_sat_vb=settings.FALLBACK_FEE_SAT_VB,
    )


def _refuse_none(address: str, name: str) -> None:
    if address == settings.NOT_FOR_THIS_PROCESS:
        raise ImproperlyConfigured(f"{name} is none: this process has no business with that node.")
