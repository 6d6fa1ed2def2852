"""What the nodes have paid and no payment here knows: after a restore, or made by hand.

The nodes remember what a restored database has forgotten, but not for whom it was. Operators find
that out, and charge the payment to its user: it becomes a payment like any other, from what the
node's record says. What nobody can be asked for is charged to an account of the operator's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from django.utils import timezone

from accounts import ledger, names, statement
from accounts.models import Activity, User
from coinos import nodes
from coinos.money import MSAT_PER_SAT, msat_to_sat_ceil
from coinos.nodes.base import SentTransaction
from coinos.rates import rate_or_none
from payments.models import OperatorAct, Payment, WithdrawalTransaction
from payments.operations.verb import ActRefused, Arguments, Claim, Parameter, Verb
from payments.services.resolution import resolve
from payments.services.withdrawals.adopting import adopt

PARTS_A_PAGE = 1_000


@dataclass(frozen=True)
class UnknownPayment:
    """`ref` is a payment hash or a txid. `amount_msat` is what the recipient got."""

    ref: str
    type: str
    amount_msat: int
    fee_msat: int
    destination: str

    @property
    def sat(self) -> int:
        return msat_to_sat_ceil(self.amount_msat + self.fee_msat)

    def __str__(self) -> str:
        to = f" to {self.destination}" if self.destination else ""
        return f"{self.ref}  {self.type}, {self.sat:,} sats with fees{to}"


def unknown_payments(*, since: datetime) -> list[UnknownPayment]:
    """Everything that left the nodes and belongs to no payment. Of the wallet since then; of
    lightningd in all its life, since its books go by number."""
    return [*_on_lightning(), *_on_chain(since)]


def _on_lightning() -> Iterator[UnknownPayment]:
    node, number = nodes.lightning(), 1
    while parts := node.parts_since(number=number, limit=PARTS_A_PAGE):
        number = parts[-1].number + 1
        hashes = {part.payment_hash for part in parts}
        known = Payment.objects.filter(payment_hash__in=hashes)
        for payment_hash in sorted(hashes - set(known.values_list("payment_hash", flat=True))):
            record = node.payment_record(payment_hash)
            if record.complete:
                fee_msat = record.sent_msat - record.delivered_msat
                yield UnknownPayment(
                    payment_hash, Payment.Type.LIGHTNING, record.delivered_msat, fee_msat, ""
                )


def _on_chain(since: datetime) -> Iterator[UnknownPayment]:
    node = nodes.bitcoin()
    sends = node.sends_since(int(since.timestamp()))
    of_txid = {one.txid: one for one in sends}
    known = WithdrawalTransaction.objects.filter(txid__in=of_txid).values_list("txid", flat=True)
    for txid in sorted(of_txid.keys() - set(known)):
        sent = node.sent(txid)
        outputs = [one for one in sends if one.txid == txid]
        if sent and sent.confirmations >= 0 and (sent.confirmations or sent.in_mempool):
            yield UnknownPayment(
                txid,
                Payment.Type.BITCOIN,
                sum(one.amount_sat for one in outputs) * MSAT_PER_SAT,
                sent.signed.fee_sat * MSAT_PER_SAT,
                ", ".join(one.address for one in outputs),
            )


# --- Charge it to its user ------------------------------------------------------------------------


def _look(arguments: Arguments) -> Claim:
    user, payment = _user(arguments["username"]), _find(arguments["ref"])
    about = f"charge to {user.username} what the node has paid: {payment}"
    return Claim(about, user, amount_sat=payment.sat)


def _begin(act: OperatorAct) -> Callable[[], str]:
    """The payment has the act's id, so it is there once. A withdrawal is never seen before it has
    its transaction: somebody might send it again."""
    user = _user(act.arguments["username"])
    if Payment.objects.filter(id=act.id).exists():
        resolve(act.id)
        return lambda: _outcome(act)
    found = _find(act.arguments["ref"])
    if found.type == Payment.Type.LIGHTNING:
        ledger.atomic(_accept)(act, user, found)
        resolve(act.id)
        return lambda: _outcome(act)
    sent = nodes.bitcoin().sent(found.ref)
    assert sent
    return lambda: _accept_sent(act, user, found, sent)


def _accept_sent(act: OperatorAct, user: User, found: UnknownPayment, sent: SentTransaction) -> str:
    _accept(act, user, found)
    if not adopt(act.id, sent):
        raise ActRefused("It spends a coin of another withdrawal: look at that one")
    return _outcome(act)


def _outcome(act: OperatorAct) -> str:
    payment = Payment.objects.select_related("user").get(id=act.id)
    return f"it is payment {payment.id} of {payment.user.username} now, {payment.state}"


def _accept(act: OperatorAct, user: User, found: UnknownPayment) -> None:
    """Write the payment down as it was before the node paid it, with all that it cost held."""
    now = timezone.now()
    payment = Payment(
        id=act.id,
        user=user,
        type=found.type,
        state=Payment.State.CREATED,
        destination=found.destination or found.ref,
        amount_sat=msat_to_sat_ceil(found.amount_msat),
        amount_msat=found.amount_msat,
        max_fee_sat=msat_to_sat_ceil(found.fee_msat),
    )
    if found.type == Payment.Type.LIGHTNING:
        payment.state = Payment.State.SENDING
        payment.payment_hash = found.ref
        payment.attempted_at = payment.deadline = payment.next_look_at = now
        payment.call_returned = True
    through = {
        Payment.Type.LIGHTNING: ledger.House.LIGHTNING,
        Payment.Type.BITCOIN: ledger.House.ONCHAIN,
    }
    payment.hold_id = ledger.hold_for_payment(
        user_id=user.id,
        through=through[Payment.Type(found.type)],
        amount_msat=payment.held_sat * MSAT_PER_SAT,
        payment_id=payment.id,
    )
    payment.save(force_insert=True)
    statement.record(
        id=payment.id,
        user=user,
        type=found.type,
        status=Activity.Status.PENDING,
        amount_sat=-payment.amount_sat,
        fee_sat=payment.max_fee_sat,
        platform_fee_sat=0,
        hash=payment.destination,
        payment_hash=payment.payment_hash,
        currency=user.currency,
        rate=rate_or_none(user.currency),
    )


def _find(ref: str) -> UnknownPayment:
    """What the node knows of it. Raises `ActRefused` when it paid no such thing, or a payment here
    knows of it."""
    if Payment.objects.filter(payment_hash=ref).exclude(state=Payment.State.FAILED).exists():
        raise ActRefused("A payment here has this payment hash already")
    if WithdrawalTransaction.objects.filter(txid=ref).exists():
        raise ActRefused("A withdrawal here has this transaction already")
    record = nodes.lightning().payment_record(ref)
    if record.complete:
        fee_msat = record.sent_msat - record.delivered_msat
        return UnknownPayment(ref, Payment.Type.LIGHTNING, record.delivered_msat, fee_msat, "")
    for one in _on_chain(datetime(2009, 1, 3, tzinfo=UTC)):
        if one.ref == ref:
            return one
    raise ActRefused("The nodes have paid nothing by this payment hash or txid")


def _user(name: str) -> User:
    user = User.objects.filter(username=names.normalise(name)).first()
    if user is None:
        raise ActRefused(f"There is no account {name}")
    return user


def ref(text: str) -> str:
    """A payment hash or txid."""
    if len(bytes.fromhex(text)) != 32:
        raise ValueError(text)
    return text.lower()


CHARGE = Verb(
    name="charge",
    help="Make what a node has paid, and nobody here knows of, a payment of the user it was for.",
    parameters=(
        Parameter("ref", "a payment hash or txid; `compare` lists them", ref),
        Parameter("username", "the name of an account"),
    ),
    look=_look,
    begin=_begin,
)
