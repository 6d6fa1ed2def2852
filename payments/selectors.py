"""Questions about payments. Reads only."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Case, Q, When

from accounts.models import Activity, User
from coinos.errors import NotFound
from payments.destinations import Bolt11, Onchain, recognise
from payments.errors import UnknownDestination
from payments.models import AutoWithdraw, AutoWithdrawRun, Gift, Payment, WithdrawalTransaction

PAYMENTS_READ = 200
"""For whom was paid lately."""


class PaymentNotFound(NotFound):
    message = "Payment not found"


def line_by_key(key: str, *, reader: User | None) -> Activity:
    """The line of a statement named by id, txid, `txid:vout`, bolt11, address or payment hash. A
    withdrawal answers to the txids of all its versions.

    A payment between users has two lines: a reader who is a party sees the own one. Raises
    `PaymentNotFound`."""
    lines = Activity.objects.select_related("counterparty").filter(_match(key.strip()))
    if reader:
        own = lines.filter(user=reader).order_by("-created").first()
        if own:
            return own
    line = lines.order_by("-created").first()
    if line is None:
        return _line_by_earlier_txid(key.strip().lower())
    return line


def _line_by_earlier_txid(txid: str) -> Activity:
    """Of a withdrawal that has another txid now: its fee was bumped."""
    is_txid = len(txid) == 64 and txid.isalnum()
    version = WithdrawalTransaction.objects.filter(txid=txid).first() if is_txid else None
    if version is None:
        raise PaymentNotFound()
    return Activity.objects.select_related("counterparty").get(id=version.payment_id)


def own_payment_by_key(key: str, user: User) -> Payment:
    """The user's payment out through a node, named as in `line_by_key`. Raises `PaymentNotFound`;
    a payment between users is over at once, and is none of these."""
    line = line_by_key(key, reader=user)
    payment = Payment.objects.filter(id=line.id, user=user).first()
    if payment is None:
        raise PaymentNotFound()
    return payment


def _match(key: str) -> Q:
    try:
        return Q(id=UUID(key))
    except ValueError:
        pass  # not one of our ids
    if "\x00" in key:
        return Q(pk__in=[])
    lower = key.lower()
    if len(lower) == 64 and lower.isalnum():
        return Q(payment_hash=lower) | Q(hash=lower)
    txid, separator, vout = lower.partition(":")
    if separator and len(txid) == 64 and vout.isdecimal():
        return Q(ref=lower, type=Activity.Type.BITCOIN)
    try:
        match recognise(key):
            case Bolt11(text):
                return Q(hash=text)
            case Onchain(address):
                return Q(hash=address)
    except UnknownDestination:
        pass  # nothing that a payment is known by
    return Q(hash=key)


def recent_addresses(user: User, limit: int) -> list[Payment]:
    """The newest payment to each of the Lightning Addresses elsewhere that the user paid last."""
    paid = Payment.objects.filter(user=user).exclude(recipient="").order_by("-created")
    newest: dict[str, Payment] = {}
    for payment in paid.only("recipient", "created")[:PAYMENTS_READ]:
        if "@" in payment.recipient:
            newest.setdefault(payment.recipient, payment)
    return list(newest.values())[:limit]


def payment_of(activity: Activity) -> Payment | None:
    """The outgoing state machine behind a line, for its timeline; None for other lines."""
    if activity.is_incoming or activity.type == Activity.Type.INTERNAL:
        return None
    return Payment.objects.filter(id=activity.id).first()


# --- Gifts and auto-withdraw ---------------------------------------------------------------------

GIFTS_SHOWN = 100


def gifts_of(user: User) -> list[Gift]:
    """What the user or fund has given: open gifts first, then the newest."""
    is_over = Case(When(state=Gift.State.OPEN, then=0), default=1)
    gifts = Gift.objects.filter(giver=user).select_related("taker", "made_by")
    return list(gifts.order_by(is_over, "-created")[:GIFTS_SHOWN])


def gift_of(line: Activity) -> Gift | None:
    """The gift that a giver's line set aside; None for other lines."""
    if line.is_incoming or line.type != Activity.Type.INTERNAL or line.counterparty_id:
        return None
    return Gift.objects.select_related("taker").filter(giver=line.user_id, id=line.hash).first()


def destination_of(user: User) -> str:
    """Where auto-withdraw sends, as it reads today: a user here may have another name by now."""
    recipient = User.objects.filter(auto_withdraw_from__user=user).first()
    return recipient.username if recipient else user.destination


def auto_withdraw_of(user: User) -> AutoWithdraw | None:
    return AutoWithdraw.objects.filter(user=user).first()


def last_auto_withdrawal(user: User) -> Activity | None:
    """The line of the last payment that auto-withdraw made."""
    paid = AutoWithdrawRun.objects.filter(user=user, state=AutoWithdrawRun.State.PAID)
    run = paid.order_by("-created").first()
    if run is None or run.activity_id is None:
        return None
    return Activity.objects.get(id=run.activity_id)
