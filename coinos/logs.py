"""Log lines without secrets.

What follows a word such as `password` is hidden, and so is whatever stands in a path where a route
has a secret: `coinos/urls.py` tells its routes to `hide_in_paths` when it is loaded, and nobody can
make or read such a path without it.
"""

import logging
import re
import threading
from collections.abc import Iterable

from coinos import limits

# What follows one of these words is hidden, in "word: value", word=value and "word": "value".
HIDDEN_AFTER = (
    "password|passwd|pin|preimage|payment_preimage|payment_secret|payment_key|secret|rune|macaroon"
    "|authorization|cookie|set-cookie|token|api_?key|signing_key|x-csrftoken"
    "|csrfmiddlewaretoken|newpin|current_password|totp_seed|pin_hash|k1"
)

# Every parameter of a route is in one of these (tests/runtime/test_log_paths.py): what a stranger
# who reads the log could use, and what says no more than the page's address bar may.
SECRET_PARAMETERS = frozenset({"token", "pubkey"})
PUBLIC_PARAMETERS = frozenset(
    """
    username name lnaddress user_id app_label content_type_id object_id url key payreq amount limit
    invoice_id payment_id gift_id delivery_id session_id key_id role_id verb
    """.split()
)
SLASH = "(?:/|%(?:25)*2F)"  # also within ?next=…
PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")
PATTERNS = [
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 [hidden]"),
    # Hidden with or without its dots: a pattern that fails at each of many beginnings costs the
    # square of a line's length, while everybody else who writes a line waits.
    (re.compile(r"\beyJ[\w-]+(?:\.[\w-]+){0,2}"), "[hidden]"),
    (re.compile(r"\bwhsec_[\w+/=-]+"), "[hidden]"),
    (re.compile(r"(?i)\bnsec1[a-z0-9]+"), "[hidden]"),
    (re.compile(r"(?s)(Failing row contains) \(.*"), r"\1 [hidden]"),  # PostgreSQL: all its columns
    (re.compile(r"(://[^\s:/@]*):[^\s/@]+@"), r"\1:[hidden]@"),
    (
        re.compile(
            rf"""(?i)(["']?\b(?:{HIDDEN_AFTER})\b["']?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s,;&}}]+)"""
        ),
        r"\1[hidden]",
    ),
]

_in_paths: list[re.Pattern[str]] = []


def hide_in_paths(routes: Iterable[str]) -> None:
    """From here on hide what stands where these routes have a secret: "gift/<str:token>" hides the
    end of `/gift/n8Vq`, of `https://…/gift/n8Vq` and of `next=%2Fgift%2Fn8Vq`."""
    _in_paths[:] = [_in_path(before) for before in sorted({b for r in routes for b in _before(r)})]


def _before(route: str) -> Iterable[str]:
    """What the route has in front of each of its secrets."""
    for parameter in PARAMETER.finditer(route):
        if parameter[1] in SECRET_PARAMETERS:
            yield route[: parameter.start()]


def _in_path(before: str) -> re.Pattern[str]:
    parts = [
        r"[^/\s%]+" if PARAMETER.fullmatch(part) else re.escape(part) for part in before.split("/")
    ]
    return re.compile(rf"(?i)({SLASH}{SLASH.join(parts)})[^/\s%?#&\"'<>]+")


def redact(line: str) -> str:
    """The line with tokens, passwords, preimages and credentials in URLs hidden."""
    for pattern, replacement in PATTERNS:
        line = pattern.sub(replacement, line)
    for path in _in_paths:
        line = path.sub(r"\1[hidden]", line)
    return line


class RedactingFormatter(logging.Formatter):
    """Formats as usual, then redacts: arguments and tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class ClientErrors(logging.Filter):
    """What callers did wrong is news, not a warning, and no more than `limits.LOG_LINES` of it each
    minute: strangers cannot fill the disk or hide what matters. The first line of the next minute
    says how many were left out.

    For handlers: loggers ask their own filters only, and there is one logger for each kind of
    suspicious request. `level` is the lowest that the handler shall write."""

    def __init__(self, level: str = "NOTSET") -> None:
        super().__init__()
        self._level = logging.getLevelNamesMapping()[level]
        self._lock = threading.Lock()
        self._minute = 0
        self._lines = 0

    def filter(self, record: logging.LogRecord) -> bool:
        status = getattr(record, "status_code", 0)
        if not 400 <= status < 500 and not record.name.startswith("django.security."):
            return True
        if self._level > logging.INFO:
            return False
        minute = int(record.created // 60)
        with self._lock:
            left_out = (
                max(0, self._lines - limits.LOG_LINES.at_most) if minute != self._minute else 0
            )
            self._lines = 1 if minute != self._minute else self._lines + 1
            self._minute = minute
            if self._lines > limits.LOG_LINES.at_most:
                return False
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.exc_info = record.exc_text = None  # the traceback of a wrong Host says nothing
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out} more were left out before)"
            record.args = None
        return True
