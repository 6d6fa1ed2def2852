"""For who builds a receiver: a call to try it with, and a second opinion on a signature."""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from standardwebhooks import Webhook

from accounts.models import User
from coinos.http import FetchFailed, asking_others, check_url, fetch
from invoices import webhooks

TRY_S = 8
SHOWN_CHARACTERS = 1000


@dataclass(frozen=True)
class Tried:
    """What came of the call: a status and the beginning of the body, or why there is none."""

    url: str
    message_id: str
    duration_ms: int
    status: int | None = None
    response: str = ""
    error: str = ""

    @property
    def is_good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def try_webhook(user: User, url: str) -> Tried:
    """Call `url` once, signed as every call is, about a payment of nothing: `"test": true`.

    Nothing is written down and nothing repeated. Not inside a transaction. Raises `UrlRefused`,
    `Busy` and `RateLimited`.
    """
    check_url(url, kind="webhook", field="/url")
    message_id = f"msg_{secrets.token_hex(16)}"
    about = {"amount": 0, "confirmed": False, "hash": "", "received": 0, "test": True, "text": ""}
    body = orjson.dumps(about)
    headers = webhooks.headers(message_id, body, webhooks.signing_secret(user))
    started = time.monotonic()

    def took_ms() -> int:
        return int((time.monotonic() - started) * 1000)

    try:
        with asking_others(user.id):
            answer = fetch(
                url, kind="webhook", method="POST", body=body, headers=headers, timeout_s=TRY_S
            )
    except FetchFailed as failure:
        return Tried(url, message_id, took_ms(), error=failure.message)
    text = answer.body.decode("utf-8", "replace")[:SHOWN_CHARACTERS]
    return Tried(url, message_id, took_ms(), status=answer.status, response=text)


def is_signed(user: User, *, message_id: str, timestamp: str, signature: str, body: str) -> bool:
    """Whether these are the headers and the body of a call that we signed, however old."""
    try:
        when = datetime.fromtimestamp(int(timestamp), UTC)
        expected = Webhook(webhooks.signing_secret(user)).sign(message_id, when, body)
    except (ValueError, OverflowError, OSError):
        return False
    return any(hmac.compare_digest(expected.encode(), one.encode()) for one in signature.split())


def is_about_a_strangers_invoice(body: str) -> bool:
    """Whether a call says that its invoice was made by somebody else than the payee: then what it
    asks for and its memo are that person's words, under our signature."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(told, dict) and told.get("own") is False
