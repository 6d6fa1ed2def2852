"""Secrets at rest open only in their own place, under our keys."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet

from coinos.crypto import SealBroken, seal, unseal


def test_a_sealed_secret_opens_in_its_place_and_shows_nothing() -> None:
    sealed = seal("JBSWY3DPEHPK3PXP", place="totp:alice")
    assert "JBSWY3DPEHPK3PXP" not in sealed
    assert unseal(sealed, place="totp:alice") == "JBSWY3DPEHPK3PXP"
    assert seal("JBSWY3DPEHPK3PXP", place="totp:alice") != sealed


def test_alices_secret_does_not_open_as_bobs() -> None:
    sealed = seal("JBSWY3DPEHPK3PXP", place="totp:alice")
    for place in ("totp:bob", "webhook:alice", ""):
        with pytest.raises(SealBroken):
            unseal(sealed, place=place)


@pytest.mark.parametrize("text", ["", "v1.", "v1.!", "v1.AAAA", "v2.AAAA", "plain text", "v1.é"])
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    with pytest.raises(SealBroken):
        unseal(text, place="totp:alice")


def test_a_changed_seal_does_not_open() -> None:
    sealed = seal("JBSWY3DPEHPK3PXP", place="totp:alice")
    changed = sealed[:-6] + ("A" if sealed[-6] != "A" else "B") + sealed[-5:]
    with pytest.raises(SealBroken):
        unseal(changed, place="totp:alice")


def test_a_new_key_in_front_seals_while_the_old_one_still_opens(settings: Any) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FIELD_KEYS = [old]
    before = seal("JBSWY3DPEHPK3PXP", place="totp:alice")
    settings.FIELD_KEYS = [new, old]
    assert unseal(before, place="totp:alice") == "JBSWY3DPEHPK3PXP"
    after = seal("JBSWY3DPEHPK3PXP", place="totp:alice")
    settings.FIELD_KEYS = [old]
    with pytest.raises(SealBroken):
        unseal(after, place="totp:alice")
