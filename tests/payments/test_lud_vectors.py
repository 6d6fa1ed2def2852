"""The examples of LUD-01, 06, 09, 10, 12, 16, 17, 18 and 21, through the recogniser and the payer;
and what others got wrong about Lightning Addresses, in both directions."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import unquote

import pytest

from coinos.simnet.control import Control
from invoices.services import sweep_lightning
from payments.destinations import LightningAddress, Lnurl, recognise
from payments.errors import UnknownDestination
from payments.models import Payment
from payments.services.lightning import decode
from tests.cast import Api
from tests.payments.conftest import Person
from tests.payments.lnurl_service import Service, lnurl_of
from tests.payments.test_success_actions import sealed
from tests.vectors import LUDS

ROOT = Api(base="")


def answers(lud: str, to: str) -> list[Any]:
    return [row["answer"] for row in LUDS.answers if (row["lud"], row["to"]) == (lud, to)]


def pay(alice: Person, service: Service, **body: Any) -> Any:
    return alice.api.post(f"/send/{service.lnurl}/500", body)


# --- What is recognised --------------------------------------------------------------------------


@pytest.mark.parametrize("row", LUDS.valid, ids=lambda row: row["what"])
def test_an_example_names_the_service_that_the_document_says(row: dict[str, str]) -> None:
    """LUD-01, 16, 17: in any one case, also in a link of its own."""
    text = row["text"]
    spellings = [text, f"lightning:{text}"]
    if row["lud"] == "01" and text.isupper():
        spellings.append(text.lower())
        assert lnurl_of(row["url"]).upper() == text
    for spelling in spellings:
        found = recognise(spelling)
        assert isinstance(found, Lnurl | LightningAddress)
        assert found.url == row["url"]


@pytest.mark.parametrize("row", LUDS.invalid, ids=lambda row: row["what"])
def test_what_nobody_is_paid_by_is_refused_in_words(row: dict[str, str]) -> None:
    """LUD-01, 17"""
    with pytest.raises(UnknownDestination) as refused:
        recognise(row["text"])
    assert refused.value.page_template != UnknownDestination.page_message


def test_an_onion_service_is_understood_and_not_asked(alice: Person) -> None:
    """LUD-17: there is no way there from here, and that is said."""
    [url] = [row["url"] for row in LUDS.valid if ".onion" in row["url"]]
    refused = alice.api.post(f"/send/{lnurl_of(url)}/5", {})
    assert refused.body["detail"] == "Onion services cannot be reached"


# --- What is answered ----------------------------------------------------------------------------


def test_metadata_as_the_document_prints_it_is_the_description(
    alice: Person, service: Service
) -> None:
    """LUD-06"""
    [service.terms] = [answer for answer in answers("06", "terms") if "metadata" in answer]
    paid = pay(alice, service)
    assert (paid.status_code, paid.body["memo"]) == (200, "lorem ipsum blah blah"), paid.body
    assert "descriptionMatches" not in paid.body


@pytest.mark.parametrize("to", ["terms", "callback"])
def test_an_error_of_either_step_is_passed_on(alice: Person, service: Service, to: str) -> None:
    """LUD-06"""
    [error] = [answer for answer in answers("06", to) if "status" in answer]
    if to == "terms":
        service.terms = error
    else:
        service.invoice = lambda amount_msat: error
    refused = pay(alice, service)
    assert refused.body["detail"] == "The other server says: error details..."
    assert not Payment.objects.exists()


def test_the_success_actions_of_the_documents_are_shown(
    alice: Person, service: Service, network: Control
) -> None:
    """LUD-09, 10: the link belongs to the host of the callback, here ours."""
    for answer in answers("09", "callback"):
        action = json.loads(
            json.dumps(answer["successAction"]).replace("https://www.ln-service.com", service.url)
        )
        service.more = {"successAction": action}
        shown = pay(alice, service).body["successAction"]
        assert {name: unquote(text) for name, text in shown.items()} == action
    [printed] = answers("10", "callback")
    description, preimage = printed["successAction"]["description"], os.urandom(32).hex()
    service.invoice = lambda amount_msat: {
        "pr": network.invoice(amount_msat, service.committed, hashed=True, preimage=preimage),
        "successAction": sealed("Secret data", preimage, description),
    }
    assert pay(alice, service).body["successAction"] == {
        "tag": "aes",
        "description": "Here is your redeem code",
        "plaintext": "Secret data",
    }


def test_the_invoice_commits_to_metadata_and_payer_data_as_one_text(
    alice: Person, service: Service
) -> None:
    """LUD-18"""
    [printed] = answers("18", "hash")
    assert printed["metadata"] + unquote(printed["payerdata"]) == printed["hashed"]
    [terms] = answers("18", "terms")
    service.terms = terms | {"metadata": printed["metadata"]}
    paid = pay(alice, service, payerData=["name"])
    assert service.committed == printed["metadata"] + '{"name":"alice"}'
    assert paid.body["payerData"] == {"name": "alice"}
    assert "descriptionMatches" not in paid.body


def test_more_members_of_an_answer_do_no_harm(alice: Person, service: Service) -> None:
    """LUD-11, LUD-21, NIP-57: what is not for us is left alone, and nobody asked about it."""
    [verify] = answers("21", "callback")
    service.terms = {"allowsNostr": True, "nostrPubkey": "00" * 32, "commentAllowed": None}
    for disposable in (None, True, False):
        service.more = verify | {"disposable": disposable}
        assert pay(alice, service).body["status"] == "settled"


def test_what_we_answer_has_the_shape_that_the_document_prints(
    alice: Person, bob: Person, network: Control
) -> None:
    """LUD-21"""
    settled, not_settled, not_found = answers("21", "verify")
    terms = ROOT.get("/.well-known/lnurlp/bob").body
    asked = ROOT.get(_path_of(terms["callback"]) + "?amount=5000").body
    verify = _path_of(asked["verify"])
    assert _shape(ROOT.get(verify).body) == _shape(not_settled)
    network.pay(asked["pr"])
    sweep_lightning()
    assert _shape(ROOT.get(verify).body) == _shape(settled)
    assert ROOT.get("/api/lnurl/verify/00000000").body == not_found


def _path_of(url: str) -> str:
    return "/" + url.split("/", 3)[3]


def _shape(answer: dict[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in answer.items()}


# --- Both directions -----------------------------------------------------------------------------


def test_parts_of_a_sat_stay_in_the_invoice_and_whole_ones_are_credited(
    bob: Person, network: Control
) -> None:
    """input-C1"""
    terms = ROOT.get("/.well-known/lnurlp/bob").body
    bolt11 = ROOT.get(_path_of(terms["callback"]) + "?amount=123123").body["pr"]
    assert decode(bolt11).amount_msat == 123_123
    assert network.pay(bolt11)["amount_msat"] == 123_123
    sweep_lightning()
    assert bob.available_sat == 123


@pytest.mark.parametrize("name", ["Bob", "BOB", "bob"])
def test_the_case_of_an_address_means_nothing_in_either_direction(
    alice: Person, bob: Person, settings: Any, name: str
) -> None:
    """input-C11"""
    assert ROOT.get(f"/.well-known/lnurlp/{name}").body["tag"] == "payRequest"
    paid = alice.api.post(f"/send/{name}@{settings.DOMAIN.upper()}/5", {})
    assert (paid.status_code, bob.available_sat) == (200, 5), paid.body
    elsewhere = recognise(f"{name}@Pay.Example")
    assert elsewhere == LightningAddress("bob", "pay.example")
