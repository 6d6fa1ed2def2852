"""What an LNURL service gives for a payment (`successAction`): LUD-09, and sealed with the preimage
LUD-10. Pure: asks no database and no network.

It is read before anything is paid: what could not be shown afterwards is refused, for it may be
what was bought. From then on nothing about it can fail. It is kept as it came, and opened whenever
it is shown, so it is there however late the payment settles.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

TEXT_MAX_CHARACTERS = 1000
"""LUD-09 allows 144. Some send more: so much of it is kept."""
URL_MAX_CHARACTERS = 2048
CIPHERTEXT_MAX_CHARACTERS = 4096
AES_BLOCK_BITS = 128

Action = dict[str, Any]


def read(value: object, *, callback: str) -> Action | None:
    """The action in an answer of the service at `callback`, as it is kept; None for none, which
    services write in many ways. Raises `ValueError` for what could not be shown after paying."""
    if not value:
        return None
    if not isinstance(value, dict):
        raise ValueError("no object")
    match value.get("tag"):
        case "noop":  # "none" before LUD-09
            return None
        case "message":
            message = _text(value.get("message"))
            return {"tag": "message", "message": message} if message else None
        case "url":
            url = _url_of(value.get("url"), callback)
            return {"tag": "url", "description": _text(value.get("description")), "url": url}
        case "aes":
            ciphertext, iv = value.get("ciphertext"), value.get("iv")
            _sealed(ciphertext, iv)
            return {
                "tag": "aes",
                "description": _text(value.get("description")),
                "ciphertext": ciphertext,
                "iv": iv,
            }
    raise ValueError("a tag that is not known")


def opened(action: Action, preimage: str | None) -> Action:
    """A kept action as it is shown once the payment has settled. One that was sealed has its
    `plaintext`; None where this preimage does not open it, and then what was sealed is left."""
    if action["tag"] != "aes":
        return action
    plaintext = _plaintext(action, preimage)
    if plaintext is None:
        return action | {"plaintext": None}
    return {"tag": "aes", "description": action["description"], "plaintext": plaintext}


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError("no text")
    text = value.strip()
    return text if len(text) <= TEXT_MAX_CHARACTERS else text[: TEXT_MAX_CHARACTERS - 1] + "…"


def _url_of(value: object, callback: str) -> str:
    """In ASCII, as a browser asks for it; its host is that of the callback, or one below it."""
    if not isinstance(value, str) or len(value) > URL_MAX_CHARACTERS:
        raise ValueError("no URL")
    try:
        url, asked = httpx.URL(value.strip()), httpx.URL(callback)
        text = str(url)
        host, own = (one.raw_host.decode("ascii") for one in (url, asked))
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ValueError("no URL") from error
    if url.scheme not in ("https", asked.scheme) or url.userinfo or not host:
        raise ValueError("a URL that is not opened")
    if host != own and not host.endswith(f".{own}"):
        raise ValueError("a URL of somebody else")
    if not text.isascii() or urlsplit(text).hostname != host:  # another parser sees another host
        raise ValueError("no URL")
    return text


def _sealed(ciphertext: object, iv: object) -> tuple[bytes, bytes]:
    """Ciphertext and initialization vector. Raises `ValueError` unless they can be such."""
    if not isinstance(ciphertext, str) or not isinstance(iv, str):
        raise ValueError("no text")
    if len(ciphertext) > CIPHERTEXT_MAX_CHARACTERS or len(iv) > CIPHERTEXT_MAX_CHARACTERS:
        raise ValueError("too long")
    sealed, begin = (b64decode("".join(text.split()), validate=True) for text in (ciphertext, iv))
    if len(begin) * 8 != AES_BLOCK_BITS or not sealed or len(sealed) * 8 % AES_BLOCK_BITS:
        raise ValueError("not sealed by AES-CBC")
    return sealed, begin


def _plaintext(action: Action, preimage: str | None) -> str | None:
    """AES-256-CBC with PKCS5 padding, the preimage as key (LUD-10)."""
    try:
        key = bytes.fromhex(preimage or "")
        sealed, begin = _sealed(action["ciphertext"], action["iv"])
        decryptor = Cipher(algorithms.AES256(key), modes.CBC(begin)).decryptor()
        unpadder = PKCS7(AES_BLOCK_BITS).unpadder()
        padded = decryptor.update(sealed) + decryptor.finalize()
        return (unpadder.update(padded) + unpadder.finalize()).decode()
    except ValueError:  # of another key, or no text
        return None
