"""Take a payment back that has not left yet: its user or an operator does, and its sats come back.

| state                                 | why nothing has left                               |
|---------------------------------------|----------------------------------------------------|
| `created`                             | the claim that comes before every call did not yet |
| `signed`, never given to the network  | nobody but us has seen the transaction             |

Both are looked at under the row's lock, which the claim and the first broadcast take too: one of
them is first, and the other finds the payment changed. The node is asked before, since a database
that lost its last commits would not know that they happened.
"""

from __future__ import annotations

from uuid import UUID

from accounts import ledger
from accounts.models import Activity
from coinos import nodes
from payments.errors import TooLateToCancel
from payments.models import CANCELLED, Payment
from payments.services.release import release
from payments.services.withdrawals.search import find_sent
from payments.services.withdrawals.versions import Outpoint, end_all, unlock


def cancel(payment_id: UUID) -> Activity:
    """End a payment that has not left, give back all that it holds, and return its line. One that
    is cancelled already stays so.

    Raises `TooLateToCancel`, and `NodeUnavailable` when the node cannot say that it has none of it.
    """
    payment = Payment.objects.get(id=payment_id)
    if payment.was_cancelled:
        return Activity.objects.get(id=payment_id)
    if not payment.can_be_cancelled or _node_has_it(payment):
        raise TooLateToCancel()
    unlock(_cancel(payment_id))
    return Activity.objects.get(id=payment_id)


def _node_has_it(payment: Payment) -> bool:
    if payment.type == Payment.Type.BITCOIN:
        return bool(find_sent(payment))
    assert payment.payment_hash
    record = nodes.lightning().payment_record(payment.payment_hash)
    return record.in_progress or record.pending > 0 or record.complete > 0


@ledger.atomic
def _cancel(payment_id: UUID) -> tuple[Outpoint, ...]:
    """Returns the coins that it had chosen, which are free again."""
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.was_cancelled:
        return ()
    if not payment.can_be_cancelled:
        raise TooLateToCancel()
    coins = end_all(payment)
    release(payment, CANCELLED)
    return coins
