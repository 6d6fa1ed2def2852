"""Tell shops about payments: a row with the event, calls until it has been heard.

The row is written in the transaction that moved the money, its body once and for all. A worker
claims rows, calls without holding anything, and writes down what came back. Signed by Standard
Webhooks 1.0; a receiver sees the same `webhook-id` at every attempt and may see a call twice.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone
from standardwebhooks import Webhook

from accounts.audit import audit, audit_some
from accounts.models import Activity, Event, User
from coinos import bell, crypto
from coinos.failpoints import failpoint
from coinos.http import Fetcher, FetchFailed, Response
from coinos.rows import update_all
from invoices import webhook_turns
from invoices.errors import NotSentAgain
from invoices.models import Invoice, WebhookAttempt, WebhookDelivery
from invoices.webhook_turns import AddressBusy, Addresses, Turn

logger = logging.getLogger(__name__)

ADDRESSES = Addresses()

# After the first attempt; ten attempts in about 75 hours.
RETRY_AFTER = [
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
]
LONGEST_WAIT = timedelta(hours=24)
RUN_CALLS_S = 20  # no call of a run begins later
LEASE = timedelta(seconds=60)  # longer than a run can take: a killed worker's rows come free
THREADS = 32
GATHER_S = 0.05  # for answers that are recorded together
LOOK_AGAIN_S = 0.5  # while calls are on their way
RUN_S = 50
BUSY_AGAIN = timedelta(seconds=1)  # when too many calls to its address are under way
RESPONSE_CHARACTERS = 1000
SIGNING_KEY_BYTES = 32


# --- What is told --------------------------------------------------------------------------------


@dataclass(frozen=True)
class News:
    """A payment, and what its invoice had received by then."""

    invoice: Invoice
    activity: Activity
    event_id: int
    received_sat: int
    confirmed: bool


def source_of(invoice: Invoice) -> Invoice | User:
    """Who names the webhook of this invoice: it does itself, else the account of its owner."""
    return invoice if invoice.webhook else invoice.user


def is_told(invoice: Invoice) -> bool:
    """Whether a webhook hears of payments to this invoice."""
    source = source_of(invoice)
    return bool(source.webhook) and source.webhook_disabled_at is None


def queue(news: Sequence[News]) -> list[WebhookDelivery]:
    """Write the calls of the invoices' webhooks, in the transaction of the payments. All of them
    are told."""
    deliveries = []
    for one in news:
        url = source_of(one.invoice).webhook
        target = urlsplit(url)
        delivery = WebhookDelivery(
            message_id=f"msg_{secrets.token_hex(16)}",
            invoice=one.invoice,
            event_id=one.event_id,
            user_id=one.invoice.user_id,
            url=url,
            endpoint=f"{target.scheme}://{target.netloc}"[:300].lower(),
        )
        body = orjson.dumps(payload(one)).decode()
        delivery.body = crypto.seal(body, place=_body_place(delivery))
        deliveries.append(delivery)
    WebhookDelivery.objects.bulk_create(deliveries)
    bell.ring_after_commit("invoices.tasks.deliver_webhooks")
    return deliveries


def payload(news: News) -> dict[str, object]:
    """The flat body of docs/api.md. `hash` is the bolt11 or address that was paid. An
    invoice that somebody else made is marked: we sign what strangers wrote into it, too."""
    invoice, activity = news.invoice, news.activity
    body: dict[str, object] = {
        "amount": activity.amount_sat,
        "confirmed": news.confirmed,
        "hash": activity.hash,
        "received": news.received_sat,
        "status": activity.status,
        "text": invoice.text_of(activity.hash),
    }
    if not invoice.own:
        body["own"] = False
    if activity.memo:
        body["memo"] = activity.memo
    if secret := source_of(invoice).webhook_secret:
        body["secret"] = secret
    return body


def signing_secret(user: User) -> str:
    """The account's signing key, `whsec_…`; made when it is first asked for."""
    if not user.webhook_signing_secret:
        sealed = crypto.seal(_new_signing_secret(), place=_signing_place(user))
        User.objects.filter(id=user.id, webhook_signing_secret="").update(
            webhook_signing_secret=sealed
        )
        user.refresh_from_db(fields=["webhook_signing_secret"])
    return crypto.unseal(user.webhook_signing_secret, place=_signing_place(user))


def show_signing_secret(user: User) -> str:
    """The same, for its owner to see."""
    secret = signing_secret(user)
    audit_some(user, "signing_secret.shown")
    return secret


def rotate_signing_secret(user: User) -> str:
    """Replace the account's signing key; calls from now on are signed with the new one."""
    secret = _new_signing_secret()
    user.webhook_signing_secret = crypto.seal(secret, place=_signing_place(user))
    with transaction.atomic():
        user.save(update_fields=["webhook_signing_secret"])
        audit(user, "signing_secret.replaced")
    return secret


def redeliver_as_operator(delivery: WebhookDelivery, *, actor: str, reason: str) -> None:
    """The same, because an operator says so."""
    with transaction.atomic():
        redeliver(delivery)
        detail = {"reason": reason}
        user = delivery.invoice.user
        audit(user, "webhook.redelivered", actor=actor, object=str(delivery.id), detail=detail)


def redeliver(delivery: WebhookDelivery) -> None:
    """Call again, with the same `webhook-id`, from the start of the schedule.

    Raises `NotSentAgain` for a call that was never the owner's."""
    if not delivery.body:
        raise NotSentAgain()
    with transaction.atomic():
        WebhookDelivery.objects.filter(id=delivery.id).update(
            state=WebhookDelivery.State.PENDING,
            attempts_count=0,
            next_attempt_at=timezone.now(),
        )
        bell.ring_after_commit("invoices.tasks.deliver_webhooks")


# --- Calling -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A claimed delivery, with all that a thread without a database needs to make it."""

    delivery: WebhookDelivery
    body: bytes
    key: str


@dataclass(frozen=True)
class Answer:
    """What came of a call: a response, or why there is none."""

    response: Response | None
    error: str
    duration_ms: int
    is_refused: bool = False  # we do not go to this URL, now or later

    @property
    def is_good(self) -> bool:
        return self.response is not None and self.response.ok


@dataclass(frozen=True)
class Made:
    """A claimed call and its answer; None when it has not been made and waits again, a moment
    longer where its address `is_busy`. `is_last` of its run."""

    call: Call
    answer: Answer | None
    is_last: bool
    is_busy: bool = False


def deliver_due(*, seconds: float = RUN_S, stopped: Callable[[], bool] = lambda: False) -> int:
    """Make the calls that are due until there are none, for about `seconds`; returns how many.

    Any number of processes may do this at once. An endpoint gets one call of a user at a time, in
    order and on one connection; who is next, and how many at once, is in `invoices.webhook_turns`.
    """
    ends = time.monotonic() + seconds
    count, running, look_at = 0, 0, 0.0
    made: SimpleQueue[Made] = SimpleQueue()

    def over() -> bool:
        return time.monotonic() >= ends or stopped()

    with ThreadPoolExecutor(THREADS, thread_name_prefix="webhook") as threads:
        while True:
            if time.monotonic() >= look_at and not over():
                for calls in _claim(THREADS - running):
                    failpoint("hook.claimed")
                    # Made here: where a run could not begin, this ends, and says why.
                    turn = ADDRESSES.turn(calls[0].delivery.user_id)
                    fetcher = Fetcher("webhook", before_connecting=turn.at)
                    threads.submit(_make, calls, fetcher, turn, made, over)
                    running += 1
                look_at = time.monotonic() + LOOK_AGAIN_S
            if not running:
                return count
            answers = _next(made, wait_s=LOOK_AGAIN_S)
            if not answers:
                continue
            failpoint("hook.sent")
            _record(answers)
            count += sum(one.answer is not None for one in answers)
            if ended := sum(one.is_last for one in answers):
                running -= ended
                look_at = 0.0  # their endpoints have none on the way


def _next(made: SimpleQueue[Made], *, wait_s: float) -> list[Made]:
    """All that has come of calls: wait for the first, and a moment for others to be recorded with
    it, but not once a run has ended, whose endpoint may have more to hear; then take what is
    there."""
    found = []
    with contextlib.suppress(Empty):
        found.append(made.get(timeout=wait_s))
        until = time.monotonic() + GATHER_S
        while not found[-1].is_last:
            found.append(made.get(timeout=max(0, until - time.monotonic())))
        while True:
            found.append(made.get_nowait())
    return found


def _claim(at_most: int) -> list[list[Call]]:
    """Lease deliveries that are due and have their turn: a run of calls for each endpoint."""
    if at_most <= 0:
        return []
    now = timezone.now()
    pending = WebhookDelivery.objects.filter(state=WebhookDelivery.State.PENDING)
    with transaction.atomic():
        with connection.cursor() as cursor:  # two claims at once would see the same idle endpoint
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('webhooks.claim'))")
        ids = webhook_turns.next_calls(now, at_most=at_most)
        free = pending.filter(id__in=ids, next_attempt_at__lte=now)
        locking = free.select_for_update(skip_locked=True, of=("self",))
        found = {delivery.id: delivery for delivery in locking.select_related("invoice__user")}
        claimed = [found[id] for id in ids if id in found]
        WebhookDelivery.objects.filter(id__in=[delivery.id for delivery in claimed]).update(
            leased_until=now + LEASE
        )
    runs: defaultdict[tuple[UUID, str], list[Call]] = defaultdict(list)
    for delivery in claimed:
        if call := _call_of(delivery):
            runs[delivery.user_id, delivery.endpoint].append(call)
    return list(runs.values())


def _call_of(delivery: WebhookDelivery) -> Call | None:
    try:
        body = crypto.unseal(delivery.body, place=_body_place(delivery))
        return Call(delivery, body.encode(), signing_secret(delivery.invoice.user))
    except crypto.SealBroken:
        logger.critical("no key opens the webhook delivery %s", delivery.id)
        WebhookDelivery.objects.filter(id=delivery.id).update(state=WebhookDelivery.State.FAILED)
        return None


def _make(
    calls: list[Call],
    fetcher: Fetcher,
    turn: Turn,
    made: SimpleQueue[Made],
    over: Callable[[], bool],
) -> None:
    """Call one endpoint while it answers well, in a thread and on a connection of its own; the
    rest is put back. Threads that shared their connections would wait for each other's lock."""
    ends = time.monotonic() + RUN_CALLS_S
    goes_on, is_busy = True, False
    with contextlib.closing(turn), contextlib.closing(fetcher):
        for number, call in enumerate(calls, start=1):
            answer = None
            if goes_on:
                try:
                    answer = _call(call, fetcher)
                except AddressBusy:
                    is_busy = True
            goes_on = bool(answer and answer.is_good) and time.monotonic() < ends and not over()
            made.put(Made(call, answer, is_last=number == len(calls), is_busy=is_busy))


def _call(call: Call, fetcher: Fetcher) -> Answer:
    """One POST; no database in this thread. Raises only `AddressBusy`."""
    started = time.monotonic()
    response, error, is_refused = None, "", False
    try:
        response = fetcher.fetch(
            call.delivery.url,
            method="POST",
            body=call.body,
            headers=headers(call.delivery.message_id, call.body, call.key),
        )
    except AddressBusy:
        raise
    except FetchFailed as failure:
        error, is_refused = failure.message[:200], failure.permanent
    except Exception as failure:
        logger.exception("webhook call failed")
        error = type(failure).__name__
    return Answer(response, error, int((time.monotonic() - started) * 1000), is_refused)


def headers(message_id: str, body: bytes, key: str) -> dict[str, str]:
    """The headers of one attempt (Standard Webhooks 1.0), over exactly these bytes."""
    now = timezone.now()
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(key).sign(message_id, now.astimezone(UTC), body.decode()),
    }


# --- What came back ------------------------------------------------------------------------------


@transaction.atomic
def _record(made: Sequence[Made]) -> None:
    """Write the attempts down and decide for each: delivered, again later, or given up."""
    rows = WebhookDelivery.objects.select_for_update(of=("self",)).select_related("invoice")
    found = rows.filter(id__in=[one.call.delivery.id for one in made]).order_by("id")
    deliveries = {delivery.id: delivery for delivery in found}
    attempts, given_up = [], []
    for one in made:
        delivery = deliveries[one.call.delivery.id]
        delivery.leased_until = None
        if one.answer is None:
            if one.is_busy:
                delivery.next_attempt_at = timezone.now() + BUSY_AGAIN
            continue
        attempts.append(_attempt(delivery, one.answer))
        was_waiting = delivery.state == WebhookDelivery.State.PENDING
        _decide(delivery, one.answer)
        if was_waiting and delivery.state == WebhookDelivery.State.FAILED:
            given_up.append(delivery)
    WebhookAttempt.objects.bulk_create(attempts)
    fields = ["attempts_count", "leased_until", "state", "next_attempt_at"]
    update_all(list(deliveries.values()), fields)
    for delivery in given_up:
        _disable(delivery)
    failpoint("task.before_commit")


def _attempt(delivery: WebhookDelivery, answer: Answer) -> WebhookAttempt:
    response = answer.response
    return WebhookAttempt(
        delivery=delivery,
        status=response.status if response else None,
        error=answer.error,
        response=_readable(response.body) if response else "",
        duration_ms=answer.duration_ms,
    )


def _decide(delivery: WebhookDelivery, answer: Answer) -> None:
    """What becomes of the delivery after this attempt."""
    response = answer.response
    delivery.attempts_count += 1
    gone = answer.is_refused or (response is not None and response.status == 410)
    if answer.is_good:
        delivery.state = WebhookDelivery.State.DELIVERED
    elif gone or delivery.attempts_count > len(RETRY_AFTER):
        delivery.state = WebhookDelivery.State.FAILED
    else:
        wait_for = max(_next_wait(delivery.attempts_count), _asked_wait(response))
        delivery.next_attempt_at = timezone.now() + wait_for


def _disable(delivery: WebhookDelivery) -> None:
    """Call the webhook of this delivery no more, and let its owner know. It is the invoice's or
    the account's; one that has been replaced meanwhile goes on."""
    invoice, now = delivery.invoice, timezone.now()
    if invoice.webhook == delivery.url:
        Invoice.objects.filter(id=invoice.id).update(webhook_disabled_at=now)
        give_up(WebhookDelivery.objects.filter(invoice=invoice, url=delivery.url))
        Event.objects.create(
            user_id=invoice.user_id, kind="webhook.disabled", invoice_id=invoice.id
        )
    elif not _hears_other_calls(delivery):
        account = User.objects.filter(id=invoice.user_id, webhook=delivery.url)
        if account.update(webhook_disabled_at=now):
            give_up(calls_of_account(invoice.user_id, delivery.url))
            Event.objects.create(user_id=invoice.user_id, kind="webhook.disabled")


def _hears_other_calls(delivery: WebhookDelivery) -> bool:
    """Whether the account's webhook refused this one call to the end, and took others meanwhile:
    then the fault is not that nobody listens."""
    if delivery.attempts_count <= len(RETRY_AFTER):
        return False  # it said that it is gone
    others = calls_of_account(delivery.invoice.user_id, delivery.url)
    taken = others.filter(state=WebhookDelivery.State.DELIVERED)
    return taken.filter(attempts__created__gt=delivery.created).exists()


def calls_of_account(user_id: UUID, url: str) -> QuerySet[WebhookDelivery]:
    """The calls of this URL as the webhook of the account."""
    calls = WebhookDelivery.objects.filter(invoice__user=user_id, url=url)
    return calls.exclude(invoice__webhook=url)


def give_up(deliveries: QuerySet[WebhookDelivery]) -> None:
    """Make no more attempts at those of these that wait."""
    # By id: with a JOIN PostgreSQL would not look again at the state of a row it waited for.
    waiting = WebhookDelivery.objects.filter(
        id__in=deliveries.values("id"), state=WebhookDelivery.State.PENDING
    )
    waiting.update(state=WebhookDelivery.State.FAILED)


def _next_wait(attempts: int) -> timedelta:
    """The wait after that many attempts, a little different for each delivery."""
    return RETRY_AFTER[attempts - 1] * random.uniform(0.9, 1.1)


def _asked_wait(response: Response | None) -> timedelta:
    """What a 429 or 503 asks for in `Retry-After`: seconds or a date."""
    if response is None or response.status not in (429, 503):
        return timedelta(0)
    text = response.headers.get("retry-after", "").strip()
    asked = timedelta(0)
    if text.isascii() and text.isdigit():
        asked = timedelta(seconds=min(int(text), LONGEST_WAIT.total_seconds()))
    else:
        with contextlib.suppress(ValueError, TypeError):
            asked = parsedate_to_datetime(text) - timezone.now()
    return min(max(asked, timedelta(0)), LONGEST_WAIT)


def _readable(body: bytes) -> str:
    return body.decode("utf-8", "replace").replace("\x00", "")[:RESPONSE_CHARACTERS]


def _new_signing_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(SIGNING_KEY_BYTES)).decode()


def _signing_place(user: User) -> str:
    return f"webhook-signing:{user.id}"


def _body_place(delivery: WebhookDelivery) -> str:
    return f"webhook-body:{delivery.id}"
