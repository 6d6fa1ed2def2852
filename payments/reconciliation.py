"""Do the ledger and the nodes agree? Rung every minute; what it finds stops external sends."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from django.core.cache import cache

from accounts import ledger
from coinos import killswitch, nodes
from coinos.money import MSAT_PER_SAT
from payments.models import Payment

logger = logging.getLogger(__name__)

SHORT_BEFORE = "solvency-short-before"


@dataclass(frozen=True)
class Solvency:
    """What the nodes hold and what the house owes its users, in msat."""

    assets_msat: int
    owed_msat: int

    @property
    def is_short(self) -> bool:
        return self.assets_msat < self.owed_msat


def solvency() -> Solvency:
    """One reading. What is owed is read first: money that arrives in between only helps.

    The node counts a payment as ours until both sides have removed its HTLC, even after it has
    settled: such payments are taken off (nodes.md 6). Unconfirmed coins are not counted."""
    owed_msat = ledger.owed_msat()
    lightning = nodes.lightning().balance()
    settled = Payment.objects.filter(
        payment_hash__in=list(lightning.outgoing_msat), state=Payment.State.SETTLED, fee_final=True
    ).values_list("payment_hash", flat=True)
    leaving_msat = sum(lightning.outgoing_msat[str(payment_hash)] for payment_hash in settled)
    onchain_msat = nodes.bitcoin().balance().trusted_sat * MSAT_PER_SAT
    return Solvency(lightning.ours_msat - leaving_msat + onchain_msat, owed_msat)


def reconcile() -> None:
    """Compare kept with computed balances, and assets with liabilities. A balance that is wrong by
    1 msat stops external sends at once, a shortfall on two readings in a row (O07, rule 10)."""
    wrong = ledger.differences()
    if wrong:
        accounts = ", ".join(str(difference.account) for difference in wrong)
        killswitch.stop_sends(f"ledger accounts do not add up: {accounts}")
    reading = solvency()
    if not reading.is_short:
        cache.delete(SHORT_BEFORE)
        return
    missing_msat = reading.owed_msat - reading.assets_msat
    logger.critical("the nodes hold %s msat less than is owed", missing_msat)
    if cache.get(SHORT_BEFORE):
        killswitch.stop_sends(f"the nodes hold {missing_msat} msat less than is owed")
    cache.set(SHORT_BEFORE, True, 600)
