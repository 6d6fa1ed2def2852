"""Log lines without secrets."""

import logging
import re

# What follows one of these words is hidden, in "word: value", word=value and "word": "value".
HIDDEN_AFTER = (
    "password|passwd|pin|preimage|payment_preimage|payment_secret|payment_key|secret|rune|macaroon"
    "|authorization|cookie|set-cookie|token|api_?key|signing_key|x-csrftoken"
)
PATTERNS = [
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 [hidden]"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "[hidden]"),
    (re.compile(r"(?i)((?:/|%2F)gift(?:/|%2F))[\w-]+"), r"\1[hidden]"),
    (re.compile(r"\bwhsec_[\w+/=-]+"), "[hidden]"),
    (re.compile(r"(://[^\s:/@]*):[^\s/@]+@"), r"\1:[hidden]@"),
    (
        re.compile(
            rf"""(?i)(["']?\b(?:{HIDDEN_AFTER})\b["']?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s,;&}}]+)"""
        ),
        r"\1[hidden]",
    ),
]


def redact(line: str) -> str:
    """The line with tokens, passwords, preimages and credentials in URLs hidden."""
    for pattern, replacement in PATTERNS:
        line = pattern.sub(replacement, line)
    return line


class RedactingFormatter(logging.Formatter):
    """Formats as usual, then redacts: arguments and tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
