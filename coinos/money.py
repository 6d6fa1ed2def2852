"""Units: parse, format, round. Pure functions on integers; no float ever touches an amount.

The ledger counts millisatoshi (msat), users see whole satoshi (sat), Bitcoin Core speaks BTC
with eight decimals. Incoming amounts are floored to whole sats, outgoing fees are ceiled.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

MSAT_PER_SAT = 1_000
SAT_PER_BTC = 100_000_000
MAX_SAT = 2_100_000_000_000_000

_DIGITS = re.compile(r"[0-9]{1,16}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,16}(\.[0-9]{1,18})?", re.ASCII)
_BTC = re.compile(r"([0-9]{0,16})(?:\.([0-9]{0,8})0{0,8})?", re.ASCII)


def parse_sat(value: object, *, minimum: int = 1) -> int:
    """A sats amount as the API accepts it: a JSON integer or a string of ASCII digits.

    Raises `ValueError` for everything else (booleans, floats, signs, spaces, other digits) and
    for what lies outside `minimum`..`MAX_SAT`.
    """
    if isinstance(value, bool):
        raise ValueError("not a number of sats")
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise ValueError("not a number of sats")
        value = int(value)
    if not isinstance(value, int) or not minimum <= value <= MAX_SAT:
        raise ValueError("not a number of sats in range")
    return value


def parse_decimal(value: object) -> Decimal:
    """A positive amount of a currency: a JSON number or a plain decimal string.

    Raises `ValueError` for zero, negatives, NaN, exponents in strings and absurd sizes.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("not a number")
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise ValueError("not a plain decimal number")
    try:
        number = Decimal(str(value))
    except InvalidOperation as error:
        raise ValueError("not a number") from error
    if not number.is_finite() or not 0 < number <= 10**16:
        raise ValueError("not a number in range")
    return number


def fiat_to_sat(fiat: Decimal, rate: Decimal) -> int:
    """Sats that `fiat` buys at `rate` (units of the currency per BTC), rounded half up."""
    return int((fiat * SAT_PER_BTC / rate).to_integral_value(ROUND_HALF_UP))


def sat_to_fiat(sat: int, rate: Decimal) -> Decimal:
    """What `sat` is worth at `rate` (units of the currency per BTC), to two decimals."""
    return (Decimal(sat) * rate / SAT_PER_BTC).quantize(Decimal("0.01"), ROUND_HALF_UP)


def msat_to_sat_floor(msat: int) -> int:
    """Whole sats in `msat`; what is left over is booked to `rounding`."""
    return msat // MSAT_PER_SAT


def msat_to_sat_ceil(msat: int) -> int:
    """The smallest number of whole sats that covers `msat`."""
    return -(-msat // MSAT_PER_SAT)


def parse_btc(text: str) -> int:
    """Sats of a BTC amount as links write it (BIP 321): digits, with at most one point among them.

    Raises `ValueError` for everything else (exponents, signs, commas, parts of a sat) and for more
    than there is. The text is bounded before it becomes a number.
    """
    match = _BTC.fullmatch(text)
    if not match or text in ("", "."):
        raise ValueError("not an amount in BTC")
    whole, fraction = match.groups()
    sat = int(whole or 0) * SAT_PER_BTC + int((fraction or "").ljust(8, "0"))
    if sat > MAX_SAT:
        raise ValueError("more bitcoin than there is")
    return sat


def btc_to_sat(btc: Decimal) -> int:
    """Exact sats of a BTC amount from Bitcoin Core; `ValueError` when it has sub-sat digits, or
    is beyond all bitcoin, where the digits alone would keep a processor busy."""
    if not btc.is_finite() or btc.adjusted() > 15:
        raise ValueError("not an amount in BTC")
    sat = btc * SAT_PER_BTC
    if sat != sat.to_integral_value():
        raise ValueError(f"not a whole number of sats: {btc}")
    return int(sat)


def sat_to_btc(sat: int) -> str:
    """A BTC amount with eight decimals, as a string: python-bitcoinrpc sends Decimal as float."""
    sign = "-" if sat < 0 else ""
    whole, fraction = divmod(abs(sat), SAT_PER_BTC)
    return f"{sign}{whole}.{fraction:08d}"
