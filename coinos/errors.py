"""The base of every error that a user may see: code, HTTP status and a sentence to act on.

Raised where the rule is, rendered once for the API (`coinos.api`) and once for the pages
(`coinos.web`). Anything that is not a `CoinosError` is a bug of ours and becomes a bare 500.

The API always speaks English. Sentences that pages show are marked here, as everywhere, with
`gettext_noop`; `coinos.web.sentence` translates them.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.translation import gettext_noop as _


class CoinosError(Exception):
    """Something the caller can understand and act on.

    `message` is English, and a promise to clients of the API; `values` fill its placeholders ("The
    invoice is for %(sats)s sats"). `page_message` says the same to people, where that is too terse.
    `field` is a JSON pointer into the request body ("/invoice/amount"), when one field is at fault.
    """

    status = 400
    code = "invalid_request"
    title = _("Invalid request")
    message = _("The request cannot be understood")
    page_message: str | None = None
    replayed = False
    """An earlier request with the same Idempotency-Key was answered this."""

    def __init__(
        self,
        message: str | None = None,
        *,
        page_message: str | None = None,
        field: str | None = None,
        retry_after_s: int | None = None,
        values: Mapping[str, object] | None = None,
    ) -> None:
        said = message or self.message
        self.page_template = page_message or message or self.page_message or said
        self.values = values
        self.message = said % values if values else said
        self.field = field
        self.retry_after_s = retry_after_s
        super().__init__(self.message)

    @property
    def reason(self) -> str:
        """What pages say, still in English: to be stored, and translated when it is shown."""
        return self.page_template % self.values if self.values else self.page_template


class InvalidJSON(CoinosError):
    code = "invalid_json"
    title = _("Invalid JSON")
    message = _("The body must be a JSON object")


class InvalidRequest(CoinosError):
    pass


class InvalidAmount(CoinosError):
    code = "invalid_amount"
    title = _("Invalid amount")
    message = _("amount must be a whole number of sats from 1 to 2100000000000000")


class Unauthorized(CoinosError):
    status = 401
    code = "unauthorized"
    title = _("Sign in first")
    message = _("A valid token is required")


class Forbidden(CoinosError):
    status = 403
    code = "forbidden"
    title = _("Not allowed")
    message = _("You may not do this")


class NotFound(CoinosError):
    status = 404
    code = "not_found"
    title = _("Not found")
    message = _("Not found")


class MethodNotAllowed(CoinosError):
    status = 405
    code = "method_not_allowed"
    title = _("Method not allowed")
    message = _("This method is not allowed here")


class RequestTimeout(CoinosError):
    """Raised when the body of a request has not arrived in time."""

    status = 408
    code = "request_timeout"
    title = _("The request took too long")
    message = _("The request did not arrive in time. Check your connection and try again")


class TooLarge(CoinosError):
    status = 413
    code = "too_large"
    title = _("Too large")
    message = _("The request is too large")


class UnsupportedMediaType(CoinosError):
    status = 415
    code = "unsupported_media_type"
    title = _("Unsupported media type")
    message = _("Send the body as application/json")


class RateLimited(CoinosError):
    status = 429
    code = "rate_limited"
    title = _("Too many requests")
    message = _("Too many requests; wait a moment and try again")


class Busy(CoinosError):
    """Raised at once where a bounded place is full: nothing was begun, and trying again is safe."""

    status = 503
    code = "busy"
    title = _("The server is busy")
    message = _("The server is busy, and nothing was done. Try again in a moment")

    def __init__(self, message: str | None = None, *, retry_after_s: int = 5) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class NodeUnavailable(CoinosError):
    """A node cannot be reached and nothing was started: safe to try again later."""

    status = 503
    code = "node_unavailable"
    title = _("Node unavailable")
    message = _("The node cannot be reached right now; nothing was sent. Try again in a moment")

    def __init__(self, message: str | None = None, *, retry_after_s: int = 5) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class NotTheOwner(CoinosError):
    """Raised where an operator's act on the books is asked of a process that cannot do it: it has
    no connection of the role that owns the tables. Nothing was done."""

    status = 503
    code = "not_the_owner"
    title = "Not from here"
    message = (
        "Only the role that owns the tables may do this, and this process has no way to become it."
        " Run the command where DATABASE_OWNER_URL is given, as for manage.py migrate"
    )


class DatabaseUnavailable(CoinosError):
    """The database went away while a request was answered. Whether the request did something is
    not known here: what had committed stands, and asking with the same key tells."""

    status = 503
    code = "database_unavailable"
    title = _("Temporarily unavailable")
    message = (
        "The server cannot answer right now. If you were sending, look at your payments before"
        " you try again, or repeat the request with the same Idempotency-Key"
    )
    page_message = _(
        "The server cannot answer right now. If you were sending, look at your payments before"
        " you try again"
    )

    def __init__(self) -> None:
        super().__init__(retry_after_s=5)
