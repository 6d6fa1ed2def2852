"""Public specification vectors, each file with its source and the commit it was taken from; rows of
another commit say theirs (LUD-21 is in a branch)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embit import bech32


@dataclass(frozen=True)
class Vectors:
    """The valid and the invalid strings of one specification, as printed there; of the LUDs the
    invalid ones are those that nobody is paid by."""

    source: str
    commit: str
    valid: list[dict[str, str]]
    invalid: list[dict[str, str]]
    answers: list[dict[str, Any]] = field(default_factory=list)
    """What services answer, of specifications that are about that."""

    @property
    def texts(self) -> list[str]:
        return [row["text"] for row in [*self.valid, *self.invalid]]


def vectors(name: str) -> Vectors:
    found: dict[str, Any] = json.loads(Path(__file__).with_name(f"{name}.json").read_text())
    return Vectors(**found)


def ours(address: str) -> str:
    """The same program under the prefix of our network, in small letters."""
    address = address.lower()
    version, program = bech32.decode(address.rpartition("1")[0], address)
    return str(bech32.encode("bcrt", version, program))


def spoilt(address: str) -> str | None:
    """An invalid address under our prefix, where it can be written so that its fault remains."""
    encoding, prefix, values = bech32.bech32_decode(address)
    if prefix not in ("bc", "tb"):
        return None
    return str(bech32.bech32_encode(encoding, "bcrt", values))


BOLT11 = vectors("bolt11")
BIP21 = vectors("bip21")
BIP173 = vectors("bip173")
BIP321 = vectors("bip321")
BIP350 = vectors("bip350")
LUDS = vectors("luds")
EVERY = [BOLT11, BIP21, BIP173, BIP321, BIP350, LUDS]
NIP19 = vectors("nip19")
STANDARD_WEBHOOKS = vectors("standard_webhooks")
