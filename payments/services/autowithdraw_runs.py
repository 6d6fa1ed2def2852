"""Auto-withdraw at work. A bell rings every few seconds and looks at the rows.

An event sets it off: money that arrived, or settings that were saved. Each event has one run of
a user, and each run pays at most once: an attempt has one idempotency key, whose row commits with
the money, so running twice, at once or after dying finds what was done (M29). The transfer that a
run makes is an event of its recipient; where that user has auto-withdraw, that run counts as of
the event which began the chain, and since each user has one run for it, every circle ends.

| step    | committed before it               | the process dies here: who finishes it          |
|---------|-----------------------------------|-------------------------------------------------|
| claim   | –                                 | the next bell                                   |
| begin   | `next_at` is later                | a bell after that                               |
| resolve | the open run                      | the same: nothing was paid                      |
| pay     | the invoice, if there is one      | the same, with the same key and invoice (M23)   |
| note    | the payment with its key          | the same: the key says what became of it        |

Nothing here runs in the transaction of a receipt, and no lock is held while anybody is asked.
"""

from __future__ import annotations

import hashlib
import logging
import time
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts.credentials import Credential
from accounts.ledger import balance_of
from accounts.models import Activity, Event, IdempotencyKey
from coinos import http
from coinos.errors import CoinosError, InvalidAmount
from coinos.failpoints import failpoint
from coinos.money import MSAT_PER_SAT
from invoices.errors import InvoiceAlreadyPaid, InvoiceExpired
from payments.destinations import LightningAddress, Lnurl, Onchain, recognise
from payments.errors import InvalidPaymentRequest, PaymentFailed, UnknownDestination
from payments.fees import most_sendable_sat
from payments.idempotency import Named
from payments.models import AutoWithdraw, AutoWithdrawRun
from payments.services.internal import send_to_user
from payments.services.lightning import pay_lightning
from payments.services.lnurl import RemoteInvoice, fetch_invoice, look_up
from payments.services.onchain import send_onchain

logger = logging.getLogger(__name__)

State = AutoWithdrawRun.State

ROUND_S = 40
CLAIM = timedelta(minutes=5)
LOOK_AGAIN = timedelta(seconds=5)
UNDECIDED_AGAIN = timedelta(seconds=30)
CALM = timedelta(minutes=1)
"""Between two payments of one user: many small receipts leave together."""
BACK_OFF_MAX = timedelta(hours=6)
RECEIPTS_LOOKED_AT = 50


class NothingToDo(Exception):
    """Raised when there is nothing, or too little, to send; the argument says why."""


def run_due() -> int:
    """Give every user whose time has come a turn. Returns how many had one."""
    started = time.monotonic()
    turns = 0
    while time.monotonic() - started < ROUND_S:
        order = _claim()
        if order is None:
            break
        turns += 1
        try:
            _turn(order)
        except Exception:  # one odd destination does not hold up the others
            logger.exception("auto-withdraw of user %s was interrupted", order.user_id)
            _back_off(order, _("Something went wrong here"))
    return turns


def _claim() -> AutoWithdraw | None:
    """Take one user who is due, for a few minutes; other bells skip the row."""
    open_run = AutoWithdrawRun.objects.filter(user=OuterRef("user"), state=State.OPEN)
    above = Q(
        user__ledger_account__posted_msat__gt=F("user__ledger_account__held_msat")
        + F("user__threshold_sat") * MSAT_PER_SAT
    )
    due = AutoWithdraw.objects.filter(
        Exists(open_run) | above,
        next_at__lte=timezone.now(),
        user__autowithdraw=True,
        user__is_active=True,
        user__frozen_at=None,
    )
    with transaction.atomic():
        order = (
            due.select_related("user", "recipient")
            .select_for_update(of=("self",), skip_locked=True)
            .order_by("next_at")
            .first()
        )
        if order:
            _next_at(order, timezone.now() + CLAIM)
    return order


def _turn(order: AutoWithdraw) -> None:
    run = AutoWithdrawRun.objects.filter(user=order.user, state=State.OPEN).first()
    run = run or _begin(order)
    if run is None:
        _next_at(order, timezone.now() + LOOK_AGAIN)
        return
    failpoint("auto.begun")
    try:
        if _line_of(run) is None:
            _pay(order, run)
            failpoint("auto.paid")
    except NothingToDo as nothing:
        _end(order, run, State.SKIPPED, reason=str(nothing))
        return
    except PaymentFailed:
        pass  # its line says so
    except CoinosError as error:  # refused before anything was held: the same key again, later
        _back_off(order, error.reason)
        return
    line = _line_of(run)
    assert line, "what was paid, or failed, has its key"
    _judge(order, run, line)


# --- Beginning: which event? ---------------------------------------------------------------------


def _begin(order: AutoWithdraw) -> AutoWithdrawRun | None:
    """Open the run of the newest event that has not had one; None when there is none."""
    with transaction.atomic():
        order = AutoWithdraw.objects.select_for_update().select_related("user").get(pk=order.pk)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            [oldest_running] = cursor.fetchone()
        event = _newest_event(order, oldest_running)
        order.saved = None
        order.seen_transaction = oldest_running - 1
        order.save(update_fields=["saved", "seen_transaction"])
        if event is None:
            return None
        try:
            with transaction.atomic():
                return AutoWithdrawRun.objects.create(user=order.user, event=event)
        except IntegrityError:  # another process has begun it meanwhile
            return None


def _newest_event(order: AutoWithdraw, oldest_running: int) -> str | None:
    if order.saved:
        return f"saved:{order.saved}"
    receipts = Event.objects.filter(
        user=order.user,
        transaction_id__gt=order.seen_transaction,
        transaction_id__lt=oldest_running,  # those above may not all be there to be seen
        kind="payment.settled",
        activity__amount_sat__gt=0,
    ).select_related("activity")
    for receipt in receipts.order_by("-transaction_id", "-id")[:RECEIPTS_LOOKED_AT]:
        event = _origin(receipt)
        if not AutoWithdrawRun.objects.filter(user=order.user, event=event).exists():
            return event
    return None


def _origin(receipt: Event) -> str:
    """The event that this receipt goes back to: its own, but for the transfer of another user's
    run, which is found by the transaction that both lines were written in."""
    line = receipt.activity
    if line and line.type == Activity.Type.INTERNAL and line.counterparty_id:
        sent = Event.objects.filter(
            user=line.counterparty_id, transaction_id=receipt.transaction_id
        ).values_list("activity_id", flat=True)
        runs = AutoWithdrawRun.objects.filter(user=line.counterparty_id)
        for run in runs.filter(state=State.OPEN):  # first: it may be noted as paid at any moment
            if IdempotencyKey.objects.filter(
                user=run.user_id, key=run.key, made_id__in=sent
            ).exists():
                return run.event
        noted = runs.filter(activity_id__in=sent).first()
        if noted:
            return noted.event
    return f"receipt:{receipt.activity_id}"


# --- Paying --------------------------------------------------------------------------------------


def _pay(order: AutoWithdraw, run: AutoWithdrawRun) -> None:
    """Send what is above the reserve, fees included, by the service for the destination."""
    order.refresh_from_db()
    user = order.user
    keep_sat = user.reserve_sat or 0
    available_sat = balance_of(user.id).available_sat
    if not user.autowithdraw or available_sat <= (user.threshold_sat or 0):
        raise NothingToDo()
    budget_sat = min(available_sat - keep_sat, settings.MAX_PAYMENT_SAT)
    credential = Credential(user, keep_sat=keep_sat)
    named = Named(run.key, hashlib.sha256(run.key.encode()).hexdigest())
    try:
        if order.recipient:
            send_to_user(
                credential=credential,
                username=order.recipient.username,
                amount_sat=budget_sat,
                named=named,
            )
            return
        found = recognise(user.destination)
        if isinstance(found, Onchain):
            send_onchain(
                credential=credential,
                address=found.address,
                amount_sat=budget_sat,
                subtract=True,
                named=named,
            )
        elif isinstance(found, LightningAddress | Lnurl):
            _resolve(run, found, most_sendable_sat(budget_sat))
            pay_lightning(
                credential=credential,
                payreq=run.bolt11,
                recipient=str(found),
                lnurl=run.lnurl,
                named=named,
            )
        else:
            raise UnknownDestination()
    except InvalidAmount as error:
        raise NothingToDo(error.reason) from error
    except (InvoiceExpired, InvoiceAlreadyPaid, InvalidPaymentRequest):
        _keep_invoice(run, None, 0)  # nothing was paid with it; the next look fetches another
        raise


def _resolve(run: AutoWithdrawRun, found: LightningAddress | Lnurl, most_sat: int) -> None:
    """Have an invoice in the row before anything is paid; one that was fetched before is kept."""
    if run.bolt11 and run.bolt11_sat <= most_sat:
        return
    with http.asking_others(run.user_id) as until:
        service = look_up(found, until=until)
        amount_sat = min(most_sat, service.max_msat // MSAT_PER_SAT)
        if amount_sat < 1:
            raise InvalidAmount(_("Too little would be left to send after the fees"))
        invoice = fetch_invoice(service, amount_sat=amount_sat, until=until)
    _keep_invoice(run, invoice, amount_sat)
    failpoint("auto.resolved")


def _keep_invoice(run: AutoWithdrawRun, invoice: RemoteInvoice | None, amount_sat: int) -> None:
    run.bolt11, run.bolt11_sat = invoice.bolt11 if invoice else "", amount_sat
    run.lnurl = invoice.lnurl if invoice else None
    run.save(update_fields=["bolt11", "bolt11_sat", "lnurl"])


# --- What became of it ---------------------------------------------------------------------------


def _line_of(run: AutoWithdrawRun) -> Activity | None:
    """The payment that this attempt has made, if it has made one."""
    key = IdempotencyKey.objects.filter(user=run.user_id, key=run.key).first()
    return Activity.objects.get(id=key.made_id) if key else None


def _judge(order: AutoWithdraw, run: AutoWithdrawRun, line: Activity) -> None:
    """Settled or broadcast: the run is over. Failed for certain: another attempt, later. Unknown
    stays unknown, and nothing more is paid until it is decided."""
    is_broadcast = line.type == Activity.Type.BITCOIN and bool(line.ref)
    if line.status == Activity.Status.FAILED:
        AutoWithdrawRun.objects.filter(id=run.id, state=State.OPEN, attempt=run.attempt).update(
            attempt=run.attempt + 1
        )
        _back_off(order, line.reason)
    elif line.status == Activity.Status.SETTLED or is_broadcast:
        _end(order, run, State.PAID, line=line)
    else:
        _next_at(order, timezone.now() + UNDECIDED_AGAIN)


@transaction.atomic
def _end(
    order: AutoWithdraw,
    run: AutoWithdrawRun,
    state: str,
    *,
    reason: str = "",
    line: Activity | None = None,
) -> None:
    AutoWithdrawRun.objects.filter(id=run.id, state=State.OPEN).update(
        state=state, activity_id=line.id if line else None
    )
    AutoWithdraw.objects.filter(pk=order.pk).update(
        failures=0, reason=reason, next_at=timezone.now() + (CALM if line else LOOK_AGAIN)
    )


def _back_off(order: AutoWithdraw, reason: str) -> None:
    """Try again in a minute, then two, then four, at most six hours later; the settings say why."""
    pause = min(BACK_OFF_MAX, timedelta(minutes=2 ** min(order.failures, 20)))
    AutoWithdraw.objects.filter(pk=order.pk).update(
        failures=F("failures") + 1, reason=reason, next_at=timezone.now() + pause
    )


def _next_at(order: AutoWithdraw, when: datetime) -> None:
    AutoWithdraw.objects.filter(pk=order.pk).update(next_at=when)
