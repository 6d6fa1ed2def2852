"""Whether there is room for one more: what strangers may make in a user's name, and bitcoin
addresses, which the node watches for ever. The numbers are in `coinos.limits`."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts.models import User
from coinos import limits
from coinos.caller import caller
from coinos.errors import RateLimited
from coinos.throttling import count_for
from invoices.models import Invoice

OPEN_FOR = timedelta(hours=1)
RETRY_AFTER_S = 60


class TooManyInvoices(RateLimited):
    """Raised when others have asked for too many invoices of one user that nobody pays."""

    message = _("Too many invoices of this user are waiting to be paid. Try again in a minute")


class TooManyAddresses(RateLimited):
    """Raised when the day's bitcoin addresses are used up; there is Lightning."""

    message = _("No more bitcoin addresses can be made today. Use a Lightning invoice")


def require_room_for_invoice(user: User, *, own: bool) -> None:
    """Raise `RateLimited` when others have made too many invoices of this user. The user's own are
    not counted, and are made whatever others do."""
    if own:
        return
    network = caller().network
    if network:
        count_for(limits.INVOICE_FOR_ANOTHER, f"{user.id}:{network}")
    if not settings.RATE_LIMITS:
        return
    most = limits.UNPAID_BY_OTHERS.at_most
    by_others = Invoice.objects.filter(user=user, own=False, received_sat=0, pending_sat=0)
    recent = by_others.filter(created__gt=timezone.now() - OPEN_FOR)
    if recent.order_by()[:most].count() >= most:
        raise TooManyInvoices(retry_after_s=RETRY_AFTER_S)


def require_room_for_address(user: User, *, own: bool) -> None:
    """Raise `TooManyAddresses` when this user, or those who ask in the user's place, have had
    enough for today."""
    if own:
        count_for(limits.ADDRESS, str(user.id), refusal=TooManyAddresses)
        return
    network = caller().network
    if network:
        count_for(limits.ADDRESS_FROM_NETWORK, network, refusal=TooManyAddresses)
    count_for(limits.ADDRESS_FOR_PAYEE, str(user.id), refusal=TooManyAddresses)
