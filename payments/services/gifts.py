"""Gifts: set an amount aside, hand the link to somebody, who takes it; else it comes back.

Taking and returning change the gift's row first, by a condition that only one of them can meet,
and then the books, in the same transaction; the books refuse a second resolution of their own
accord (`accounts/sql/0003_gifts.sql`). No node takes part.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import uuid
from datetime import timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts import ledger, statement
from accounts.audit import audit
from accounts.credentials import Credential
from accounts.errors import SelfPayment
from accounts.funds import is_stopped
from accounts.models import Activity, User
from coinos import limits
from coinos.money import MSAT_PER_SAT
from coinos.rates import rate_or_none
from payments import idempotency
from payments.errors import GiftGone, GiftNotFound, TooManyGifts
from payments.gate import open_gate, reserve
from payments.idempotency import Named
from payments.models import Gift

logger = logging.getLogger(__name__)

GIFT = _("Gift")
RETURNED = _("Gift returned")
PER_ROUND = 200


def make_gift(
    *,
    credential: Credential,
    amount_sat: int,
    days: int,
    memo: str = "",
    pin: object = None,
    named: Named | None = None,
) -> tuple[Gift, str] | None:
    """Take an amount out of the giver's balance and return the gift with the secret of its link,
    which cannot be shown again. None when this very request was carried out before.

    Raises `InsufficientFunds`, `TooManyGifts` and what the gate raises.
    """
    giver = credential.user
    token = secrets.token_urlsafe(32)
    gift = Gift(
        giver=giver,
        made_by=credential.by.user if credential.by else None,
        amount_sat=amount_sat,
        memo=statement.clean_memo(memo),
        token_sha256=_sha256(token),
        expires=timezone.now() + timedelta(days=days),
    )

    def give() -> Activity:
        open_gate(credential, pin=pin, external=False)
        return set_aside()

    @ledger.atomic
    def set_aside() -> Activity:
        payment_id = uuid.uuid4()
        idempotency.claim(giver, named, payment_id, answered=True)
        reserve(credential, debit_sat=amount_sat, external=False)
        ledger.make_gift(user_id=giver.id, amount_msat=amount_sat * MSAT_PER_SAT, gift_id=gift.id)
        _require_room(giver)
        gift.save(force_insert=True)
        return _line(gift, giver, -amount_sat, id=payment_id, reason=GIFT)

    spent = idempotency.once(giver, named, give)
    return None if spent.replayed else (gift, token)


def _require_room(giver: User) -> None:
    """Raise `TooManyGifts` when as many of the giver's are open as may be. After the ledger call,
    whose lock makes the number exact."""
    most = limits.OPEN_GIFTS.at_most
    if Gift.objects.filter(giver=giver, state=Gift.State.OPEN).count() >= most:
        raise TooManyGifts(values={"most": most})


def gift_by_token(token: str) -> Gift:
    """The gift that a link is for, with its giver. Raises `GiftNotFound`."""
    gift = Gift.objects.select_related("giver", "taker").filter(token_sha256=_sha256(token)).first()
    if gift is None:
        raise GiftNotFound()
    return gift


def take_gift(taker: User, token: str) -> Gift:
    """Give the taker what was set aside: once, to one person, whatever the number of clicks.

    Raises `GiftNotFound`, `GiftGone`, `SelfPayment`; nothing is given while the giver's account is
    frozen or closed by the operator; of a fund's gift, also its owner's and who handed it out.
    """
    gift = gift_by_token(token)
    if gift.giver_id == taker.id:
        raise SelfPayment(_("This is your own gift. You can take it back on your gifts page"))

    @ledger.atomic
    def take() -> None:
        now = timezone.now()
        # Columns of the row alone: whoever waited for its lock looks at them again, and at no join.
        open_gift = Gift.objects.filter(
            id=gift.id,
            state=Gift.State.OPEN,
            token_sha256=gift.token_sha256,
            expires__gt=now,
        )
        taken = open_gift.update(state=Gift.State.TAKEN, taker=taker, resolved_at=now)
        may_give = not is_stopped(gift.giver_id, gift.giver.owner_id, gift.made_by_id)
        if not (taken and may_give) or not ledger.take_gift(
            user_id=taker.id, amount_msat=gift.amount_sat * MSAT_PER_SAT, gift_id=gift.id
        ):
            raise GiftGone()
        _line(gift, taker, gift.amount_sat, reason=GIFT, counterparty=gift.giver)

    take()
    gift.refresh_from_db()
    return gift


def replace_link(
    *, credential: Credential, gift_id: uuid.UUID, pin: object = None
) -> tuple[Gift, str]:
    """A new link for an open gift; the old one ends. Whoever gets it could take the gift, so this
    passes the gate as a spend does. Raises `GiftNotFound`, `GiftGone` and what the gate raises."""
    _own(credential.user, gift_id)  # before a PIN is asked for
    open_gate(credential, pin=pin, external=False)
    with transaction.atomic():
        replaced = new_secret(credential.user, gift_id)
        audit(credential.user, "gift.link_replaced", object=str(gift_id))
    return replaced


def new_secret(giver: User, gift_id: uuid.UUID) -> tuple[Gift, str]:
    """Another secret for the link of an open gift, for whoever has passed the gate. Raises
    `GiftNotFound`, `GiftGone`."""
    gift = _own(giver, gift_id)
    token = secrets.token_urlsafe(32)
    replaced = Gift.objects.filter(
        id=gift.id, state=Gift.State.OPEN, expires__gt=timezone.now()
    ).update(token_sha256=_sha256(token))
    if not replaced:
        raise GiftGone()
    return gift, token


def take_back(giver: User, gift_id: uuid.UUID) -> Gift:
    """Return an open gift to its giver. Raises `GiftNotFound`, `GiftGone`."""
    gift = _own(giver, gift_id)
    if not _return(gift):
        raise GiftGone()
    return gift


def return_expired() -> int:
    """Return every gift that nobody has taken in time. Returns how many went back."""
    expired = Gift.objects.filter(state=Gift.State.OPEN, expires__lte=timezone.now())
    returned = 0
    for gift in expired.select_related("giver").order_by("expires")[:PER_ROUND]:
        try:
            returned += _return(gift)
        except Exception:  # one odd gift does not hold up the others
            logger.critical("gift %s cannot be returned", gift.id, exc_info=True)
    return returned


@ledger.atomic
def _return(gift: Gift) -> bool:
    """False when it was taken or returned meanwhile."""
    returned = Gift.objects.filter(id=gift.id, state=Gift.State.OPEN).update(
        state=Gift.State.RETURNED, resolved_at=timezone.now()
    )
    if not returned:
        return False
    if not ledger.return_gift(
        user_id=gift.giver_id, amount_msat=gift.amount_sat * MSAT_PER_SAT, gift_id=gift.id
    ):
        raise GiftGone()
    _line(gift, gift.giver, gift.amount_sat, reason=RETURNED)
    return True


def _own(giver: User, gift_id: uuid.UUID) -> Gift:
    gift = Gift.objects.select_related("giver").filter(giver=giver, id=gift_id).first()
    if gift is None:
        raise GiftNotFound()
    return gift


def _line(
    gift: Gift,
    user: User,
    amount_sat: int,
    *,
    reason: str,
    id: uuid.UUID | None = None,
    counterparty: User | None = None,
) -> Activity:
    return statement.record(
        id=id,
        user=user,
        type=Activity.Type.INTERNAL,
        status=Activity.Status.SETTLED,
        amount_sat=amount_sat,
        fee_sat=0 if amount_sat < 0 else None,
        platform_fee_sat=0 if amount_sat < 0 else None,
        hash=gift.id.hex,
        ref=str(counterparty.id) if counterparty else None,
        counterparty=counterparty,
        memo=gift.memo,
        reason=reason,
        currency=user.currency,
        rate=rate_or_none(user.currency),
    )


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
