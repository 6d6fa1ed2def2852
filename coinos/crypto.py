"""Secrets at rest: TOTP seeds, signing keys, Nostr keys, connection secrets.

AES-256-GCM under the keys of the setting FIELD_KEY, which never lie in the database. A secret is
sealed *for* one place ("totp:<user id>"); a row copied elsewhere in the database does not open.
"""

from __future__ import annotations

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

VERSION = "v1."
NONCE_BYTES = 12


class SealBroken(Exception):
    """Sealed for another place, under a key we do not have, or not by us at all."""


def seal(secret: str, *, place: str) -> str:
    """`secret` as text for a database column, readable only by `unseal` for the same `place`."""
    nonce = os.urandom(NONCE_BYTES)
    sealed = _ciphers()[0].encrypt(nonce, secret.encode(), place.encode())
    return VERSION + base64.urlsafe_b64encode(nonce + sealed).decode()


def unseal(text: str, *, place: str) -> str:
    """The secret that was sealed for `place`, under any key of FIELD_KEY. Raises SealBroken."""
    if not text.startswith(VERSION):
        raise SealBroken
    try:
        data = base64.urlsafe_b64decode(text[len(VERSION) :])
    except ValueError as error:
        raise SealBroken from error
    for cipher in _ciphers():
        try:
            return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], place.encode()).decode()
        except (InvalidTag, ValueError):
            continue
    raise SealBroken


def _ciphers() -> list[AESGCM]:
    """The first key seals, all open: a new key is put in front, the old one kept behind it."""
    if not settings.FIELD_KEYS:
        raise ImproperlyConfigured("FIELD_KEY is none: this process has no business with secrets.")
    return [AESGCM(base64.urlsafe_b64decode(key)) for key in settings.FIELD_KEYS]
