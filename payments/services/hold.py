"""Hold the money of a payment out and write the payment down: how each of them begins."""

from __future__ import annotations

from accounts import ledger, statement
from accounts.credentials import Credential
from accounts.models import Activity
from coinos import rows
from coinos.db import ask_at_once
from coinos.money import MSAT_PER_SAT
from payments.gate import require_left, require_room_under_way, under_way_of
from payments.models import Payment


def hold(
    credential: Credential, payment: Payment, line: Activity, *, through: ledger.House
) -> Activity:
    """Hold amount and fees, and write the payment and its pending line, in the caller's
    transaction; returns the line.

    Raises `InsufficientFunds`, `TooManyInFlight`, `TooManyUnconfirmed` and, for a Lightning invoice
    that somebody is paying or has paid, `IntegrityError`. What is counted after the hold is exact
    by its lock.
    """
    payment.hold_id = ledger.hold_for_payment(
        user_id=payment.user_id,
        through=through,
        amount_msat=payment.held_sat * MSAT_PER_SAT,
        payment_id=payment.id,
    )
    require_left(credential)
    # In one round trip, since the account stays locked meanwhile.
    _, [under_way], _ = ask_at_once(
        rows.insert([payment]), under_way_of(payment), statement.writing([line])
    )
    require_room_under_way(*under_way)
    line.user = credential.user
    return line
