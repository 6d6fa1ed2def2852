"""Reading a node's JSON answer without trusting it.

`Reply` hands out fields of the type and range that the caller names and raises `NodeUnavailable`
for everything else: a missing field, a string for an integer, a float, NaN, a negative amount.
A reply that cannot be read is worth as much as none; nothing is guessed and nothing defaults.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import NoReturn, TypeVar

from coinos.errors import NodeUnavailable
from coinos.money import MAX_SAT, MSAT_PER_SAT, btc_to_sat

MAX_MSAT = MAX_SAT * MSAT_PER_SAT
MAX_TIME_S = 253_402_300_799  # the last second of the year 9999, as far as datetime reaches
MAX_INDEX = 2**63 - 1

_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HEX = re.compile(r"([0-9a-f]{2})+", re.ASCII)

logger = logging.getLogger(__name__)

T = TypeVar("T")


class RpcError(Exception):
    """Raised when the node itself answered with a numbered error; never leaves the adapters."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code)
        self.code = code
        self.message = message[:300]


def unreadable(where: str) -> NodeUnavailable:
    """The error for an answer that cannot be read; logs where it broke, never what it said."""
    logger.error("unreadable answer of a node: %s", where)
    return NodeUnavailable()


class Reply:
    """A JSON object out of a node's answer. `where` names it in the log."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise unreadable(f"{where} is not an object")
        self._fields: dict[str, object] = value
        self._where = where

    @property
    def raw(self) -> dict[str, object]:
        return self._fields

    def optional(self, read: Callable[[str], T], key: str) -> T | None:
        """`read(key)`, or None when the node left the field out."""
        return read(key) if self._fields.get(key) is not None else None

    def text(self, key: str) -> str:
        value = self._fields.get(key)
        return value if isinstance(value, str) else self._refuse(key)

    def words(self, key: str) -> str:
        """What somebody else wrote: without NULs, which no page shows and no database keeps."""
        return self.text(key).replace("\x00", "")

    def hash32(self, key: str) -> str:
        """32 bytes as 64 lower-case hex digits: a payment hash, preimage, txid or block hash."""
        value = self.text(key)
        return value if _HASH.fullmatch(value) else self._refuse(key)

    def hex_text(self, key: str) -> str:
        value = self.text(key)
        return value if _HEX.fullmatch(value) else self._refuse(key)

    def one_of(self, key: str, *allowed: str) -> str:
        value = self.text(key)
        return value if value in allowed else self._refuse(key)

    def boolean(self, key: str) -> bool:
        value = self._fields.get(key)
        return value if isinstance(value, bool) else self._refuse(key)

    def integer(self, key: str, *, minimum: int = 0, maximum: int = MAX_INDEX) -> int:
        value = self._fields.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            return self._refuse(key)
        return value if minimum <= value <= maximum else self._out_of_range(key)

    def msat(self, key: str) -> int:
        return self.integer(key, maximum=MAX_MSAT)

    def positive_msat(self, key: str) -> int:
        return self.integer(key, minimum=1, maximum=MAX_MSAT)

    def time_s(self, key: str) -> int:
        return self.integer(key, maximum=MAX_TIME_S)

    def decimal(self, key: str) -> Decimal:
        """A JSON number, zero or more, exact: Bitcoin Core's amounts and fee rates in BTC."""
        value = self._fields.get(key)
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            return self._refuse(key)
        number = Decimal(value)
        return number if number.is_finite() and 0 <= number <= 21_000_000 else self._refuse(key)

    def btc(self, key: str) -> int:
        """A BTC amount, as whole sats."""
        number = self.decimal(key)
        try:
            return btc_to_sat(number)
        except ValueError:
            return self._refuse(key)

    def btc_out(self, key: str) -> int:
        """An amount that went out, which Bitcoin Core writes below zero, as whole sats above it."""
        value = self._fields.get(key)
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            return self._refuse(key)
        return Reply({key: -value}, self._where).btc(key)

    def nested(self, key: str) -> Reply:
        return Reply(self._fields.get(key), f"{self._where}.{key}")

    def nested_list(self, key: str) -> Iterator[Reply]:
        """The objects of a list, in order."""
        for value in self.values(key):
            yield Reply(value, f"{self._where}.{key}[]")

    def hashes(self, key: str) -> tuple[str, ...]:
        values = self.values(key)
        return tuple(
            value if isinstance(value, str) and _HASH.fullmatch(value) else self._refuse(key)
            for value in values
        )

    def values(self, key: str) -> list[object]:
        value = self._fields.get(key)
        return value if isinstance(value, list) else self._refuse(key)

    def _out_of_range(self, key: str) -> NoReturn:
        self._refuse(key)

    def _refuse(self, key: str) -> NoReturn:
        raise unreadable(f"{self._where}.{key}")
