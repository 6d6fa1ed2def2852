"""What can go wrong with accounts, sign-in and balances."""

from __future__ import annotations

from uuid import UUID

from django.utils.translation import gettext_noop as _

from coinos.errors import CoinosError, Forbidden, NotFound, Unauthorized
from coinos.money import msat_to_sat_ceil, msat_to_sat_floor


class InvalidUsername(CoinosError):
    code = "invalid_username"
    title = _("Invalid username")
    message = _("Usernames can only have letters and numbers")


class UsernameTaken(CoinosError):
    status = 409
    code = "username_taken"
    title = _("Username taken")
    message = "Username %(username)s taken"
    page_message = _("This name is already taken. Choose another one")

    def __init__(self, username: str) -> None:
        super().__init__(field="/username", values={"username": username})


class KeyInUse(CoinosError):
    status = 409
    code = "key_in_use"
    title = _("Key in use")
    message = _("Another account uses this key")


class AccountNotFound(NotFound):
    """The same for another's account and one that does not exist."""

    message = "account not found"


class InvalidCredentials(CoinosError):
    """The same for an unknown user, a wrong password and an evicted account."""

    status = 401
    code = "invalid_credentials"
    title = _("Login failed")
    message = _("Wrong username or password")


class OtpRequired(CoinosError):
    """Raised when the user's password was right and the code of the second factor is missing."""

    status = 401
    code = "otp_required"
    title = _("Second factor needed")
    message = "2fa required"  # pages go on to ask for the code instead

    def __init__(self, user_id: UUID, authenticators_version: int) -> None:
        self.user_id = user_id
        self.authenticators_version = authenticators_version
        super().__init__(field="/token")


class WrongCode(OtpRequired):
    message = _("This code is wrong, too old, or was used before. Take the next one")


class LinkEnded(CoinosError):
    status = 410
    code = "link_ended"
    title = _("This link no longer works")
    message = _("A link works only once, and only for an hour. Ask for a new one")


class ReadOnlyToken(Unauthorized):
    code = "read_only_token"
    title = _("Read-only token")
    message = _("This token may only read invoices and payments and create invoices")


class InvalidPin(Forbidden):
    code = "invalid_pin"
    title = _("Invalid pin")
    message = "Invalid pin"
    page_message = _("Enter your PIN")
    WRONG = _(
        "That PIN is not right. After %(attempts)s wrong attempts, you have to wait up to"
        " %(minutes)s minutes"
    )


class AccountFrozen(Forbidden):
    code = "account_frozen"
    title = _("Account frozen")
    message = _("This account is frozen and cannot spend. Contact the operator")


class FundFrozen(AccountFrozen):
    message = _("Nothing can leave this fund for now: it or its owner is frozen or closed")


class FundNotFound(NotFound):
    """The same for a fund that does not exist and one in which the caller has no role."""

    message = _("You have no fund of this name")


class OwnerOnly(Forbidden):
    message = _("Only the owner of this fund can do this. Ask them")


class FundClosed(CoinosError):
    status = 409
    code = "fund_closed"
    title = _("Fund closed")
    message = _("This fund is closed")


class TooManyFunds(Forbidden):
    message = _("You have %(most)s funds, the most you can have. Close one that you no longer need")


class TooManyManagers(Forbidden):
    message = _("This fund has %(most)s managers, the most it can have. Remove one first")


class TooManyKeys(Forbidden):
    message = _(
        "You have %(most)s API keys, the most you can have. Revoke one that you no longer need"
    )


class TooManyConnections(Forbidden):
    message = _("You have %(most)s wallet connections, the most you can have. Delete one first")


class BudgetExceeded(Forbidden):
    code = "budget_exceeded"
    title = _("Budget exceeded")
    message = _("This API key has spent its budget for today")


class InsufficientFunds(CoinosError):
    """Raised when an account cannot cover a debit or hold; all amounts in sats.

    `most_sat` is what could be sent, where fees come on top."""

    code = "insufficient_funds"
    title = _("Insufficient funds")

    message = "Insufficient funds ⚡️%(available)s / %(needed)s"
    page_message = _(
        "You can spend %(available)s sats, but this needs %(needed)s. Choose a smaller amount or"
        " receive some sats first"
    )
    WITH_FEES = message + " (fees included; at most %(most)s can be sent)"
    WITH_FEES_ON_PAGES = _(
        "You can spend %(available)s sats, but this needs %(needed)s including fees. The most you"
        " can send is %(most)s"
    )

    def __init__(self, available_sat: int, needed_sat: int, most_sat: int | None = None) -> None:
        self.available_sat = available_sat
        self.needed_sat = needed_sat
        super().__init__(
            None if most_sat is None else self.WITH_FEES,
            page_message=self.WITH_FEES_ON_PAGES if most_sat else self.page_message,
            values={"available": available_sat, "needed": needed_sat, "most": most_sat},
        )

    @classmethod
    def of_msat(cls, available_msat: int, needed_msat: int) -> InsufficientFunds:
        return cls(msat_to_sat_floor(available_msat), msat_to_sat_ceil(needed_msat))


class SelfPayment(CoinosError):
    code = "self_payment"
    title = _("Cannot send to self")
    message = "Cannot send to self"
    page_message = _("This is your own wallet. You cannot send to yourself")


class HoldExceeded(AssertionError):
    """Raised when a settlement would debit more than was held: a bug of ours, never the user's."""


class IdempotencyKeyReused(CoinosError):
    status = 422
    code = "idempotency_key_reused"
    title = _("Idempotency key reused")
    message = "This Idempotency-Key was used for another request"
    page_message = _(
        "This page was already used for something else. Check what it shows and send it again"
    )


class IdempotencyInProgress(CoinosError):
    status = 409
    code = "idempotency_in_progress"
    title = _("Still in progress")
    message = "The first request with this Idempotency-Key is still being answered"
    page_message = _(
        "This was sent a moment ago and is still being worked on. Do not send it again"
    )

    def __init__(self) -> None:
        super().__init__(retry_after_s=2)
