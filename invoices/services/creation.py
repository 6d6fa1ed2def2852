"""Ask for money: make an invoice, set its tip, say whom to tell."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import idempotency
from accounts.errors import IdempotencyInProgress
from accounts.idempotency import Named
from accounts.models import User
from accounts.statement import MEMO_MAX_CHARACTERS, clean_memo
from coinos import limits, rates
from coinos.errors import NodeUnavailable
from coinos.failpoints import failpoint
from coinos.http import check_url
from coinos.money import MAX_SAT, MSAT_PER_SAT, fiat_to_sat
from coinos.nodes import bitcoin, lightning
from coinos.rows import insert_together, update_together
from coinos.throttling import count_for
from invoices import webhooks
from invoices.errors import (
    AmountBelowMinimum,
    AmountOutOfRange,
    InvalidTip,
    InvalidType,
    InvoiceAlreadySettled,
    InvoiceExpired,
    MemoTooLong,
    NotTheOwner,
    SecretWithoutWebhook,
    TipTooLarge,
)
from invoices.models import Address, Invoice, LightningRequest
from invoices.services.receipts import lock
from invoices.services.room import (
    TooManyAddresses,
    require_room_for_address,
    require_room_for_invoice,
)

DEFAULT_EXPIRY_S = 30 * 24 * 3600
MAX_EXPIRY_S = 365 * 24 * 3600
NODE_DESCRIPTION_BYTES = 639  # the longest description that BOLT 11 can carry


@dataclass(frozen=True)
class InvoiceDraft:
    """What an invoice shall be. `fiat`, an amount of `currency`, wins over `amount_sat`."""

    type: str = Invoice.Type.LIGHTNING
    amount_sat: int = 0
    fiat: Decimal | None = None
    currency: str | None = None
    tip_sat: int | None = None
    memo: str = ""
    expiry_s: int = DEFAULT_EXPIRY_S
    webhook: str = ""
    secret: str = ""
    items: list[Any] = field(default_factory=list)
    prompt: bool = False
    memo_prompt: bool = False
    request_id: str = ""
    address_type: str = "bech32"
    with_address: bool = False
    """A Lightning invoice that can be paid on-chain, too, unless it is too small for that."""


@dataclass(frozen=True)
class LnurlTerms:
    """What LNURL-pay adds: an amount in msat, a description that the bolt11 carries as a hash,
    and the payer's comment."""

    amount_msat: int
    metadata: str
    comment: str = ""


@dataclass(frozen=True)
class Key:
    """The name that a caller has given to the request, among all of that caller's."""

    caller: User
    named: Named


def create_invoice_once(key: Key, create: Callable[[], Invoice]) -> tuple[Invoice, bool]:
    """What `create` makes, by `create_invoice` with this key, and whether an earlier request with
    the key made it: then `create` is not called, and the payee may have another name by now. Raises
    `IdempotencyKeyReused`, `IdempotencyInProgress` and what `create` raises.

    | the process dies          | what the same key gets                                     |
    |---------------------------|------------------------------------------------------------|
    | before the rows           | a new invoice                                              |
    | between rows and node     | 409 for a minute, then a new invoice: nobody saw the first |
    | before the bolt11 is kept | the same                                                   |
    | after it                  | that invoice                                               |
    """

    def again(invoice_id: UUID) -> Invoice | None:
        made = Invoice.objects.select_related("user").exclude(hash="")
        return made.filter(id=invoice_id).first()

    return idempotency.once(key.caller, key.named, create, again)


def create_invoice(
    user: User,
    draft: InvoiceDraft,
    *,
    own: bool,
    lnurl: LnurlTerms | None = None,
    key: Key | None = None,
) -> Invoice:
    """Make an invoice of `user`; `own` says whether it is made by that user.

    Calls a node, so not inside a transaction. The rate is ours, stamped now; a missing one stops
    only an amount in fiat. Raises `NotTheOwner` when somebody else names a webhook or a secret,
    `RateLimited` when there is no room for it, and `NodeUnavailable`; then nothing is visible to
    anybody.
    """
    for name in ("webhook", "secret"):
        if getattr(draft, name) and not own:
            raise NotTheOwner(field=f"/{name}")
    if draft.currency and draft.currency not in rates.known_currencies():
        raise rates.UnknownCurrency(field="/currency")
    currency = draft.currency or user.currency
    rate = rates.rate(currency) if draft.fiat is not None else rates.rate_or_none(currency)
    amount_sat = draft.amount_sat
    if draft.fiat is not None and rate:
        amount_sat = fiat_to_sat(draft.fiat, rate)
        if not 1 <= amount_sat <= MAX_SAT:
            raise AmountOutOfRange(field="/amount")
    _check(draft, amount_sat)
    require_room_for_invoice(user, own=own)
    invoice = Invoice(
        user=user,
        own=own,
        type=draft.type,
        amount_sat=amount_sat,
        tip_sat=draft.tip_sat,
        rate=rate,
        currency=currency,
        memo=clean_memo(draft.memo),
        items=draft.items,
        prompt=draft.prompt,
        memo_prompt=draft.memo_prompt,
        request_id=draft.request_id,
        webhook=draft.webhook,
        expiry_s=draft.expiry_s,
    )
    invoice.webhook_secret = draft.secret
    invoice.webhook_set_by = user.id if draft.webhook or draft.secret else None
    if draft.type == Invoice.Type.BITCOIN:
        return _with_address(invoice, draft.address_type, key)
    address = None
    if draft.with_address and not 0 < invoice.total_sat < settings.MIN_DEPOSIT_SAT:
        address = _new_address(invoice, draft.address_type)
    return _with_bolt11(invoice, lnurl, address, key)


def create_for_any_wallet(user: User, draft: InvoiceDraft, *, own: bool) -> Invoice:
    """`create_invoice` of a Lightning draft `with_address`; when one of the nodes is away, by the
    other one alone, and without an address when there is no room for one. Raises `NodeUnavailable`
    when neither can make it."""
    try:
        return create_invoice(user, draft, own=own)
    except TooManyAddresses:
        return create_invoice(user, replace(draft, with_address=False), own=own)
    except NodeUnavailable as away:
        for type in (Invoice.Type.LIGHTNING, Invoice.Type.BITCOIN):
            with contextlib.suppress(NodeUnavailable, AmountBelowMinimum):
                alone = replace(draft, type=type, with_address=False)
                return create_invoice(user, alone, own=own)
        raise away


def set_tip(invoice: Invoice, tip_sat: int, *, by_owner: bool) -> Invoice:
    """Set the tip before payment; anybody may, it is the payer's word. But what stands on the
    screen of a till changes with it: from others than the owner no tip is larger than the amount,
    and only some of them are taken.

    A fixed amount gets a new bolt11 for amount + tip; the earlier one keeps crediting the invoice.
    Calls the node. Raises `InvoiceAlreadySettled` once any money has arrived or is on its way,
    `InvalidTip`, `RateLimited`.
    """
    _require_unpaid(invoice)
    if invoice.amount_sat + tip_sat > settings.MAX_INVOICE_SAT:
        raise InvalidTip(field="/tip")
    if tip_sat == invoice.tip_sat:
        return invoice
    if not by_owner:
        if invoice.amount_sat and tip_sat > invoice.amount_sat:
            raise TipTooLarge(values={"sats": invoice.amount_sat}, field="/tip")
        if tip_sat:  # none at all is never refused: it takes back what a stranger has put there
            count_for(limits.TIP_BY_ANOTHER, str(invoice.id))
    is_same_amount = tip_sat == (invoice.tip_sat or 0)
    if invoice.type == Invoice.Type.BITCOIN or not invoice.amount_sat or is_same_amount:
        return _tip_without_new_request(invoice, tip_sat)

    remaining_s = int((invoice.expires_at - timezone.now()).total_seconds())
    if remaining_s < 1:
        raise InvoiceExpired()
    amount_msat = (invoice.amount_sat + tip_sat) * MSAT_PER_SAT
    request = LightningRequest.objects.create(invoice=invoice, amount_msat=amount_msat)
    _mint(request, _node_description(invoice), remaining_s)
    with transaction.atomic():
        invoice = lock(invoice.id)
        if invoice.received_sat or invoice.pending_sat:
            request.state = LightningRequest.State.WITHDRAWN
        else:
            invoice.tip_sat = tip_sat
            invoice.hash, invoice.payment_hash = (
                request.bolt11 or "",
                request.payment_hash,
            )
            invoice.save(update_fields=["tip_sat", "hash", "payment_hash"])
        request.save()
    _require_unpaid(invoice)
    return invoice


def set_webhook(invoice: Invoice, *, by: User, webhook: str | None, secret: str | None) -> Invoice:
    """Say whom to tell of payments; None leaves a value as it is, "" removes it.

    Another webhook needs another secret: the old one is dropped, not sent to the new place. Calls
    that wait go on to where they were meant to go; without a webhook they are given up. May look a
    name up: not inside a transaction. Raises `NotTheOwner` unless `by` is the payee, `UrlRefused`,
    `SecretWithoutWebhook`.
    """
    if by.id != invoice.user_id:
        raise NotTheOwner(field="/secret" if webhook is None else "/webhook")
    if webhook:
        check_url(webhook, kind="webhook", field="/webhook")
    with transaction.atomic():
        invoice = lock(invoice.id)
        before = invoice.webhook
        if webhook is not None:
            invoice.webhook, invoice.webhook_disabled_at = webhook, None
        if secret and not invoice.webhook:
            raise SecretWithoutWebhook()
        if secret is not None and webhook != "":
            invoice.webhook_secret = secret
        elif invoice.webhook != before:
            invoice.webhook_secret = ""
        invoice.webhook_set_by = by.id if invoice.webhook or invoice.secret else None
        invoice.save(update_fields=["webhook", "webhook_disabled_at", "secret", "webhook_set_by"])
        if before and not invoice.webhook:
            webhooks.give_up(invoice.deliveries.filter(url=before))
    return invoice


def _check(draft: InvoiceDraft, amount_sat: int) -> None:
    if draft.type not in Invoice.Type.values:
        raise InvalidType(draft.type)
    if amount_sat > settings.MAX_INVOICE_SAT:
        raise AmountOutOfRange(field="/amount")
    if amount_sat + (draft.tip_sat or 0) > settings.MAX_INVOICE_SAT:
        raise InvalidTip(field="/tip")
    if draft.type == Invoice.Type.BITCOIN and 0 < amount_sat < settings.MIN_DEPOSIT_SAT:
        raise AmountBelowMinimum()
    if len(draft.memo) > MEMO_MAX_CHARACTERS:
        raise MemoTooLong(field="/memo")
    if draft.secret and not draft.webhook:
        raise SecretWithoutWebhook()
    if draft.webhook:
        check_url(draft.webhook, kind="webhook", field="/webhook")


def _with_address(invoice: Invoice, address_type: str, key: Key | None) -> Invoice:
    """An address that the node made and that we then lost was never shown to a payer."""
    address = _new_address(invoice, address_type)
    invoice.address_type, invoice.hash = address_type, address
    with _claimed(key, invoice, answered=True):
        insert_together(invoice, Address(address=address, invoice=invoice))
    return invoice


@contextlib.contextmanager
def _claimed(key: Key | None, invoice: Invoice, *, answered: bool) -> Iterator[None]:
    """Claim the key in one transaction with the rows that are written within."""
    if key is None:
        yield
        return
    with transaction.atomic():
        idempotency.claim(key.caller, key.named, invoice.id, answered=answered)
        yield


def _new_address(invoice: Invoice, address_type: str) -> str:
    require_room_for_address(invoice.user, own=invoice.own)
    return bitcoin().new_address(label=str(invoice.id), address_type=address_type)


def _with_bolt11(
    invoice: Invoice, lnurl: LnurlTerms | None, address: str | None, key: Key | None
) -> Invoice:
    """The rows come first: should the node's answer be lost, its label leads back to them."""
    amount_msat = lnurl.amount_msat if lnurl else invoice.total_sat * MSAT_PER_SAT
    request = LightningRequest(
        invoice=invoice,
        amount_msat=amount_msat or None,
        comment=clean_memo(lnurl.comment) if lnurl else "",
    )
    with _claimed(key, invoice, answered=False):
        insert_together(invoice, request)
    failpoint("invoice.row_written")
    try:
        if lnurl:
            _mint(request, lnurl.metadata, invoice.expiry_s, hashed=True)
        else:
            _mint(request, _node_description(invoice), invoice.expiry_s)
    except Exception:
        if key:
            idempotency.release(key.caller, key.named, invoice.id)
        raise
    failpoint("invoice.after_node")
    invoice.hash, invoice.payment_hash = request.bolt11 or "", request.payment_hash
    minted = (request, ["bolt11", "payment_hash", "state"]), (invoice, ["hash", "payment_hash"])
    if not address and not key:
        update_together(*minted)
        return invoice
    with transaction.atomic():
        if key and not idempotency.note_answered(key.caller, key.named, invoice.id):
            raise IdempotencyInProgress()  # this took so long that another request makes it anew
        update_together(*minted)
        if address:
            Address.objects.create(address=address, invoice=invoice)
    return invoice


def _mint(
    request: LightningRequest, description: str, expiry_s: int, *, hashed: bool = False
) -> None:
    """Have the node make the bolt11; the caller saves the request."""
    created = lightning().create_invoice(
        label=str(request.id),
        amount_msat=request.amount_msat,
        description=description,
        expiry_s=expiry_s,
        description_is_hashed=hashed,
    )
    request.bolt11 = created.bolt11.lower()
    request.payment_hash = created.payment_hash
    request.state = LightningRequest.State.OPEN


def _node_description(invoice: Invoice) -> str:
    text = invoice.memo or f"Paying {invoice.user.username}"
    return text.encode()[:NODE_DESCRIPTION_BYTES].decode("utf-8", "ignore")


def _tip_without_new_request(invoice: Invoice, tip_sat: int) -> Invoice:
    with transaction.atomic():
        invoice = lock(invoice.id)
        _require_unpaid(invoice)
        invoice.tip_sat = tip_sat
        invoice.save(update_fields=["tip_sat"])
    return invoice


def _require_unpaid(invoice: Invoice) -> None:
    if invoice.received_sat or invoice.pending_sat:
        raise InvoiceAlreadySettled()
