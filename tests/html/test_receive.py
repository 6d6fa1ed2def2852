"""Ask for money by the pages: one's own invoices, visitors who pay, what an invoice tells."""

from __future__ import annotations

from typing import Any

import pytest
from babel import Locale
from django.utils import timezone

from coinos import amounts
from coinos.simnet.control import Control
from invoices import services
from invoices.codes import codes
from invoices.models import Invoice
from payments.destinations import LightningAddress, recognise
from tests.cast import fund, make_user
from tests.html.conftest import Browser, Person


def ask(person: Browser, path: str = "/receive", **fields: str) -> Any:
    return person.post(path, **({"unit": "sats", "type": "lightning", "memo": ""} | fields))


def invoice_page(person: Browser, **fields: str) -> tuple[Invoice, Any]:
    answer = ask(person, **fields)
    assert answer.status_code == 302, answer.page.text
    path = answer.headers["Location"]
    return Invoice.objects.get(id=path.split("/")[-1]), person.get(path).page


def test_alice_makes_a_lightning_invoice(alice: Person, network: Control) -> None:
    invoice, page = invoice_page(alice, amount="1000", memo="coffee")
    assert (invoice.user, invoice.own, invoice.amount_sat) == (alice.user, True, 1000)
    assert page.value("text") if "text" in page.hidden() else True
    shown = next(found for found in page.all("input") if found.get("id") == "text")
    assert shown["value"] == invoice.hash
    assert "⚡️1,000" in page.text
    assert "$1.00" in page.text
    assert "coffee" in page.text
    assert "Waiting for payment" in page.text
    qr = next(found for found in page.all("button") if found.get("class") == "qr")
    assert "1,000 sats" in qr["aria-label"]


def test_an_amount_may_be_in_the_owners_currency(alice: Person, network: Control) -> None:
    invoice, _ = invoice_page(alice, amount="12,50", unit="USD")
    assert invoice.amount_sat == 12_500
    assert invoice.currency == "USD"


@pytest.mark.parametrize(
    ("language", "typed", "sat"),
    [
        ("en", "1,000", 1_086_957),
        ("en", "1,000.00", 1_086_957),
        ("en", "1.000", None),
        ("en", "12.505", None),
        ("de", "1.000", 1_086_957),
        ("de", "1.000,00 €", 1_086_957),
        ("de", "1,000", None),
        ("fr", "1\u202f000,00", 1_086_957),
        ("fr", "1.000", None),
        ("fr", "1,000", None),
    ],
)
def test_thousands_are_thousands_or_refused_with_an_example(
    alice: Person, network: Control, language: str, typed: str, sat: int | None
) -> None:
    """input-I02: receiving and sending."""
    alice.user.currency = "EUR"
    alice.user.language = language
    alice.user.save()
    alice.client.cookies["django_language"] = language
    made = ask(alice, amount=typed, unit="EUR")
    assert made.status_code == (302 if sat else 422)
    if sat:
        assert Invoice.objects.get().amount_sat == sat
    else:
        example = {"en": "€1,234.50", "de": "1.234,50\N{NO-BREAK SPACE}€", "fr": "1\u202f234,50"}
        assert example[language].replace("\N{NO-BREAK SPACE}", " ").replace("\u202f", " ") in (
            made.page.text
        )
    make_user("dave")
    fund(alice.user, 2_000_000)
    shown = alice.post("/send/confirm", text="dave", unit="EUR", amount=typed, memo="")
    assert shown.status_code == (200 if sat else 422)
    if sat:
        assert shown.page.value("amount_sat") == str(sat)


@pytest.mark.parametrize("language", ["en", "de", "es", "fr", "pt", "ja"])
def test_sats_may_be_typed_as_the_page_writes_them(
    alice: Person, network: Control, language: str
) -> None:
    """input-I02"""
    alice.user.language = language
    alice.user.save()
    alice.client.cookies["django_language"] = language
    written = amounts.number(1_234_567, Locale.parse(language))
    assert ask(alice, amount=f"⚡️{written}").status_code == 302
    assert Invoice.objects.get().amount_sat == 1_234_567


def test_without_an_amount_the_payer_chooses(alice: Person, network: Control) -> None:
    invoice, page = invoice_page(alice, amount="")
    assert invoice.amount_sat == 0
    assert "Any amount" in page.text


def test_an_onchain_invoice_shows_a_bitcoin_link(alice: Person, network: Control) -> None:
    invoice, page = invoice_page(alice, amount="3141", type="bitcoin")
    shown = next(found for found in page.all("input") if found.get("id") == "text")
    assert shown["value"] == f"bitcoin:{invoice.hash}?amount=0.00003141"


@pytest.mark.parametrize("amount", ["-1", "1.5", "1e3", "0x10", "١٢٣", "1.000", "nan", "9" * 20])
def test_a_strange_amount_is_refused_beside_its_field(
    alice: Person, network: Control, amount: str
) -> None:
    answer = ask(alice, amount=amount)
    assert answer.status_code == 422
    field = next(found for found in answer.page.all("input") if found.get("name") == "amount")
    assert field["aria-invalid"] == "true"
    assert not Invoice.objects.exists()


def test_a_tiny_onchain_invoice_is_refused_in_the_words_of_the_api(
    alice: Person, network: Control
) -> None:
    answer = ask(alice, amount="299", type="bitcoin")
    assert answer.status_code == 422
    assert "On-chain deposits must be at least 300 sats" in answer.page.text


def test_nothing_is_asked_for_when_the_node_is_away(
    alice: Person, network: Control, settings: Any, tmp_path: Any
) -> None:
    settings.LIGHTNING_RPC = str(tmp_path / "nobody-listens-here")
    answer = ask(alice, amount="1000")
    assert answer.status_code == 422
    assert "cannot be reached" in answer.page.text


def test_the_open_page_learns_that_it_was_paid(
    alice: Person, stranger: Browser, network: Control
) -> None:
    invoice, page = invoice_page(alice, amount="1000")
    look = next(found["hx-get"] for _, found in page.elements if "seen=" in found.get("hx-get", ""))
    assert alice.get(look).status_code == 204

    network.pay(invoice.hash)
    services.sweep_lightning()
    changed = alice.get(look)
    assert changed.status_code == 200
    assert "Received ⚡️1,000" in changed.page.text
    assert "Paid ⚡️1,000" in stranger.get(look).page.text
    assert alice.available_sat == 101_000


def test_a_deposit_is_seen_and_then_received(alice: Person, network: Control) -> None:
    invoice, _ = invoice_page(alice, amount="5000", type="bitcoin")
    network.deposit(invoice.hash, 5000)
    services.scan_bitcoin()
    page = alice.get(f"/invoice/{invoice.id}").page
    assert "Seen, not yet confirmed" in page.text
    home = alice.get("/alice").page
    assert "Arriving ⚡️5,000" in home.text
    assert "Spendable ⚡️100,000" in home.text

    network.mine(1)
    services.scan_bitcoin()
    assert "Received ⚡️5,000" in alice.get(f"/invoice/{invoice.id}").page.text
    assert "Spendable ⚡️105,000" in alice.get("/alice").page.text


def test_too_little_and_too_much_are_named(alice: Person, network: Control) -> None:
    invoice, _ = invoice_page(alice, amount="1000", type="bitcoin")
    for paid_sat, sentence in [
        (800, "Received ⚡️800 sats of ⚡️1,000 sats ; ⚡️200 sats still missing"),
        (500, "⚡️300 sats more than asked"),
    ]:
        network.deposit(invoice.hash, paid_sat)
        network.mine(1)
        services.scan_bitcoin()
        assert sentence in alice.get(f"/invoice/{invoice.id}").page.text


def test_an_expired_invoice_says_so_and_shows_nothing_to_pay(
    alice: Person, network: Control
) -> None:
    invoice, _ = invoice_page(alice, amount="1000")
    Invoice.objects.update(created=timezone.now() - timezone.timedelta(days=31))
    page = alice.get(f"/invoice/{invoice.id}").page
    assert "Expired" in page.text
    assert invoice.hash not in page.html


def test_a_visitor_pays_bob_without_an_account(
    bob: Person, stranger: Browser, network: Control
) -> None:
    page = stranger.get("/bob").page
    assert "Pay bob" in page.text
    answer = ask(stranger, "/bob", amount="500", memo="thanks")
    invoice = Invoice.objects.get()
    assert answer.headers["Location"] == f"/invoice/{invoice.id}"
    assert (invoice.user, invoice.own, invoice.memo) == (bob.user, False, "thanks")
    shown = stranger.get(f"/invoice/{invoice.id}").page
    assert "Pay bob" in shown.text
    assert "Simnet: pay from outside" in shown.text
    network.pay(invoice.hash)
    services.sweep_lightning()
    assert bob.available_sat == 500


def test_a_visitor_must_name_an_amount(bob: Person, stranger: Browser, network: Control) -> None:
    assert ask(stranger, "/bob", amount="").status_code == 422
    assert not Invoice.objects.exists()


def test_a_hidden_public_page_is_not_there(bob: Person, stranger: Browser) -> None:
    bob.user.hidepay = True
    bob.user.save()
    assert stranger.get("/bob").status_code == 404
    assert bob.get("/bob").status_code == 200


def test_an_invoice_tells_a_stranger_no_secret(
    alice: Person, stranger: Browser, network: Control
) -> None:
    draft = services.InvoiceDraft(
        amount_sat=700, webhook="https://shop.example/paid", secret="hunter2secret"
    )
    invoice = services.create_invoice(alice.user, draft, own=True)
    page = stranger.get(f"/invoice/{invoice.id}").page
    assert "shop.example" not in page.html
    assert "hunter2secret" not in page.html
    assert invoice.preimage is None or invoice.preimage not in page.html


def test_an_unknown_invoice_is_not_found(stranger: Browser) -> None:
    answer = stranger.get("/invoice/00000000-0000-4000-8000-000000000000")
    assert answer.status_code == 404
    assert "There is no such invoice" in answer.page.text


# --- One code for every wallet -------------------------------------------------------------------


def shown(page: Any) -> str:
    return next(found["value"] for found in page.all("input") if found.get("id") == "text")


def way(page_of: Browser, invoice: Invoice, name: str) -> Any:
    return page_of.get(f"/invoice/{invoice.id}?way={name}").page


def test_one_link_offers_lightning_and_an_address_and_each_stands_alone(
    alice: Person, network: Control
) -> None:
    invoice, page = invoice_page(alice, amount="3141", type="any")
    address = invoice.addresses.get().address
    assert shown(page) == f"bitcoin:{address}?amount=0.00003141&lightning={invoice.hash}"
    assert shown(way(alice, invoice, "lightning")) == invoice.hash
    assert shown(way(alice, invoice, "bitcoin")) == f"bitcoin:{address}?amount=0.00003141"
    assert codes(invoice)[0].qr == (
        f"BITCOIN:{address.upper()}?amount=0.00003141&lightning={invoice.hash.upper()}"
    )


def test_our_own_send_box_reads_the_link_in_capitals(
    alice: Person, charlie: Person, network: Control
) -> None:
    invoice, _ = invoice_page(alice, amount="3141", type="any")
    page = charlie.post("/send", text=codes(invoice)[0].qr).page
    assert "to somebody here" in page.text
    assert "⚡️3,141" in page.text


def test_coins_to_the_address_pay_the_invoice_and_take_its_bolt11_away(
    alice: Person, network: Control
) -> None:
    invoice, _ = invoice_page(alice, amount="5000", type="any")
    network.deposit(invoice.addresses.get().address, 5000)
    network.mine(1)
    services.scan_bitcoin()
    assert "Received ⚡️5,000" in alice.get(f"/invoice/{invoice.id}").page.text
    assert invoice.requests.get().state == "withdrawn"
    assert alice.available_sat == 105_000


def test_a_part_by_coins_leaves_the_rest_to_the_address(alice: Person, network: Control) -> None:
    invoice, _ = invoice_page(alice, amount="5000", type="any")
    address = invoice.addresses.get().address
    network.deposit(address, 3000)
    network.mine(1)
    services.scan_bitcoin()
    page = alice.get(f"/invoice/{invoice.id}").page
    assert "⚡️2,000 sats still missing" in page.text
    assert shown(page) == f"bitcoin:{address}?amount=0.00002000"
    network.deposit(address, 2000)
    network.mine(1)
    services.scan_bitcoin()
    assert "Received ⚡️5,000" in alice.get(f"/invoice/{invoice.id}").page.text


def test_lightning_pays_an_invoice_that_also_has_an_address(
    alice: Person, network: Control
) -> None:
    invoice, _ = invoice_page(alice, amount="5000", type="any")
    network.pay(invoice.hash)
    services.sweep_lightning()
    assert "Received ⚡️5,000" in alice.get(f"/invoice/{invoice.id}").page.text
    assert alice.available_sat == 105_000


def test_too_little_for_the_chain_is_lightning_only(alice: Person, network: Control) -> None:
    invoice, page = invoice_page(alice, amount="299", type="any")
    assert not invoice.addresses.exists()
    assert shown(page) == invoice.hash


def test_the_amount_can_be_swapped_and_typed_without_a_script_too(alice: Person) -> None:
    page = alice.get("/receive").page
    swap = next(found for found in page.all("button") if "data-swap" in found)
    assert "Swap" in swap["aria-label"]
    assert "hidden" in swap
    units = [found["value"] for found in page.all("option")]
    assert units == ["sats", "USD"]
    box = next(found for found in page.all("div") if "data-amount" in found)
    assert (box["data-rate"], box["data-currency"]) == ("100000", "USD")


def test_a_wallet_can_scan_the_lightning_address(
    bob: Person, stranger: Browser, settings: Any
) -> None:
    page = stranger.get("/bob").page
    link = next(
        found["href"] for found in page.all("a") if found["href"].startswith("lightning:lnurl1")
    )
    assert recognise(link) == LightningAddress("bob", settings.DOMAIN)
    assert stranger.get("/.well-known/lnurlp/bob").json()["tag"] == "payRequest"
    assert link in bob.get("/receive").page.html
