"""Public specification vectors, each file with its source and the commit it was taken from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Vectors:
    """The valid and the invalid strings of one specification, as printed there."""

    source: str
    commit: str
    valid: list[dict[str, str]]
    invalid: list[dict[str, str]]

    @property
    def texts(self) -> list[str]:
        return [row["text"] for row in [*self.valid, *self.invalid]]


def vectors(name: str) -> Vectors:
    found: dict[str, Any] = json.loads(Path(__file__).with_name(f"{name}.json").read_text())
    return Vectors(**found)


BOLT11 = vectors("bolt11")
BIP21 = vectors("bip21")
BIP173 = vectors("bip173")
BIP321 = vectors("bip321")
BIP350 = vectors("bip350")
EVERY = [BOLT11, BIP21, BIP173, BIP321, BIP350]
