"""Every kind of text on the send page: paid as it says, or refused in words."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest

from accounts.statement import MEMO_MAX_CHARACTERS
from coinos.money import sat_to_btc
from coinos.simnet.control import Control
from tests.cast import Api, api_of
from tests.html.conftest import Person
from tests.html.test_hostile_text import assert_harmless
from tests.html.test_send import amount, confirm, follow, paste
from tests.payments.lnurl_service import Service, serving
from tests.vectors import BOLT11

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
TAPROOT = "bcrt1plllllllllllllllllllllllllllllllllllllllllllllllllllse0lp4e"


@pytest.fixture
def database(cloned_db: Any) -> Any:
    """Payments are sent by threads, which see only what is committed."""
    return cloned_db


@pytest.fixture
def service(network: Control) -> Any:
    with serving(network) as found:
        yield found


def expired(network: Control) -> str:
    bolt11 = network.invoice(1_000_000, expiry=1)
    time.sleep(1.1)
    return bolt11


# --- Refused in words ----------------------------------------------------------------------------


@pytest.mark.parametrize("amount", ["1e400000", "1e1000000", "1e5000", "9" * 5000, "-1", "1_000"])
def test_an_amount_that_is_none_is_refused_at_every_door(
    alice: Person, network: Control, amount: str
) -> None:
    """input-I01, input-I06. Not even for a moment is the process busy."""
    link = f"bitcoin:{ADDRESS}?amount={amount}"
    owner, stranger = api_of(alice.user), Api()
    started = time.process_time()
    refused = paste(alice, link)
    assert refused.status_code == 422
    assert "The amount in this bitcoin: link is not valid" in refused.page.text
    answers = [
        stranger.get(f"/decode/{quote(link, safe='')}"),
        owner.post("/parse", {"payreq": link}),
        owner.post("/payments", {"payreq": link, "amount": 1}),
        owner.post(f"/send/{quote(link, safe='')}/5", {}),
    ]
    assert [answer.status_code for answer in answers] == [400] * 4
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    "text", ["lnurlp://[", "lnurlp://[::1/a", "http://[", "lightning:http://["]
)
def test_what_a_parser_cannot_read_is_no_destination(
    alice: Person, network: Control, text: str
) -> None:
    """input-I13."""
    assert paste(alice, text).status_code == 422
    owner = api_of(alice.user)
    for path, body in [
        ("/parse", {"payreq": text}),
        ("/payments", {"payreq": text}),
        ("/bitcoin/fee", {"address": text, "amount": 1000}),
    ]:
        assert owner.post(path, body).status_code == 400


@pytest.mark.parametrize(
    "query", ["req-x", "amount=0.42&amount=0.42", "label=a&label=b", "amount=22000000"]
)
def test_a_link_that_may_not_be_paid_is_refused_by_page_and_api(
    alice: Person, network: Control, query: str
) -> None:
    """input-I06."""
    link = f"bitcoin:{ADDRESS}?{query}"
    refused = paste(alice, link)
    assert refused.status_code == 422
    assert "This bitcoin: link" in refused.page.text or "in this bitcoin: link" in refused.page.text
    quoted = api_of(alice.user).post("/bitcoin/fee", {"address": link, "amount": 1000})
    assert (quoted.status_code, quoted.body["code"]) == (400, "invalid_address")


# --- Links with several ways to pay --------------------------------------------------------------


def assert_asks_for_amount(answer: Any, to: str, sat: int) -> None:
    assert answer.status_code == 200, answer.page.text
    assert to in answer.page.text
    assert answer.page.value("amount") == str(sat)


@pytest.mark.parametrize("kind", ["expired", "another network", "damaged", "nobody here"])
def test_what_cannot_be_paid_over_lightning_leaves_the_address(
    alice: Person, network: Control, settings: Any, kind: str
) -> None:
    """input-I07."""
    lightning = {
        "expired": expired,
        "another network": lambda _: BOLT11.valid[1]["text"],
        "damaged": lambda network: network.invoice(1_000_000) + "q",
        "nobody here": lambda _: f"zoe@{settings.DOMAIN}",
    }[kind](network)
    link = f"bitcoin:{ADDRESS}?amount=0.00001&lightning={lightning}"
    asked = paste(alice, link)
    assert_asks_for_amount(asked, ADDRESS, 1000)
    assert asked.page.value("text") == ADDRESS  # what is chosen now stays chosen


def test_an_invoice_without_an_amount_takes_the_one_of_its_link(
    alice: Person, network: Control
) -> None:
    """input-I07."""
    bolt11 = network.invoice(None)
    link = f"bitcoin:{ADDRESS}?amount={sat_to_btc(2000)}&lightning={bolt11}&label=Corner%20shop"
    asked = paste(alice, link)
    assert_asks_for_amount(asked, "Over Lightning", 2000)
    shown = amount(alice, asked.page.value("text"), amount="2000").page
    follow(alice, confirm(alice, shown))
    paid = network.payment(alice.line(amount_sat=-2000).payment_hash or "")
    assert paid["status"] == "settled"


def test_label_and_message_are_shown(alice: Person, network: Control) -> None:
    """input-I07: a plus is a plus, as protocols say it."""
    link = f"bitcoin:{ADDRESS}?amount=0.00001&label=Corner%20shop&message=a+b"
    assert "Corner shop: a+b" in paste(alice, link).page.text


def test_what_a_link_says_of_itself_is_the_note_of_the_payment(
    alice: Person, network: Control
) -> None:
    """input-I07: in the history it tells more than an address. Another note may be written."""
    label = "Corner%20shop" + "x" * 6000
    link = f"bitcoin:{network.address()}?amount=0.0002&label={label}&message=Two%20coffees"
    assert len(paste(alice, link).page.value("memo")) == MEMO_MAX_CHARACTERS
    asked = paste(alice, link.replace("x" * 6000, "")).page
    assert asked.value("memo") == "Corner shop: Two coffees"
    shown = amount(alice, asked.value("text"), amount="20000", memo=asked.value("memo")).page
    assert "Note: Corner shop: Two coffees" in shown.text
    follow(alice, confirm(alice, shown))
    assert alice.line(amount_sat=-20_000).memo == "Corner shop: Two coffees"
    again = alice.post("/send", text=asked.value("text"), amount_sat="20000", memo="For Bob").page
    assert again.value("memo") == "For Bob"


@pytest.mark.parametrize("capitals", [False, True])
def test_a_link_with_an_lnurl_is_paid_by_it(
    alice: Person, network: Control, service: Service, capitals: bool
) -> None:
    """input-I07: with an address beside it too."""
    for link in (
        f"bitcoin:?lightning={service.lnurl}",
        f"bitcoin:{ADDRESS}?lightning={service.lnurl}&amount=0.00002",
    ):
        asked = paste(alice, link.upper() if capitals else link)
        assert asked.status_code == 200, asked.page.text
        assert "Over Lightning" in asked.page.text


@pytest.mark.parametrize(
    "link", [f"bitcoin:?bcrt={ADDRESS}&bcrt={TAPROOT}", f"BITCOIN:?BCRT={ADDRESS.upper()}"]
)
def test_an_address_may_be_a_parameter(alice: Person, network: Control, link: str) -> None:
    """input-I07."""
    asked = paste(alice, link)
    assert (asked.status_code, ADDRESS in asked.page.text) == (200, True)


def test_an_offer_in_a_link_is_named_as_an_offer(alice: Person, network: Control) -> None:
    """input-I07"""
    refused = paste(alice, "bitcoin:?lno=lno1pqqq").page
    assert "Offers (lno…) cannot be paid here yet" in refused.text


def test_what_was_paid_is_not_offered_a_second_time_by_address(
    alice: Person, bob: Person, network: Control
) -> None:
    """input-I07: the next way is for what cannot be paid, not for what has been."""
    made = api_of(bob.user).post("/invoice", {"invoice": {"type": "lightning", "amount": 1000}})
    bolt11 = made.body["hash"]
    follow(alice, confirm(alice, paste(alice, bolt11).page))
    again = paste(alice, f"bitcoin:{ADDRESS}?amount=0.00001&lightning={bolt11}")
    assert (again.status_code, "already been paid" in again.page.text) == (422, True)


# --- Somebody here -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bob+tip@{host}", "BOB+TIP@{host}", "http://{host}/bob"])
def test_an_own_address_in_every_spelling_is_paid_inside(
    alice: Person, bob: Person, network: Control, settings: Any, name: str
) -> None:
    """input-I15, input-I17e."""
    text = name.format(host=settings.DOMAIN)
    shown = amount(alice, text, amount="10").page
    assert "free of charge" in shown.text
    follow(alice, confirm(alice, shown))
    assert bob.available_sat == 10


def test_the_api_knows_tags_too(alice: Person, bob: Person, settings: Any) -> None:
    """input-I15."""
    name, owner = f"bob+tip@{settings.DOMAIN}", api_of(alice.user)
    for sent in (
        owner.post("/send", {"username": name, "amount": 3}),
        owner.post(f"/send/{name}/3", {}),
    ):
        assert sent.status_code == 200, sent.body
    assert bob.available_sat == 6


@pytest.mark.parametrize(
    "payload",
    [
        "ナンセンス",
        "👩‍👩‍👧‍👦 family",
        "\u202egnp.exe",
        "a\x00b",
        "a\r\nSet-Cookie: x=1",
        "<script>alert(1)</script>",
    ],
)
def test_an_invoice_with_any_description_is_paid_and_its_words_are_kept(
    alice: Person, network: Control, payload: str
) -> None:
    """input-C29: a NUL, which no database keeps, is left out."""
    shown = alice.post("/send", text=network.invoice(1_000_000, description=payload)).page
    words = payload.replace("\x00", "")
    assert_harmless(shown, " ".join(words.split()))
    paid = alice.post("/send/pay", **shown.hidden())
    assert paid.status_code == 302, paid.page.text
    line = alice.line()
    assert (line.status, line.memo) == ("settled", words)
    assert_harmless(alice.get(paid.headers["Location"]).page, " ".join(words.split()))
