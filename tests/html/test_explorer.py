"""Links to a block explorer: only to the one that the operator names, and only for transactions."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Activity
from coinos.simnet.control import Control
from invoices import services
from invoices.models import Deposit
from payments.models import Payment
from tests.html.conftest import Browser, Page, Person

EXPLORER = "https://explorer.example/tx/"


@pytest.fixture
def explorer(settings: Any) -> None:
    settings.EXPLORER_URL = EXPLORER + "{txid}"


def links(page: Page) -> list[str]:
    """The txids whose links lead to the explorer; each keeps to itself where it comes from."""
    found = [link for link in page.all("a") if link["href"].startswith(EXPLORER)]
    assert all(link["rel"] == "noopener noreferrer" for link in found)
    return [link["href"].removeprefix(EXPLORER) for link in found]


@pytest.fixture
def deposit(alice: Person, network: Control) -> Deposit:
    """Five thousand sats, confirmed, by an invoice of Alice's."""
    draft = services.InvoiceDraft(amount_sat=5000, type="bitcoin")
    invoice = services.create_invoice(alice.user, draft, own=True)
    network.deposit(invoice.hash, 5000)
    network.mine(1)
    services.scan_bitcoin()
    return Deposit.objects.get()


def pages_about(deposit: Deposit) -> tuple[str, str]:
    """The invoice's page, and the payment's."""
    line = Activity.objects.get(type=Activity.Type.BITCOIN)
    return f"/invoice/{deposit.address.invoice_id}", f"/payment/{line.id}"


def test_a_deposit_leads_to_the_explorer_from_all_its_pages(
    alice: Person, stranger: Browser, deposit: Deposit, explorer: None
) -> None:
    invoice, payment = pages_about(deposit)
    for reader, path in [
        (alice, invoice),
        (stranger, invoice),
        (alice, payment),
        (stranger, payment),  # the receipt to share
    ]:
        assert links(reader.get(path).page) == [deposit.txid]


def test_without_an_explorer_no_page_names_another_host(alice: Person, deposit: Deposit) -> None:
    for path in pages_about(deposit):
        page = alice.get(path).page
        assert deposit.txid in page.html
        assert not [link for link in page.all("a") if link["href"].startswith("http")]


def test_coins_that_were_sent_lead_to_the_explorer(
    alice: Person, network: Control, explorer: None
) -> None:
    page = alice.post(
        "/send/confirm", text=network.address(), amount="20000", unit="sats", memo=""
    ).page
    alice.post("/send/pay", **page.hidden())
    txid = Payment.objects.get().txid
    assert links(alice.get(f"/payment/{alice.line().id}").page) == [txid]


def test_an_address_and_a_lightning_payment_lead_nowhere(
    alice: Person, stranger: Browser, explorer: None
) -> None:
    line = Activity.objects.create(
        user=alice.user,
        type=Activity.Type.BITCOIN,
        status=Activity.Status.PENDING,
        amount_sat=-1000,
        hash="bcrt1qexample",
        currency="USD",
    )
    assert links(alice.get(f"/payment/{line.id}").page) == []
    Activity.objects.filter(id=line.id).update(
        type=Activity.Type.LIGHTNING,
        status=Activity.Status.SETTLED,
        settled_at=timezone.now(),
        payment_hash="ab" * 32,
    )
    for reader in (alice, stranger):
        assert links(reader.get(f"/payment/{line.id}").page) == []
