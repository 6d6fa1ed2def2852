"""How an e-mail address is stored and compared: in one form, byte for byte. Pure."""

from __future__ import annotations

import re

from django.utils.translation import gettext_noop as _

from coinos.errors import InvalidRequest

STORED_FORM = r"^[!-@\[-~]*$"
"""Printable ASCII without spaces and capitals; the database checks it, too."""


def normalise(address: str) -> str:
    """The stored form. Raises `InvalidRequest` for letters beyond ASCII.

    Unicode folds letters of different domains into one: `ı` becomes `I` in capitals, yet
    gmaıl.com is not gmail.com. Such a domain can be written in its ASCII form (`xn--…`)."""
    stored = address.strip().lower() if address.isascii() else address
    if not re.fullmatch(STORED_FORM, stored, re.ASCII):
        raise InvalidRequest(
            _("Use only the letters a to z, digits and punctuation in the e-mail address"),
            field="/email",
        )
    return stored


def mailbox_of(address: str) -> str:
    """Where mail to a stored address ends up, for counting it: `dora+shop@…` is dora's, too."""
    name, _at, host = address.rpartition("@")
    return f"{name.partition('+')[0]}@{host}"
