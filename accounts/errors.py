"""What can go wrong with accounts, sign-in and balances."""

from __future__ import annotations

from coinos.errors import CoinosError, Forbidden, Unauthorized
from coinos.money import msat_to_sat_ceil, msat_to_sat_floor


class InvalidUsername(CoinosError):
    code = "invalid_username"
    title = "Invalid username"
    message = "Usernames can only have letters and numbers"


class UsernameTaken(CoinosError):
    status = 409
    code = "username_taken"
    title = "Username taken"

    def __init__(self, username: str) -> None:
        super().__init__(f"Username {username} taken", field="/username")


class KeyInUse(CoinosError):
    status = 409
    code = "key_in_use"
    title = "Key in use"
    message = "Another account uses this key"


class InvalidCredentials(CoinosError):
    """The same for an unknown user, a wrong password and an evicted account."""

    status = 401
    code = "invalid_credentials"
    title = "Login failed"
    message = "Wrong username or password"


class ReadOnlyToken(Unauthorized):
    code = "read_only_token"
    title = "Read-only token"
    message = "This token may only read invoices and payments and create invoices"


class InvalidPin(Forbidden):
    code = "invalid_pin"
    title = "Invalid pin"
    message = "Invalid pin"


class AccountFrozen(Forbidden):
    code = "account_frozen"
    title = "Account frozen"
    message = "This account is frozen and cannot spend. Contact the operator"


class BudgetExceeded(Forbidden):
    code = "budget_exceeded"
    title = "Budget exceeded"
    message = "This API key has spent its budget for today"


class InsufficientFunds(CoinosError):
    """Raised when an account cannot cover a debit or hold; both amounts in sats."""

    code = "insufficient_funds"
    title = "Insufficient funds"

    def __init__(self, available_sat: int, needed_sat: int, hint: str = "") -> None:
        self.available_sat = available_sat
        self.needed_sat = needed_sat
        super().__init__(f"Insufficient funds ⚡️{available_sat} / {needed_sat}{hint}")

    @classmethod
    def of_msat(cls, available_msat: int, needed_msat: int) -> InsufficientFunds:
        return cls(msat_to_sat_floor(available_msat), msat_to_sat_ceil(needed_msat))


class SelfPayment(CoinosError):
    code = "self_payment"
    title = "Cannot send to self"
    message = "Cannot send to self"


class HoldExceeded(AssertionError):
    """Raised when a settlement would debit more than was held: a bug of ours, never the user's."""
