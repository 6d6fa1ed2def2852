"""What can go wrong with asking for money."""

from __future__ import annotations

from django.conf import settings

from coinos.errors import CoinosError, Forbidden, InvalidAmount, NotFound


class InvoiceNotFound(NotFound):
    message = "invoice not found"


class InvalidType(CoinosError):
    code = "invalid_type"
    title = "Invalid type"

    def __init__(self, type: str) -> None:
        super().__init__(f"unrecognized type {type[:40]}", field="/type")


class AmountBelowMinimum(CoinosError):
    """Raised for an on-chain invoice that would cost more to collect than it brings (F13)."""

    code = "amount_below_minimum"
    title = "Amount below the minimum"

    def __init__(self) -> None:
        super().__init__(
            f"On-chain deposits must be at least {settings.MIN_DEPOSIT_SAT} sats."
            " Use a Lightning invoice for smaller amounts.",
            field="/amount",
        )


class AmountOutOfRange(InvalidAmount):
    message = "amount out of range"


class MemoTooLong(CoinosError):
    code = "memo_too_long"
    title = "Memo too long"
    message = "memo too long"


class InvalidTip(CoinosError):
    code = "invalid_tip"
    title = "Invalid tip"
    message = "invalid tip"


class InvoiceExpired(CoinosError):
    code = "invoice_expired"
    title = "Invoice expired"
    message = "This invoice has expired. Ask for a new one"


class InvoiceAlreadyPaid(CoinosError):
    status = 409
    code = "invoice_already_paid"
    title = "Invoice already paid"
    message = "Invoice has already been paid"


class InvoiceAlreadySettled(InvoiceAlreadyPaid):
    """Raised when somebody sets the tip of an invoice that has been paid."""

    message = "Invoice already settled"


class NotTheOwner(Forbidden):
    message = "Only the owner of the invoice may set its webhook"
