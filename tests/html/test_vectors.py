"""Every public vector through every door that takes such a text: what is valid is understood, what
is not is refused in words, nothing of another network is paid, and nothing is ever a 5xx.

`COUNTS` says how many runs that makes; docs/vectors.md shows the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured

from accounts.models import Activity
from coinos.simnet.control import Control
from tests.cast import Api, api_of
from tests.html.conftest import Person
from tests.html.test_odd_invoices import ODD
from tests.vectors import (
    BIP21,
    BIP173,
    BIP321,
    BIP350,
    BOLT11,
    LUDS,
    NIP19,
    STANDARD_WEBHOOKS,
    ours,
    spoilt,
)

DOCUMENT = Path(configured.BASE_DIR) / "docs" / "vectors.md"
ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
TAPROOT = "bcrt1plllllllllllllllllllllllllllllllllllllllllllllllllllse0lp4e"
REFUSED = (400, 422)

Door = Callable[[Person, str], int]


def door(method: str, path: str, body: dict[str, Any] | None = None) -> Door:
    """A door of the API: what it answers when `{}` is the text."""

    def ask(person: Person, text: str) -> int:
        api = api_of(person.user)
        if method == "GET":
            answer = Api().get(path.replace("{}", text))
        else:
            fields = {name: text if value == "{}" else value for name, value in body.items()}
            answer = api.post(path, fields)
        return int(answer.status_code)

    return ask


def page_of_sending(person: Person, text: str) -> int:
    return int(person.post("/send", text=text).status_code)


DECODE = door("GET", "/decode/{}")
PARSE = door("POST", "/parse", {"payreq": "{}"})
PAY = door("POST", "/payments", {"payreq": "{}", "maxfee": 0})
FEE = door("POST", "/bitcoin/fee", {"address": "{}", "amount": 5000})
WITHDRAW = door("POST", "/bitcoin/send", {"address": "{}", "amount": 5000})


def texts(rows: Iterable[dict[str, str]]) -> list[str]:
    return [row["text"] for row in rows]


SEGWIT = [*BIP173.valid, *BIP173.invalid, *BIP350.valid, *BIP350.invalid]
OUR_PROGRAMS = [
    written for text in texts(BIP350.valid) for written in (ours(text), ours(text).upper())
]
SPOILT = [found for text in texts([*BIP173.invalid, *BIP350.invalid]) if (found := spoilt(text))]

SETS: dict[str, tuple[list[str], tuple[Door, ...], tuple[int, ...]]] = {
    "BOLT11, valid examples": (texts(BOLT11.valid), (DECODE, PARSE), (200,)),
    "BOLT11, invalid examples": (
        texts(BOLT11.invalid),
        (DECODE, PARSE, PAY, page_of_sending),
        REFUSED,
    ),
    "BOLT11, all examples, to be paid here": (BOLT11.texts, (PAY, page_of_sending), REFUSED),
    "BIP173 and BIP350, as printed": (texts(SEGWIT), (FEE, WITHDRAW, page_of_sending), REFUSED),
    "BIP350, valid programs of our network": (OUR_PROGRAMS, (FEE, page_of_sending), (200,)),
    "BIP173 and BIP350, invalid ones of our network": (
        SPOILT,
        (FEE, WITHDRAW, page_of_sending),
        REFUSED,
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_vectors_passes_every_door(alice: Person, network: Control, name: str) -> None:
    """input-C12 to input-C14, input-C28"""
    given, doors, expected = SETS[name]
    wrong = [
        (text, ask, status)
        for text in given
        for ask in doors
        if (status := ask(alice, text)) not in expected
    ]
    assert wrong == []
    assert not Activity.objects.exists()


# --- Links ---------------------------------------------------------------------------------------


def of_our_network(link: str, bolt11: str) -> str:
    """The examples name addresses of other networks or with a wrong checksum, and no invoice."""
    link = link.replace("lnbc420bogusinvoice", bolt11)
    link = link.replace("175tWpb8K1S7NmH4Zx6rewF9WQrcZv245W", ADDRESS)
    for printed, address in {"bc1q": ADDRESS, "bc1p": TAPROOT}.items():
        link = re.sub(rf"\b{printed}\w+", address, link)
        link = re.sub(rf"\b{printed.upper()}\w+", address.upper(), link)
    return link.replace("bc=bcrt1", "bcrt=bcrt1").replace("BC=BCRT1", "BCRT=BCRT1")


LINKS = [*BIP21.valid, *BIP321.valid]
BAD_LINKS = [*BIP21.invalid, *BIP321.invalid]


@pytest.mark.parametrize("link", texts(LINKS))
def test_a_valid_link_is_offered_for_payment(alice: Person, network: Control, link: str) -> None:
    """Those with nothing but an offer, a silent payment or another network's address are not."""
    here = of_our_network(link, network.invoice(1_000_000))
    can_be_paid = "bcrt1" in here.lower()
    assert page_of_sending(alice, here) == (200 if can_be_paid else 422), here


@pytest.mark.parametrize("link", texts(BAD_LINKS))
def test_an_invalid_link_is_refused(alice: Person, network: Control, link: str) -> None:
    here = of_our_network(link, network.invoice(1_000_000))
    assert page_of_sending(alice, here) == 422, here
    assert FEE(alice, here) == 400


# --- The numbers ---------------------------------------------------------------------------------

COUNTS = {name: len(given) * len(doors) for name, (given, doors, _) in SETS.items()} | {
    "BOLT11, odd ones that somebody signed": len(ODD) * 4,
    "BIP21 and BIP321, valid links": len(LINKS),
    "BIP21 and BIP321, invalid links": len(BAD_LINKS) * 2,
    "LUD-01 to LUD-21": len([*LUDS.valid, *LUDS.invalid, *LUDS.answers]),
    "Standard Webhooks": len(STANDARD_WEBHOOKS.valid) + len(STANDARD_WEBHOOKS.invalid),
    "NIP-19": len(NIP19.valid) + len(NIP19.invalid),
}


def test_the_document_shows_these_numbers() -> None:
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \| (\d+) \| (\d+) \|", DOCUMENT.read_text(), re.M)
    shown = {name: (int(run), int(passed), int(failed)) for name, run, passed, failed in rows}
    assert shown == {name: (count, count, 0) for name, count in COUNTS.items()}
