"""Invoices that are signed, and odd: refused in words at every door, as their signer's doing
(input-I10)."""

from __future__ import annotations

import logging
import secrets
import time
from typing import Any

import pytest

from coinos.simnet import bolt11
from coinos.simnet.control import Control
from tests.cast import Api, api_of
from tests.html.conftest import Person

ODD: dict[str, dict[str, Any]] = {
    "lnbcrt0": {"amount_msat": 0},
    "lnbcrt0u": {"amount_msat": 0, "amount_text": "0u"},
    "0p": {"amount_msat": 0, "amount_text": "0p"},
    "leading zeros": {"amount_msat": 0, "amount_text": "00000000u"},
    "more bitcoin than there is": {"amount_msat": 10**19},
    "a huge number": {"amount_msat": 0, "amount_text": "9" * 40},
    "an expiry beyond 64 bits": {"expiry": 2**70},
    "no expiry": {"expiry": 0},
    "a NUL": {"description": "a\x00b"},
    "a bell": {"description": "\x07\x1b[31m"},
    "no text": {"description": ""},
    "from the future": {"created_at": 2**35 - 1},
    "from 1970": {"created_at": 0},
}


def signed(monkeypatch: pytest.MonkeyPatch, amount_text: str | None = None, **odd: Any) -> str:
    with monkeypatch.context() as patched:
        if amount_text is not None:
            patched.setattr(bolt11, "_amount_text", lambda amount_msat: amount_text)
        if odd.get("description_hash") is None:
            odd.setdefault("description", "x")
        return bolt11.encode(
            **{
                "secret_key": secrets.token_bytes(32),
                "currency": "bcrt",
                "payment_hash": secrets.token_hex(32),
                "payment_secret": secrets.token_hex(32),
                "created_at": int(time.time()),
                "expiry": 3600,
                "amount_msat": None,
            }
            | odd
        )


@pytest.mark.parametrize("name", ODD)
def test_an_odd_invoice_is_read_or_refused_but_never_a_fault_of_the_node(
    alice: Person,
    network: Control,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    """input-I10: 400 and no ERROR in the log, whatever numbers a stranger signs."""
    text = signed(monkeypatch, **ODD[name])
    owner = api_of(alice.user)
    with caplog.at_level(logging.ERROR):
        answers = [
            Api().get(f"/decode/{text}"),
            owner.post("/parse", {"payreq": text}),
            owner.post("/payments", {"payreq": text, "maxfee": 0}),
        ]
        pasted = alice.post("/send", text=text)
    assert {answer.status_code for answer in answers} <= {200, 400}, [a.body for a in answers]
    assert pasted.status_code in (200, 422)
    assert caplog.records == []
    if ODD[name].get("amount_msat") == 0 or "bitcoin" in name:
        assert {answer.body["code"] for answer in answers} == {"invalid_payment_request"}
        assert "This is not an invoice that can be paid" in pasted.page.text
