"""The public vectors of BOLT 11, BIP 173 and BIP 350 on our nodes: what is valid there is accepted,
what is not is refused, by the simulated nodes as by real ones (input-I16)."""

from __future__ import annotations

from typing import Any

import pytest

from coinos.nodes.base import NodeRefused
from coinos.nodes.bitcoind import BitcoinCore
from coinos.nodes.cln import CoreLightning
from coinos.simnet.control import Control
from coinos.simnet.transactions import address_of, script_of
from tests.nodes.worlds import World
from tests.vectors import BIP173, BIP350, BOLT11, ours, spoilt

SIGNERS = (
    "03e7156ae33b0a208d0744199163177e909e80176e55d97a2f221ede0f934dd9ad",
    "02d0139ce7427d6dfffd26a326c18be754ef1e64672b42694ba5b23ef6e6e7803d",  # of the high-S one
)


@pytest.fixture
def lightning(world: World) -> CoreLightning:
    return world.lightning


@pytest.fixture
def bitcoin(world: World) -> BitcoinCore:
    return world.bitcoin


@pytest.mark.parametrize("row", BOLT11.valid, ids=lambda row: row["what"][:60])
def test_a_valid_invoice_is_read(lightning: CoreLightning, row: dict[str, str]) -> None:
    """input-I16, input-C28: also with fields and features that nobody knows."""
    decoded = lightning.decode(row["text"].lower())
    assert decoded.payee in SIGNERS
    assert decoded.payment_hash


def read(lightning: CoreLightning, what: str) -> list[Any]:
    """The node's own words for each valid vector of which BOLT 11 says this, and what it says."""
    rows = [row for row in BOLT11.valid if what in row["what"]]
    assert rows
    return [(lightning.decode(row["text"].lower()).raw, row["what"]) for row in rows]


def test_a_fallback_address_is_told_as_lightningd_does(lightning: CoreLightning) -> None:
    """As v26.06.6 told all of them."""
    kinds = set()
    for raw, what in read(lightning, "fallback"):
        [fallback] = raw["fallbacks"]
        assert fallback["addr"] in what
        assert script_of(fallback["addr"].lower()) in (None, bytes.fromhex(fallback["hex"]))
        kinds.add(fallback["type"])
    assert kinds == {"P2PKH", "P2SH", "P2WPKH", "P2WSH", "P2TR"}


def test_metadata_and_fields_to_come_are_told_as_lightningd_does(lightning: CoreLightning) -> None:
    [(raw, _)] = read(lightning, "metadata")
    assert raw["payment_metadata"] == "01fafaf0"
    [(raw, _)] = read(lightning, "fields which must be ignored")
    assert raw["extra"][:2] == [
        {"tag": "2", "data": "qqq"},
        {"tag": "f", "data": "nqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"},
    ]
    assert {entry["tag"] for entry in raw["extra"][2:]} <= set("phsn")


@pytest.mark.parametrize(
    "row",
    [row for row in BOLT11.invalid if "mixed case" not in row["what"]],
    ids=lambda row: row["what"],
)
def test_an_invalid_invoice_is_refused(lightning: CoreLightning, row: dict[str, str]) -> None:
    """input-I16: the two cases are refused before the node is asked (input-I17a)."""
    with pytest.raises(NodeRefused):
        lightning.decode(row["text"])


@pytest.mark.parametrize("row", BIP350.valid, ids=lambda row: row["text"][:40])
def test_a_valid_address_is_one_under_our_prefix_alone(
    bitcoin: BitcoinCore, row: dict[str, str]
) -> None:
    """input-I16: every witness version, in small letters and capitals."""
    address = ours(row["text"])
    assert bitcoin.address_is_valid(address)
    assert bitcoin.address_is_valid(address.upper())
    assert not bitcoin.address_is_valid(row["text"])


def test_the_script_of_an_address_is_that_of_the_vector(simnet: Control) -> None:
    """input-I16"""
    for row in BIP350.valid:
        script = script_of(ours(row["text"]))
        assert script is not None
        assert script.hex() == row["script"]
        assert address_of(script) == ours(row["text"])


@pytest.mark.parametrize(
    "row", [*BIP173.invalid, *BIP350.invalid], ids=lambda row: row["what"] + row["text"][:12]
)
def test_an_invalid_address_is_refused_under_any_prefix(
    bitcoin: BitcoinCore, row: dict[str, str]
) -> None:
    """input-I16"""
    assert not bitcoin.address_is_valid(row["text"])
    again = spoilt(row["text"])
    if again:
        assert not bitcoin.address_is_valid(again)


@pytest.mark.parametrize("row", BIP173.valid[2:5], ids=lambda row: row["text"])
def test_a_later_version_with_the_old_checksum_is_refused(
    bitcoin: BitcoinCore, row: dict[str, str]
) -> None:
    """input-C13: BIP 350 made these invalid."""
    again: Any = spoilt(row["text"])
    assert again
    assert not bitcoin.address_is_valid(again)
