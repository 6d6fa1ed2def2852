"""Whatever the API accepts has a page and pictures (input-I03)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coinos.simnet.control import Control
from invoices.codes import QR_URI_MAX_CHARACTERS, codes
from invoices.models import Invoice
from payments.destinations import Onchain, read
from tests.cast import Api, api_of
from tests.html.conftest import Browser, Person


def make(api: Api, **fields: Any) -> Invoice:
    made = api.post("/invoice", {"invoice": fields})
    assert made.status_code == 200, made.body
    return Invoice.objects.get(id=made.body["id"])


def assert_can_be_shown(browser: Browser, invoice: Invoice) -> None:
    for path in ("", "/qr.svg", "/qr.png"):
        for way in codes(invoice):
            shown = browser.get(f"/invoice/{invoice.id}{path}?way={way.way}")
            assert shown.status_code == 200, (path, way.way)


@pytest.mark.parametrize(
    "memo", ["x" * 2900, "é" * 930, "☕" * 5000, "\u202e", "&amount=9", "a" * 400]
)
@pytest.mark.parametrize("kind", ["bitcoin", "lightning"])
def test_an_invoice_with_any_note_can_be_shown(
    alice: Person, stranger: Browser, network: Control, memo: str, kind: str
) -> None:
    """input-I03. A code has the address and the amount, and the note where it fits; the
    link to copy has all of it."""
    invoice = make(api_of(alice.user), type=kind, amount=1000, memo=memo)
    assert_can_be_shown(stranger, invoice)
    if kind == "bitcoin":
        [code] = codes(invoice)
        scanned = read(code.qr)
        assert (scanned.ways, scanned.amount_sat) == ((Onchain(invoice.hash),), 1000)
        assert len(code.qr) <= QR_URI_MAX_CHARACTERS
        assert "message=" in code.text


def test_a_code_with_a_longer_note_is_no_larger(alice: Person, network: Control) -> None:
    """input-I03: the note is the first to go, never the address or the amount."""
    owner = api_of(alice.user)
    short, long = (make(owner, type="bitcoin", amount=1000, memo="é" * n) for n in (10, 500))
    assert "message=" in codes(short)[0].qr
    assert re.fullmatch(r"BITCOIN:[A-Z0-9]+\?amount=0\.00001000", codes(long)[0].qr)


@settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    kind=st.sampled_from(["bitcoin", "lightning"]),
    memo=st.one_of(
        st.text(max_size=60),
        st.builds(
            lambda text, n: (text * n)[:5000], st.text(min_size=1, max_size=5), st.integers(1, 5000)
        ),
    ),
    amount=st.one_of(st.integers(0, 10**8), st.just(2_100_000_000_000_000)),
    tip=st.one_of(st.none(), st.integers(0, 1000)),
)
def test_whatever_the_api_accepts_can_be_shown(
    alice: Person,
    stranger: Browser,
    network: Control,
    kind: str,
    memo: str,
    amount: int,
    tip: int | None,
) -> None:
    """input-I03: the whole class."""
    fields = {"type": kind, "memo": memo, "amount": amount} | ({} if tip is None else {"tip": tip})
    made = api_of(alice.user).post("/invoice", {"invoice": fields})
    assert made.status_code in (200, 400), made.body
    if made.status_code == 200:
        assert_can_be_shown(stranger, Invoice.objects.get(id=made.body["id"]))
