"""LNURL-pay and the Lightning Address: LUD-06, 12, 16 and 21. Amounts are millisatoshi.

The id in a callback is a signed token of whom and how much, so that asking leaves no row behind.
The metadata follows from the token alone: the bytes that were shown are the bytes that the bolt11
commits to.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from uuid import UUID

from bech32 import bech32_encode, convertbits
from django.conf import settings
from django.core import signing

from accounts.models import User
from accounts.selectors import user_by_name
from coinos.errors import CoinosError, InvalidRequest, NotFound
from coinos.money import MSAT_PER_SAT, msat_to_sat_floor, parse_sat
from invoices.errors import AmountOutOfRange
from invoices.models import Invoice
from invoices.selectors import invoice_by_id
from invoices.services import InvoiceDraft, create_invoice
from invoices.services.creation import LnurlTerms

MIN_MSAT = 1 * MSAT_PER_SAT
MAX_MSAT = 100_000_000 * MSAT_PER_SAT
COMMENT_CHARACTERS = 512
CALLBACK_LIFETIME_S = 24 * 3600
INVOICE_EXPIRY_S = 24 * 3600
MAX_USERNAME_CHARACTERS = 24

_signer = signing.TimestampSigner(salt="lnurl-pay", sep=".")
_MSAT = re.compile(r"[0-9]{1,18}", re.ASCII)
_TAG = re.compile(r"[a-z0-9._-]{1,40}", re.ASCII)


class CallbackExpired(CoinosError):
    message = "This payment link has expired; ask for a new one"


@dataclass(frozen=True)
class PayRequest:
    """What a payer is told first: whom he pays and within which limits."""

    token: str
    metadata: str
    min_msat: int
    max_msat: int


@dataclass(frozen=True)
class _Terms:
    """What the token carries."""

    user_id: str
    name: str
    tag: str
    amount_sat: int  # 0: the payer chooses

    @property
    def min_msat(self) -> int:
        return self.amount_sat * MSAT_PER_SAT or MIN_MSAT

    @property
    def max_msat(self) -> int:
        return self.amount_sat * MSAT_PER_SAT or MAX_MSAT

    @property
    def metadata(self) -> str:
        """A JSON string with exactly one text/plain; these bytes are hashed (LUD-06)."""
        address = f"{self.name}@{settings.DOMAIN}"
        entries = [["text/plain", f"Paying {address}"], ["text/identifier", address]]
        if self.tag:
            entries.append(["text/tag", self.tag])
        return json.dumps(entries, separators=(",", ":"))


def lnurl_of(username: str) -> str:
    """The user's Lightning Address as an LNURL, for wallets that scan (LUD-01)."""
    url = f"{settings.PUBLIC_URL}/.well-known/lnurlp/{username}"
    return str(bech32_encode("lnurl", convertbits(url.encode(), 8, 5) or []))


def pay_request(name: str, amount: str | None = None) -> PayRequest:
    """Answer to a Lightning Address, `alice` or `alice+tag`; with `amount`, to pay just those sats.

    Raises `UserNotFound`, `AmountOutOfRange`.
    """
    base, _, tag = name.strip().lower().partition("+")
    user = user_by_name(base)
    amount_sat = 0
    if amount is not None:
        try:
            amount_sat = parse_sat(amount)
        except ValueError as error:
            raise AmountOutOfRange() from error
        if amount_sat * MSAT_PER_SAT > MAX_MSAT:
            raise AmountOutOfRange()
    tag = tag if _TAG.fullmatch(tag) else ""
    terms = _Terms(user.id.hex, user.username, tag, amount_sat)
    token = _signer.sign_object([terms.user_id, terms.name, terms.tag, terms.amount_sat])
    return PayRequest(token, terms.metadata, terms.min_msat, terms.max_msat)


def request_invoice(token: str, *, amount_msat: str, comment: str = "") -> Invoice:
    """Mint the invoice of a callback; the description hash commits to the metadata shown.

    Raises `CallbackExpired`, `NotFound`, `AmountOutOfRange`, `InvalidRequest` for a long comment,
    `NodeUnavailable`.
    """
    terms = _terms_of(token)
    if not _MSAT.fullmatch(amount_msat):
        raise AmountOutOfRange("amount must be a number of millisatoshi")
    msat = int(amount_msat)
    if not terms.min_msat <= msat <= terms.max_msat:
        raise AmountOutOfRange(
            f"amount out of range: {terms.min_msat} to {terms.max_msat} millisatoshi"
        )
    if len(comment) > COMMENT_CHARACTERS:
        raise InvalidRequest(f"The comment may have at most {COMMENT_CHARACTERS} characters")
    user = User.objects.filter(id=UUID(terms.user_id), is_active=True).first()
    if user is None:
        raise NotFound("User not found")
    draft = InvoiceDraft(
        amount_sat=msat_to_sat_floor(msat), memo=comment, expiry_s=INVOICE_EXPIRY_S
    )
    return create_invoice(user, draft, own=False, lnurl=LnurlTerms(msat, terms.metadata, comment))


def settled_invoice(invoice_id: str) -> Invoice:
    """The invoice that a verify URL names (LUD-21). Raises `NotFound`."""
    try:
        invoice = invoice_by_id(UUID(invoice_id))
    except ValueError:
        invoice = None
    if invoice is None or invoice.type != Invoice.Type.LIGHTNING:
        raise NotFound("Not found")
    return invoice


def _terms_of(token: str) -> _Terms:
    try:
        user_id, name, tag, amount_sat = _signer.unsign_object(token, max_age=CALLBACK_LIFETIME_S)
    except signing.SignatureExpired as error:
        raise CallbackExpired() from error
    except (signing.BadSignature, ValueError) as error:
        raise NotFound("Not found") from error
    return _Terms(user_id, name, tag, amount_sat)
