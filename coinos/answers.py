"""What the endpoints of the API answer, for its description at /api/schema only.

The answers themselves are built by `accounts.serializers` and its neighbours from allow-lists;
`tests/api/test_schema.py` holds them against these classes.
"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.serializers import (
    BooleanField,
    CharField,
    ChoiceField,
    DictField,
    FloatField,
    IntegerField,
    JSONField,
    ListField,
    UUIDField,
)


class Answer(serializers.Serializer[Any]):
    """Base of all answers. Further members may be added at any time."""


def optional(field: type[serializers.Field[Any, Any, Any, Any]], **kwargs: Any) -> Any:
    """A member that is left out when there is nothing to say."""
    return field(required=False, **kwargs)


def sats(**kwargs: Any) -> IntegerField:
    return IntegerField(**({"help_text": "sats"} | kwargs))


def time_ms(**kwargs: Any) -> IntegerField:
    return IntegerField(help_text="milliseconds since the epoch", **kwargs)


NOTHING = {"type": "object", "description": "An empty object: it worked."}


# --- Accounts -------------------------------------------------------------------------------------


class PublicProfile(Answer):
    """A user as anybody sees it; members that are unset are left out."""

    id = UUIDField()
    username = CharField()
    display = optional(CharField)
    picture = optional(CharField)
    banner = optional(CharField)
    about = optional(CharField)
    currency = CharField()
    prompt = BooleanField()
    memoPrompt = optional(BooleanField)
    hidepay = optional(BooleanField)
    migrated = BooleanField()
    pubkey = optional(CharField, help_text="Nostr public key, hex")
    npub = optional(CharField)


class User(Answer):
    """An account as its owner sees it."""

    id = UUIDField()
    username = CharField()
    display = optional(CharField)
    about = optional(CharField)
    picture = optional(CharField)
    banner = optional(CharField)
    email = optional(CharField)
    language = optional(CharField)
    theme = optional(ChoiceField, choices=["light", "dark", "system"])
    tip = optional(IntegerField, help_text="percent")
    threshold = optional(IntegerField, help_text="sats")
    reserve = optional(IntegerField, help_text="sats")
    destination = optional(CharField)
    currency = CharField()
    currencies = ListField(child=CharField())
    fiat = BooleanField()
    prompt = BooleanField()
    memoPrompt = BooleanField()
    hidepay = BooleanField()
    notify = BooleanField()
    push = BooleanField()
    autowithdraw = BooleanField()
    haspin = BooleanField()
    twofa = BooleanField()
    verified = BooleanField(help_text="the e-mail address")
    locktime = IntegerField(help_text="seconds")
    migrated = BooleanField()
    pubkey = optional(CharField, help_text="Nostr public key, hex")
    npub = optional(CharField)


class Me(User):
    balance = sats(help_text="sats that can be spent now")
    locked = sats(help_text="sats of a frozen account")


class Registered(User):
    token = CharField(help_text="for the Authorization header")
    sk = optional(CharField, help_text="Nostr secret key in hex; shown this once")


class SignedIn(Answer):
    user = User()
    token = CharField(help_text="for the Authorization header")


class Changed(Answer):
    user = User()


class Contact(Answer):
    id = UUIDField()
    username = CharField()
    picture = CharField(allow_null=True)
    pinned = optional(BooleanField)
    trusted = optional(BooleanField)


class Connection(Answer):
    """A wallet connection (NIP-47)."""

    pubkey = CharField()
    secret = CharField(allow_null=True)
    name = CharField()
    max_amount = IntegerField(allow_null=True, help_text="sats in each period")
    max_fee = IntegerField(allow_null=True, help_text="sats")
    budget_renewal = ChoiceField(choices=["never", "daily", "weekly", "monthly", "yearly"])
    notify = BooleanField()
    uid = UUIDField()
    created = time_ms()
    nwc = CharField(help_text="nostr+walletconnect://…")


class ListedConnection(Connection):
    spent = sats(help_text="sats in the current period")


class ShownConnection(Connection):
    payments = ListField(child=JSONField())


# --- Invoices -------------------------------------------------------------------------------------


class Invoice(Answer):
    id = UUIDField()
    hash = CharField(help_text="the bolt11 string, or the address")
    text = CharField(help_text="for the QR code")
    paymentHash = optional(CharField, help_text="Lightning only")
    type = ChoiceField(choices=["lightning", "bitcoin"])
    amount = sats(help_text="sats without tip; 0: the payer chooses")
    tip = IntegerField(allow_null=True, help_text="sats")
    received = sats(help_text="sats settled so far, tip included")
    pending = sats(help_text="sats seen on-chain, not yet confirmed")
    rate = FloatField(help_text="units of the currency per BTC; 0 when there was none")
    currency = CharField()
    uid = UUIDField()
    aid = UUIDField()
    created = time_ms()
    expiry = IntegerField(help_text="seconds from creation")
    items = ListField(child=JSONField())
    memo = optional(CharField)
    prompt = BooleanField()
    memoPrompt = optional(BooleanField)
    request_id = optional(CharField)
    address_type = optional(CharField)
    own = BooleanField()
    status = ChoiceField(choices=["open", "pending", "partial", "paid", "overpaid", "expired"])
    settled = optional(IntegerField, help_text="milliseconds since the epoch")
    preimage = optional(CharField, help_text="after full payment only")
    webhook = optional(CharField, help_text="for the owner, and keys that may receive")
    secret = optional(
        CharField, help_text="for the caller that has just set it, and the owner's login token"
    )


class InvoiceWithUser(Invoice):
    user = PublicProfile()


class WebhookCall(Answer):
    """What the webhook of an invoice, or of the account, is told of a payment."""

    amount = sats(help_text="sats of this payment, without the tip")
    confirmed = BooleanField(help_text="false: seen and not credited, or taken away again")
    hash = CharField(help_text="the bolt11 or address that was paid")
    received = sats(help_text="sats that the invoice has received so far, tip included")
    status = ChoiceField(choices=["pending", "settled", "failed"])
    text = CharField(help_text="what stood in the QR code")
    own = optional(BooleanField, help_text="false: somebody else made the invoice")
    memo = optional(CharField)
    secret = optional(CharField, help_text="the one that was set with the webhook")


# --- Payments -------------------------------------------------------------------------------------


class PublicPayment(Answer):
    """A payment as those see it whose it is not."""

    id = UUIDField()
    type = ChoiceField(choices=["lightning", "bitcoin", "internal"])
    amount = sats(help_text="sats; positive when received, negative when sent")
    tip = IntegerField(allow_null=True, help_text="sats")
    confirmed = BooleanField()
    status = ChoiceField(choices=["pending", "settled", "failed"])
    hash = CharField(help_text="bolt11, address or txid")
    rate = FloatField(allow_null=True, help_text="units of the currency per BTC")
    currency = CharField()
    created = time_ms()


class SuccessAction(Answer):
    """What the recipient's LNURL service gives for the payment (LUD-09, LUD-10)."""

    tag = ChoiceField(choices=["message", "url", "aes"])
    message = optional(CharField, help_text="of a message")
    description = optional(CharField, help_text="of a url or aes", allow_blank=True)
    url = optional(CharField, help_text="of the service's own host")
    plaintext = optional(
        CharField,
        allow_null=True,
        allow_blank=True,
        help_text="of aes: opened with the preimage; null when that does not open it",
    )
    ciphertext = optional(CharField, help_text="of aes that the preimage does not open")
    iv = optional(CharField, help_text="of aes that the preimage does not open")


class Payment(PublicPayment):
    uid = UUIDField()
    aid = UUIDField()
    fee = optional(IntegerField, help_text="sats; when sent: the reserve while pending")
    ourfee = optional(IntegerField, help_text="sats; when sent")
    ref = optional(CharField, help_text="preimage, txid:vout, or the other side's id")
    memo = optional(CharField)
    payment_hash = optional(CharField)
    iid = optional(UUIDField, help_text="the invoice")
    reason = optional(CharField, help_text="why it failed")
    successAction = SuccessAction(required=False, help_text="of one paid by LNURL, once settled")
    payerData = optional(
        DictField, child=CharField(), help_text="what the LNURL service was told (LUD-18)"
    )
    descriptionMatches = optional(
        BooleanField,
        help_text="false: the invoice does not commit to what the LNURL service showed (LUD-06)",
    )

    def get_fields(self) -> dict[str, Any]:
        return super().get_fields() | {"with": PublicProfile(required=False)}


class PaymentOfAnybody(Payment):
    """A payment as its account sees it; others see the members of `PublicPayment`."""

    uid = optional(UUIDField)
    aid = optional(UUIDField)


class Sums(Answer):
    sats = IntegerField()
    fiat = CharField(help_text="two decimals")
    tips = IntegerField()
    fiatTips = CharField(help_text="two decimals")


class Payments(Answer):
    payments = Payment(many=True)
    count = IntegerField(help_text="all that match, not only this page")
    incoming = DictField(child=Sums(), help_text="by currency")
    outgoing = DictField(child=Sums(), help_text="by currency")
    totals = DictField(child=Sums(), help_text="by currency")


class FeeRates(Answer):
    fastestFee = IntegerField()
    halfHourFee = IntegerField()
    hourFee = IntegerField()
    economyFee = IntegerField()
    minimumFee = IntegerField()


class FeeQuote(Answer):
    fee = sats(help_text="sats for the network")
    ourfee = sats(help_text="sats for this server")
    feeRate = IntegerField(help_text="sat/vB")
    fees = FeeRates(help_text="sat/vB; where the node has no estimate, the fallback of this server")
    subtract = BooleanField()
    hex = CharField(help_text="always empty", allow_blank=True)
    inputs = ListField(child=JSONField(), help_text="always empty")


class Parsed(Answer):
    alias = CharField()
    amount = sats(help_text="sats; 0: the payer chooses")
    ourfee = sats(help_text="sats for this server")
    type = CharField()
    description = CharField(allow_blank=True)


class Decoded(Answer):
    """The node's own words about an invoice or offer."""

    type = CharField()
    valid = optional(BooleanField)
    currency = optional(CharField)
    created_at = optional(IntegerField)
    expiry = optional(IntegerField)
    payee = optional(CharField)
    amount_msat = optional(IntegerField)
    description = optional(CharField)
    payment_hash = optional(CharField)


# --- LNURL ----------------------------------------------------------------------------------------


class LnurlError(Answer):
    status = ChoiceField(choices=["ERROR"])
    reason = CharField()


class PayRequest(Answer):
    """LUD-06. Errors, too, are HTTP 200: `{"status": "ERROR", "reason": …}`."""

    tag = ChoiceField(choices=["payRequest"])
    callback = CharField()
    minSendable = IntegerField(help_text="msat")
    maxSendable = IntegerField(help_text="msat")
    metadata = CharField()
    commentAllowed = IntegerField()


class LnurlInvoice(Answer):
    """LUD-06. Errors, too, are HTTP 200: `{"status": "ERROR", "reason": …}`."""

    pr = CharField(help_text="bolt11")
    routes = ListField(child=JSONField())
    verify = CharField()


class LnurlVerified(Answer):
    """LUD-21. Errors, too, are HTTP 200: `{"status": "ERROR", "reason": …}`."""

    status = ChoiceField(choices=["OK"])
    settled = BooleanField()
    preimage = CharField(allow_null=True)
    pr = CharField(help_text="bolt11")


# --- The server -----------------------------------------------------------------------------------


class JobTimes(Answer):
    lastSuccessTime = time_ms(allow_null=True)
    lastWorkTime = time_ms(allow_null=True)


class Health(Answer):
    healthy = BooleanField()
    consecutiveFailures = IntegerField()
    lastSuccessTime = time_ms()
    lastFailureReason = CharField(allow_blank=True)
    stalledCheck = BooleanField()
    alarms = IntegerField(help_text="that no operator has acknowledged")
    jobs = DictField(child=JobTimes(), help_text="by name")


class Fx(Answer):
    fx = DictField(child=FloatField(), help_text="units of each currency per US dollar")


RATES = {"type": "object", "additionalProperties": {"type": "number"}}
"""Units of each currency per BTC."""


class NodeInfo(Answer):
    id = CharField()
    alias = CharField()
    color = CharField()
    num_peers = IntegerField()
    num_pending_channels = IntegerField()
    num_active_channels = IntegerField()
    num_inactive_channels = IntegerField()
    address = ListField(child=JSONField())
    binding = ListField(child=JSONField(), help_text="always empty")
    version = CharField()
    blockheight = IntegerField()
    network = CharField()
    fees_collected_msat = IntegerField()
    our_features = DictField(child=JSONField())
