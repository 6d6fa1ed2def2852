"""Give a hold back: how every payment out that certainly failed comes to its end."""

from __future__ import annotations

from django.utils import timezone

from accounts import ledger, statement
from accounts.models import Activity
from payments.gate import give_back
from payments.models import Payment


def release(payment: Payment, reason: str) -> None:
    """End a payment as failed and free its whole hold, in the caller's transaction.

    The caller has locked the row, found it undecided, and knows for certain that nothing was paid.
    """
    payment.state = Payment.State.FAILED
    payment.failure = reason
    payment.resolved_at = timezone.now()
    payment.save(update_fields=["state", "failure", "resolved_at"])
    give_back(payment, debit_sat=payment.held_sat)
    ledger.release_payment(hold_id=payment.hold_id, payment_id=payment.id)
    statement.change(
        Activity.objects.get(id=payment.id),
        status=Activity.Status.FAILED,
        fee_sat=0,
        platform_fee_sat=0,
        reason=reason,
    )
