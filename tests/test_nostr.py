"""Nostr keys and their names, against the vectors of NIP-19."""

from __future__ import annotations

import pytest

from coinos import nostr

SECRET = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa"
NSEC = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
PUBKEY = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e"
NPUB = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg"
NPROFILE_PUBKEY = "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d"
NPROFILE = (
    "nprofile1qqsrhuxx8l9ex335q7he0f09aej04zpazpl0ne2cgukyawd24mayt8gpp4mhxue69uhhytnc9e3k7mgpz4mh"
    "xue69uhkg6nzv9ejuumpv34kytnrdaksjlyr9p"
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
