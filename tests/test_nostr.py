"""Nostr keys and their names, against the vectors of NIP-19."""

from __future__ import annotations

import pytest

from coinos import nostr
from tests.vectors import NIP19

(NPUB, PUBKEY), (NSEC, SECRET), (NPROFILE, NPROFILE_PUBKEY) = (
    (row["text"], row["hex"]) for row in NIP19.valid
)


def test_keys_are_named_as_nip_19_names_them() -> None:
    pair = nostr.keypair_of(SECRET)
    assert pair.pubkey == PUBKEY
    assert nostr.npub(PUBKEY) == NPUB
    assert nostr.nsec(SECRET) == NSEC


def test_a_new_key_is_new_and_its_name_leads_back_to_it() -> None:
    alice, bob = nostr.generate_keypair(), nostr.generate_keypair()
    assert alice.secret != bob.secret
    assert nostr.keypair_of(alice.secret) == alice
    assert nostr.is_pubkey(alice.pubkey)
    assert nostr.pubkey_of(nostr.npub(alice.pubkey)) == alice.pubkey


@pytest.mark.parametrize("name", [NPUB, NPUB.upper(), f" {NPUB}\n"])
def test_an_npub_is_read_in_any_case(name: str) -> None:
    assert nostr.pubkey_of(name) == PUBKEY


def test_an_nprofile_with_relays_is_read() -> None:
    assert nostr.pubkey_of(NPROFILE) == NPROFILE_PUBKEY


@pytest.mark.parametrize(
    "name",
    [
        "",
        "alice",
        "npub1",
        NPUB[:-1],
        NPUB[:-1] + "q",
        NPUB.replace("npub", "npux"),
        NSEC,  # a secret is never taken for a public key
        PUBKEY,
        nostr.npub("ff" * 32),  # no point has this x coordinate
        "npub1🔑",
    ],
)
def test_what_names_no_public_key_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        nostr.pubkey_of(name)


@pytest.mark.parametrize("text", ["", "zz" * 32, PUBKEY[:-2], PUBKEY + "00", "ff" * 32, "00" * 32])
def test_what_is_no_public_key_in_hex_is_not_one(text: str) -> None:
    assert not nostr.is_pubkey(text)


@pytest.mark.parametrize("secret", ["", "00" * 32, "ff" * 32, "zz" * 32])
def test_what_is_no_secret_key_makes_no_pair(secret: str) -> None:
    with pytest.raises(ValueError):
        nostr.keypair_of(secret)
