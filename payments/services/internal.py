"""Payments between users of this server: one ledger transfer, free, instant, no node."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from accounts import ledger, statement
from accounts.credentials import Credential
from accounts.errors import SelfPayment
from accounts.ledger import Cause
from accounts.models import Activity, User
from accounts.selectors import user_by_name
from coinos.rates import rate_or_none
from invoices.errors import InvoiceAlreadyPaid, InvoiceNotFound
from invoices.selectors import Found, find
from invoices.services import internal_receipt, lock_for_internal_payment
from payments import idempotency
from payments.errors import AmountDiffers, AmountMissing
from payments.gate import open_gate, require_left, reserve
from payments.idempotency import Named, Spent


def send_to_user(
    *,
    credential: Credential,
    username: str,
    amount_sat: int,
    memo: str = "",
    pin: object = None,
    named: Named | None = None,
) -> Spent:
    """Pay another user by name. Raises `UserNotFound` and what `pay_user` raises; not when the
    request was made before, whoever has that name by now."""
    return pay_user(
        credential=credential,
        find_recipient=lambda: user_by_name(username),
        amount_sat=amount_sat,
        memo=memo,
        pin=pin,
        named=named,
    )


def pay_user(
    *,
    credential: Credential,
    find_recipient: Callable[[], User],
    amount_sat: int,
    memo: str = "",
    pin: object = None,
    named: Named | None = None,
) -> Spent:
    """Pay another user. Both see it in the same transaction. Of a request that was made before
    nothing is looked at again.

    Raises `SelfPayment`, `InsufficientFunds` and what the gate raises.
    """
    payer = credential.user

    def pay() -> Activity:
        recipient = find_recipient()
        if recipient == payer:
            raise SelfPayment()
        open_gate(credential, pin=pin, external=False)
        return move(recipient)

    @ledger.atomic
    def move(recipient: User) -> Activity:
        payment_id = uuid.uuid4()
        idempotency.claim(payer, named, payment_id, answered=True)
        reserve(credential, debit_sat=amount_sat, external=False)
        received = statement.line(
            user_id=recipient.id,
            type=Activity.Type.INTERNAL,
            status=Activity.Status.SETTLED,
            amount_sat=amount_sat,
            hash=payment_id.hex,
            ref=str(payer.id),
            counterparty=payer,
            memo=memo,
            currency=recipient.currency,
            rate=rate_or_none(recipient.currency),
        )
        sent = _payer_line(
            payer,
            payment_id,
            recipient=recipient,
            amount_sat=amount_sat,
            hash=payment_id.hex,
            memo=memo,
        )
        moved = ledger.move_internal(
            from_user_id=payer.id,
            to_user_id=recipient.id,
            amount_msat=amount_sat * 1000,
            external_id=f"send:{payment_id}",
            cause=Cause("payment", str(payment_id)),
            then=[statement.writing([received, sent])],
            commit=not credential.is_standing_order,
        )
        assert moved, "the id of a payment is new"
        require_left(credential)
        return sent

    return idempotency.once(payer, named, pay)


def pay_own_invoice(
    *,
    credential: Credential,
    ref: str | Found,
    amount_sat: int | None,
    memo: str = "",
    pin: object = None,
    named: Named | None = None,
    reuse_address: bool = False,
    lnurl: dict[str, Any] | None = None,
) -> Spent:
    """Pay an invoice of another user here, named by bolt11, payment hash, address or id,
    or found already. `lnurl` is what was said by the service elsewhere that led here.

    `amount_sat` is for invoices without an amount; if given for another it must be all that is
    debited, tip included: whoever names a sum pays no other (M17). It has to be given where the
    invoice has a tip and `ref` is not a bolt11, which says its sum itself: anybody may have added
    the tip since the payer looked.
    "Already paid" is checked under the lock that credits it (M35). Raises `InvoiceNotFound`,
    `InvoiceAlreadyPaid`, `InvoiceExpired`, `SelfPayment`, `AmountMissing`, `AmountDiffers`.
    """
    payer = credential.user

    def pay() -> Activity:
        found = ref if isinstance(ref, Found) else find(ref)
        if found and found.invoice.user_id == payer.id:
            raise SelfPayment()
        open_gate(credential, pin=pin, external=False)
        if found is None:
            raise InvoiceNotFound()
        return move(found)

    @ledger.atomic
    def move(found: Found) -> Activity:
        payment_id = uuid.uuid4()
        idempotency.claim(payer, named, payment_id, answered=True)
        payable = lock_for_internal_payment(found, reuse_address=reuse_address)
        fixed = bool(payable.amount_sat) and not reuse_address
        may_have_risen = bool(payable.tip_sat) and found.request is None
        if fixed and amount_sat != payable.total_sat and (amount_sat is not None or may_have_risen):
            raise AmountDiffers(payable.total_sat)
        chosen_sat = payable.amount_sat if fixed else amount_sat
        if not chosen_sat:
            raise AmountMissing(field="/amount")
        tip_sat = payable.tip_sat if fixed else 0
        reserve(credential, debit_sat=chosen_sat + tip_sat, external=False)
        # A bolt11 is settled here at most once, whatever Python believes: the id is unique.
        external_id = (
            f"invoice:{payable.payment_hash}" if payable.payment_hash else f"send:{payment_id}"
        )
        receipt = internal_receipt(
            payable, payer=payer, amount_sat=chosen_sat, tip_sat=tip_sat, memo=memo
        )
        sent = _payer_line(
            payer,
            payment_id,
            recipient=payable.user,
            amount_sat=chosen_sat,
            tip_sat=tip_sat or None,
            hash=payable.hash,
            payment_hash=payable.payment_hash,
            memo=memo or payable.memo,
            lnurl=lnurl,
        )
        moved = ledger.move_internal(
            from_user_id=payer.id,
            to_user_id=payable.user_id,
            amount_msat=(chosen_sat + tip_sat) * 1000,
            external_id=external_id,
            cause=Cause("payment", str(payment_id)),
            then=[*receipt.queries, statement.writing([receipt.line, sent])],
        )
        if not moved:
            raise InvoiceAlreadyPaid()
        require_left(credential)
        receipt.tell()
        return sent

    return idempotency.once(payer, named, pay)


def _payer_line(
    payer: User,
    payment_id: uuid.UUID,
    *,
    recipient: User,
    amount_sat: int,
    hash: str,
    memo: str,
    tip_sat: int | None = None,
    payment_hash: str | None = None,
    lnurl: dict[str, Any] | None = None,
) -> Activity:
    return statement.line(
        id=payment_id,
        user_id=payer.id,
        type=Activity.Type.INTERNAL,
        status=Activity.Status.SETTLED,
        amount_sat=-amount_sat,
        tip_sat=tip_sat,
        fee_sat=0,
        platform_fee_sat=0,
        hash=hash,
        ref=str(recipient.id),
        payment_hash=payment_hash,
        counterparty=recipient,
        memo=memo,
        lnurl=lnurl,
        currency=payer.currency,
        rate=rate_or_none(payer.currency),
    )
