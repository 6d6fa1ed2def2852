"""The mail server that the setting EMAIL_URL names. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parseaddr
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class MailServer:
    """`tls` from the first byte, or `starttls` before anything is said; never both."""

    host: str
    port: int
    user: str
    password: str
    tls: bool
    starttls: bool


def parse_url(url: str) -> MailServer:
    """`smtps://…` speaks TLS at once (port 465), `smtp://…` by STARTTLS (port 587), which only a
    server on this machine need not offer. Raises `ValueError` with a sentence, without the URL:
    it holds a password."""
    wrong = ValueError(
        "EMAIL_URL must look like smtp://user:password@mail.example.com:587"
        " or smtps://user:password@mail.example.com:465"
    )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong from None
    if (
        parts.scheme not in ("smtp", "smtps")
        or not parts.hostname
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
        or bool(parts.username) != bool(parts.password)
        or port == 0
    ):
        raise wrong
    tls = parts.scheme == "smtps"
    return MailServer(
        host=parts.hostname,
        port=port or (465 if tls else 587),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        tls=tls,
        starttls=not tls and not _is_this_machine(parts.hostname),
    )


def check_sender(text: str) -> None:
    """Raise `ValueError` unless this can stand in `From:`, as `wallet@example.com` or with a name
    before it."""
    address = parseaddr(text)[1]
    local, at, domain = address.rpartition("@")
    if not (local and at and domain) or not text.isprintable():
        raise ValueError(
            "EMAIL_FROM must be an address such as wallet@example.com or"
            " My wallet <wallet@example.com>"
        )


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
