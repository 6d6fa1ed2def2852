"""The base of every error that a user may see: code, HTTP status and a sentence to act on.

Raised where the rule is, rendered once for the API (`coinos.api`) and once for the pages
(`coinos.web`). Anything that is not a `CoinosError` is a bug of ours and becomes a bare 500.
"""

from __future__ import annotations


class CoinosError(Exception):
    """Something the caller can understand and act on.

    `field` is a JSON pointer into the request body ("/invoice/amount"), when one field is at fault.
    """

    status = 400
    code = "invalid_request"
    title = "Invalid request"
    message = "The request cannot be understood"

    def __init__(
        self,
        message: str | None = None,
        *,
        field: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        self.message = message or self.message
        self.field = field
        self.retry_after_s = retry_after_s
        super().__init__(self.message)


class InvalidJSON(CoinosError):
    code = "invalid_json"
    title = "Invalid JSON"
    message = "The body must be a JSON object"


class InvalidRequest(CoinosError):
    pass


class InvalidAmount(CoinosError):
    code = "invalid_amount"
    title = "Invalid amount"
    message = "amount must be a whole number of sats from 1 to 2100000000000000"


class Unauthorized(CoinosError):
    status = 401
    code = "unauthorized"
    title = "Sign in first"
    message = "A valid token is required"


class Forbidden(CoinosError):
    status = 403
    code = "forbidden"
    title = "Not allowed"
    message = "You may not do this"


class NotFound(CoinosError):
    status = 404
    code = "not_found"
    title = "Not found"
    message = "Not found"


class MethodNotAllowed(CoinosError):
    status = 405
    code = "method_not_allowed"
    title = "Method not allowed"
    message = "This method is not allowed here"


class TooLarge(CoinosError):
    status = 413
    code = "too_large"
    title = "Too large"
    message = "The request is too large"


class UnsupportedMediaType(CoinosError):
    status = 415
    code = "unsupported_media_type"
    title = "Unsupported media type"
    message = "Send the body as application/json"


class RateLimited(CoinosError):
    status = 429
    code = "rate_limited"
    title = "Too many requests"
    message = "Too many requests; wait a moment and try again"


class NodeUnavailable(CoinosError):
    """A node cannot be reached and nothing was started: safe to try again later."""

    status = 503
    code = "node_unavailable"
    title = "Node unavailable"
    message = "The node cannot be reached right now; nothing was sent. Try again in a moment"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 5) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
