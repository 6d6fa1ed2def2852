"""Withdraw to a bitcoin address: quote, hold, sign once, broadcast the same hex for ever.

| step      | committed by it                    | the process dies here: what finishes it        |
|-----------|------------------------------------|------------------------------------------------|
| hold      | payment `created` + hold, together | `advance_withdrawals` prepares again           |
| prepare   | nothing                            | the same; nobody has seen what was signed      |
| sign      | `signed` with hex and inputs       | `advance_withdrawals` broadcasts the hex       |
| broadcast | `broadcast_attempted_at`           | the same hex again, never another transaction  |
| book      | `broadcast` + ledger, together     | `advance_withdrawals` counts confirmations     |

The fee is exact in the signed transaction, so the hold is resolved when it is broadcast.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, InterfaceError, OperationalError
from django.utils import timezone

from accounts import ledger, statement
from accounts.credentials import Credential
from accounts.errors import InsufficientFunds, SelfPayment
from accounts.ledger import House
from accounts.models import Activity, User
from coinos import killswitch, nodes
from coinos.constraints import violated_constraint
from coinos.errors import InvalidAmount, NodeUnavailable
from coinos.failpoints import failpoint
from coinos.money import MSAT_PER_SAT
from coinos.nodes.base import FeeRates, NodeRefused, SignedTransaction, WalletTransaction
from coinos.rates import rate_or_none
from invoices.models import Invoice
from invoices.selectors import find
from payments import idempotency
from payments.destinations import Onchain, recognise
from payments.errors import FeeRateTooLow, InvalidAddress, UnknownDestination
from payments.fees import (
    DUST_SAT,
    FEE_RATE_MAX_SAT_VB,
    miner_fee_reserve_sat,
    platform_fee_sat,
)
from payments.gate import give_back, open_gate, require_room_in_flight, reserve
from payments.idempotency import Named, Spent
from payments.models import Payment, WithdrawalInput
from payments.services.internal import pay_own_invoice

logger = logging.getLogger(__name__)

PREPARING_MAX = timedelta(seconds=60)
PICK_UP_AFTER = timedelta(seconds=5)
DEEP = 6
PER_ROUND = 200


# --- Quote ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quote:
    """What a withdrawal would cost. `amount_sat` is what the recipient gets."""

    address: str
    amount_sat: int
    fee_sat: int
    platform_fee_sat: int
    fee_rate_sat_vb: int
    fees: FeeRates
    subtract: bool
    internal: bool

    @property
    def total_sat(self) -> int:
        return self.amount_sat + self.fee_sat + self.platform_fee_sat


def quote_onchain(
    *,
    user: User,
    address: str,
    amount_sat: int,
    fee_rate_sat_vb: int | None = None,
    subtract: bool = False,
) -> Quote:
    """Price a withdrawal without any trace: no lock, no row (A07).

    With `subtract` the fees come out of `amount_sat`: of a full balance, that sends everything.
    Raises `InvalidAddress`, `SelfPayment`, `FeeRateTooLow`, `InvalidAmount` (dust) and
    `InsufficientFunds`, which names the most that can be sent.
    """
    address = _address_of(address)
    fees = nodes.bitcoin().fee_rates()
    owner = _internal_owner(user, address)
    if owner:
        available_sat = ledger.balance_of(user.id).available_sat
        if amount_sat > available_sat:
            raise InsufficientFunds(available_sat, amount_sat)
        return Quote(address, amount_sat, 0, 0, fees.half_hour, fees, subtract, internal=True)
    return _price(user, address, amount_sat, fee_rate_sat_vb, subtract, fees)


def _price(
    user: User,
    address: str,
    amount_sat: int,
    fee_rate_sat_vb: int | None,
    subtract: bool,
    fees: FeeRates,
) -> Quote:
    rate = fee_rate_sat_vb or fees.half_hour
    if rate < fees.minimum:
        raise FeeRateTooLow(f"fee rate too low: at least {fees.minimum} sat/vB", field="/feeRate")
    if rate > FEE_RATE_MAX_SAT_VB:
        raise InvalidAmount(f"feeRate may be at most {FEE_RATE_MAX_SAT_VB}", field="/feeRate")
    house_fee_sat = platform_fee_sat(amount_sat)
    to_send_sat = amount_sat - house_fee_sat if subtract else amount_sat
    available_sat = ledger.balance_of(user.id).available_sat
    _require_not_dust(to_send_sat)
    if amount_sat > available_sat:
        raise InsufficientFunds(available_sat, amount_sat)
    fee_sat = _prepare(address, to_send_sat, rate, subtract=subtract, lock_inputs=False).fee_sat
    quote = Quote(
        address=address,
        amount_sat=to_send_sat - fee_sat if subtract else to_send_sat,
        fee_sat=fee_sat,
        platform_fee_sat=house_fee_sat,
        fee_rate_sat_vb=rate,
        fees=fees,
        subtract=subtract,
        internal=False,
    )
    _require_not_dust(quote.amount_sat)
    if quote.total_sat > available_sat:
        most_sat = max(0, available_sat - fee_sat - platform_fee_sat(available_sat))
        raise InsufficientFunds(
            available_sat, quote.total_sat, f" (fees included; at most {most_sat} can be sent)"
        )
    return quote


def _address_of(text: str) -> str:
    """A valid address of our network, in canonical case. Raises `InvalidAddress`."""
    try:
        found = recognise(text)
    except UnknownDestination as error:
        raise InvalidAddress(field="/address") from error
    if not isinstance(found, Onchain) or not nodes.bitcoin().address_is_valid(found.address):
        raise InvalidAddress(field="/address")
    return found.address


def _internal_owner(user: User, address: str) -> Invoice | None:
    """The invoice on this server that the address belongs to (rule 9). Ours by our own table
    first; an address of the node's wallet that is nobody's belongs to the house and is refused."""
    found = find(address)
    if found is None:
        if nodes.bitcoin().address_is_ours(address):
            raise InvalidAddress("This address belongs to this server itself", field="/address")
        return None
    if found.invoice.user_id == user.id:
        raise SelfPayment(field="/address")
    return found.invoice


def _require_not_dust(amount_sat: int) -> None:
    if amount_sat < DUST_SAT:
        raise InvalidAmount(
            f"On-chain payments must be at least {DUST_SAT} sats after fees", field="/amount"
        )


def _prepare(
    address: str, amount_sat: int, rate: int, *, subtract: bool, lock_inputs: bool
) -> SignedTransaction:
    try:
        return nodes.bitcoin().prepare(
            address=address,
            amount_sat=amount_sat,
            fee_rate_sat_vb=rate,
            subtract_fee=subtract,
            lock_inputs=lock_inputs,
        )
    except NodeRefused as error:
        if error.code == "insufficient_funds":
            # The user's money is there, the hot wallet's coins are not: an operator's matter.
            logger.error("the on-chain wallet cannot cover a withdrawal of %s sats", amount_sat)
            raise NodeUnavailable(
                "The on-chain wallet is being refilled; nothing was sent. Try again later",
                retry_after_s=60,
            ) from error
        raise


# --- Send ----------------------------------------------------------------------------------------


def send_onchain(
    *,
    credential: Credential,
    address: str,
    amount_sat: int,
    fee_rate_sat_vb: int | None = None,
    subtract: bool = False,
    memo: str = "",
    pin: object = None,
    named: Named | None = None,
) -> Spent:
    """Withdraw to an address, or pay its owner when it is one of ours.

    What the caller named is what happens: the amount is never changed but with `subtract` (F19).
    Raises what `quote_onchain` and the gate raise; then nothing was held. Raises `PaymentFailed`
    when the node refused to build the transaction; then the hold has gone back.
    """
    user = credential.user
    earlier = idempotency.replay(user, named)
    if earlier:
        return Spent(earlier, replayed=True)
    quote = quote_onchain(
        user=user,
        address=address,
        amount_sat=amount_sat,
        fee_rate_sat_vb=fee_rate_sat_vb,
        subtract=subtract,
    )
    if quote.internal:
        return pay_own_invoice(
            credential=credential,
            ref=quote.address,
            amount_sat=amount_sat,
            memo=memo,
            pin=pin,
            named=named,
            reuse_address=True,
        )
    open_gate(credential, pin=pin, external=True)
    spent = idempotency.once(user, named, lambda: _accept(credential, quote, memo, named))
    if spent.replayed:
        return spent
    failpoint("btc.held")
    try:
        advance(spent.activity.id)
    except NodeUnavailable:
        logger.warning("withdrawal %s waits for the node", spent.activity.id)
    except Exception:  # it is held, so it is under way, whatever this was
        logger.exception("withdrawal %s waits for the next round", spent.activity.id)
    return idempotency.answer(user, named, spent)


@ledger.atomic
def _accept(credential: Credential, quote: Quote, memo: str, named: Named | None) -> Activity:
    """Hold the money and write the payment, all or nothing."""
    user = credential.user
    payment_id = uuid.uuid4()
    if quote.subtract:
        max_fee_sat = quote.fee_sat
    else:
        spare_sat = ledger.balance_of(user.id).available_sat - quote.total_sat
        max_fee_sat = miner_fee_reserve_sat(quote.fee_sat, spare_sat)
    held_sat = quote.amount_sat + max_fee_sat + quote.platform_fee_sat
    idempotency.claim(user, named, payment_id, answered=False)
    reserve(credential, debit_sat=held_sat, external=True)
    hold_id = ledger.hold_for_payment(
        user_id=user.id,
        through=House.ONCHAIN,
        amount_msat=held_sat * MSAT_PER_SAT,
        payment_id=payment_id,
    )
    Payment.objects.create(
        id=payment_id,
        user=user,
        api_key=credential.api_key,
        type=Payment.Type.BITCOIN,
        destination=quote.address,
        amount_sat=quote.amount_sat,
        amount_msat=quote.amount_sat * MSAT_PER_SAT,
        max_fee_sat=max_fee_sat,
        platform_fee_sat=quote.platform_fee_sat,
        hold_id=hold_id,
        fee_rate_sat_vb=quote.fee_rate_sat_vb,
        subtract_fee=quote.subtract,
    )
    require_room_in_flight(user)
    return statement.record(
        id=payment_id,
        user=user,
        type=Activity.Type.BITCOIN,
        status=Activity.Status.PENDING,
        amount_sat=-quote.amount_sat,
        fee_sat=max_fee_sat,
        platform_fee_sat=quote.platform_fee_sat,
        hash=quote.address,
        memo=memo,
        currency=user.currency,
        rate=rate_or_none(user.currency),
    )


# --- Step by step --------------------------------------------------------------------------------


def advance(payment_id: uuid.UUID) -> None:
    """Take a withdrawal as far as it goes now. Safe to run twice and at once: every step is a
    conditional change under the payment's lock. Raises `NodeUnavailable`."""
    payment = Payment.objects.get(id=payment_id)
    if payment.state == Payment.State.CREATED and _claim(payment):
        _sign(payment)
        payment.refresh_from_db()
    if payment.state == Payment.State.SIGNED:
        _broadcast(payment)
        payment.refresh_from_db()
    if payment.state == Payment.State.BROADCAST:
        _follow(payment)


def advance_withdrawals() -> int:
    """`advance` every withdrawal that is under way; first lock the inputs of the signed ones
    again, which a restart of the node forgets. Returns how many were looked at."""
    under_way = Payment.objects.filter(
        type=Payment.Type.BITCOIN,
        state__in=[Payment.State.CREATED, Payment.State.SIGNED, Payment.State.BROADCAST],
        created__lt=timezone.now() - PICK_UP_AFTER,
    ).order_by("created")
    looked_at = 0
    for payment in under_way[:PER_ROUND]:
        try:
            if payment.state == Payment.State.SIGNED:
                nodes.bitcoin().lock(tuple(payment.inputs.values_list("txid", "vout")))
            advance(payment.id)
        except NodeUnavailable as error:
            nodes.bitcoin().info()  # raises when the node itself is away: all have to wait
            logger.error("withdrawal %s cannot be advanced: %s", payment.id, error.message)
        except (OperationalError, InterfaceError):
            raise
        except Exception:  # one odd withdrawal does not hold up the others
            logger.critical("withdrawal %s cannot be advanced", payment.id, exc_info=True)
        looked_at += 1
    return looked_at


def _claim(payment: Payment) -> bool:
    """One process at a time prepares; a claim that is a minute old belonged to a dead one."""
    now = timezone.now()
    free = Payment.objects.filter(id=payment.id, state=Payment.State.CREATED)
    unclaimed = free.filter(attempted_at=None) | free.filter(attempted_at__lt=now - PREPARING_MAX)
    return bool(unclaimed.update(attempted_at=now))


def _sign(payment: Payment) -> None:
    """Build and sign, with the inputs locked at the node, and store it all before anybody sees it.

    When the fee has outgrown the reserve the withdrawal fails: nothing was broadcast."""
    if killswitch.is_stopped():
        return
    sent_sat = payment.amount_sat + (payment.max_fee_sat if payment.subtract_fee else 0)
    assert payment.fee_rate_sat_vb
    try:
        signed = _prepare(
            payment.destination,
            sent_sat,
            payment.fee_rate_sat_vb,
            subtract=payment.subtract_fee,
            lock_inputs=True,
        )
    except NodeRefused as error:
        _fail_unsigned(payment.id, error.message)
        return
    failpoint("btc.prepared")
    if signed.fee_sat > payment.max_fee_sat and not payment.subtract_fee:
        nodes.bitcoin().unlock(signed.inputs)
        _fail_unsigned(payment.id, "The network fee rose above what was held; please try again")
        return
    try:
        stored = _store_signed(payment.id, signed)
    except IntegrityError as error:
        if violated_constraint(error) != "one_withdrawal_per_input":
            raise
        # The node forgot its locks and chose coins that another withdrawal spends: they stay
        # locked from now on, and the next round chooses others (A06).
        logger.warning("withdrawal %s chose coins in use; preparing again", payment.id)
        Payment.objects.filter(id=payment.id).update(attempted_at=None)
        return
    if not stored:
        nodes.bitcoin().unlock(signed.inputs)
    failpoint("btc.signed")


@ledger.atomic
def _store_signed(payment_id: uuid.UUID, signed: SignedTransaction) -> bool:
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state != Payment.State.CREATED:
        return False
    WithdrawalInput.objects.bulk_create(
        WithdrawalInput(payment=payment, txid=txid, vout=vout) for txid, vout in signed.inputs
    )
    if payment.subtract_fee:  # the recipient gets what the exact fee leaves
        sent_sat = payment.amount_sat + payment.max_fee_sat
        payment.amount_sat = sent_sat - signed.fee_sat
        payment.amount_msat = payment.amount_sat * MSAT_PER_SAT
    payment.state = Payment.State.SIGNED
    payment.txid, payment.hex, payment.fee_sat = signed.txid, signed.hex, signed.fee_sat
    payment.save(update_fields=["state", "txid", "hex", "fee_sat", "amount_sat", "amount_msat"])
    statement.change(
        Activity.objects.get(id=payment.id),
        status=Activity.Status.PENDING,
        hash=signed.txid,
        amount_sat=-payment.amount_sat,
        fee_sat=signed.fee_sat,
    )
    return True


def _broadcast(payment: Payment) -> None:
    """Give the stored hex to the network. Anything but a clear acceptance leaves it `signed`, and
    the same hex is given again."""
    if killswitch.is_stopped() and payment.broadcast_attempted_at is None:
        return
    Payment.objects.filter(id=payment.id).update(broadcast_attempted_at=timezone.now())
    failpoint("btc.attempted")
    answer = nodes.bitcoin().broadcast(payment.hex)
    failpoint("btc.broadcast")
    if answer.state == "accepted" or (answer.state == "ambiguous" and _is_known(payment)):
        _book(payment.id)
    else:
        logger.error("withdrawal %s: broadcast %s: %s", payment.id, answer.state, answer.reason)


def _is_known(payment: Payment) -> bool:
    transaction = _transaction(payment)
    return transaction is not None and (transaction.in_mempool or transaction.confirmations > 0)


def _transaction(payment: Payment) -> WalletTransaction | None:
    assert payment.txid
    return nodes.bitcoin().transaction(payment.txid)


@ledger.atomic
def _book(payment_id: uuid.UUID) -> None:
    """The network has the transaction: its exact fee is booked, the rest of the hold is free."""
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state != Payment.State.SIGNED:
        return
    assert payment.fee_sat is not None
    payment.state = Payment.State.BROADCAST
    payment.fee_final = True
    payment.save(update_fields=["state", "fee_final"])
    ledger.settle_payment(
        hold_id=payment.hold_id,
        spent_msat=(payment.amount_sat + payment.fee_sat) * MSAT_PER_SAT,
        platform_fee_msat=payment.platform_fee_sat * MSAT_PER_SAT,
        payment_id=payment.id,
    )
    statement.change(
        Activity.objects.get(id=payment.id), status=Activity.Status.PENDING, ref=payment.txid
    )


def _follow(payment: Payment) -> None:
    """Count confirmations until it is deep. Dropped from the mempool: the same hex again.

    Only a foreign transaction that spent an input, buried deep, ends it as failed; after one of
    our own wallet's an operator has to look."""
    transaction = _transaction(payment)
    if transaction is None or (transaction.confirmations == 0 and not transaction.in_mempool):
        nodes.bitcoin().broadcast(payment.hex)
        return
    _note_confirmations(payment.id, transaction)


@ledger.atomic
def _note_confirmations(payment_id: uuid.UUID, transaction: WalletTransaction) -> None:
    confirmations = transaction.confirmations
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state != Payment.State.BROADCAST or payment.confirmations == confirmations:
        return
    before, payment.confirmations = payment.confirmations, confirmations
    was_settled = before > 0
    activity = Activity.objects.get(id=payment.id)
    if confirmations <= -DEEP and not transaction.conflicts:
        _return(payment, activity)
    elif confirmations > 0 and not was_settled:
        payment.resolved_at = timezone.now()
        statement.change(activity, status=Activity.Status.SETTLED)
    elif confirmations <= 0 and was_settled:
        statement.change(activity, status=Activity.Status.PENDING)
    if transaction.conflicts and confirmations <= -DEEP < before:
        # A rival of our own wallet may have paid the recipient: a fee bumped by hand.
        killswitch.stop_sends(f"withdrawal {payment.id} was replaced by another of our wallet's")
    if confirmations >= DEEP:
        payment.state = Payment.State.CONFIRMED
        payment.inputs.update(live=False)
    payment.save(update_fields=["state", "confirmations", "resolved_at", "failure"])


def _return(payment: Payment, activity: Activity) -> None:
    """A foreign transaction took our inputs for good: the user gets amount and fees back."""
    logger.critical("withdrawal %s: its inputs were spent by another transaction", payment.id)
    killswitch.stop_sends(f"withdrawal {payment.id} was replaced by a foreign transaction")
    assert payment.fee_sat is not None
    payment.state = Payment.State.FAILED
    payment.failure = "Another transaction spent the same coins; your sats are back"
    payment.inputs.update(live=False)
    returned_sat = payment.amount_sat + payment.fee_sat + payment.platform_fee_sat
    ledger.return_withdrawal(
        user_id=payment.user_id, amount_msat=returned_sat * MSAT_PER_SAT, payment_id=payment.id
    )
    statement.change(
        activity,
        status=Activity.Status.FAILED,
        fee_sat=0,
        platform_fee_sat=0,
        reason=payment.failure,
    )


@ledger.atomic
def _fail_unsigned(payment_id: uuid.UUID, reason: str) -> None:
    """Nothing was signed that anybody has seen: the hold goes back in full."""
    payment = Payment.objects.select_for_update().get(id=payment_id)
    if payment.state != Payment.State.CREATED:
        return
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
