"""Who exists and what they own.

`LedgerAccount` and `Transfer` are the books: only the SQL functions behind `accounts.ledger`
write them, the application's database role may only read. `Activity` is each user's statement,
`DailyTotal` its rollup, `Event` what happened, for webhooks and live pages.

What every payment writes has no index of a foreign key alone (`db_index=False`) where another index
begins with it, or where nobody asks by it: users are never deleted.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX, check_password, make_password
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import HashIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import email_addresses, passwords
from coinos import crypto, success_action


class UserManager(BaseUserManager["User"]):
    def create_user(self, username: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(username=username, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, username: str, password: str | None = None, **fields: Any) -> User:
        """An operator, whose password obeys the same rules. Raises `InvalidRequest`."""
        if password is not None:
            passwords.check_new(password)
        return self.create_user(username, password, is_staff=True, is_superuser=True, **fields)


def default_currencies() -> list[str]:
    return ["USD", "CAD"]


class User(AbstractBaseUser, PermissionsMixin):
    """A person or program with an account. `username` is also the Lightning Address.

    Or a fund: an account with an `owner`, who spends from it as its managers do. Nobody signs in as
    a fund: the database refuses it a password, a PIN, an e-mail address and every other door."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    username = models.CharField(max_length=24, unique=True)
    owner = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="funds",
        help_text="Set: this is a fund of that person's",
    )

    display = models.CharField(max_length=100, blank=True)
    about = models.TextField(max_length=2000, blank=True)
    picture = models.CharField(max_length=500, blank=True)
    banner = models.CharField(max_length=500, blank=True)
    email = models.EmailField(blank=True)
    email_verified_at = models.DateTimeField(null=True, blank=True)

    currency = models.CharField(max_length=3, default="USD")
    currencies = ArrayField(models.CharField(max_length=3), default=default_currencies)
    fiat = models.BooleanField(default=False, help_text="Show amounts in currency first")
    language = models.CharField(max_length=2, blank=True)
    theme = models.CharField(max_length=10, blank=True)

    prompt = models.BooleanField(default=False, help_text="Ask payers for a tip")
    tip = models.PositiveSmallIntegerField(null=True, blank=True, help_text="Default tip, percent")
    memo_prompt = models.BooleanField(default=False)
    hidepay = models.BooleanField(default=False, help_text="Hide the public pay page")
    notify = models.BooleanField(default=False)
    toasts = models.BooleanField(default=True, help_text="Open pages show what arrives")
    sound = models.BooleanField(default=False, help_text="Open pages sound when money arrives")

    autowithdraw = models.BooleanField(default=False)
    threshold_sat = models.BigIntegerField(null=True, blank=True)
    reserve_sat = models.BigIntegerField(null=True, blank=True)
    destination = models.CharField(max_length=500, blank=True)

    pin_hash = models.CharField(max_length=128, blank=True)
    locktime_s = models.PositiveIntegerField(
        default=300, help_text="A browser asks for the PIN again after this; 0: every time"
    )
    second_factor_at = models.DateTimeField(
        null=True, blank=True, help_text="Set: signing in needs a code"
    )
    totp_seed = models.TextField(blank=True, help_text="Encrypted; unused until second_factor_at")
    totp_last_step = models.BigIntegerField(default=0, help_text="A code works once")
    authenticators_version = models.PositiveIntegerField(
        default=0,
        db_default=0,
        editable=False,
        help_text="Changes of password and second factor; the database counts",
    )
    pubkey = models.CharField(max_length=64, unique=True, null=True, blank=True)
    webhook_signing_secret = models.TextField(blank=True, help_text="Encrypted")
    webhook = models.URLField(
        max_length=2000, blank=True, help_text="For invoices that have none of their own"
    )
    webhook_disabled_at = models.DateTimeField(
        null=True, blank=True, help_text="It answered 410 or never"
    )
    webhook_sealed_secret = models.TextField(
        blank=True, help_text="Sealed; sent back in the webhook's body"
    )

    is_active = models.BooleanField(default=True, help_text="False: evicted, no token works")
    is_staff = models.BooleanField(default=False)
    frozen_at = models.DateTimeField(null=True, blank=True, help_text="Set: may not spend")
    created = models.DateTimeField(default=timezone.now, editable=False)

    objects = UserManager()

    USERNAME_FIELD = "username"
    REQUIRED_FIELDS = []

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="username_is_plain",
                condition=Q(username__regex=r"^[a-z0-9]{2,24}$"),
            ),
            models.CheckConstraint(
                name="second_factor_has_a_seed",
                condition=Q(second_factor_at=None) | ~Q(totp_seed=""),
            ),
            models.CheckConstraint(
                name="no_email_is_not_verified",
                condition=Q(email_verified_at=None) | ~Q(email=""),
            ),
            models.CheckConstraint(
                name="email_is_in_stored_form",
                condition=Q(email__regex=email_addresses.STORED_FORM),
            ),
            models.CheckConstraint(
                name="fund_has_no_sign_in",
                condition=Q(owner=None)
                | Q(
                    ~Q(owner=F("id")),
                    Q(password__startswith=UNUSABLE_PASSWORD_PREFIX),
                    pin_hash="",
                    totp_seed="",
                    email="",
                    pubkey=None,
                    autowithdraw=False,
                    is_staff=False,
                    is_superuser=False,
                ),
            ),
        ]
        indexes = [
            models.Index(name="user_email", fields=["email"], condition=~Q(email_verified_at=None)),
        ]

    def __str__(self) -> str:
        return self.username

    def set_password(self, raw_password: str | None) -> None:
        super().set_password(raw_password and passwords.normalise(raw_password))

    def check_password(self, raw_password: str | None) -> bool:
        """Whether this is the password; its hash is renewed when it was made with old parameters.
        That is no change: sessions live on. And it undoes none that was made meanwhile."""
        checked = self.password

        def hash_again(password: str) -> None:
            hashed = make_password(passwords.normalise(password))
            with passwords.only_hashed_again():
                if User.objects.filter(id=self.id, password=checked).update(password=hashed):
                    self.password = hashed

        forms = [None] if raw_password is None else passwords.forms(raw_password)
        return any(check_password(form, checked, hash_again) for form in forms)

    @property
    def is_fund(self) -> bool:
        return self.owner_id is not None

    @property
    def has_pin(self) -> bool:
        return bool(self.pin_hash)

    @property
    def has_second_factor(self) -> bool:
        return self.second_factor_at is not None

    @property
    def webhook_secret(self) -> str:
        """The correlation value that goes with the account's webhook; "" when there is none."""
        sealed = self.webhook_sealed_secret
        return crypto.unseal(sealed, place=self._webhook_secret_place) if sealed else ""

    @webhook_secret.setter
    def webhook_secret(self, secret: str) -> None:
        self.webhook_sealed_secret = (
            crypto.seal(secret, place=self._webhook_secret_place) if secret else ""
        )

    @property
    def _webhook_secret_place(self) -> str:
        return f"webhook-secret:{self.id}"


class UsedName(models.Model):
    """A name that an account has or had: no other account gets it. Written by the database
    (sql/0006_used_names.sql); a user's row must refer to its own."""

    username = models.CharField(max_length=24, primary_key=True)
    user = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="used_names", db_constraint=False
    )

    def __str__(self) -> str:
        return self.username


class FundManager(models.Model):
    """A person whom the owner of a fund lets spend from it. No row, no role."""

    id = models.BigAutoField(primary_key=True)
    fund = models.ForeignKey(User, on_delete=models.CASCADE, related_name="managers")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="managed")
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_role_per_manager", fields=["fund", "user"]),
            models.CheckConstraint(name="fund_is_not_its_manager", condition=~Q(fund=F("user"))),
        ]


class RecoveryCode(models.Model):
    """Stands in once for a code of the second factor. Only its SHA-256 is kept."""

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="recovery_codes")
    code_sha256 = models.CharField(max_length=64)
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_recovery_code", fields=["user", "code_sha256"]),
        ]


class Picture(models.Model):
    """A picture of a profile that its user uploaded, byte for byte: checked and never decoded.
    The user's field of the same name as the kind has its address."""

    class Kind(models.TextChoices):
        PICTURE = "picture"
        BANNER = "banner"

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=7, choices=Kind, default=Kind.PICTURE)
    type = models.CharField(max_length=10)
    version = models.CharField(max_length=12)
    content = models.BinaryField()
    changed = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(name="one_of_each_kind", fields=["user", "kind"])]


class Session(models.Model):
    """One sign-in. Each token and each browser session names its row, and the row decides:
    revoke it and the next request is refused."""

    class Kind(models.TextChoices):
        LOGIN = "login", _("API token")
        WEB = "web", _("Browser")
        READ_ONLY = "ro", _("Read-only token")
        ADMIN = "admin", _("Admin")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sessions")
    kind = models.CharField(max_length=5, choices=Kind)
    address = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)
    created = models.DateTimeField(default=timezone.now, editable=False)
    last_used = models.DateTimeField(default=timezone.now)
    expires = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    pin_at = models.DateTimeField(null=True, blank=True, help_text="Last right PIN, in a browser")
    authenticators_version = models.PositiveIntegerField(
        default=0,
        db_default=0,
        editable=False,
        help_text="The user's, at sign-in; the session ends when it differs",
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="one_live_read_only_session",
                fields=["user"],
                condition=Q(kind="ro", revoked_at=None),
            ),
        ]

    @property
    def is_live(self) -> bool:
        """Neither revoked nor over, and the user's authenticators have not changed since."""
        return (
            self.revoked_at is None
            and self.expires > timezone.now()
            and self.authenticators_version == self.user.authenticators_version
        )


class ApiKey(models.Model):
    """A credential for software. Only its SHA-256 is kept; the key is shown once."""

    class Scope(models.TextChoices):
        READ = "read", _("Read")
        RECEIVE = "receive", _("Receive")
        SPEND = "spend", _("Spend")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=60)
    key_sha256 = models.CharField(max_length=64, unique=True)
    hint = models.CharField(max_length=12, help_text="First characters, to tell keys apart")
    scope = models.CharField(max_length=7, choices=Scope)
    budget_sat = models.BigIntegerField(null=True, blank=True, help_text="Most sats a day")
    spent_day = models.DateField(null=True, blank=True)
    spent_sat = models.BigIntegerField(default=0, help_text="On spent_day, fees included")
    created = models.DateTimeField(default=timezone.now, editable=False)
    last_used = models.DateTimeField(null=True, blank=True)
    expires = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(name="budget_is_positive", condition=Q(budget_sat__gt=0)),
            models.CheckConstraint(
                name="spent_within_budget",
                condition=Q(budget_sat=None) | Q(spent_sat__lte=F("budget_sat")),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Connection(models.Model):
    """A Nostr Wallet Connect connection (NIP-47): listed and kept; no relay is served yet."""

    class Renewal(models.TextChoices):
        NEVER = "never"
        DAILY = "daily"
        WEEKLY = "weekly"
        MONTHLY = "monthly"
        YEARLY = "yearly"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="connections")
    pubkey = models.CharField(max_length=64, unique=True, help_text="Of the client")
    secret = models.TextField(blank=True, help_text="Encrypted; the client's key")
    wallet_pubkey = models.CharField(max_length=64)
    wallet_secret = models.TextField(help_text="Encrypted; one wallet key per connection")
    name = models.CharField(max_length=60)
    max_amount_sat = models.BigIntegerField(null=True, blank=True, help_text="Budget a period")
    max_fee_sat = models.BigIntegerField(null=True, blank=True)
    budget_renewal = models.CharField(max_length=7, choices=Renewal, default=Renewal.NEVER)
    notify = models.BooleanField(default=False)
    created = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.name


class Contact(models.Model):
    """Somebody this user paid or was paid by; written with the payment."""

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="contacts", db_index=False
    )
    contact = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", db_index=False)
    pinned = models.BooleanField(default=False)
    trusted = models.BooleanField(default=False)
    last_paid = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(name="one_contact", fields=["user", "contact"])]
        indexes = [models.Index(name="contacts_recent", fields=["user", "-pinned", "-last_paid"])]


class Attempts(models.Model):
    """Failed guesses at a password or PIN in one window of time, counted atomically."""

    key = models.CharField(max_length=120, primary_key=True)
    window_start = models.DateTimeField()
    count = models.PositiveIntegerField(default=0)


# --- The books: tables, guards and functions are in `sql/0001_ledger.sql` ------------------------


class LedgerAccount(models.Model):
    """An account of the ledger: a user's, or one of the house (`name`).

    A user's balance is kept here and can always be computed from the transfers. System accounts
    keep no running balance and are never locked.
    """

    id = models.BigAutoField(primary_key=True)
    user = models.OneToOneField(
        User, on_delete=models.PROTECT, null=True, related_name="ledger_account"
    )
    name = models.CharField(max_length=20, unique=True, null=True)
    posted_msat = models.BigIntegerField(default=0)
    held_msat = models.BigIntegerField(default=0)
    owed_msat = models.BigIntegerField(default=0, help_text="Borne by bad_debt, not repaid yet")

    class Meta:
        managed = False
        db_table = "ledger_account"

    def __str__(self) -> str:
        return self.name or f"user {self.user_id}"

    @property
    def available_msat(self) -> int:
        """What the user can spend now."""
        return self.posted_msat - self.held_msat


class Transfer(models.Model):
    """One movement: a debit and a credit of the same amount. Rows are never changed.

    `pending` rows hold money, and one `post` or `void` row resolves each; `posted` rows move it
    at once. `cause` says what it was for: a kind and an id.
    """

    class Phase(models.TextChoices):
        POSTED = "posted"
        PENDING = "pending"
        POST = "post"
        VOID = "void"

    id = models.BigAutoField(primary_key=True)
    debit = models.ForeignKey(LedgerAccount, on_delete=models.PROTECT, related_name="debits")
    credit = models.ForeignKey(LedgerAccount, on_delete=models.PROTECT, related_name="credits")
    amount_msat = models.BigIntegerField()
    kind = models.CharField(max_length=40)
    external_id = models.CharField(max_length=200)
    phase = models.CharField(max_length=7, choices=Phase)
    pending = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="+")
    pending_amount_msat = models.BigIntegerField(null=True)
    cause_kind = models.CharField(max_length=20)
    cause_id = models.CharField(max_length=100)
    created = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "ledger_transfer"

    def __str__(self) -> str:
        return f"{self.kind} {self.external_id}"


# --- The statement -------------------------------------------------------------------------------


class StatementLine:
    """What every line of a statement can say of itself, whatever it was read into."""

    __slots__ = ()

    @property
    def is_incoming(self: Any) -> bool:
        return bool(self.amount_sat > 0)

    @property
    def with_tip_sat(self: Any) -> int:
        """What the recipient gets: amount with tip."""
        tip_sat = self.tip_sat or 0
        return int(self.amount_sat + (tip_sat if self.amount_sat > 0 else -tip_sat))

    @property
    def total_sat(self: Any) -> int:
        """What the payment does to the balance: amount with tip, less all fees."""
        return self.with_tip_sat - (self.fee_sat or 0) - (self.platform_fee_sat or 0)

    @property
    def type_name(self: Any) -> str:
        return str(Activity.Type(self.type).label)

    @property
    def success_action(self: Any) -> dict[str, Any] | None:
        """What the recipient's LNURL service gives for it, once it has settled (LUD-09)."""
        action = (self.lnurl or {}).get("success_action")
        if not action or self.status != Activity.Status.SETTLED:
            return None
        return success_action.opened(action, self.ref)


class Activity(StatementLine, models.Model):
    """One line of a user's statement: a payment received or sent, as the user sees it.

    Written by the service that moves the money, in that transaction. `amount_sat` is positive
    for money in and negative for money out, without tip and fees.
    """

    class Type(models.TextChoices):
        LIGHTNING = "lightning", "Lightning"
        BITCOIN = "bitcoin", "Bitcoin"
        INTERNAL = "internal", _("Internal")

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        SETTLED = "settled", "Settled"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="activities", db_index=False
    )
    type = models.CharField(max_length=9, choices=Type)
    status = models.CharField(max_length=7, choices=Status)
    amount_sat = models.BigIntegerField()
    tip_sat = models.BigIntegerField(null=True)
    fee_sat = models.BigIntegerField(null=True, help_text="Network fee; the reserve while pending")
    platform_fee_sat = models.BigIntegerField(null=True)
    hash = models.TextField(help_text="bolt11, address or txid")
    ref = models.TextField(null=True, help_text="Preimage, txid:vout or the other side's id")
    payment_hash = models.CharField(max_length=64, null=True)
    invoice_id = models.UUIDField(null=True)
    counterparty = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    memo = models.TextField(blank=True)
    reason = models.TextField(blank=True, help_text="Why it failed or was reversed")
    lnurl = models.JSONField(
        null=True,
        help_text="Of one paid by LNURL: success_action, and description_differs if it does",
    )
    """And `payer_data`, what its service was told; `memo_is_theirs` where the payer wrote no note.
    See `payments.services.lnurl`."""
    rate = models.DecimalField(max_digits=24, decimal_places=8, null=True)
    currency = models.CharField(max_length=3)
    created = models.DateTimeField(default=timezone.now, editable=False)
    settled_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(name="activity_statement", fields=["user", "-created", "-id"]),
            HashIndex(name="activity_hash", fields=["hash"]),  # a bolt11 outgrows a b-tree
            models.Index(
                name="activity_payment_hash",
                fields=["payment_hash"],
                condition=~Q(payment_hash=None),
            ),
            models.Index(
                name="activity_unsettled",
                fields=["user", "status", "-created"],
                condition=~Q(status="settled"),
            ),
        ]
        verbose_name_plural = "activities"


class DailyTotal(models.Model):
    """What came in and went out on one day in one currency: totals without scanning a history.

    Counts every activity that has not failed. `fiat` is the value at the rate of each payment.
    The row of `ALL_DAYS` counts them all, so that an old history is summed as fast as a new one.
    """

    ALL_DAYS = dt.date.max

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField(help_text="UTC")
    incoming = models.BooleanField()
    currency = models.CharField(max_length=3)
    count = models.BigIntegerField(default=0)
    sats = models.BigIntegerField(default=0)
    tips_sat = models.BigIntegerField(default=0)
    fees_sat = models.BigIntegerField(default=0)
    fiat = models.DecimalField(max_digits=24, decimal_places=2, default=0)
    fiat_tips = models.DecimalField(max_digits=24, decimal_places=2, default=0)
    fiat_fees = models.DecimalField(max_digits=24, decimal_places=2, default=0, db_default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="one_daily_total", fields=["user", "day", "incoming", "currency"]
            ),
        ]


class CurrentTransaction(models.Func):
    """PostgreSQL's id of the running transaction, as a number that never wraps."""

    template = "pg_current_xact_id()::text::bigint"
    output_field = models.BigIntegerField()


class Event(models.Model):
    """Something happened to a user's money. The row is the queue: webhooks are made from it and
    live pages read it by id, below the oldest transaction still running."""

    id = models.BigAutoField(primary_key=True)
    transaction_id = models.BigIntegerField(editable=False, db_default=CurrentTransaction())
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", db_index=False)
    kind = models.CharField(max_length=30)
    activity = models.ForeignKey(Activity, on_delete=models.CASCADE, null=True, related_name="+")
    invoice_id = models.UUIDField(null=True)
    created = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [
            models.Index(name="event_stream", fields=["user", "transaction_id", "id"]),
            models.Index(
                name="event_invoice",
                fields=["invoice_id", "id"],
                condition=~Q(invoice_id=None),
            ),
        ]


class Email(models.Model):
    """A message to send: written with its cause, tried until it is out. The row is the queue; the
    words, and any link in them, are made when it is sent, so that none lies in the database."""

    class Kind(models.TextChoices):
        VERIFY = "verify", "Confirm the address"
        RESET = "reset", "Choose a new password"
        RECEIVED = "received", "A payment has arrived"
        CHANGED = "changed", "An authenticator has changed"

    class Notice(models.TextChoices):
        """What has changed, for CHANGED."""

        PASSWORD = "password"  # noqa: S105 – what has changed, and no secret
        PIN = "pin"
        PIN_REMOVED = "pin_removed"
        EMAIL = "email"
        USERNAME = "username"
        SECOND_FACTOR_ON = "second_factor_on"
        SECOND_FACTOR_OFF = "second_factor_off"
        RECOVERY_CODES = "recovery_codes"

    class State(models.TextChoices):
        PENDING = "pending", "Pending"
        DONE = "done", "Done"
        FAILED = "failed", "Given up"

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=8, choices=Kind)
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, related_name="+")
    typed = models.CharField(max_length=254, blank=True, help_text="The account that was named")
    activity = models.ForeignKey(Activity, on_delete=models.CASCADE, null=True, related_name="+")
    notice = models.CharField(
        max_length=17,
        choices=Notice,
        blank=True,
        default="",
        db_default="",
    )
    to = models.CharField(
        max_length=254,
        blank=True,
        default="",
        db_default="",
        help_text="Set: the address that was confirmed when it changed",
    )
    source = models.CharField(
        max_length=45,
        blank=True,
        default="",
        db_default="",
        help_text="Network address of whoever changed it, or operator",
    )
    state = models.CharField(max_length=7, choices=State, default=State.PENDING)
    attempts_count = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    leased_until = models.DateTimeField(null=True)
    created = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(name="one_email_per_line", fields=["activity"])]
        indexes = [
            models.Index(
                name="email_due", fields=["next_attempt_at"], condition=Q(state="pending")
            ),
        ]


class AuditEvent(models.Model):
    """Who changed what about security or another account. Append-only, by trigger and grant."""

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    actor = models.CharField(max_length=60, help_text="user, operator name or system")
    action = models.CharField(max_length=40)
    object = models.CharField(max_length=100, blank=True)
    door = models.CharField(
        max_length=10, default="", blank=True, help_text="page, api, admin, command or task"
    )
    address = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=200, blank=True)
    detail = models.JSONField(default=dict)
    created = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return f"{self.action} by {self.actor}"


class IdempotencyKey(models.Model):
    """A request that the client named: repeating it returns what the first one made.

    Written in the transaction that makes it. `fingerprint` covers path, query and body without the
    PIN; `answered_at` is set when the first request has been answered.
    """

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    made_id = models.UUIDField(help_text="The payer's line of a payment, or an invoice")
    created = models.DateTimeField(default=timezone.now, editable=False)
    answered_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(name="one_request_per_key", fields=["user", "key"])]
