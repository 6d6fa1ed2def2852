"""One box that takes anything: whom does it pay, what would it cost, pay it.

Looking and pricing leave no trace. Each kind of destination is paid by its own service.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, replace

from django.conf import settings
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from accounts.credentials import Credential
from accounts.errors import InsufficientFunds, SelfPayment
from accounts.ledger import balance_of
from accounts.models import User
from accounts.selectors import UserNotFound, user_by_key, user_by_name
from accounts.services import require_may_spend
from coinos import http, nodes
from coinos.errors import CoinosError, InvalidAmount
from coinos.money import msat_to_sat_ceil, msat_to_sat_floor
from coinos.nodes.base import FeeRates
from invoices.errors import InvoiceAlreadyPaid, InvoiceExpired
from invoices.models import Invoice
from invoices.selectors import find, find_invoice
from payments.destinations import (
    Bolt11,
    Bolt12Offer,
    Destination,
    LightningAddress,
    Lnurl,
    NostrKey,
    Onchain,
    Username,
    read,
    recognise,
)
from payments.errors import InvalidAddress, InvalidPaymentRequest
from payments.fees import (
    miner_fee_reserve_sat,
    most_sendable_sat,
    platform_fee_sat,
    routing_reserve_sat,
)
from payments.gate import require_sends_allowed
from payments.idempotency import Named, Spent
from payments.services.internal import send_to_user
from payments.services.lightning import decode, pay_lightning, require_payable
from payments.services.lnurl import (
    PayService,
    RemoteRefused,
    look_up,
    pay_address,
    payer_data,
    require_within_balance,
)
from payments.services.onchain import quote_onchain, send_onchain

Payable = Bolt11 | Onchain | Username | LightningAddress | Lnurl


@dataclass(frozen=True)
class Asked:
    """Something that an LNURL service asks about the payer: LUD-18's name of it, what it would be
    told, and whether it insists."""

    kind: str
    text: str
    insists: bool


@dataclass(frozen=True)
class Target:
    """What the user pasted, looked up. `fixed_sat` is the amount it insists on, if it does."""

    destination: Payable
    recipient: str
    text: str = ""
    """Names this one way to pay, where what was pasted offers several."""
    fixed_sat: int | None = None
    suggested_sat: int | None = None
    minimum_sat: int = 1
    maximum_sat: int | None = None
    memo: str = ""
    comment_max: int = 0
    """How long a note the recipient takes, where another server is asked for the invoice."""
    asked: tuple[Asked, ...] = ()
    invoice: Invoice | None = None
    """Ours, so it is settled inside: at once and free."""
    fees: FeeRates | None = None
    """On-chain: what to choose from."""

    @property
    def is_internal(self) -> bool:
        return self.invoice is not None or isinstance(self.destination, Username)

    @property
    def is_onchain(self) -> bool:
        return isinstance(self.destination, Onchain) and not self.is_internal


@dataclass(frozen=True)
class Bill:
    """What paying costs. `fee_max_sat` is held; what the network does not take comes back."""

    amount_sat: int
    fee_sat: int | None
    fee_max_sat: int
    platform_fee_sat: int
    available_sat: int

    @property
    def total_sat(self) -> int:
        """The most that can leave the balance."""
        return self.amount_sat + self.fee_max_sat + self.platform_fee_sat

    @property
    def left_sat(self) -> int:
        """What remains spendable, at least."""
        return self.available_sat - self.total_sat


# --- Whom does it pay? ---------------------------------------------------------------------------


def look(user: User, text: str) -> Target:
    """Find out what was pasted, and of several ways to pay choose the best that can be paid. Asks
    the node where that is needed, or other servers, for `coinos.http.ASKING_OTHERS_S` in all; other
    servers only for users who may spend and have something to spend.

    Raises `UnknownDestination`, `UserNotFound`, `SelfPayment`, `InvoiceAlreadyPaid`,
    `InvoiceExpired`, `RemoteRefused`, `NodeUnavailable`; for another server also `AccountFrozen`,
    `WithdrawalsPaused`, `InsufficientFunds`, `Busy` and `RateLimited`.
    """
    request = read(text)
    until = time.monotonic() + http.ASKING_OTHERS_S
    refusal: CoinosError | None = None
    for way in request.ways:
        try:
            target = _look_at(user, _payable(way), until=until)
        except _NEXT_WAY as error:
            refusal = refusal or error
            continue
        return replace(
            target,
            text=text if len(request.ways) == 1 else str(target.destination),
            suggested_sat=None if target.fixed_sat else request.amount_sat or target.suggested_sat,
            memo=target.memo or request.memo,
        )
    assert refusal, "a request has a way to pay"
    raise refusal


# With one of these the next way of a link is tried; not with `InvoiceAlreadyPaid` or `SelfPayment`,
# where an address beside the invoice would be paid for the same thing a second time.
_NEXT_WAY = (InvoiceExpired, InvalidPaymentRequest, InvalidAddress, RemoteRefused, UserNotFound)


def _look_at(user: User, found: Payable, *, until: float) -> Target:
    if isinstance(found, Username):
        try:
            recipient = user_by_name(found.name)
        except UserNotFound as error:
            raise UserNotFound(
                _("Nobody here has the name %(name)s"), values={"name": found.name}
            ) from error
        if recipient == user:
            raise SelfPayment()
        return Target(found, recipient.username)
    if isinstance(found, Bolt11):
        return _look_at_bolt11(user, found)
    if isinstance(found, Onchain):
        return _look_at_address(user, found)
    require_may_spend(user)
    require_sends_allowed()
    require_within_balance(user, 1)
    with http.asking_others(user.id):
        service = look_up(found, until=until)
    return target_of(user, found, service)


def target_of(user: User, found: LightningAddress | Lnurl, service: PayService) -> Target:
    """A service that has been asked already, as what is paid. Raises `PayerDataRequired` where it
    wants to know about the user what it cannot be told."""
    known = payer_data(user)
    service.require(known)
    least_sat, most_sat = msat_to_sat_ceil(service.min_msat), msat_to_sat_floor(service.max_msat)
    return Target(
        found,
        str(found) if isinstance(found, LightningAddress) else service.host,
        text=str(found),
        suggested_sat=most_sat if least_sat == most_sat else None,
        minimum_sat=least_sat,
        maximum_sat=most_sat,
        memo=service.description,
        comment_max=service.comment_max,
        asked=tuple(
            Asked(kind, known[kind], insists)
            for kind, insists in service.wanted.items()
            if kind in known
        ),
    )


def _payable(way: Destination) -> Payable:
    """What is named, as the kind that is paid."""
    match way:
        case LightningAddress() as address if address.is_ours:
            return Username(address.name)
        case NostrKey(key):
            try:
                return Username(user_by_key(key).username)
            except UserNotFound as error:
                raise InvalidPaymentRequest(
                    _(
                        "Nobody here has this Nostr key, and others cannot be paid here yet."
                        " Ask for a Lightning Address"
                    )
                ) from error
        case Bolt12Offer():
            raise InvalidPaymentRequest(
                _("Offers (lno…) cannot be paid here yet. Ask for an invoice")
            )
        case found:
            return found


def _look_at_bolt11(user: User, found: Bolt11) -> Target:
    ours = find(found.text)
    if ours and ours.request:
        # An earlier bolt11 of an invoice whose tip was changed is paid with its own total.
        fixed_sat = msat_to_sat_ceil(ours.request.amount_msat or 0) or None
        return _ours(user, found, ours.invoice, fixed_sat=fixed_sat)
    decoded = decode(found.text)
    require_payable(decoded, nodes.lightning().info())
    amount_msat = decoded.amount_msat
    payee = decoded.payee or ""
    return Target(
        found,
        gettext("Lightning node %(payee)s") % {"payee": payee[:12]}
        if payee
        else gettext("a Lightning node"),
        fixed_sat=msat_to_sat_ceil(amount_msat) if amount_msat is not None else None,
        memo=decoded.description or "",
    )


def _look_at_address(user: User, found: Onchain) -> Target:
    ours = find_invoice(found.address)
    if ours:
        return _ours(user, found, ours)
    if not nodes.bitcoin().address_is_valid(found.address):
        raise InvalidAddress()
    return Target(
        found,
        found.address,
        fees=nodes.bitcoin().fee_rates(),
    )


def _ours(
    user: User,
    found: Bolt11 | Onchain,
    invoice: Invoice,
    *,
    fixed_sat: int | None = None,
) -> Target:
    if invoice.user_id == user.id:
        raise SelfPayment()
    if isinstance(found, Bolt11):
        if invoice.is_paid:
            raise InvoiceAlreadyPaid()
        if invoice.is_expired:
            raise InvoiceExpired()
    return Target(
        found,
        invoice.user.username,
        fixed_sat=fixed_sat,
        memo=invoice.memo,
        invoice=invoice,
    )


# --- What would it cost? -------------------------------------------------------------------------


def price(
    user: User,
    target: Target,
    amount_sat: int,
    *,
    fee_rate_sat_vb: int | None = None,
    subtract: bool = False,
) -> Bill:
    """The bill of paying `amount_sat`. Raises `InsufficientFunds`, `InvalidAmount` and what the
    quote of a withdrawal raises."""
    if target.fixed_sat:
        amount_sat = target.fixed_sat
    available_sat = balance_of(user.id).available_sat
    top_sat = min(target.maximum_sat or settings.MAX_PAYMENT_SAT, settings.MAX_PAYMENT_SAT)
    if not target.minimum_sat <= amount_sat <= top_sat:
        raise InvalidAmount(
            _("The amount must be from %(least)s to %(most)s sats"),
            field="/amount",
            values={"least": target.minimum_sat, "most": top_sat},
        )
    if target.is_internal:
        bill = Bill(amount_sat, 0, 0, 0, available_sat)
    elif isinstance(target.destination, Onchain):
        quote = quote_onchain(
            user=user,
            address=target.destination.address,
            amount_sat=amount_sat,
            fee_rate_sat_vb=fee_rate_sat_vb,
            subtract=subtract,
        )
        spare_sat = 0 if subtract else available_sat - quote.total_sat
        bill = Bill(
            quote.amount_sat,
            quote.fee_sat,
            miner_fee_reserve_sat(quote.fee_sat, spare_sat),
            quote.platform_fee_sat,
            available_sat,
        )
    else:
        reserve_sat = routing_reserve_sat(amount_sat)
        bill = Bill(amount_sat, None, reserve_sat, platform_fee_sat(amount_sat), available_sat)
    if bill.total_sat > available_sat:
        raise InsufficientFunds(available_sat, bill.total_sat)
    return bill


def everything_sat(user: User, target: Target) -> int:
    """The amount that "send max" means: the balance, less the most that the fees can be, within
    what one payment may be. For an on-chain payment the fees then come out of it."""
    available_sat = balance_of(user.id).available_sat
    if target.is_internal or target.is_onchain:
        most_sat = available_sat
    else:
        most_sat = most_sendable_sat(available_sat)
    return min(most_sat, target.maximum_sat or most_sat, settings.MAX_PAYMENT_SAT)


# --- Pay it --------------------------------------------------------------------------------------


def pay(
    *,
    credential: Credential,
    text: str,
    amount_sat: int,
    max_fee_sat: int | None = None,
    fee_rate_sat_vb: int | None = None,
    subtract: bool = False,
    memo: str = "",
    any_description: bool = True,
    tell: Collection[str] = (),
    pin: object = None,
    named: Named | None = None,
) -> Spent:
    """Pay what was pasted, by the service for its kind: `Target.text` names one way to pay. Raises
    what that service raises."""
    found = _payable(recognise(text))
    if isinstance(found, Username):
        return send_to_user(
            credential=credential,
            username=found.name,
            amount_sat=amount_sat,
            memo=memo,
            pin=pin,
            named=named,
        )
    if isinstance(found, Bolt11):
        return pay_lightning(
            credential=credential,
            payreq=found.text,
            amount_sat=amount_sat,
            max_fee_sat=max_fee_sat,
            memo=memo,
            pin=pin,
            named=named,
        )
    if isinstance(found, Onchain):
        return send_onchain(
            credential=credential,
            address=found.address,
            amount_sat=amount_sat,
            fee_rate_sat_vb=fee_rate_sat_vb,
            subtract=subtract,
            memo=memo,
            pin=pin,
            named=named,
        )
    return pay_address(
        credential=credential,
        destination=found,
        amount_sat=amount_sat,
        max_fee_sat=max_fee_sat,
        memo=memo,
        any_description=any_description,
        tell=tell,
        pin=pin,
        named=named,
    )
