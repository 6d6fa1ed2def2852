"""What people type, paste and scan is understood, or refused in words. No node, no database."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
from bech32 import bech32_encode, convertbits
from hypothesis import given, settings
from hypothesis import strategies as st

from coinos.money import MAX_SAT, btc_to_sat, parse_btc, sat_to_btc
from payments.destinations import (
    PASTED_MAX_CHARACTERS,
    WAYS_OF_A_KIND_MAX,
    Bolt11,
    Bolt12Offer,
    LightningAddress,
    Lnurl,
    Onchain,
    Request,
    Username,
    read,
    recognise,
)
from payments.errors import UnknownDestination
from tests.vectors import BIP21, BIP321, BOLT11, EVERY

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
TAPROOT = "bcrt1plllllllllllllllllllllllllllllllllllllllllllllllllllse0lp4e"
INVOICE = "lnbcrt1" + "q" * 60
OFFER = "lno1pqqq"


def lnurl(url: str) -> str:
    return str(bech32_encode("lnurl", convertbits(url.encode(), 8, 5)))


LNURL = lnurl("https://pay.example/bob")
BOB = Lnurl("https://pay.example/bob")


def refusal(text: str) -> str:
    with pytest.raises(UnknownDestination) as refused:
        read(text)
    return refused.value.page_template


# --- Bounded work, and never anything but our own refusal ----------------------------------------


@pytest.mark.parametrize(
    "amount", ["1e400000", "1e1000000", "1e5000", "9" * 5000, "0." + "0" * 5000, "1e-400000", "NaN"]
)
def test_no_amount_keeps_a_processor_busy(amount: str) -> None:
    """input-I01: the text is bounded before it becomes a number."""
    started = time.process_time()
    assert "amount" in refusal(f"bitcoin:{ADDRESS}?amount={amount}")
    assert time.process_time() - started < 0.5  # the conversion alone took 5 s


@pytest.mark.parametrize(
    "number", ["1e400000", "1e1000000", "-1e400000", "1e-999999", "NaN", "0.5e-8"]
)
def test_no_number_of_a_node_does_either(number: str) -> None:
    """input-I01, in the other place where digits become sats."""
    started = time.process_time()
    with pytest.raises(ValueError):
        btc_to_sat(Decimal(number))
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    "text", ["lnurlp://[", "lnurlp://[::1/a", "http://[", "https://[/?lightning=x", "keyauth://["]
)
def test_no_exception_of_a_parser_gets_out(text: str) -> None:
    """input-I13"""
    assert refusal(text)


def test_a_text_longer_than_any_destination_is_not_read() -> None:
    assert refusal("a" * (PASTED_MAX_CHARACTERS + 1))


SEEDS = [
    *(text for vectors in EVERY for text in vectors.texts),
    f"bitcoin:{ADDRESS}?amount=1.5&lightning={LNURL}&label=a&req-x",
    LNURL.upper(),
    f"lnurlp://pay.example/{ADDRESS}",
    f"https://[::1]/?lightning={LNURL}",
    "lightning:bob+tag@pay.example:443",
    "nostr:npub1qqqq",
    f"keyauth://pay.example?k1={'0' * 64}",
]
PIECES = st.sampled_from(
    [
        *"% %ff %00 [ ] :// ? & = # 1e999999 - _ + @ req- amount= lightning= bitcoin:".split(),
        *["\x00", "\u200b", "\u212a", "\u0661", "\ud800", " ", "\n", "9" * 99],
    ]
)


@st.composite
def mutated(draw: Any) -> str:
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 6))
        text = text[:at] + draw(st.one_of(PIECES, st.text(max_size=4))) + text[at + cut :]
    return draw(st.sampled_from([text, text.upper(), text.swapcase(), text * 3]))


@settings(max_examples=800, deadline=None, database=None)
@given(st.one_of(mutated(), st.text(max_size=300)))
def test_whatever_arrives_is_a_way_to_pay_or_our_refusal(text: str) -> None:
    """input-I01, input-I13: mutated vectors and links, in bounded time."""
    started = time.process_time()
    try:
        found = read(text)
    except UnknownDestination:
        found = None
    assert time.process_time() - started < 1
    if found is not None:
        assert found.ways
        assert found.amount_sat is None or 1 <= found.amount_sat <= MAX_SAT
        for way in found.ways:  # what is shown can be pasted again
            if isinstance(way, Bolt11 | Onchain | LightningAddress | Username):
                assert recognise(str(way)) == way


# --- bitcoin: links ------------------------------------------------------------------------------


def of_ours(link: str) -> str:
    """The appendix prints invoices and addresses that are none, so that nobody pays them."""
    return link.replace("lnbc420bogusinvoice", BOLT11.valid[0]["text"])


UNPAYABLE = "sp1qsilentpayment"


@pytest.mark.parametrize("row", [*BIP21.valid, *BIP321.valid], ids=lambda row: row["text"][:100])
def test_the_valid_examples_are_understood(row: dict[str, str]) -> None:
    """input-I06, input-I07: BIP 21 and the appendix of BIP 321."""
    link = of_ours(row["text"])
    if link == f"bitcoin:?sp={UNPAYABLE}":
        assert "no way to pay" in refusal(link)  # valid, but not offered here
        return
    found = read(link)
    lower = link.lower()
    assert ("lightning=" in lower) == (found.best(Bolt11) is not None)
    assert ("lno=" in lower) == (found.best(Bolt12Offer) is not None)
    addresses = [way.address for way in found.ways if isinstance(way, Onchain)]
    assert all(address.lower() in lower for address in addresses)
    assert len(addresses) == lower.count("bitcoin:1") + lower.count("bc1") + lower.count("tb1") - (
        lower.count("lnbc1")
    )
    assert found.amount_sat == (
        2_030_000_000 if "=20.3" in link else 5_000_000_000 if "amount=50" in link else None
    )
    assert ("label" in link) == found.memo.startswith("Luke-Jr")
    assert ("message" in link) == found.memo.endswith(": Donation for project xyz")


@pytest.mark.parametrize("row", [*BIP21.invalid, *BIP321.invalid], ids=lambda row: row["text"])
def test_the_invalid_examples_are_refused(row: dict[str, str]) -> None:
    """input-I06: BIP 21 and the appendix of BIP 321."""
    assert "bitcoin: link" in refusal(row["text"])


@pytest.mark.parametrize(
    "query",
    [
        "req-x",
        "req-x=",
        "REQ-X=1",
        "%72eq-x=1",
        f"lightning={INVOICE}&req-x=1",
        "amount=0.42&amount=0.10",
        "amount=0.42&AMOUNT=0.42",
        "label=a&label=b",
        "message=a&message=b",
        "amount=1_000",
        "amount=1,000",
        "amount=1e-3",
        "amount=-1",
        "amount=+1",
        "amount=%2B1",
        "amount=",
        "amount",
        "amount=.",
        "amount=1.2.3",
        "amount=0.000000001",
        "amount=21000000.00000001",
        "amount=22000000",
        "amount=\u0661",
    ],
)
def test_what_a_link_may_not_say_is_refused(query: str) -> None:
    """input-I06: every parameter, every spelling of a number, every `req-` name."""
    assert "bitcoin: link" in refusal(f"bitcoin:{ADDRESS}?{query}")


@pytest.mark.parametrize(
    ("amount", "sat"),
    [
        ("1", 100_000_000),
        ("1.", 100_000_000),
        (".5", 50_000_000),
        ("0.00000001", 1),
        ("0.000000010000", 1),
        ("0001", 100_000_000),
        ("21000000", MAX_SAT),
        ("21000000.00000000", MAX_SAT),
        ("0", None),
        ("0.0", None),
    ],
)
def test_an_amount_is_digits_with_at_most_one_point(amount: str, sat: int | None) -> None:
    """input-I06. No amount and 0 are the same: the payer chooses."""
    assert read(f"bitcoin:{ADDRESS}?amount={amount}").amount_sat == sat


def test_every_way_to_pay_of_a_link_is_kept_the_best_first() -> None:
    """input-I07"""
    link = (
        f"bitcoin:{ADDRESS}?lno={OFFER}&amount=0.00002&message=a+b%20c&lightning={INVOICE}"
        f"&bcrt={TAPROOT}&bcrt={ADDRESS}&label=Bob"
    )
    assert read(link) == Request(
        (Bolt11(INVOICE), Onchain(ADDRESS), Onchain(TAPROOT), Bolt12Offer(OFFER)),
        amount_sat=2000,
        memo="Bob: a+b c",
    )


def test_of_a_link_with_many_ways_to_pay_a_few_are_looked_at() -> None:
    """input-B5: each is a question to a node, or to a server that somebody else has named."""
    addresses = [bech32_encode("bc", [0] + [n // 32, n % 32] + [0] * 30) for n in range(150)]
    ways = read("bitcoin:?" + "&".join(f"bc={address}" for address in addresses)).ways
    assert ways == tuple(Onchain(address) for address in addresses[:WAYS_OF_A_KIND_MAX])
    names = "&".join(f"lightning=bob@{n}.example" for n in range(200))
    ways = read(f"bitcoin:{ADDRESS}?{names}&lno={OFFER}").ways
    assert (len(ways), ways[-2:]) == (
        WAYS_OF_A_KIND_MAX + 2,
        (Onchain(ADDRESS), Bolt12Offer(OFFER)),
    )


@pytest.mark.parametrize("amount", ["AMOUNT=0.001", "Amount=0.001", "amount=0.001"])
@pytest.mark.parametrize("scheme", ["bitcoin", "Bitcoin", "BITCOIN"])
def test_a_link_in_capitals_says_how_much_as_well(scheme: str, amount: str) -> None:
    """input-C15: as QR codes have it."""
    link = f"{scheme}:{ADDRESS.upper()}?{amount}"
    assert read(link) == Request((Onchain(ADDRESS),), amount_sat=100_000)


@pytest.mark.parametrize(
    ("link", "ways"),
    [
        (f"bitcoin:?lightning={LNURL.upper()}", (BOB,)),
        (f"BITCOIN:?LIGHTNING={LNURL.upper()}", (BOB,)),
        (f"bitcoin:{ADDRESS}?lightning={LNURL}", (BOB, Onchain(ADDRESS))),
        (f"bitcoin:?bcrt={ADDRESS}", (Onchain(ADDRESS),)),
        (f"BITCOIN:?BCRT={ADDRESS.upper()}", (Onchain(ADDRESS),)),
        (f"bitcoin:?bcrt={ADDRESS}&bcrt={TAPROOT}", (Onchain(ADDRESS), Onchain(TAPROOT))),
        (f"bitcoin:?lno={OFFER}", (Bolt12Offer(OFFER),)),
        (f"bitcoin:{ADDRESS}?lightning=nonsense", (Onchain(ADDRESS),)),
        (f"bitcoin://{ADDRESS}", (Onchain(ADDRESS),)),
        (f"bitcoin:{ADDRESS}?&&", (Onchain(ADDRESS),)),
    ],
)
def test_a_unified_link_in_every_spelling(link: str, ways: tuple[Any, ...]) -> None:
    """input-I07"""
    assert read(link).ways == ways


# --- Case, invisible characters, schemes ---------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        INVOICE[:20].upper() + INVOICE[20:],
        "LNBC2500u1" + "q" * 60,
        LNURL.upper()[:-3] + LNURL[-3:],
        f"bitcoin:?lightning={INVOICE.capitalize()}",
    ],
)
def test_what_mixes_capitals_and_small_letters_was_changed_on_the_way(text: str) -> None:
    """input-I17a: BOLT 11 and LUD-01 refuse it."""
    refusal(text)


ZERO_WIDTH = ["\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u200e", "\u202c"]
INVISIBLE = [*ZERO_WIDTH, "\u00a0"]


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
@pytest.mark.parametrize("text", [INVOICE, ADDRESS, "bob", LNURL, "bob@pay.example"])
def test_what_copying_adds_around_a_text_is_not_part_of_it(text: str, character: str) -> None:
    """input-I17b"""
    assert recognise(f"{character}{text}{character}\n") == recognise(text)


@pytest.mark.parametrize("character", ZERO_WIDTH, ids=ascii)
def test_nor_what_it_adds_inside(character: str) -> None:
    """input-I17b"""
    assert recognise(f"{INVOICE[:30]}{character}{INVOICE[30:]}") == Bolt11(INVOICE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\u20bfbob@pay.example", LightningAddress("bob", "pay.example")),
        ("\u26a1bob@pay.example", LightningAddress("bob", "pay.example")),
        ("\u26a1\ufe0fbob@pay.example", LightningAddress("bob", "pay.example")),
        (f"lnurl:{LNURL.upper()}", BOB),
        (f"LNURL:{LNURL}", BOB),
        (f"lightning: {INVOICE.upper()}", Bolt11(INVOICE)),
        (f"lightning://{INVOICE}", Bolt11(INVOICE)),
        ("lightning:bob@pay.example", LightningAddress("bob", "pay.example")),
        ("lnurlp:pay.example/bob", BOB),
        ("LNURLP://pay.example/bob", BOB),
        (f"https://shop.example/?LIGHTNING={LNURL.upper()}", BOB),
    ],
)
def test_spellings_of_other_wallets(text: str, expected: object) -> None:
    """input-I17c"""
    assert recognise(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("keyauth://pay.example?k1=00", "sign in"),
        ("lnurlw://pay.example/w", "withdraw"),
        ("lnurlc://pay.example/c", "channel"),
        ("https://shop.example/", "web page"),
        ("nsec1" + "q" * 58, "secret key"),
        ("lnbc10u1pvjluezpp5qqqsyqcyq5rqwz", "not complete"),
    ],
)
def test_known_kinds_that_cannot_be_paid_are_named(text: str, words: str) -> None:
    """input-I17d"""
    assert words in refusal(text)


@pytest.mark.parametrize("path", ["/bob", "/bob/", "/BOB"])
def test_the_link_of_somebodys_page_here_is_that_person(path: str, settings: Any) -> None:
    """input-I17e"""
    settings.DOMAIN = "wallet.example"
    assert recognise(f"https://wallet.example{path}") == Username("bob")
    assert "web page" in refusal(f"https://other.example{path}")
    assert "web page" in refusal("https://wallet.example/settings")


def test_an_lnurl_of_this_server_is_somebody_here(settings: Any) -> None:
    """input-I15, input-I17e: own names in every spelling."""
    settings.DOMAIN = "wallet.example"
    own = lnurl("https://wallet.example/.well-known/lnurlp/bob+tip")
    found = recognise(own)
    assert found == LightningAddress("bob+tip", "wallet.example")


@pytest.mark.parametrize("sat", [1, 99_999_999, 100_000_000, MAX_SAT])
def test_parsing_is_the_inverse_of_writing(sat: int) -> None:
    assert parse_btc(sat_to_btc(sat)) == sat
