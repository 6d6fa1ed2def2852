"""What can go wrong with asking for money."""

from __future__ import annotations

from django.conf import settings
from django.utils.translation import gettext_noop as _

from coinos.errors import CoinosError, Forbidden, InvalidAmount, InvalidRequest, NotFound


class InvoiceNotFound(NotFound):
    message = "invoice not found"
    page_message = _("There is no such invoice. Check that you copied all of the link")


class InvalidType(CoinosError):
    code = "invalid_type"
    title = _("Invalid type")

    def __init__(self, type: str) -> None:
        super().__init__(_("unrecognized type %(type)s"), field="/type", values={"type": type[:40]})


class AmountBelowMinimum(CoinosError):
    """Raised for an on-chain invoice that would cost more to collect than it brings (F13)."""

    code = "amount_below_minimum"
    title = _("Amount below the minimum")

    def __init__(self) -> None:
        super().__init__(
            _(
                "On-chain deposits must be at least %(sats)s sats."
                " Use a Lightning invoice for smaller amounts."
            ),
            field="/amount",
            values={"sats": settings.MIN_DEPOSIT_SAT},
        )


class AmountOutOfRange(InvalidAmount):
    message = "amount out of range"
    page_message = _("This amount is too large. Choose a smaller one")


class MemoTooLong(CoinosError):
    code = "memo_too_long"
    title = _("Memo too long")
    message = "memo too long"
    page_message = _("This note is too long. Shorten it")


class InvalidTip(CoinosError):
    code = "invalid_tip"
    title = _("Invalid tip")
    message = "invalid tip"
    page_message = _("This tip is not possible. Choose another one")


class TipTooLarge(InvalidTip):
    """Raised when somebody else than the owner sets a tip above the amount of the invoice."""

    message = _("The tip cannot be more than the amount, %(sats)s sats")
    page_message = message


class InvoiceExpired(CoinosError):
    code = "invoice_expired"
    title = _("Invoice expired")
    message = _("This invoice has expired. Ask for a new one")


class AskTheShop(InvoiceExpired):
    """Raised when a payer wants a new invoice for an order: its shop knows what it costs now."""

    message = _("This invoice belongs to an order. Go back to the shop and ask for a new one")


class InvoiceAlreadyPaid(CoinosError):
    status = 409
    code = "invoice_already_paid"
    title = _("Invoice already paid")
    message = _("Invoice has already been paid")


class InvoiceAlreadySettled(InvoiceAlreadyPaid):
    """Raised when somebody sets the tip of an invoice that has been paid."""

    message = _("Invoice already settled")


class NotTheOwner(Forbidden):
    """Raised when somebody else than the payee says who is told of the payments."""

    message = _("Only the owner of the invoice may set its webhook")


class SecretWithoutWebhook(InvalidRequest):
    """Raised when a secret would be sent to nobody."""

    message = "secret is sent to a webhook: name one"

    def __init__(self) -> None:
        super().__init__(field="/secret")


class NotByReadOnlyToken(Forbidden):
    """Raised when a read-only token would change the webhook of an invoice that is there."""

    message = "A read-only token may not change a webhook. Use an API key with the scope receive"


class NotSentAgain(NotFound):
    """Raised for an old call whose webhook a stranger had set, when that was still possible."""

    message = _("This call cannot be sent again: somebody else had set its webhook")


class NotThatNode(CoinosError):
    """Raised when an operator adopts another Lightning node than the one that answers."""

    code = "not_that_node"
    title = "Another node"
    message = "The Lightning node that answers is %(id)s"
