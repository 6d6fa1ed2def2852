"""On the pages: what a service says of itself, asks for and gives is read, and never runs."""

from __future__ import annotations

from typing import Any

import pytest

from coinos.simnet.control import Control
from payments.models import Payment
from tests.html.conftest import Person
from tests.html.test_send import amount, confirm, follow, paste
from tests.payments.lnurl_service import Service, serving

NAME_AND_MAIL = {"name": {"mandatory": True}, "email": {"mandatory": False}}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture
def database(cloned_db: Any) -> Any:
    """Payments are sent by threads, which see only what is committed."""
    return cloned_db


@pytest.fixture
def service(network: Control) -> Any:
    with serving(network) as found:
        yield found


def pay(alice: Person, service: Service, **fields: str) -> Any:
    return follow(alice, confirm(alice, amount(alice, service.lnurl, amount="500", **fields).page))


# --- What was given ------------------------------------------------------------------------------


def test_a_message_is_shown_as_plain_text(alice: Person, service: Service) -> None:
    """input-I08"""
    service.more = {"successAction": {"tag": "message", "message": f"Your code: 4711 {HOSTILE}"}}
    page = pay(alice, service)
    assert f"From the recipient Your code: 4711 {HOSTILE}" in page.text
    assert not [img for img in page.all("img") if img.get("src") == "x"]
    assert "<script>alert" not in page.html


def test_a_link_shows_its_host_and_opens_by_itself_never(alice: Person, service: Service) -> None:
    """input-I08"""
    url = f"{service.url}/order/7"
    service.more = {"successAction": {"tag": "url", "description": f"Yours{HOSTILE}", "url": url}}
    page = pay(alice, service)
    assert f"Yours{HOSTILE}" in page.text
    assert "Open 127.0.0.1" in page.text
    [link] = [link for link in page.all("a") if link.get("href") == url]
    assert link["rel"] == "noopener noreferrer nofollow"


def test_strangers_with_the_receipt_do_not_see_it(
    alice: Person, charlie: Person, service: Service
) -> None:
    """input-I08: it is what Alice has bought."""
    service.more = {"successAction": {"tag": "message", "message": "code 4711"}}
    pay(alice, service)
    path = f"/payment/{alice.line().id}"
    assert "4711" in alice.get(path).page.text
    assert "4711" not in charlie.get(path).page.text
    assert "4711" not in alice.get(f"{path}?public").page.text


@pytest.mark.parametrize(
    "terms",
    [
        {"metadata": r'[["text/plain","cof\ud800\u0000fee"]]'},
        {"metadata": r'[["text/plain","coffee"],["text/long-desc","one cof\udfff\u0000fee"]]'},
        {"metadata": '[["text/plain","coffee"]]', "maxSendable": 10**400},
        {"metadata": '[["text/plain","coffee"]]', "maxSendable": 10**4200},
    ],
    ids=["half a letter", "half a letter in the long text", "no number", "no number for Python"],
)
def test_whatever_its_terms_hold_has_a_page(
    alice: Person, service: Service, terms: dict[str, Any]
) -> None:
    """input-B1: of metadata, which is JSON in JSON, and of limits beyond all bitcoin."""
    service.terms = terms
    shown = paste(alice, service.lnurl)
    assert shown.status_code == 200
    assert "coffee" in shown.page.text
    assert "coffee" in pay(alice, service).text
    assert alice.line().amount_sat == -500


def test_one_that_does_not_open_says_whom_to_ask(alice: Person, service: Service) -> None:
    """input-I08"""
    block = "AAAAAAAAAAAAAAAAAAAAAA=="
    sealed = {"tag": "aes", "description": "Your code", "ciphertext": block, "iv": block}
    service.more = {"successAction": sealed}
    page = pay(alice, service)
    assert "Sent" in page.text
    assert "Your code It is sealed, and the preimage of this payment does not open it" in page.text


# --- What it is for ------------------------------------------------------------------------------


def test_what_a_service_says_it_is_for_is_read_before_paying(
    alice: Person, service: Service
) -> None:
    """LUD-06, LUD-20: the longer one, where there is one."""
    service.terms = {"metadata": f'[["text/plain","{HOSTILE}"]]'}
    assert f"“{HOSTILE}”" in paste(alice, service.lnurl).page.text
    long = '[["text/plain","bob"],["text/long-desc","Coffee of Ethiopia"],["image/png;base64",1]]'
    service.terms = {"metadata": long}
    for page in (paste(alice, service.lnurl), amount(alice, service.lnurl, amount="500")):
        assert "“Coffee of Ethiopia”" in page.page.text
    assert "bob" in pay(alice, service).text  # the short one, in the history


def test_an_invoice_for_another_description_is_asked_about_first(
    alice: Person, service: Service, network: Control
) -> None:
    """input-I08, F18: a warning, not a refusal; nothing is held meanwhile, nobody asked again."""
    service.invoice = lambda amount_msat: {"pr": network.invoice(amount_msat)}
    shown = amount(alice, service.lnurl, amount="500").page
    warned = confirm(alice, shown)
    assert warned.status_code == 422
    assert "does not commit to what the other server showed" in warned.page.text
    assert "They get ⚡️500" in warned.page.text
    assert (Payment.objects.count(), alice.available_sat) == (0, 100_000)
    assert service.asked == [500_000]
    page = follow(alice, confirm(alice, warned.page))
    assert "Sent" in page.text
    assert "Description the invoice does not commit to what the other server showed" in page.text


def test_a_price_that_is_fixed_is_filled_in(alice: Person, service: Service) -> None:
    """LUD-06: `minSendable` and `maxSendable` are the same."""
    service.terms = {"minSendable": 21_000_000, "maxSendable": 21_000_000}
    page = paste(alice, service.lnurl).page
    assert page.value("amount") == "21000"
    assert "They accept ⚡️21,000 sats , no more and no less." in page.text
    shown = amount(alice, service.lnurl, amount=page.value("amount")).page
    assert "They get ⚡️21,000" in shown.text


def test_an_invoice_for_another_amount_is_not_paid(
    alice: Person, service: Service, network: Control
) -> None:
    """F18"""
    service.invoice = lambda amount_msat: {"pr": network.invoice(amount_msat + 1000)}
    refused = confirm(alice, amount(alice, service.lnurl, amount="500").page)
    assert refused.status_code == 422
    assert "an invoice for another amount, so nothing was sent" in refused.page.text
    assert (Payment.objects.count(), alice.available_sat) == (0, 100_000)


# --- What it asks --------------------------------------------------------------------------------


def test_nothing_about_alice_is_told_unless_she_ticks_it(alice: Person, service: Service) -> None:
    """input-I08, LUD-18"""
    service.terms = {"payerData": {"name": {}, "identifier": None}}
    asked = paste(alice, service.lnurl).page
    assert "They ask who pays" in asked.text
    assert "Name: alice" in asked.text
    boxes = [box for box in asked.all("input") if box.get("name") == "tell"]
    assert [(box["value"], "checked" in box) for box in boxes] == [("name", False)]
    pay(alice, service)
    assert "payerdata" not in service.query

    shown = amount(alice, service.lnurl, amount="500", tell="name").page
    assert "They are told: alice" in shown.text
    page = follow(alice, confirm(alice, shown))
    assert service.query["payerdata"] == '{"name":"alice"}'
    assert "They were told alice" in page.text
    assert "does not commit" not in page.text


def test_what_they_insist_on_is_asked_before_they_are_asked_for_an_invoice(
    alice: Person, service: Service
) -> None:
    """input-I08, LUD-18"""
    service.terms = {"payerData": NAME_AND_MAIL}
    refused = amount(alice, service.lnurl, amount="500")
    assert refused.status_code == 422
    assert "127.0.0.1 takes payments only from those who tell it: Name" in refused.page.text
    assert "E-mail" not in refused.page.text  # Alice has none
    assert service.asked == []
    follow(alice, confirm(alice, amount(alice, service.lnurl, amount="500", tell="name").page))


def test_what_they_ask_is_said_in_alice_s_language(alice: Person, service: Service) -> None:
    """LUD-18: its own words for the kinds are for programs."""
    alice.post("/settings/preferences", currency="USD", language="fr", theme="system")
    service.terms = {"payerData": {"identifier": {"mandatory": True}}}
    refused = amount(alice, service.lnurl, amount="500").page
    assert "Adresse Lightning : alice@" in refused.text
    assert "accompagnés de ces informations : Adresse Lightning." in refused.text


def test_what_cannot_be_told_is_named_at_once(alice: Person, service: Service) -> None:
    """input-I08, LUD-18: before she has chosen an amount."""
    service.terms = {"payerData": {"pubkey": {"mandatory": True}, "email": {"mandatory": True}}}
    refused = paste(alice, service.lnurl)
    assert refused.status_code == 422
    assert "only from those who tell it: pubkey, email" in refused.page.text


def test_a_note_is_as_long_as_the_recipient_takes_it(alice: Person, service: Service) -> None:
    """LUD-12"""
    asked = paste(alice, service.lnurl).page
    assert "Only you see it." in asked.text
    service.terms = {"commentAllowed": 5}
    asked = paste(alice, service.lnurl).page
    assert "The recipient may see it too." in asked.text
    [note] = [field for field in asked.all("input") if field.get("name") == "memo"]
    assert note["maxlength"] == "5"
    refused = amount(alice, service.lnurl, amount="500", memo="thanks")
    assert (refused.status_code, service.asked) == (422, [])
    pay(alice, service, memo="merci")
    assert service.query["comment"] == "merci"
