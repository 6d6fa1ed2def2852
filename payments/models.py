"""Money going out through a node: the outgoing state machine.

Lightning: created → sending → settled | failed. On-chain: created → signed → broadcast →
confirmed | failed. Payments between users need no node and no row here: they are one ledger
transfer and two lines of statement. A gift is one that waits for its taker.
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_noop as _
from django.utils.translation import pgettext_lazy

from accounts.ledger import House
from accounts.models import ApiKey, LedgerAccount, Transfer, User

CANCELLED = _("Cancelled before anything was sent")
"""The `failure` of a payment that was taken back."""


class Payment(models.Model):
    """One outgoing payment. Its id is also the id of its line in the statement, and of its hold.

    The hold covers amount + maximum network fee + platform fee and is resolved exactly once.
    """

    class Type(models.TextChoices):
        LIGHTNING = "lightning", "Lightning"
        BITCOIN = "bitcoin", "Bitcoin"

    class State(models.TextChoices):
        CREATED = "created", "Created"
        SENDING = "sending", "Sending"
        SETTLED = "settled", "Settled"
        SIGNED = "signed", "Signed"
        BROADCAST = "broadcast", "Broadcast"
        CONFIRMED = "confirmed", "Confirmed"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="payments", db_index=False
    )
    api_key = models.ForeignKey(ApiKey, on_delete=models.PROTECT, null=True, related_name="+")
    type = models.CharField(max_length=9, choices=Type)
    state = models.CharField(max_length=9, choices=State, default=State.CREATED)
    destination = models.TextField(help_text="bolt11 in lower case, or an address")
    recipient = models.TextField(
        blank=True, help_text="Lightning Address or lnurlp: link that gave the bolt11"
    )

    amount_sat = models.BigIntegerField(help_text="What the recipient gets, rounded up")
    amount_msat = models.BigIntegerField(help_text="What the recipient gets, exactly")
    max_fee_sat = models.BigIntegerField(help_text="Reserved for the network")
    platform_fee_sat = models.BigIntegerField(default=0)
    fee_sat = models.BigIntegerField(null=True, help_text="What the network took, rounded up")
    hold_id = models.BigIntegerField(help_text="The pending transfer")
    failure = models.TextField(blank=True)
    created = models.DateTimeField(default=timezone.now, editable=False)
    resolved_at = models.DateTimeField(null=True)

    # Lightning
    payment_hash = models.CharField(max_length=64, null=True)
    amount_to_choose = models.BooleanField(default=False, help_text="The invoice names no amount")
    attempted_at = models.DateTimeField(null=True)
    deadline = models.DateTimeField(null=True, help_text="The node's own retries end here")
    call_returned = models.BooleanField(default=False, help_text="The node answered our call")
    node_id = models.CharField(max_length=66, blank=True, help_text="The node that was asked")
    parts_before = models.BigIntegerField(
        null=True, help_text="Parts in the node's books when it was asked"
    )
    last_part = models.BigIntegerField(
        null=True, help_text="The last of its own parts that was seen in flight"
    )
    preimage = models.CharField(max_length=64, null=True)
    fee_final = models.BooleanField(default=False, help_text="No part is pending any more")
    next_look_at = models.DateTimeField(null=True, help_text="When the resolver looks again")

    # On-chain
    txid = models.CharField(
        max_length=64, null=True, unique=True, help_text="Of the version that counts now"
    )
    fee_rate_sat_vb = models.PositiveIntegerField(null=True)
    subtract_fee = models.BooleanField(default=False)
    expected_by = models.DateTimeField(
        null=True, help_text="When a block should have it, at the rate that was chosen"
    )
    broadcast_attempted_at = models.DateTimeField(null=True)
    confirmations = models.IntegerField(default=0)

    class Meta:
        constraints = [
            # Two users, two tabs, two processes: one live payment of an invoice on the whole site.
            models.UniqueConstraint(
                name="one_live_payment_per_payment_hash",
                fields=["payment_hash"],
                condition=Q(type="lightning", state__in=["created", "sending", "settled"]),
            ),
            models.CheckConstraint(
                name="payment_amount_is_positive", condition=Q(amount_msat__gt=0)
            ),
            models.CheckConstraint(name="payment_fees_ge_0", condition=Q(max_fee_sat__gte=0)),
            models.CheckConstraint(
                name="settled_has_a_preimage",
                condition=~Q(type="lightning", state="settled") | ~Q(preimage=None),
            ),
            models.CheckConstraint(
                name="signed_has_a_transaction",
                condition=~Q(state__in=["signed", "broadcast", "confirmed"]) | ~Q(txid=None),
            ),
        ]
        indexes = [
            models.Index(
                name="payment_unresolved",
                fields=["state", "next_look_at"],
                condition=Q(state__in=["created", "sending", "signed", "broadcast"])
                | Q(state="settled", fee_final=False, type="lightning"),
            ),
            models.Index(name="payments_of_user", fields=["user", "-created"]),
            models.Index(
                name="payments_to_addresses",
                fields=["user", "-created"],
                condition=~Q(recipient=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} payment {self.id}"

    @property
    def held_sat(self) -> int:
        """What was taken out of the spendable balance when the payment was accepted."""
        fee_sat = self.max_fee_sat
        if self.subtract_fee and self.fee_sat is not None:
            fee_sat = self.fee_sat  # since it was signed, the recipient gets what the fee leaves
        return self.amount_sat + fee_sat + self.platform_fee_sat

    @property
    def agreed_fee_sat(self) -> int:
        """The most that a withdrawal's fee may become without another word of the user's: what was
        held for it. Out of the amount nothing was held, so 0."""
        return 0 if self.subtract_fee else self.max_fee_sat

    @property
    def can_be_cancelled(self) -> bool:
        """Whether nothing of it has left us."""
        if self.state == self.State.SIGNED:
            return self.broadcast_attempted_at is None
        return self.state == self.State.CREATED

    @property
    def can_be_bumped(self) -> bool:
        """Whether the network has it, and no block yet."""
        return self.state == self.State.BROADCAST and self.confirmations == 0

    @property
    def was_cancelled(self) -> bool:
        return self.state == self.State.FAILED and self.failure == CANCELLED


class WithdrawalTransaction(models.Model):
    """One version of a withdrawal: a signed transaction that pays it.

    A replacement with a higher fee is another version. Each spends every coin of those before it,
    so at most one of them confirms, whichever it is. The one that counts now is live: its txid is
    the payment's, and its hex is given to the network again whenever the network lacks it."""

    class State(models.TextChoices):
        LIVE = "live", "Live"
        REPLACED = "replaced", "Replaced"  # it may confirm all the same
        DEAD = "dead", "Dead"  # it never will

    txid = models.CharField(max_length=64, primary_key=True)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="versions")
    hex = models.TextField(help_text="Signed once, broadcast for ever")
    fee_sat = models.BigIntegerField(help_text="What the network takes, exactly")
    fee_rate_sat_vb = models.PositiveIntegerField(help_text="Rounded up")
    state = models.CharField(max_length=8, choices=State, default=State.LIVE)
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="one_live_version", fields=["payment"], condition=Q(state="live")
            ),
            models.CheckConstraint(name="version_fee_ge_0", condition=Q(fee_sat__gte=0)),
            models.CheckConstraint(name="version_has_its_hex", condition=~Q(hex="")),
        ]


class WithdrawalInput(models.Model):
    """An outpoint that a version of a live withdrawal spends. Two withdrawals never share one
    (A06)."""

    id = models.BigAutoField(primary_key=True)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="inputs")
    txid = models.CharField(max_length=64)
    vout = models.PositiveIntegerField()
    live = models.BooleanField(default=True)
    missing_since = models.CharField(
        max_length=64, blank=True, help_text="The first tip whose chain had it spent otherwise"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="one_withdrawal_per_input", fields=["txid", "vout"], condition=Q(live=True)
            ),
        ]


class SendBudget(models.Model):
    """How much may leave and has left in one window, for one user or the whole site.

    Counted in the transaction that holds the money, under this row's lock (M02)."""

    scope = models.CharField(max_length=50, primary_key=True, help_text="site or user:<id>")
    window_start = models.DateTimeField()
    spent_sat = models.BigIntegerField(default=0)


class Gift(models.Model):
    """An amount that somebody set aside for whoever opens its link: open → taken | returned.

    The link's secret is kept as its SHA-256 only. The ledger has a row for each change of state and
    refuses a second one (M20)."""

    class State(models.TextChoices):
        OPEN = "open", pgettext_lazy("a gift", "Open")
        TAKEN = "taken", pgettext_lazy("a gift", "Taken")
        RETURNED = "returned", pgettext_lazy("a gift", "Returned")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    giver = models.ForeignKey(User, on_delete=models.PROTECT, related_name="gifts")
    made_by = models.ForeignKey(
        User,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        help_text="Who handed it out, when the giver is a fund",
    )
    taker = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    amount_sat = models.BigIntegerField()
    memo = models.TextField(blank=True)
    token_sha256 = models.CharField(max_length=64, unique=True)
    created = models.DateTimeField(default=timezone.now, editable=False)
    expires = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="gift_amount_is_positive", condition=Q(amount_sat__gt=0)),
            models.CheckConstraint(
                name="taken_by_somebody",
                condition=Q(state="taken", taker__isnull=False)
                | (~Q(state="taken") & Q(taker__isnull=True)),
            ),
            models.CheckConstraint(
                name="open_until_resolved",
                condition=Q(state="open", resolved_at__isnull=True)
                | (~Q(state="open") & Q(resolved_at__isnull=False)),
            ),
        ]
        indexes = [
            models.Index(name="gifts_of_user", fields=["giver", "-created"]),
            models.Index(name="gifts_open", fields=["expires"], condition=Q(state="open")),
        ]

    def __str__(self) -> str:
        return f"gift {self.id}"

    @property
    def is_open(self) -> bool:
        """Whether somebody may take it now."""
        return self.state == self.State.OPEN and self.expires > timezone.now()


class AutoWithdraw(models.Model):
    """How a user's auto-withdraw stands; what he wants is on `User`: autowithdraw, threshold_sat,
    reserve_sat, destination. A bell claims these rows by moving `next_at`."""

    user = models.OneToOneField(
        User, on_delete=models.CASCADE, primary_key=True, related_name="auto_withdraw"
    )
    recipient = models.ForeignKey(
        User,
        on_delete=models.PROTECT,
        null=True,
        related_name="auto_withdraw_from",
        help_text="A user here",
    )
    saved = models.UUIDField(null=True, help_text="Settings that have not had their run yet")
    seen_transaction = models.BigIntegerField(default=0, help_text="Receipts up to here had theirs")
    next_at = models.DateTimeField(default=timezone.now)
    failures = models.PositiveIntegerField(default=0, help_text="In a row")
    reason = models.TextField(blank=True, help_text="Why the last attempt did not pay")


class AutoWithdrawRun(models.Model):
    """What one event set off: at most one payment, whoever runs it and however often (M29).

    Each attempt has an idempotency key, and the next one begins when the payment under the last
    has failed for certain. An invoice is stored before it is paid (M23)."""

    class State(models.TextChoices):
        OPEN = "open", "Open"
        PAID = "paid", "Paid"
        SKIPPED = "skipped", "Skipped"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="auto_withdraw_runs")
    event = models.CharField(
        max_length=60, help_text="receipt:<line> or saved:<settings>; where a chain of them began"
    )
    state = models.CharField(max_length=7, choices=State, default=State.OPEN)
    attempt = models.PositiveIntegerField(default=1)
    bolt11 = models.TextField(blank=True)
    bolt11_sat = models.BigIntegerField(default=0)
    lnurl = models.JSONField(null=True, help_text="What came with the bolt11, for its line")
    activity_id = models.UUIDField(null=True, help_text="The line of the payment")
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_run_per_event", fields=["user", "event"]),
            models.UniqueConstraint(
                name="one_open_run", fields=["user"], condition=Q(state="open")
            ),
        ]
        indexes = [models.Index(name="runs_of_payment", fields=["user", "activity_id"])]

    @property
    def key(self) -> str:
        """The idempotency key of this attempt."""
        return f"auto-withdraw:{self.id}:{self.attempt}"


class OperatorAct(models.Model):
    """Something that an operator asked for, with a reason: carried out once, or never.

    Its id is the external id of what it books. The database refuses an approval by whoever asked,
    and any change of what was asked for (sql/0001_operator_acts.sql)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    verb = models.CharField(max_length=30)
    arguments = models.JSONField(default=dict)
    about = models.TextField(help_text="What it does, as whoever approves it reads it")
    user = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="+", help_text="Whose money it is"
    )
    amount_sat = models.BigIntegerField(default=0, help_text="Moved on an operator's word")
    reason = models.TextField()
    needs_approval = models.BooleanField(help_text="By another operator than the one who asked")
    asked_by = models.ForeignKey(
        User,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        help_text="Empty: whoever has the server's machine",
    )
    asked_as = models.CharField(max_length=60, help_text="As the audit log names them")
    created = models.DateTimeField(default=timezone.now, editable=False)
    approved_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    approved_at = models.DateTimeField(null=True)
    problem = models.TextField(blank=True, help_text="Why it could not be carried out yet")
    carried_out_at = models.DateTimeField(null=True)
    outcome = models.TextField(blank=True)
    dropped_at = models.DateTimeField(null=True)
    dropped_as = models.CharField(max_length=60, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="approved_by_another_operator",
                condition=Q(approved_by=None, approved_at=None)
                | Q(
                    ~Q(approved_by=F("asked_by")),
                    asked_by__isnull=False,
                    approved_by__isnull=False,
                    approved_at__isnull=False,
                ),
            ),
            models.CheckConstraint(
                name="carried_out_with_approval",
                condition=Q(carried_out_at=None)
                | Q(needs_approval=False)
                | Q(approved_by__isnull=False),
            ),
            models.CheckConstraint(
                name="carried_out_or_dropped",
                condition=Q(carried_out_at=None) | Q(dropped_at=None),
            ),
            models.CheckConstraint(name="act_has_a_reason", condition=~Q(reason="")),
            models.CheckConstraint(name="act_amount_ge_0", condition=Q(amount_sat__gte=0)),
        ]
        indexes = [
            models.Index(
                name="acts_open",
                fields=["created"],
                condition=Q(carried_out_at=None, dropped_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.id}"

    @property
    def state(self) -> str:
        if self.carried_out_at:
            return "carried out"
        if self.dropped_at:
            return "dropped"
        return "waits for approval" if self.needs_approval and not self.approved_by_id else "ready"


class Reading(models.Model):
    """The newest comparison of what the nodes hold with what is owed, in one row.

    Each place where our money lies is a figure of its own, and none is counted twice.
    """

    NEWEST = 1

    began_at = models.DateTimeField(help_text="By the clock of the database")
    owed_msat = models.BigIntegerField(help_text="To users, and for gifts")
    channels_msat = models.BigIntegerField(help_text="In open Lightning channels")
    closing_msat = models.BigIntegerField(help_text="In channels that are closing")
    wallet_msat = models.BigIntegerField(help_text="In lightningd's own wallet")
    arriving_msat = models.BigIntegerField(help_text="Booked, not in a channel's balance yet")
    leaving_msat = models.BigIntegerField(help_text="Paid, still in a channel's balance")
    onchain_msat = models.BigIntegerField(help_text="In the bitcoin wallet")
    onchain_at = models.DateTimeField(help_text="When the bitcoin wallet was last asked")
    sent_since_msat = models.BigIntegerField(help_text="On-chain, by us, since then")

    class Meta:
        constraints = [models.CheckConstraint(name="one_newest_reading", condition=Q(id=1))]

    def __str__(self) -> str:
        return f"reading of {self.began_at:%Y-%m-%d %H:%M:%S} UTC"

    @property
    def assets_msat(self) -> int:
        lightning_msat = self.channels_msat + self.closing_msat + self.wallet_msat
        onchain_msat = max(0, self.onchain_msat - self.sent_since_msat)
        return lightning_msat + self.arriving_msat - self.leaving_msat + onchain_msat

    @property
    def missing_msat(self) -> int:
        """How much less there is than is owed; 0 or less when there is enough."""
        return self.owed_msat - self.assets_msat

    @property
    def is_short(self) -> bool:
        return self.missing_msat > 0


# --- The books, as operators act on them ----------------------------------------------------------


class SuspenseItems(models.Manager["SuspenseItem"]):
    """Those transfers that brought something into suspense."""

    def get_queryset(self) -> models.QuerySet[SuspenseItem]:
        return super().get_queryset().filter(credit_id=House.SUSPENSE)


class SuspenseItem(Transfer):
    """Money that arrived and matched nobody."""

    objects: ClassVar[SuspenseItems] = SuspenseItems()

    class Meta:
        proxy = True


class BookAccount(LedgerAccount):
    """An account of the ledger that an operator may correct."""

    class Meta:
        proxy = True
