"""Auto-withdraw as the user sets it up: when more than a threshold is spendable, everything above
a reserve goes to a destination by itself. What then happens is in `autowithdraw_runs`.

Setting it up asks for password and PIN, because later nobody can be asked.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts.audit import audit
from accounts.errors import SelfPayment
from accounts.models import User
from accounts.selectors import user_by_name
from accounts.services import require_password, require_pin
from coinos import http
from coinos.errors import CoinosError, InvalidAmount, InvalidRequest
from payments.destinations import (
    Bolt11,
    Bolt12Offer,
    LightningAddress,
    Lnurl,
    NostrKey,
    Onchain,
    Username,
    read,
)
from payments.models import AutoWithdraw, AutoWithdrawRun
from payments.selectors import destination_of
from payments.services.lnurl import look_up
from payments.services.onchain import withdrawal_address

SETTINGS = ("autowithdraw", "threshold_sat", "reserve_sat", "destination")


@dataclass(frozen=True)
class Order:
    """Settings that have been checked; `recipient` is whom the destination means, if it is a user
    here: renaming does not send their sats to somebody else (P20)."""

    changes: dict[str, Any]
    recipient: User | None


def check_auto_withdraw(
    user: User, wanted: dict[str, Any], *, password: str | None, pin: object
) -> Order | None:
    """What `save_auto_withdraw` would change; None when `wanted` says what is set already.

    Anything but switching it off needs the password, and the PIN where there is one; `password`
    None says that the caller has confirmed it already. The
    destination is looked up, which may ask the node or another server. Raises `Forbidden`,
    `InvalidPin`, `InvalidAmount`, `InvalidRequest`, `SelfPayment` and what looking up raises.
    """
    if not wanted.keys() & set(SETTINGS):
        return None
    stored = {name: getattr(user, name) for name in SETTINGS}
    stored["destination"] = destination_of(user)
    changes = {
        name: wanted[name] for name in SETTINGS if name in wanted and wanted[name] != stored[name]
    }
    if not changes:
        return None
    if changes == {"autowithdraw": False}:
        return Order(changes, None)
    if password is not None:
        require_password(user, password)
    require_pin(user, pin)
    is_on, threshold_sat, reserve_sat, destination = ((stored | changes)[name] for name in SETTINGS)
    if is_on and threshold_sat is None:
        raise InvalidAmount(
            "Say above how many sats it shall begin",
            page_message=_("Enter the amount at which it should begin"),
            field="/threshold",
        )
    if (threshold_sat or 0) < (reserve_sat or 0):
        raise InvalidAmount(_("The reserve may not be more than the threshold"), field="/reserve")
    if is_on and not destination:
        raise InvalidRequest(
            "Say where the sats shall go",
            page_message=_("Enter where the sats should go"),
            field="/destination",
        )
    recipient = None
    if destination:
        try:
            changes["destination"], recipient = _look_up(user, destination)
        except CoinosError as error:
            error.field = "/destination"
            raise
    return Order(changes, recipient)


def save_auto_withdraw(user: User, order: Order | None) -> None:
    """Store what was checked. Switched on, it looks at the balance at once."""
    if order is None:
        return
    for name, value in order.changes.items():
        setattr(user, name, value)
    stands = {"next_at": timezone.now(), "failures": 0, "reason": ""}
    with transaction.atomic():
        user.save(update_fields=list(order.changes))
        if user.autowithdraw:
            AutoWithdraw.objects.update_or_create(
                user=user, defaults=stands | {"saved": uuid.uuid4(), "recipient": order.recipient}
            )
            # An invoice of the old destination is not paid any more.
            AutoWithdrawRun.objects.filter(user=user, state=AutoWithdrawRun.State.OPEN).update(
                bolt11="", bolt11_sat=0, lnurl=None
            )
        audit(user, "autowithdraw.on" if user.autowithdraw else "autowithdraw.off")


def _look_up(user: User, text: str) -> tuple[str, User | None]:
    """The destination as it is stored, and the user here whom it means."""
    request = read(text)
    found = request.best(Username, LightningAddress, Lnurl, Onchain) or request.ways[0]
    if isinstance(found, LightningAddress) and found.is_ours:
        found = Username(found.name)
    match found:
        case Username(name):
            recipient = user_by_name(name)
            if recipient == user:
                raise SelfPayment()
            return recipient.username, recipient
        case Onchain():
            return withdrawal_address(user, text), None
        case Bolt11() | Bolt12Offer() | NostrKey():
            raise InvalidRequest(
                "Name a Lightning Address, a bitcoin address or a user here: it is paid again",
                page_message=_(
                    "Enter a Lightning Address, a bitcoin address or a username: they can be paid"
                    " again and again"
                ),
            )
    with http.asking_others(user.id) as until:
        service = look_up(found, until=until)
    service.require(())  # nobody is there to be asked, later
    return str(found), None
