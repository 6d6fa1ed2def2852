"""What can go wrong with sending money."""

from __future__ import annotations

from django.utils.translation import gettext_noop as _

from coinos.errors import CoinosError, Forbidden, InvalidAmount, NotFound


class InvalidPaymentRequest(CoinosError):
    code = "invalid_payment_request"
    title = _("Invalid payment request")
    message = _("Invalid payment request")
    page_message = _(
        "This is not an invoice that can be paid: it was changed on the way, or asks for something"
        " impossible. Ask for a new one"
    )


class InvalidAddress(CoinosError):
    code = "invalid_address"
    title = _("Invalid address")
    message = "unrecognized address"
    page_message = _(
        "This is not a bitcoin address of this network. Check that you copied all of it"
    )


class UnknownDestination(CoinosError):
    """Raised when what the user pasted is nothing that can be paid."""

    code = "invalid_payment_request"
    title = _("Cannot pay that")
    message = (
        "This is not an invoice, a bitcoin address, a user name, a Lightning Address or an LNURL."
        " Check that you copied all of it"
    )
    page_message = _(
        "This is not an invoice, a bitcoin address, a username, a Lightning Address or an LNURL."
        " Check that you copied all of it"
    )


class AmountMissing(InvalidAmount):
    message = _("This invoice names no amount: choose one")


class AmountDiffers(InvalidAmount):
    """Raised when the caller names another amount than the invoice: nothing is paid."""

    def __init__(self, invoice_sat: int) -> None:
        super().__init__(
            _("The invoice is for %(sats)s sats"), field="/amount", values={"sats": invoice_sat}
        )


class FeeRateTooLow(CoinosError):
    code = "fee_rate_too_low"
    title = _("Fee rate too low")
    message = "fee rate too low"
    page_message = _("The fee rate is too low")


class PaymentInProgress(CoinosError):
    status = 409
    code = "payment_in_progress"
    title = _("Payment in progress")
    message = _("Payment is already underway")


class PaymentFailed(CoinosError):
    """Raised only when the node's record says for certain that nothing was paid."""

    code = "payment_failed"
    title = _("Payment failed")

    def __init__(self, reason: str) -> None:
        super().__init__(_("Problem sending payment: %(reason)s"), values={"reason": reason})


class TooLateToCancel(CoinosError):
    """Raised when a payment is on its way or decided."""

    status = 409
    code = "too_late_to_cancel"
    title = _("Too late to cancel")
    message = _("This payment cannot be cancelled any more: it is on its way, or over")


class CannotBump(CoinosError):
    """Raised when a payment is no withdrawal that waits for a block, or cannot be replaced."""

    status = 409
    code = "cannot_bump"
    title = _("Cannot speed it up")
    message = _("Only an on-chain payment that waits for a block can be sped up")


class WithdrawalsPaused(Forbidden):
    code = "withdrawals_paused"
    title = _("Withdrawals paused")
    message = "External withdrawals temporarily disabled"
    page_message = _(
        "Sending to other wallets is paused for now. Your sats are safe; try again later"
    )


class LimitExceeded(Forbidden):
    code = "limit_exceeded"
    title = _("Limit exceeded")
    message = "This would exceed the limit for payments out; try a smaller amount or later"
    page_message = _(
        "This would exceed the limit for outgoing payments. Try a smaller amount, or try again"
        " later"
    )


class TooManyInFlight(LimitExceeded):
    message = "Too many of your payments are still on their way; wait until some are decided"
    page_message = _(
        "Too many of your payments are still on their way. Wait until some of them are done"
    )


class TooManyUnconfirmed(LimitExceeded):
    message = "Too many of your withdrawals are in no block yet; wait until one of them is"
    page_message = _(
        "Too many of your withdrawals wait for a block. Try again when one of them is confirmed"
    )


class TooManyGifts(Forbidden):
    message = _(
        "%(most)s gifts are still open, the most there can be. Take some back, or wait until they"
        " are taken"
    )


class GiftNotFound(NotFound):
    message = _("There is no such gift. Its link may have been replaced by a new one")


class GiftGone(CoinosError):
    """Raised when a gift is not open any more: taken, returned or expired."""

    status = 409
    code = "gift_gone"
    title = _("Gift gone")
    message = _("This gift has been taken or has gone back to its giver")


class MayStillConfirm(CoinosError):
    """Raised when an operator would end a withdrawal that the chain may still take."""

    status = 409
    code = "may_still_confirm"
    title = "May still confirm"
    message = "This withdrawal may still confirm, so its sats stay where they are"


class NotThisWithdrawal(CoinosError):
    """Raised when an operator names a transaction that cannot be the withdrawal in doubt."""

    status = 409
    code = "not_this_withdrawal"
    title = "Not this withdrawal"
    message = (
        "This transaction cannot be this withdrawal: it has to be one of the wallet's that pays the"
        " same amount to the same address, is no older and belongs to no other withdrawal; and the"
        " withdrawal must not have been sent yet"
    )
