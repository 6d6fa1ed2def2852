"""What somebody shows to the world: the page, the sticker, the codes as pictures."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from coinos.simnet.control import Control
from invoices import services
from invoices.lnurl import lnurl_of
from invoices.models import Invoice
from tests.html.conftest import Browser, Person

PNG = b"\x89PNG\r\n\x1a\n"


def test_the_public_page_offers_the_address_to_copy_save_and_print(
    bob: Person, stranger: Browser
) -> None:
    bob.user.about = "I bake <b>bread</b>"
    bob.user.save()
    page = stranger.get("/bob").page
    assert "I bake <b>bread</b>" in page.text
    assert page.value("text") if "text" in page.hidden() else True
    address = next(found for found in page.all("input") if found.get("id") == "address")
    assert address["value"].startswith("bob@")
    assert "data-copy" in str(page.all("button"))
    for path in ("/bob/qr.png", "/bob/qr.svg", "/bob/sticker"):
        assert path in [found["href"] for found in page.all("a")]
        assert stranger.get(path).status_code == 200


def test_a_sticker_says_who_takes_bitcoin_and_how(bob: Person, stranger: Browser) -> None:
    page = stranger.get("/bob/sticker").page
    assert "Bitcoin accepted here" in page.text
    assert "bob@" in page.text
    assert (
        "QR code"
        in next(found for found in page.all("div") if found.get("role") == "img")["aria-label"]
    )


@pytest.mark.parametrize("path", ["/bob/sticker", "/bob/qr.png", "/bob/qr.svg"])
def test_who_hides_the_page_hides_all_of_it(bob: Person, stranger: Browser, path: str) -> None:
    bob.user.hidepay = True
    bob.user.save()
    assert stranger.get(path).status_code == 404
    assert path not in bob.get("/receive").page.html
    assert stranger.get(path.replace("bob", "nobodyatall")).status_code == 404


def test_the_codes_are_real_pictures_that_are_kept(bob: Person, stranger: Browser) -> None:
    png = stranger.get("/bob/qr.png")
    assert png.headers["Content-Type"] == "image/png"
    assert png.content.startswith(PNG)
    assert int.from_bytes(png.content[16:20]) >= 1024  # the width in the header
    svg = stranger.get("/bob/qr.svg")
    assert svg.headers["Content-Type"] == "image/svg+xml"
    assert ElementTree.fromstring(svg.content).tag.endswith("svg")
    assert "sandbox" in svg.headers["Content-Security-Policy"]
    for answer in (png, svg):
        assert "max-age=86400" in answer.headers["Cache-Control"]
        again = stranger.get(
            answer.request["PATH_INFO"], **{"If-None-Match": answer.headers["ETag"]}
        )
        assert again.status_code == 304
        assert not again.content


def test_an_invoice_has_its_codes_as_pictures_too(
    bob: Person, stranger: Browser, network: Control
) -> None:
    draft = services.InvoiceDraft(amount_sat=1000, with_address=True)
    invoice = services.create_invoice(bob.user, draft, own=True)
    every, onchain = (
        stranger.get(f"/invoice/{invoice.id}/qr.png?way={way}") for way in ("any", "bitcoin")
    )
    assert every.content.startswith(PNG)
    assert onchain.content.startswith(PNG)
    assert every.headers["ETag"] != onchain.headers["ETag"]
    assert every.headers["Cache-Control"] == "no-cache"


def test_a_banner_from_elsewhere_is_not_loaded(bob: Person, stranger: Browser) -> None:
    bob.user.banner = "https://tracker.example/banner.png"
    bob.user.save()
    assert "tracker.example" not in stranger.get("/bob").page.html


def test_the_owner_finds_the_sticker_where_he_receives(bob: Person) -> None:
    page = bob.get("/receive").page
    assert "/bob/sticker" in [found["href"] for found in page.all("a")]
    assert f"lightning:{lnurl_of('bob')}" in [found["href"] for found in page.all("a")]


# --- A node is away ------------------------------------------------------------------------------


def ask(person: Browser, path: str = "/receive", **fields: str) -> Any:
    return person.post(path, **({"unit": "sats", "type": "any", "amount": "1000"} | fields))


def test_without_the_bitcoin_node_an_invoice_is_lightning_only_and_says_so(
    bob: Person, network: Control, settings: Any
) -> None:
    settings.BITCOIN_RPC_URL = "http://user:password@127.0.0.1:1"
    answer = ask(bob)
    invoice = Invoice.objects.exclude(hash="").get()
    assert answer.headers["Location"] == f"/invoice/{invoice.id}"
    assert (invoice.type, invoice.addresses.count()) == ("lightning", 0)
    assert "this invoice is Lightning only" in bob.get(answer.headers["Location"]).page.text


def test_without_the_lightning_node_it_is_onchain_only(
    bob: Person, network: Control, settings: Any, tmp_path: Any
) -> None:
    settings.LIGHTNING_RPC = str(tmp_path / "nobody-listens-here")
    answer = ask(bob)
    invoice = Invoice.objects.exclude(hash="").get()
    assert (invoice.type, invoice.amount_sat) == ("bitcoin", 1000)
    assert "this invoice is on-chain only" in bob.get(answer.headers["Location"]).page.text


def test_an_ordinary_small_invoice_says_nothing_of_nodes(bob: Person, network: Control) -> None:
    answer = ask(bob, amount="299")
    assert "cannot be reached" not in bob.get(answer.headers["Location"]).page.text


def test_with_both_away_the_page_says_what_still_works(
    bob: Person, stranger: Browser, network: Control, settings: Any, tmp_path: Any
) -> None:
    settings.LIGHTNING_RPC = str(tmp_path / "nobody-listens-here")
    settings.BITCOIN_RPC_URL = "http://user:password@127.0.0.1:1"
    for browser, path in [(bob, "/receive"), (stranger, "/bob")]:
        answer = ask(browser, path)
        assert answer.status_code == 422
        assert "no invoice was made" in answer.page.text
        assert "What still works" in answer.page.text
        assert "can send to bob right away" in answer.page.text
        assert answer.page.value("amount") == "1000"
    assert not Invoice.objects.exclude(hash="").exists()
