"""The rows that movements of the ledger are for, where a test calls the ledger itself.

The database asks for them at the COMMIT, so they may be written after the movement."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.utils import timezone

from accounts.ledger import Arrived, Cause, House
from accounts.models import Activity, User
from invoices.models import Address, Deposit, Invoice, LightningRequest
from payments.models import Gift, Payment


def receipt(user: User, payment_hash: str, msat: int) -> Arrived:
    """A paid invoice of the user's; the one that has this hash already, if there is one."""
    request = LightningRequest.objects.filter(payment_hash=payment_hash).first()
    if request is None:
        request = LightningRequest.objects.create(
            invoice=_invoice(user, "lightning"), payment_hash=payment_hash, received_msat=msat
        )
    return Arrived(user.id, payment_hash, msat, Cause("invoice", str(request.invoice_id)))


def deposit(user: User, outpoint: str, sats: int, *, credits: int = 1) -> Arrived:
    """A deposit that is credited for the n-th time: `outpoint` is `txid:vout`."""
    txid, vout = outpoint.split(":")
    row = Deposit.objects.filter(txid=txid, vout=vout).first()
    if row is None:
        address = Address.objects.create(
            address=uuid.uuid4().hex, invoice=_invoice(user, "bitcoin")
        )
        row = Deposit(address=address, txid=txid, vout=vout, amount_sat=sats)
    row.state, row.sequence, row.confirmations_required = Deposit.State.CREDITED, credits, 1
    row.save()
    return Arrived(user.id, row.credit_id(credits - 1), sats * 1000, Cause("deposit", str(row.id)))


def reversed_deposit(outpoint: str) -> Cause:
    """The deposit, whose block is gone."""
    txid, vout = outpoint.split(":")
    row = Deposit.objects.get(txid=txid, vout=vout)
    row.state = Deposit.State.REVERSED
    row.save()
    return Cause("deposit", str(row.id))


def line(payer: User, payee: User, sats: int) -> Cause:
    """The payer's line of a payment between users."""
    made = Activity.objects.create(
        user=payer,
        counterparty=payee,
        type=Activity.Type.INTERNAL,
        status=Activity.Status.SETTLED,
        amount_sat=-sats,
        currency="USD",
    )
    return Cause("payment", str(made.id))


def payment(user: User, payment_id: uuid.UUID, hold_id: int, sats: int, through: House) -> None:
    """The payment that a hold is for. It has failed, after it was paid or not: so the ledger may
    be asked for every end of the hold. Nearly all of it is for the network's fee."""
    Payment.objects.create(
        id=payment_id,
        user=user,
        type="lightning" if through is House.LIGHTNING else "bitcoin",
        state=Payment.State.FAILED,
        amount_sat=1,
        amount_msat=1,
        max_fee_sat=sats - 1,
        hold_id=hold_id,
    )


def gift(giver: User, sats: int) -> uuid.UUID:
    """A gift that nobody has taken; its id."""
    made = Gift.objects.create(
        giver=giver,
        amount_sat=sats,
        token_sha256=uuid.uuid4().hex,
        expires=timezone.now() + timedelta(days=1),
    )
    return made.id


def gift_ends(gift_id: uuid.UUID, taker: User | None) -> None:
    """It is taken, or returned when nobody takes it."""
    Gift.objects.filter(id=gift_id).update(
        state="taken" if taker else "returned", taker=taker, resolved_at=timezone.now()
    )


def _invoice(user: User, type: str) -> Invoice:
    return Invoice.objects.create(user=user, type=type, currency="USD", expiry_s=3600)
