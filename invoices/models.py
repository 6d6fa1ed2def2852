"""Money coming in: what was asked for, what arrived, and who is told.

An `Invoice` is what the user made. It is paid through `LightningRequest`s (one per bolt11) or an
`Address` (many `Deposit`s), or has both; earlier requests of a changed invoice stay valid.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from urllib.parse import quote

from django.contrib.postgres.indexes import HashIndex
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import Event, User
from coinos import crypto
from coinos.money import sat_to_btc


class Invoice(models.Model):
    """A request for money. `amount_sat` 0 means that the payer chooses."""

    class Type(models.TextChoices):
        LIGHTNING = "lightning", "Lightning"
        BITCOIN = "bitcoin", "Bitcoin"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="invoices", db_index=False
    )
    own = models.BooleanField(default=True, help_text="Created by the owner")
    type = models.CharField(max_length=9, choices=Type)

    amount_sat = models.BigIntegerField(default=0)
    tip_sat = models.BigIntegerField(null=True, blank=True)
    received_sat = models.BigIntegerField(default=0, help_text="Settled so far, tip included")
    pending_sat = models.BigIntegerField(default=0, help_text="On-chain, seen but not credited")
    rate = models.DecimalField(max_digits=24, decimal_places=8, null=True)
    currency = models.CharField(max_length=3)

    memo = models.TextField(blank=True)
    items = models.JSONField(default=list)
    prompt = models.BooleanField(default=False)
    memo_prompt = models.BooleanField(default=False)
    request_id = models.CharField(max_length=200, blank=True)
    address_type = models.CharField(max_length=11, blank=True)

    hash = models.TextField(blank=True, help_text="Current bolt11 or address; blank while made")
    payment_hash = models.CharField(max_length=64, null=True, help_text="Of the current bolt11")
    preimage = models.CharField(max_length=64, null=True)

    webhook = models.URLField(max_length=2000, blank=True)
    webhook_disabled_at = models.DateTimeField(null=True, help_text="It answered 410 or never")
    secret = models.TextField(blank=True, help_text="Sealed; sent back in the webhook's body")
    webhook_set_by = models.UUIDField(
        null=True, help_text="The user who set the webhook and secret: the payee, or nobody"
    )

    created = models.DateTimeField(default=timezone.now, editable=False)
    expiry_s = models.PositiveIntegerField()
    settled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="invoice_amount_ge_0", condition=Q(amount_sat__gte=0)),
            models.CheckConstraint(name="invoice_tip_ge_0", condition=Q(tip_sat__gte=0)),
            models.CheckConstraint(name="invoice_received_ge_0", condition=Q(received_sat__gte=0)),
            models.CheckConstraint(name="invoice_pending_ge_0", condition=Q(pending_sat__gte=0)),
            models.CheckConstraint(
                name="webhook_belongs_to_the_payee",
                condition=Q(webhook="", secret="", webhook_set_by=None)
                | Q(webhook_set_by__isnull=False, webhook_set_by=F("user")),
            ),
        ]
        indexes = [
            models.Index(name="invoices_of_user", fields=["user", "-created"]),
            # What others make in a user's name is counted. Nothing in it changes with a payment.
            models.Index(
                name="invoices_by_others", fields=["user", "created"], condition=Q(own=False)
            ),
        ]

    @property
    def total_sat(self) -> int:
        """What has to arrive: amount and tip; 0 when the payer chooses."""
        return self.amount_sat + (self.tip_sat or 0) if self.amount_sat else 0

    @property
    def missing_sat(self) -> int:
        """What nobody has sent yet; 0 when the payer chooses."""
        return max(0, self.total_sat - self.received_sat - self.pending_sat)

    @property
    def excess_sat(self) -> int:
        """What has settled beyond all that was asked."""
        return max(0, self.received_sat - self.total_sat) if self.total_sat else 0

    @property
    def text(self) -> str:
        """What goes into the QR code."""
        return self.text_of(self.hash)

    def text_of(self, hash: str) -> str:
        """The bolt11 itself, or the address as a BIP 21 URI when there is more to say."""
        return hash if self.type == self.Type.LIGHTNING else self.uri_of(hash, self.total_sat)

    def uri_of(self, address: str, amount_sat: int, *, memo: str | None = None) -> str:
        """The address, as a BIP 21 URI when there is more to say: its amount, and its own memo
        unless another is given."""
        memo = self.memo if memo is None else memo
        parameters = []
        if amount_sat:
            parameters.append(f"amount={sat_to_btc(amount_sat)}")
        if memo:
            parameters.append(f"message={quote(memo, safe='')}")
        return f"bitcoin:{address}?{'&'.join(parameters)}" if parameters else address

    @property
    def webhook_secret(self) -> str:
        """The correlation value that the caller gave with the webhook; "" when there is none."""
        return crypto.unseal(self.secret, place=self._secret_place) if self.secret else ""

    @webhook_secret.setter
    def webhook_secret(self, secret: str) -> None:
        self.secret = crypto.seal(secret, place=self._secret_place) if secret else ""

    @property
    def _secret_place(self) -> str:
        return f"invoice-secret:{self.id}"

    @property
    def expires_at(self) -> datetime:
        return self.created + timedelta(seconds=self.expiry_s)

    @property
    def is_paid(self) -> bool:
        """Money of this very invoice has settled, and at least all that was asked (M31)."""
        return self.received_sat > 0 and self.received_sat >= self.total_sat

    @property
    def is_expired(self) -> bool:
        return not self.is_paid and timezone.now() >= self.expires_at

    @property
    def status(self) -> str:
        """open, pending, partial, paid, overpaid or expired."""
        if self.is_paid:
            overpaid = self.total_sat and self.received_sat > self.total_sat
            return "overpaid" if overpaid else "paid"
        if self.pending_sat:
            return "pending"
        if self.received_sat:
            return "partial"
        return "expired" if self.is_expired else "open"

    @property
    def takes_tip(self) -> bool:
        """A tip can be added: the amount is fixed, and nothing of it has been paid."""
        return self.amount_sat > 0 and self.status == "open"

    @property
    def awaits_tip(self) -> bool:
        """The payer is to be asked for a tip and has not answered."""
        return self.prompt and self.tip_sat is None and self.takes_tip


class LightningRequest(models.Model):
    """One bolt11 that our node made for an invoice. Its id is the node's label, and the row is
    written first, so that an invoice whose answer was lost can be found again."""

    class State(models.TextChoices):
        CREATED = "created", "Created"  # the node has not answered yet
        OPEN = "open", "Open"
        PAID = "paid", "Paid"
        WITHDRAWN = (
            "withdrawn",
            "Withdrawn",
        )  # settled otherwise; still to be deleted at the node
        CLOSED = "closed", "Closed"  # gone from the node, too

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="requests")
    state = models.CharField(max_length=9, choices=State, default=State.CREATED)
    payment_hash = models.CharField(max_length=64, unique=True, null=True)
    bolt11 = models.TextField(null=True)
    amount_msat = models.BigIntegerField(null=True, help_text="Null: the payer chooses")
    received_msat = models.BigIntegerField(default=0, help_text="From outside")
    comment = models.TextField(blank=True, help_text="The payer's, by LNURL")
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        indexes = [
            HashIndex(name="request_bolt11", fields=["bolt11"]),
            models.Index(
                name="request_to_withdraw",
                fields=["created"],
                condition=Q(state="withdrawn"),
            ),
            models.Index(
                name="request_unfinished",
                fields=["created"],
                condition=Q(state="created"),
            ),
        ]

    @property
    def was_settled(self) -> bool:
        """Money came by this bolt11, or instead of it."""
        return self.state not in (self.State.CREATED, self.State.OPEN)


class Address(models.Model):
    """An on-chain address of ours. It belongs to its invoice for ever; payers may reuse it."""

    address = models.CharField(max_length=100, primary_key=True)
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="addresses")
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name_plural = "addresses"


class Deposit(models.Model):
    """An output that pays one of our addresses, by outpoint, from first sight to credit.

    `sequence` counts the credits of this outpoint: a deposit that a reorg took back and that
    confirms again is a new credit. Seen and reversed deposits are waiting for confirmations.
    """

    class State(models.TextChoices):
        SEEN = "seen", "Seen"
        CREDITED = "credited", "Credited"
        CONFLICTED = "conflicted", "Conflicted"
        REVERSED = "reversed", "Reversed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    address = models.ForeignKey(Address, on_delete=models.PROTECT, related_name="deposits")
    txid = models.CharField(max_length=64)
    vout = models.PositiveIntegerField()
    amount_sat = models.BigIntegerField()
    state = models.CharField(max_length=10, choices=State, default=State.SEEN)
    sequence = models.PositiveIntegerField(default=0)
    confirmations = models.IntegerField(default=0)
    confirmations_required = models.PositiveSmallIntegerField()
    block_hash = models.CharField(max_length=64, null=True)
    block_height = models.PositiveIntegerField(null=True)
    activity_id = models.UUIDField(null=True)
    created = models.DateTimeField(default=timezone.now, editable=False)
    credited_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_row_per_outpoint", fields=["txid", "vout"]),
            models.CheckConstraint(name="deposit_is_positive", condition=Q(amount_sat__gt=0)),
        ]
        indexes = [
            models.Index(
                name="deposit_waiting",
                fields=["created"],
                condition=Q(state__in=["seen", "reversed"]),
            ),
            models.Index(
                name="deposit_shallow",
                fields=["block_height"],
                condition=Q(state="credited"),
            ),
        ]

    @property
    def outpoint(self) -> str:
        return f"{self.txid}:{self.vout}"

    @property
    def is_waiting(self) -> bool:
        """For confirmations; not yet, or no longer, credited."""
        return self.state in (self.State.SEEN, self.State.REVERSED)

    def credit_id(self, sequence: int) -> str:
        """The ledger's name of the credit with this number; the first has none."""
        return f"{self.outpoint}:{sequence}" if sequence else self.outpoint


class Cursor(models.Model):
    """How far a watcher has read a node. It moves in the transaction of what it found."""

    name = models.CharField(max_length=20, primary_key=True)
    value = models.CharField(max_length=100)
    payment_hash = models.CharField(max_length=64, blank=True, help_text="What was read there")
    updated = models.DateTimeField(auto_now=True)


class KnownNode(models.Model):
    """Who the Lightning node is, and how far its books had come when they were last seen: one row.

    The counters of a node only rise. One that counts less, or has something else under a number
    that we have seen, is not the node whose books we have read, whatever its key."""

    name = models.CharField(max_length=20, primary_key=True)
    node_id = models.CharField(max_length=66)
    network = models.CharField(max_length=20)
    invoices_created = models.BigIntegerField(default=0)
    invoices_updated = models.BigIntegerField(default=0)
    parts_created = models.BigIntegerField(default=0)
    last_part_hash = models.CharField(
        max_length=64, blank=True, help_text="Payment hash of the part with that number"
    )
    refusal = models.TextField(blank=True, help_text="What it has lost: until it is adopted")
    adopted_at = models.DateTimeField(
        null=True, help_text="What was sent before is not in its books"
    )


class WebhookDelivery(models.Model):
    """One event to be told to one URL: written with the event, tried until it is done."""

    class State(models.TextChoices):
        PENDING = "pending", _("Pending")
        DELIVERED = "delivered", _("Delivered")
        FAILED = "failed", _("Given up")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    message_id = models.CharField(max_length=40, unique=True)
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="deliveries")
    event = models.ForeignKey(Event, on_delete=models.PROTECT, related_name="+")
    user = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="+", db_index=False, help_text="The payee"
    )
    url = models.URLField(max_length=2000)
    endpoint = models.CharField(max_length=300, help_text="scheme://host:port of the URL")
    body = models.TextField(
        help_text="Sealed: it may contain the invoice's secret. Blank: it is not sent again"
    )
    state = models.CharField(max_length=9, choices=State, default=State.PENDING)
    attempts_count = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    leased_until = models.DateTimeField(null=True)
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name_plural = "webhook deliveries"
        constraints = [
            models.CheckConstraint(
                name="pending_delivery_has_a_body", condition=~Q(state="pending", body="")
            ),
        ]
        indexes = [
            models.Index(
                name="delivery_turn",
                fields=["user", "attempts_count", "next_attempt_at"],
                condition=Q(state="pending"),
            ),
            models.Index(
                name="delivery_leased",
                fields=["leased_until"],
                condition=Q(state="pending", leased_until__isnull=False),
            ),
        ]


class WebhookAttempt(models.Model):
    """One call of a webhook and what came back."""

    id = models.BigAutoField(primary_key=True)
    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.CASCADE, related_name="attempts")
    status = models.PositiveSmallIntegerField(null=True)
    error = models.CharField(max_length=200, blank=True)
    response = models.TextField(blank=True, help_text="The first 1,000 characters")
    duration_ms = models.PositiveIntegerField()
    created = models.DateTimeField(default=timezone.now, editable=False)
