"""The release rule: the only way in which an outgoing Lightning payment comes to an end.

The request that pays and the resolver both ask `outcome`; nothing else settles or releases a
hold. It looks at the node's own record of the payment hash, never at what a call answered.
"""

from __future__ import annotations

from coinos.nodes.base import Failed, Outcome, PaymentRecord, Settled, Unknown


def outcome(
    record: PaymentRecord,
    *,
    call_returned: bool,
    deadline_passed: bool,
    nothing_is_lost: bool,
    reason: str = "The payment did not arrive; nothing was paid",
) -> Outcome:
    """What became of a payment, by the node's record of its payment hash.

    | parts in the record   | outcome                                                         |
    |-----------------------|-----------------------------------------------------------------|
    | any complete          | `Settled`; the fee is final once no part is pending             |
    | any pending           | `Unknown`                                                       |
    | none, or all failed   | `Failed` if no more parts can follow and the node's books have  |
    |                       | lost none; else `Unknown`                                       |

    No more parts can follow when our call returned or `deadline_passed` (attempted + retry_for +
    margin), and the node no longer reports an attempt in progress. A call that broke has not
    returned: lightningd goes on without us. `nothing_is_lost` says that a part of this payment
    would be in the record if there had ever been one. The fee in msat is what the complete parts
    sent minus what they delivered. A record that contradicts itself is `Unknown`. `reason` is the
    sentence for a `Failed`. Source: Core Lightning's `listsendpays` and `listpays`.
    """
    if record.complete:
        fee_msat = record.sent_msat - record.delivered_msat
        if record.preimage is None or fee_msat < 0:
            return Unknown("the node's record of a complete payment contradicts itself")
        return Settled(
            fee_msat,
            record.preimage,
            fee_final=record.pending == 0,
            delivered_msat=record.delivered_msat,
        )
    if record.pending:
        return Unknown("parts are in flight")
    if record.in_progress:
        return Unknown("the node is still trying")
    if not (call_returned or deadline_passed):
        return Unknown("more parts may follow")
    if not nothing_is_lost:
        return Unknown("the node's books are not, or may not be, all that was ever in them")
    return Failed(reason)
