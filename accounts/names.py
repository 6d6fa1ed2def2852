"""Which names an account may have. Pure."""

from __future__ import annotations

import re

from django.utils.translation import gettext_noop as _

from accounts.errors import InvalidUsername

_PLAIN = re.compile(r"[a-z0-9]{2,24}", re.ASCII)

# First segments of our routes, now or soon, and names that would mislead.
RESERVED = frozenset(
    """
    about account accounts admin api app apps assets auth bitcoin bolt12 challenge coinos contact
    contacts decode design docs ecash email events faq favicon forgot fund funds fx gift gifts
    health help home info invoice invoices item items language lightning liquid ln lndhub lnurl
    lnurlp login logout manifest me media new node nostr null offline operator order orders parse
    password pay payment payments picture pin pos postmaster privacy qr rate rates receive register
    reset robots root ro scan schema security send sent sessions settings setup signin signup simnet
    static status support swap sw system terms tip tips token undefined user users verify wallet
    webhook webhooks webmaster withdraw ws www
    """.split()
)


def normalise(username: str) -> str:
    """The stored form: lower case, no spaces, nothing from an `@` on."""
    return username.lower().replace(" ", "").partition("@")[0]


def check_new(username: str) -> str:
    """The stored form of a name that may be registered. Raises `InvalidUsername`."""
    name = username.lower().replace(" ", "")
    if not _PLAIN.fullmatch(name):
        if re.fullmatch(r"[a-z0-9]*", name, re.ASCII):
            raise InvalidUsername(
                _("Usernames have 2 to 24 letters and numbers"), field="/username"
            )
        raise InvalidUsername(field="/username")
    if name in RESERVED or "undefined" in name:
        raise InvalidUsername(
            "Invalid username",
            page_message=_("This name is reserved. Choose another one"),
            field="/username",
        )
    return name
