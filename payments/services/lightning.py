"""Pay a Lightning invoice from outside: accept, hold, send once, find out.

| step   | committed before it                     | the process dies here: who finishes it       |
|--------|-----------------------------------------|----------------------------------------------|
| accept | –                                       | nothing was stored; the client asks again    |
| hold   | payment `created` + hold, together      | `dispatch_waiting`, after five seconds       |
| claim  | payment `sending` with its deadline     | the resolver, once the deadline has passed   |
| call   | the same                                | the resolver, by the node's record           |
| settle | `settled` + ledger, together            | nothing is left to do, but a late fee        |

The claim is a conditional update, so one process calls the node, once, for each payment.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts import ledger, statement
from accounts.credentials import Credential
from accounts.errors import SelfPayment
from accounts.ledger import House
from accounts.models import Activity
from coinos import killswitch, nodes
from coinos.constraints import violated_constraint
from coinos.db import Query, ask, let_go_of_connection
from coinos.errors import NodeUnavailable
from coinos.failpoints import failpoint
from coinos.joined import Joined
from coinos.money import MSAT_PER_SAT, msat_to_sat_ceil
from coinos.nodes.base import Decoded, LightningInfo, NodeRefused
from coinos.rates import rate_or_none
from invoices.errors import InvoiceAlreadyPaid, InvoiceExpired
from invoices.selectors import find
from payments import idempotency
from payments.destinations import Bolt11, Bolt12Offer, read
from payments.errors import (
    AmountDiffers,
    AmountMissing,
    InvalidPaymentRequest,
    PaymentInProgress,
    UnknownDestination,
)
from payments.fees import platform_fee_sat, routing_reserve_sat
from payments.gate import PAYER_MAY_SPEND, open_gate, require_still_open, reserve
from payments.idempotency import Named, Spent
from payments.models import Payment
from payments.services.hold import hold
from payments.services.internal import pay_own_invoice
from payments.services.resolution import resolve, resolve_read

logger = logging.getLogger(__name__)

CURRENCIES = {"bitcoin": "bc", "testnet4": "tb", "signet": "tbs", "regtest": "bcrt"}
ANSWER_WITHIN_S = 15
DISPATCH_AFTER = timedelta(seconds=5)
IN_FLIGHT_PER_PROCESS = 32
CLAIMS_MAX = 3

_pool = ThreadPoolExecutor(IN_FLIGHT_PER_PROCESS, thread_name_prefix="xpay")
_room = threading.BoundedSemaphore(IN_FLIGHT_PER_PROCESS)


def pay_lightning(
    *,
    credential: Credential,
    payreq: str,
    amount_sat: int | None = None,
    max_fee_sat: int | None = None,
    memo: str = "",
    recipient: str = "",
    lnurl: dict[str, Any] | None = None,
    pin: object = None,
    named: Named | None = None,
    gate_was_opened: bool = False,
) -> Spent:
    """Pay a bolt11, of this server or of any other, and wait at most 15 seconds for the outcome.

    The line that comes back is settled, or pending when nobody can know yet. `max_fee_sat` is the
    most that routing may cost, `recipient` the address that gave the bolt11, `lnurl` what else its
    service said. `gate_was_opened` says that the caller has opened the gate, PIN included, before
    asking for the bolt11. Raises
    `PaymentFailed` only when it is certain that nothing was paid, `NodeUnavailable` only when
    nothing was started, and what the checks raise.
    """
    bolt11 = bolt11_of(payreq)
    if found := find(bolt11):
        return pay_own_invoice(
            credential=credential,
            ref=found,
            amount_sat=amount_sat,
            memo=memo,
            pin=pin,
            named=named,
            lnurl=lnurl,
        )
    earlier = idempotency.replay(credential.user, named)
    if earlier:
        return Spent(earlier, replayed=True)

    node = nodes.lightning()
    decoded = decode(bolt11)
    info = node.info()
    require_payable(decoded, info)
    amount_msat = _amount_to_send(decoded, amount_sat)
    if gate_was_opened:
        require_still_open(credential)
    else:
        open_gate(credential, pin=pin, external=True)
    accept = functools.partial(
        _accept,
        credential,
        bolt11=bolt11,
        decoded=decoded,
        amount_msat=amount_msat,
        max_fee_sat=max_fee_sat,
        memo=memo,
        recipient=recipient,
        lnurl=lnurl,
        named=named,
    )
    try:
        spent = idempotency.once(credential.user, named, accept)
    except IntegrityError as error:
        raise _another_payment(error, decoded) from error
    if spent.replayed:
        return spent
    failpoint("ln.held")
    done = send_soon(spent.activity.id, node_id=info.id)
    if done and not _is_over(done):
        # Nobody knows yet, and the answer says pending. What is in flight is written down: a node
        # that forgets it from here on proves nothing by that.
        resolve(spent.activity.id)
    return idempotency.answer(credential.user, named, spent)


def bolt11_of(payreq: str) -> str:
    """The bolt11 in what the caller gave, in lower case. Raises `InvalidPaymentRequest`."""
    return _best(payreq, Bolt11)


def payment_request_of(text: str) -> str:
    """A bolt11, BOLT12 offer or BOLT12 invoice, in lower case. Raises `InvalidPaymentRequest`."""
    stripped = text.strip().lower().removeprefix("lightning:")
    return stripped if stripped.startswith("lni1") else _best(text, Bolt11, Bolt12Offer)


def _best(text: str, *kinds: type[Bolt11 | Bolt12Offer]) -> str:
    try:
        found = read(text).best(*kinds)
    except UnknownDestination as error:
        raise InvalidPaymentRequest(field="/payreq") from error
    if found is None:
        raise InvalidPaymentRequest(field="/payreq")
    return found.text


def decode(payment_request: str) -> Decoded:
    """What the node reads in a payment request. Raises `InvalidPaymentRequest`."""
    try:
        return nodes.lightning().decode(payment_request)
    except NodeRefused as error:
        raise InvalidPaymentRequest(field="/payreq") from error


def _amount_to_send(decoded: Decoded, amount_sat: int | None) -> int:
    """The msat that the recipient gets: the invoice's own, or the caller's when it has none."""
    if decoded.amount_msat is None:
        if amount_sat is None:
            raise AmountMissing(field="/amount")
        return amount_sat * MSAT_PER_SAT
    if amount_sat is not None and amount_sat != msat_to_sat_ceil(decoded.amount_msat):
        raise AmountDiffers(msat_to_sat_ceil(decoded.amount_msat))
    return decoded.amount_msat


def require_payable(decoded: Decoded, info: LightningInfo) -> None:
    """Raise unless this can be paid now: an invoice, of our network, not expired, not our own."""
    if decoded.kind == "bolt12 offer" or decoded.payment_hash is None:
        raise InvalidPaymentRequest(_("Offers cannot be paid here yet"), field="/payreq")
    if decoded.currency != CURRENCIES[settings.NETWORK]:
        raise InvalidPaymentRequest(_("This invoice is for another network"), field="/payreq")
    if decoded.created_at_s + decoded.expiry_s <= time.time():
        raise InvoiceExpired(field="/payreq")
    if decoded.payee == info.id:
        # Our node made it and no user of ours owns it (M15): the node never pays itself.
        raise SelfPayment(_("This invoice belongs to this server itself"), field="/payreq")


@ledger.atomic
def _accept(
    credential: Credential,
    *,
    bolt11: str,
    decoded: Decoded,
    amount_msat: int,
    max_fee_sat: int | None,
    memo: str,
    recipient: str,
    lnurl: dict[str, Any] | None,
    named: Named | None,
) -> Activity:
    """Hold the money and write the payment, all or nothing."""
    user = credential.user
    payment_id = uuid.uuid4()
    amount_sat = msat_to_sat_ceil(amount_msat)
    if max_fee_sat is None:
        max_fee_sat = routing_reserve_sat(amount_sat)
    house_fee_sat = platform_fee_sat(amount_sat)
    held_sat = amount_sat + max_fee_sat + house_fee_sat

    idempotency.claim(user, named, payment_id, answered=False)
    reserve(credential, debit_sat=held_sat, external=True)
    payment = Payment(
        id=payment_id,
        user=user,
        api_key=credential.api_key,
        type=Payment.Type.LIGHTNING,
        destination=bolt11,
        recipient=recipient,
        payment_hash=decoded.payment_hash,
        amount_sat=amount_sat,
        amount_msat=amount_msat,
        amount_to_choose=decoded.amount_msat is None,
        max_fee_sat=max_fee_sat,
        platform_fee_sat=house_fee_sat,
    )
    line = statement.line(
        id=payment_id,
        user_id=user.id,
        type=Activity.Type.LIGHTNING,
        status=Activity.Status.PENDING,
        amount_sat=-amount_sat,
        fee_sat=max_fee_sat,
        platform_fee_sat=house_fee_sat,
        hash=bolt11,
        payment_hash=decoded.payment_hash,
        memo=memo or decoded.description or "",
        lnurl=lnurl,
        currency=user.currency,
        rate=rate_or_none(user.currency),
    )
    hold(credential, payment, line, through=House.LIGHTNING)
    failpoint("ln.accepted")
    return line


def _another_payment(error: IntegrityError, decoded: Decoded) -> Exception:
    """One live payment per payment hash on the whole site (M28, M34): say which kind is there."""
    if violated_constraint(error) != "one_live_payment_per_payment_hash":
        return error
    paid = Payment.objects.filter(
        payment_hash=decoded.payment_hash, state=Payment.State.SETTLED
    ).exists()
    return InvoiceAlreadyPaid(field="/payreq") if paid else PaymentInProgress(field="/payreq")


# --- Sending -------------------------------------------------------------------------------------


def send_soon(payment_id: uuid.UUID, *, node_id: str | None = None) -> Future[None] | None:
    """`send` on a thread of the bounded pool. None when the pool is full: the payment stays
    `created`, and `dispatch_waiting` sends it when there is room."""
    if not _room.acquire(blocking=False):
        return None

    def run() -> None:
        try:
            send(payment_id, node_id=node_id)
        except Exception:
            # Nothing is lost: the payment is `created` or `sending`, and both are picked up.
            logger.exception("payment %s: sending was interrupted", payment_id)
        finally:
            _room.release()
            connection.close()

    return _pool.submit(run)


def send(payment_id: uuid.UUID, *, node_id: str | None = None) -> None:
    """Claim a `created` payment, call the node once, and resolve it by the node's record.

    `node_id` is who the node was a moment ago, asked anew when None. Were it another by now, that
    it has no record of the payment would prove nothing, and the payment stay undecided.
    Holds no database connection while the node works."""
    node = nodes.lightning()
    if killswitch.is_stopped():
        return  # still `created`: dispatched when the operator lifts the switch
    payment = None
    try:
        node_id = node_id or node.info().id
        for _try in range(CLAIMS_MAX):
            payment = _claim(payment_id, node_id, parts_before=node.parts_created())
            if payment:
                break  # else, maybe, others were faster since the node counted
    except NodeUnavailable:
        return  # still `created`: dispatched again later
    if payment is None:
        return
    connection.close()
    failpoint("ln.before_call")
    reply = node.pay(
        payment_request=payment.destination,
        amount_msat=payment.amount_msat if payment.amount_to_choose else None,
        max_fee_msat=payment.max_fee_sat * MSAT_PER_SAT,
        retry_for_s=settings.SEND_RETRY_FOR_SECONDS,
        label=str(payment.id),
    )
    failpoint("ln.after_call")
    payment.call_returned, payment.failure = reply.returned, reply.reason or ""
    if resolve_read(payment) or not reply.returned:
        return
    Payment.objects.filter(id=payment.id).update(
        call_returned=True, failure=payment.failure, next_look_at=timezone.now()
    )
    # The node's summary may lag a moment behind the call it has just answered.
    for pause_s in (0.1, 0.2, 0.4, 0.8, 1.5):
        time.sleep(pause_s)
        if resolve(payment.id):
            return


def _claim(payment_id: uuid.UUID, node_id: str, *, parts_before: int) -> Payment | None:
    """Take a payment from `created` to `sending`. None when another process was faster, and while
    the payer is frozen or evicted: that is asked again at the moment of sending.

    None, too, when it is not the node that we know, or has lost records, or has just counted fewer
    parts than before a payment that is still undecided (unless this count is older than that
    payment). A node that has lost some is not sent anything, or it would soon count as many as
    before, and look as if it had not."""
    now = timezone.now()
    deadline = now + timedelta(seconds=settings.SEND_RETRY_FOR_SECONDS)
    look_at = now + timedelta(seconds=5)
    claimed = ask(
        Query(
            _CLAIM,
            [now, deadline, node_id, parts_before, look_at, payment_id, node_id, parts_before],
        )
    )
    failpoint("ln.claimed")
    return _PAYMENT.read(claimed[0])[0] if claimed else None


_PAYMENT = Joined(payment=Payment)
_CLAIM = f"""
    UPDATE payments_payment AS payment SET state = 'sending', attempted_at = %s, deadline = %s,
        node_id = %s, parts_before = %s, next_look_at = %s
    WHERE id = %s AND state = 'created'
        AND EXISTS (SELECT FROM accounts_user AS payer
            WHERE payer.id = payment.user_id AND payer.is_active AND payer.frozen_at IS NULL)
        AND NOT EXISTS (SELECT FROM invoices_knownnode AS known
            WHERE known.node_id <> %s OR known.refusal <> '')
        AND NOT EXISTS (SELECT FROM payments_payment AS other
            WHERE other.state = 'sending' AND other.parts_before > %s
            AND other.attempted_at > COALESCE(
                (SELECT adopted_at FROM invoices_knownnode), '-infinity'))
    RETURNING {_PAYMENT.columns}
"""  # noqa: S608 – our own names


def dispatch_waiting() -> int:
    """Send the payments that nobody has begun to send. Returns how many were started.

    Those of frozen and evicted payers stay where they are, and keep no others from their turn."""
    waiting = Payment.objects.filter(
        **PAYER_MAY_SPEND,
        type=Payment.Type.LIGHTNING,
        state=Payment.State.CREATED,
        created__lt=timezone.now() - DISPATCH_AFTER,
    ).order_by("created")
    started = 0
    for payment_id in waiting.values_list("id", flat=True)[:IN_FLIGHT_PER_PROCESS]:
        if send_soon(payment_id) is None:
            break
        started += 1
    return started


def _is_over(done: Future[None]) -> bool:
    """Wait for the call, as long as a caller is made to wait."""
    let_go_of_connection()
    try:
        done.result(timeout=ANSWER_WITHIN_S)
    except TimeoutError:
        return False
    return True
