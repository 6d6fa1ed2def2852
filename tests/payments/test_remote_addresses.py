"""Alice pays Lightning Addresses and LNURLs of other servers, which may say anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from coinos import http
from coinos.simnet.control import Control
from payments.destinations import (
    PASTED_MAX_CHARACTERS,
    Bolt11,
    Bolt12Offer,
    LightningAddress,
    Lnurl,
    Onchain,
    Username,
    recognise,
)
from payments.errors import UnknownDestination
from payments.models import Payment
from payments.services.lnurl import RemoteRefused
from payments.services.pasted import look
from tests.payments.conftest import Person
from tests.payments.lnurl_service import Service, lnurl_of


def pay(alice: Person, service: Service, amount_sat: int = 500, **headers: str) -> Any:
    return alice.api.post(f"/send/{service.lnurl}/{amount_sat}", {}, **headers)


def test_alice_pays_what_she_named(alice: Person, service: Service, network: Control) -> None:
    paid = pay(alice, service)
    assert (paid.status_code, paid.body["amount"]) == (200, -500), paid.body
    truth = network.payment(paid.body["payment_hash"])
    assert (truth["status"], truth["amount_msat"]) == ("settled", 500_000)
    assert service.asked == [500_000]


@pytest.mark.parametrize(
    "invoice",
    [
        lambda network: network.invoice(500_001),
        lambda network: network.invoice(499_000),
        lambda network: network.invoice(5_000_000),
        lambda network: network.invoice(None),
        lambda network: (
            "lnbc20m1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqhp58yjm"
            "dan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqsfpp3qjmp7lwpagxun9pygexvgpjdc4jdj85fr9yq20"
            "q82gphp2nflc7jtzrcazrra7wwgzxqc8u7754cdlpfrmccae92qgzqvzq2ps8pqqqqqqpqqqqq9qqqvpeuqafqxu92"
            "d8lr6fvg0r5gv0heeeqgcrqlnm6jhphu9y00rrhy4grqszsvpcgpy9qqqqqqgqqqqq7qqzqj9n4evl6mr5aj9f58zp"
            "6fyjzup6ywn3x6sk8akg5v4tgn2q8g4fhx05wf6juaxu9760yp46454gpg5mtzgerlzezqcqvjnhjh8z3g2qqdhhwkj"
        ),
        lambda network: 17,
        lambda network: "",
        lambda network: "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
    ],
    ids=["1 msat more", "less", "ten times", "amountless", "mainnet", "number", "empty", "address"],
)
def test_an_invoice_for_anything_else_is_not_paid(
    alice: Person, service: Service, network: Control, invoice: Callable[[Control], Any]
) -> None:
    """F18"""
    service.invoice = lambda amount_msat: {"pr": invoice(network), "routes": []}
    refused = pay(alice, service)
    assert 400 <= refused.status_code < 500, refused.body
    assert not Payment.objects.exists()
    assert alice.available_sat == 100_000


@pytest.mark.parametrize(
    "terms",
    [
        {"tag": "withdrawRequest"},
        {"callback": "http://169.254.169.254/latest"},
        {"callback": 5},
        {"minSendable": "1000"},
        {"maxSendable": True},
        {"maxSendable": 1000},
        {"minSendable": 10**9},
        {"minSendable": -1, "maxSendable": -1},
        {"minSendable": 10**400, "maxSendable": 10**400},
        {"minSendable": 600_000, "maxSendable": 400_000},
        {"status": "ERROR", "reason": "<b>no</b>"},
    ],
    ids=str,
)
def test_a_service_with_odd_terms_is_refused(
    alice: Person, service: Service, terms: dict[str, Any]
) -> None:
    """F18, P10: nothing is asked for, nothing is held."""
    service.terms = terms
    refused = pay(alice, service)
    assert 400 <= refused.status_code < 500, refused.body
    assert service.asked == []
    assert not Payment.objects.exists()


@pytest.mark.parametrize(
    "terms",
    [
        {"minSendable": 600_000, "maxSendable": 400_000},
        {"minSendable": 0, "maxSendable": 0},
        {"minSendable": 1, "maxSendable": 999},
        {"minSendable": 1001, "maxSendable": 1999},
    ],
    ids=str,
)
def test_terms_that_no_amount_meets_are_refused_before_one_is_asked_for(
    alice: Person, service: Service, terms: dict[str, Any]
) -> None:
    """input-B1: nobody is told to enter an amount from 600 to 400 sats."""
    service.terms = terms
    with pytest.raises(RemoteRefused, match="did not answer as a Lightning Address should"):
        look(alice.user, service.lnurl)


@pytest.mark.parametrize("reason", [None, {"why": "no"}, 5, " "], ids=str)
def test_a_reason_that_is_no_text_is_not_said(
    alice: Person, service: Service, reason: object
) -> None:
    service.terms = {"status": "ERROR", "reason": reason}
    refused = pay(alice, service)
    expected = "The other server did not answer as a Lightning Address should"
    assert (refused.status_code, refused.body["detail"]) == (400, expected)


def test_a_repeated_request_fetches_no_second_invoice(
    alice: Person, service: Service, network: Control
) -> None:
    """M23: the invoice is stored with the hold; whoever asks again gets that payment."""
    first = pay(alice, service, Idempotency_Key="pizza")
    again = pay(alice, service, Idempotency_Key="pizza")
    assert again.body["id"] == first.body["id"]
    assert service.asked == [500_000]
    assert Payment.objects.get().destination == first.body["hash"]


@pytest.mark.parametrize("url_characters", [800, http.MAX_URL_LENGTH])
def test_an_lnurl_may_be_as_long_as_a_url(
    alice: Person, service: Service, url_characters: int
) -> None:
    """input-I17i: by the API as by the page."""
    begin = f"{service.url}/terms?long="
    lnurl = lnurl_of(begin + "x" * (url_characters - len(begin)))
    assert len(lnurl) > 1000
    paid = alice.api.post(f"/send/{lnurl}/500", {})
    assert (paid.status_code, paid.body.get("amount")) == (200, -500), paid.body


def test_one_that_is_longer_gets_the_same_sentence_by_both_doors(
    alice: Person, service: Service
) -> None:
    """input-I17i"""
    lnurl = lnurl_of(f"{service.url}/terms?long=" + "x" * http.MAX_URL_LENGTH)
    refused = alice.api.post(f"/send/{lnurl}/500", {})
    with pytest.raises(RemoteRefused) as by_page:
        look(alice.user, lnurl)
    assert (refused.status_code, refused.body["detail"]) == (400, by_page.value.message)
    too_long = "l" * (PASTED_MAX_CHARACTERS + 1)
    refused = alice.api.post(f"/send/{too_long}/500", {})
    assert (refused.status_code, refused.body["errors"][0]["pointer"]) == (400, "#/lnaddress")


def test_terms_may_have_a_picture_in_them(alice: Person, service: Service) -> None:
    """LUD-06: of up to 136,536 characters."""
    picture = json.dumps([["text/plain", "bob"], ["image/png;base64", "A" * 136_536]])
    service.terms = {"metadata": picture}
    paid = pay(alice, service)
    assert (paid.status_code, paid.body.get("amount")) == (200, -500), paid.body


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("withdrawRequest", "withdraw money"),
        ("login", "sign in"),
        ("channelRequest", "open a channel"),
        ("hostedChannelRequest", "not for paying"),
        (["payRequest"], "not for paying"),
    ],
    ids=str,
)
def test_a_service_for_something_else_is_named(
    alice: Person, service: Service, tag: Any, words: str
) -> None:
    """input-I17d: by its answer, or by its URL alone (LUD-01)."""
    service.terms = {"tag": tag}
    refused = pay(alice, service)
    assert (refused.status_code, words in refused.body["detail"]) == (400, True), refused.body
    if words != "not for paying":
        with pytest.raises(UnknownDestination, match=words):
            recognise(lnurl_of(f"https://pay.example/terms?k1=00&tag={tag}"))


ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


@pytest.mark.parametrize(
    ("pasted", "expected"),
    [
        ("alice", Username("alice")),
        ("@Alice", Username("alice")),
        ("alice@pay.example", LightningAddress("alice", "pay.example")),
        ("ALICE@PAY.EXAMPLE", LightningAddress("alice", "pay.example")),
        ("lightning:alice@pay.example", LightningAddress("alice", "pay.example")),
        ("bitcoin@pay.example", LightningAddress("bitcoin", "pay.example")),
        ("lnurl@pay.example", LightningAddress("lnurl", "pay.example")),
        ("lnurlp://pay.example/bob", Lnurl("https://pay.example/bob")),
        (ADDRESS, Onchain(ADDRESS)),
        (ADDRESS.upper(), Onchain(ADDRESS)),
        (f"bitcoin:{ADDRESS}", Onchain(ADDRESS)),
        ("lno1pqqq", Bolt12Offer("lno1pqqq")),
        ("lnbcrt1" + "q" * 60, Bolt11("lnbcrt1" + "q" * 60)),
        ("LNBCRT1" + "Q" * 60, Bolt11("lnbcrt1" + "q" * 60)),
    ],
    ids=str,
)
def test_one_resolver_knows_every_kind_of_destination(pasted: str, expected: object) -> None:
    """A14: one expectation for each kind of name."""
    assert recognise(pasted) == expected


@pytest.mark.parametrize("status", [201, 202, 400, 404, 500])
def test_the_status_of_an_answer_means_nothing(
    alice: Person, service: Service, status: int
) -> None:
    """input-I09: LUD-01; real services answer 201."""
    service.status = status
    paid = pay(alice, service)
    assert (paid.status_code, paid.body.get("amount")) == (200, -500), paid.body


def test_an_error_is_one_at_any_status(alice: Person, service: Service) -> None:
    """input-I09"""
    service.status, service.terms = 201, {"status": "ERROR", "reason": "closed today"}
    refused = pay(alice, service)
    assert (refused.status_code, "closed today" in refused.body["detail"]) == (400, True)


@pytest.mark.parametrize(
    "terms",
    [
        {"minSendable": 1000.0, "maxSendable": 1e9},
        {"callback": "{url}/pay?for=bob#part"},
        {"callback": "{url}/pay#part?for=bob"},
        {"callback": "{url}/pay?"},
    ],
    ids=str,
)
def test_numbers_and_urls_are_read_as_their_formats_say(
    alice: Person, service: Service, terms: dict[str, Any]
) -> None:
    """input-I17g, input-I17h: the amount arrives, whatever stands behind it."""
    service.terms = {
        name: value.format(url=service.url) if isinstance(value, str) else value
        for name, value in terms.items()
    }
    paid = pay(alice, service)
    assert (paid.status_code, service.asked) == (200, [500_000]), paid.body


@pytest.mark.parametrize(
    "terms",
    [
        {"callback": "https://["},
        {"callback": "https://[::1/a"},
        {"callback": "lnurlp://"},
        {"callback": "/pay"},
        {"minSendable": 1000.5},
        {"minSendable": 1e300},
    ],
    ids=str,
)
def test_a_callback_that_is_no_url_is_refused(
    alice: Person, service: Service, terms: dict[str, Any]
) -> None:
    """input-I13: no exception of a parser gets out, of another server's words neither."""
    service.terms = terms
    refused = pay(alice, service)
    assert (refused.status_code, service.asked) == (400, []), refused.body


def test_the_reason_why_we_do_not_go_somewhere_is_said(alice: Person) -> None:
    """input-I17f"""
    refused = alice.api.post("/send/bob@abc.onion/5", {})
    assert (refused.status_code, refused.body["detail"]) == (
        400,
        "Onion services cannot be reached",
    )
