"""What can go wrong with sending money."""

from __future__ import annotations

from coinos.errors import CoinosError, Forbidden, InvalidAmount


class InvalidPaymentRequest(CoinosError):
    code = "invalid_payment_request"
    title = "Invalid payment request"
    message = "Invalid payment request"


class InvalidAddress(CoinosError):
    code = "invalid_address"
    title = "Invalid address"
    message = "unrecognized address"


class UnknownDestination(CoinosError):
    """Raised when what the user pasted is nothing that can be paid."""

    code = "invalid_payment_request"
    title = "Cannot pay that"
    message = (
        "This is not an invoice, a bitcoin address, a user name or a Lightning Address."
        " Check that you copied all of it"
    )


class AmountMissing(InvalidAmount):
    message = "This invoice names no amount: choose one"


class AmountDiffers(InvalidAmount):
    """Raised when the caller names another amount than the invoice: nothing is paid."""

    def __init__(self, invoice_sat: int) -> None:
        super().__init__(f"The invoice is for {invoice_sat} sats", field="/amount")


class FeeRateTooLow(CoinosError):
    code = "fee_rate_too_low"
    title = "Fee rate too low"
    message = "fee rate too low"


class PaymentInProgress(CoinosError):
    status = 409
    code = "payment_in_progress"
    title = "Payment in progress"
    message = "Payment is already underway"


class PaymentFailed(CoinosError):
    """Raised only when the node's record says for certain that nothing was paid."""

    code = "payment_failed"
    title = "Payment failed"

    def __init__(self, reason: str) -> None:
        super().__init__(f"Problem sending payment: {reason}")


class WithdrawalsPaused(Forbidden):
    code = "withdrawals_paused"
    title = "Withdrawals paused"
    message = "External withdrawals temporarily disabled"


class LimitExceeded(Forbidden):
    code = "limit_exceeded"
    title = "Limit exceeded"
    message = "This would exceed the limit for payments out; try a smaller amount or later"


class TooManyInFlight(LimitExceeded):
    message = "Too many of your payments are still on their way; wait until some are decided"


class IdempotencyKeyReused(CoinosError):
    status = 422
    code = "idempotency_key_reused"
    title = "Idempotency key reused"
    message = "This Idempotency-Key was used for another request"


class IdempotencyInProgress(CoinosError):
    status = 409
    code = "idempotency_in_progress"
    title = "Still in progress"
    message = "The first request with this Idempotency-Key is still being answered"

    def __init__(self) -> None:
        super().__init__(retry_after_s=2)
