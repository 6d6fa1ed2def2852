"""Withdraw to a bitcoin address: price it without a trace, hold, and hand it to `withdrawals`."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts import ledger, statement
from accounts.credentials import Credential
from accounts.errors import InsufficientFunds, SelfPayment
from accounts.ledger import House
from accounts.models import Activity, User
from coinos import nodes
from coinos.errors import InvalidAmount, NodeUnavailable
from coinos.failpoints import failpoint
from coinos.money import MSAT_PER_SAT
from coinos.nodes.base import FeeRates
from coinos.rates import rate_or_none
from invoices.models import Invoice
from invoices.selectors import find
from payments import idempotency
from payments.destinations import Onchain, read
from payments.errors import FeeRateTooLow, InvalidAddress, UnknownDestination
from payments.fees import (
    DUST_SAT,
    FEE_RATE_MAX_SAT_VB,
    least_fee_rate_sat_vb,
    miner_fee_reserve_sat,
    platform_fee_sat,
    promised_wait,
)
from payments.gate import open_gate, reserve
from payments.idempotency import Named, Spent
from payments.models import Payment
from payments.services.hold import hold
from payments.services.internal import pay_own_invoice
from payments.services.withdrawals import advance, prepare

logger = logging.getLogger(__name__)

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
    least_sat_vb = least_fee_rate_sat_vb(fees)
    if rate < least_sat_vb:
        raise FeeRateTooLow(
            "fee rate too low: at least %(rate)s sat/vB",
            page_message=_("The fee rate must be at least %(rate)s sat/vB"),
            field="/feeRate",
            values={"rate": least_sat_vb},
        )
    if rate > FEE_RATE_MAX_SAT_VB:
        raise InvalidAmount(
            "feeRate may be at most %(rate)s",
            page_message=_("The fee rate may be at most %(rate)s sat/vB"),
            field="/feeRate",
            values={"rate": FEE_RATE_MAX_SAT_VB},
        )
    house_fee_sat = platform_fee_sat(amount_sat)
    to_send_sat = amount_sat - house_fee_sat if subtract else amount_sat
    available_sat = ledger.balance_of(user.id).available_sat
    _require_not_dust(to_send_sat)
    if amount_sat > available_sat:
        raise InsufficientFunds(available_sat, amount_sat)
    fee_sat = prepare(address, to_send_sat, rate, subtract=subtract, lock_inputs=False).fee_sat
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
        raise InsufficientFunds(available_sat, quote.total_sat, most_sat)
    return quote


def withdrawal_address(user: User, text: str) -> str:
    """The address to which this user may withdraw, in canonical case. Raises `InvalidAddress` and
    `SelfPayment`."""
    address = _address_of(text)
    _internal_owner(user, address)
    return address


def _address_of(text: str) -> str:
    """A valid address of our network, in canonical case: of those in a link the first. Raises
    `InvalidAddress`."""
    try:
        ways = read(text).ways
    except UnknownDestination as error:
        raise InvalidAddress(field="/address") from error
    for way in ways:
        if isinstance(way, Onchain) and nodes.bitcoin().address_is_valid(way.address):
            return way.address
    raise InvalidAddress(field="/address")


def _internal_owner(user: User, address: str) -> Invoice | None:
    """The invoice on this server that the address belongs to. Ours by our own table
    first; an address of the node's wallet that is nobody's belongs to the house and is refused."""
    found = find(address)
    if found is None:
        if nodes.bitcoin().address_is_ours(address):
            raise InvalidAddress(_("This address belongs to this server itself"), field="/address")
        return None
    if found.invoice.user_id == user.id:
        raise SelfPayment(field="/address")
    return found.invoice


def _require_not_dust(amount_sat: int) -> None:
    if amount_sat < DUST_SAT:
        raise InvalidAmount(
            _("On-chain payments must be at least %(sats)s sats after fees"),
            field="/amount",
            values={"sats": DUST_SAT},
        )


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
    payment = Payment(
        id=payment_id,
        user=user,
        api_key=credential.api_key,
        type=Payment.Type.BITCOIN,
        destination=quote.address,
        amount_sat=quote.amount_sat,
        amount_msat=quote.amount_sat * MSAT_PER_SAT,
        max_fee_sat=max_fee_sat,
        platform_fee_sat=quote.platform_fee_sat,
        fee_rate_sat_vb=quote.fee_rate_sat_vb,
        subtract_fee=quote.subtract,
        expected_by=timezone.now() + promised_wait(quote.fee_rate_sat_vb, quote.fees),
    )
    line = statement.line(
        id=payment_id,
        user_id=user.id,
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
    return hold(credential, payment, line, through=House.ONCHAIN)
