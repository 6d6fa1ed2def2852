"""Values in RPC parameters, as lightningd reads them and refuses them."""

from __future__ import annotations

import re
from typing import Any

from coinos.simnet.rpc import bad_token

_MSAT_UNITS = {"": 1, "msat": 1, "sat": 1000, "btc": 10**11}


def parse_msat(value: Any) -> int | None:
    """Core Lightning's notations of an amount: 1000, "1000", "1000msat", "1sat", "0.1btc"."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    if not isinstance(value, str):
        return None
    match = re.fullmatch(r"(\d+)(?:\.(\d{1,11}))?(msat|sat|btc|)", value)
    if match is None or (match[2] and match[3] != "btc"):
        return None
    fraction = int((match[2] or "").ljust(11, "0"))
    return int(match[1]) * _MSAT_UNITS[match[3]] + fraction


def msat(name: str, value: Any) -> int | None:
    if value is None:
        return None
    amount = parse_msat(value)
    if amount is None:
        raise bad_token(name, "should be a millisatoshi amount", value)
    return amount


def unsigned(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise bad_token(name, "should be an unsigned 64 bit integer", value)
    return value


def index_name(name: str | None) -> str:
    if name not in (None, "created", "updated"):
        raise bad_token("index", "should be created or updated", name)
    return name or "created"


def preimage_bytes(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise bad_token("preimage", "should be 32 byte hex value", text)
    return raw
