"""Nostr identities: secp256k1 keys and their names (NIP-01, NIP-19)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import coincurve
from bech32 import bech32_decode, bech32_encode, convertbits

KEY_BYTES = 32
NPROFILE_PUBKEY = 0


@dataclass(frozen=True)
class KeyPair:
    secret: str
    """32 bytes in hex."""
    pubkey: str
    """The x coordinate of the public key (BIP 340), 32 bytes in hex."""


def generate_keypair() -> KeyPair:
    """A new key from the system's random numbers."""
    return keypair_of(coincurve.PrivateKey().to_hex())


def keypair_of(secret: str) -> KeyPair:
    """The pair of a 32-byte secret in hex. Raises ValueError when it is not a valid key."""
    key = coincurve.PrivateKey(bytes.fromhex(secret))
    return KeyPair(secret=key.secret.hex(), pubkey=key.public_key.format(compressed=True)[1:].hex())


def is_pubkey(text: str) -> bool:
    """Whether `text` is the hex of a point's x coordinate, as clients send public keys."""
    try:
        raw = bytes.fromhex(text)
        return len(text) == 2 * KEY_BYTES and bool(coincurve.PublicKey(b"\x02" + raw))
    except ValueError:
        return False


@functools.lru_cache(maxsize=10_000)  # the same people stand in every list
def npub(pubkey: str) -> str:
    """The public key, 32 bytes in hex, as people pass it around (NIP-19)."""
    return _encode("npub", pubkey)


def nsec(secret: str) -> str:
    """The secret key, 32 bytes in hex, as wallets import it (NIP-19)."""
    return _encode("nsec", secret)


def pubkey_of(name: str) -> str:
    """The public key in hex that an npub or nprofile, in any letter case, stands for.

    Raises ValueError for anything else.
    """
    prefix, words = bech32_decode(name.strip().lower())
    decoded = convertbits(words, 5, 8, False) if words is not None else None
    if decoded is None:
        raise ValueError("not an npub or nprofile")
    data = bytes(decoded)
    if prefix == "nprofile":
        data = _first_entry(data, NPROFILE_PUBKEY)
    elif prefix != "npub":
        raise ValueError("not an npub or nprofile")
    if not is_pubkey(data.hex()):
        raise ValueError("not a public key")
    return data.hex()


def _encode(prefix: str, key: str) -> str:
    raw = bytes.fromhex(key)
    if len(raw) != KEY_BYTES:
        raise ValueError("a key has 32 bytes")
    words = convertbits(raw, 8, 5)
    assert words is not None  # padding always succeeds
    return bech32_encode(prefix, words)


def _first_entry(data: bytes, wanted: int) -> bytes:
    """The value of the first entry of type `wanted` in type-length-value bytes."""
    while len(data) >= 2:
        kind, length = data[0], data[1]
        if kind == wanted:
            return data[2 : 2 + length]
        data = data[2 + length :]
    raise ValueError("the nprofile has no public key")
