"""Send by the pages: paste, see what it costs, confirm, and read an honest result."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from accounts import ledger, services
from accounts.models import Activity, Transfer
from coinos import nodes, nostr
from coinos.errors import NodeUnavailable
from coinos.nodes.base import FeeRates
from coinos.simnet.bitcoin_node import FEE_ESTIMATES_SAT_VB
from coinos.simnet.control import Control
from invoices.services import InvoiceDraft, create_invoice
from payments.models import Payment
from payments.services import advance_withdrawals
from tests.cast import fund, give_pin, make_user
from tests.html.conftest import Browser, Page, Person, sign_in
from tests.payments.withdrawing import BROADCAST_IS_LOST, next_round


@pytest.fixture
def database(cloned_db: Any) -> Any:
    """Payments are sent by threads, which see only what is committed."""
    return cloned_db


def paste(person: Browser, text: str) -> Any:
    return person.post("/send", text=text)


def amount(person: Browser, text: str, **fields: str) -> Any:
    return person.post("/send/confirm", text=text, **({"unit": "sats", "memo": ""} | fields))


def confirm(person: Browser, page: Page, **more: str) -> Any:
    """Press Send on the confirmation page."""
    return person.post("/send/pay", **(page.hidden() | more))


def follow(person: Browser, answer: Any) -> Page:
    assert answer.status_code == 302, answer.page.text
    page: Page = person.get(answer.headers["Location"]).page
    return page


# --- To somebody here ----------------------------------------------------------------------------


def test_alice_pays_bob_and_sees_the_total_first(alice: Person, bob: Person) -> None:
    asked = paste(alice, "bob")
    assert "How much?" in asked.page.text
    assert "free of charge" in asked.page.text
    shown = amount(alice, "bob", amount="5000", memo="lunch").page
    assert "They get ⚡️5,000" in shown.text
    assert "Network fee free" in shown.text
    assert "Left to spend ⚡️95,000" in shown.text
    assert alice.available_sat == 100_000

    page = follow(alice, confirm(alice, shown))
    assert "Sent −⚡️5,000" in page.text
    assert "lunch" in page.text
    assert (alice.available_sat, bob.available_sat) == (95_000, 5000)
    assert bob.line().memo == "lunch"
    assert "From alice" in bob.get("/bob").page.text


@pytest.mark.parametrize("text", ["bob", " BOB ", "@bob", "bob@127.0.0.1:8000"])
def test_a_name_may_be_written_in_any_way(alice: Person, bob: Person, text: str) -> None:
    assert "bob" in paste(alice, text).page.text
    page = follow(alice, confirm(alice, amount(alice, text, amount="10").page))
    assert "Sent" in page.text
    assert bob.available_sat == 10


def test_somebody_here_is_paid_by_the_nostr_key_too(alice: Person, bob: Person) -> None:
    bob.user.pubkey = nostr.generate_keypair().pubkey
    bob.user.save()
    key = "nostr:" + nostr.npub(bob.user.pubkey).upper()
    shown = amount(alice, key, amount="10").page
    assert "free of charge" in shown.text
    follow(alice, confirm(alice, shown))
    assert bob.available_sat == 10


def test_an_invoice_may_be_broken_into_lines(alice: Person, network: Control) -> None:
    bolt11 = network.invoice(1_000_000)
    broken = "\r\n".join(bolt11[at : at + 60] for at in range(0, len(bolt11), 60))
    assert "They get ⚡️1,000" in paste(alice, f"  {broken}\r\n").page.text


def test_confirming_twice_pays_once(alice: Person, bob: Person) -> None:
    shown = amount(alice, "bob", amount="5000").page
    first, second = confirm(alice, shown), confirm(alice, shown)
    assert first.headers["Location"] == second.headers["Location"]
    assert bob.available_sat == 5000


def test_each_confirmation_page_has_a_key_of_its_own(alice: Person, bob: Person) -> None:
    keys = {amount(alice, "bob", amount="5000").page.value("key") for _ in range(3)}
    assert len(keys) == 3


def test_ten_presses_at_once_pay_once(alice: Person, bob: Person) -> None:
    shown = amount(alice, "bob", amount="5000").page
    barrier = threading.Barrier(5)

    def press() -> None:
        barrier.wait()
        browser = Browser()
        browser.client.cookies = alice.client.cookies
        confirm(browser, shown)
        connections.close_all()

    threads = [threading.Thread(target=press) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bob.available_sat == 5000
    assert Transfer.objects.filter(kind="internal").count() == 1


def test_a_confirmation_that_was_tampered_with_is_another_request(
    alice: Person, bob: Person
) -> None:
    shown = amount(alice, "bob", amount="10").page
    confirm(alice, shown)
    answer = confirm(alice, shown, amount_sat="20")
    assert answer.status_code == 422
    assert "used for something else" in answer.page.text
    assert bob.available_sat == 10


def test_more_than_is_there_is_refused_with_both_numbers(alice: Person, bob: Person) -> None:
    answer = amount(alice, "bob", amount="100001")
    assert answer.status_code == 422
    assert "You can spend 100,000 sats, but this needs 100,001." in answer.page.text


def test_send_all_sends_all(alice: Person, bob: Person) -> None:
    shown = amount(alice, "bob", amount="", all="1").page
    assert "Left to spend ⚡️0" in shown.text
    follow(alice, confirm(alice, shown))
    assert (alice.available_sat, bob.available_sat) == (0, 100_000)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("alice", "You cannot send to yourself"),
        ("nobodyhere", "Nobody here has the name nobodyhere"),
        (
            "what is this?",
            "a username, a Lightning Address or an LNURL. Check that you copied all",
        ),
        ("https://shop.example/pay?id=1", "This is a link to a web page"),
        ("nsec1" + "q" * 58, "This is a secret key: show it to nobody"),
        ("lnbcrt10u1pjq" + "w" * 20, "This invoice is not complete"),
        ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "not a bitcoin address of this network"),
        (nostr.npub("a" * 64), "Nobody here has this Nostr key"),
        ("lnbc1" + "q" * 80, "This is not an invoice that can be paid"),
        ("", "This field is required"),
        ("lno1" + "q" * 60, "cannot be paid here yet"),
    ],
)
def test_what_cannot_be_paid_is_explained(
    alice: Person, network: Control, text: str, sentence: str
) -> None:
    answer = paste(alice, text)
    assert answer.status_code == 422
    assert sentence in answer.page.text


def test_bobs_invoice_is_paid_inside_once(alice: Person, bob: Person, network: Control) -> None:
    invoice = create_invoice(bob.user, InvoiceDraft(amount_sat=2100), own=True)
    shown = paste(alice, invoice.hash.upper()).page
    assert "They get ⚡️2,100" in shown.text
    assert "bob" in shown.text
    follow(alice, confirm(alice, shown))
    assert bob.available_sat == 2100
    assert "already been paid" in paste(alice, invoice.hash).page.text
    assert not Payment.objects.exists()


def test_a_pin_is_asked_for_and_checked(alice: Person, bob: Person) -> None:
    give_pin(alice.user)
    shown = amount(alice, "bob", amount="10").page
    refused = confirm(alice, shown)
    assert "Enter your PIN" in refused.page.text
    wrong = confirm(alice, refused.page, pin="654321")
    assert "That PIN is not right. After 5 wrong attempts" in wrong.page.text
    assert "654321" not in wrong.page.html
    assert bob.available_sat == 0
    follow(alice, confirm(alice, wrong.page, pin="123456"))
    assert bob.available_sat == 10


def test_a_frozen_account_cannot_spend(alice: Person, bob: Person) -> None:
    services.freeze(alice.user, actor="operator", reason="test")
    answer = confirm(alice, amount(alice, "bob", amount="10").page)
    assert "frozen" in answer.page.text
    assert bob.available_sat == 0


# --- Over Lightning ------------------------------------------------------------------------------


def test_an_outside_invoice_shows_the_most_it_can_cost_and_takes_no_more(
    alice: Person, network: Control
) -> None:
    shown = paste(alice, network.invoice(5_000_000, description="books")).page
    assert "at most ⚡️25" in shown.text
    assert "Total, at most ⚡️5,025" in shown.text
    assert "books" in shown.text
    page = follow(alice, confirm(alice, shown))
    assert "Sent −⚡️5,000" in page.text
    assert "Settled: proven by the preimage" in page.text
    payment = Payment.objects.get()
    assert payment.max_fee_sat == 25
    assert payment.preimage
    assert payment.preimage in page.html
    back_sat = 25 - (payment.fee_sat or 0)
    assert f"Returned: {back_sat} sats of the fee" in page.text
    assert "Held for the network fee, at most ⚡️25" in page.text
    assert f"Came back ⚡️{back_sat}" in page.text
    assert alice.available_sat == 95_000 - (payment.fee_sat or 0)


def test_an_invoice_without_amount_asks_for_one(alice: Person, network: Control) -> None:
    bolt11 = network.invoice(None)
    assert "How much?" in paste(alice, bolt11).page.text
    follow(alice, confirm(alice, amount(alice, bolt11, amount="3", unit="USD").page))
    assert alice.line().amount_sat == -3000


def test_a_refused_payment_gives_everything_back_and_can_be_tried_again(
    alice: Person, network: Control
) -> None:
    shown = paste(alice, network.invoice(2_000_000, node="fail")).page
    answer = confirm(alice, shown)
    assert "Problem sending payment" in answer.page.text
    assert "Nothing was paid and your sats are back" in answer.page.text
    assert answer.page.value("key") != shown.value("key")
    assert alice.available_sat == 100_000
    listed = alice.get("/payments?show=failed").page
    assert "failed" in listed.text
    detail = alice.get(f"/payment/{alice.line().id}").page
    assert "Failed" in detail.text
    assert "Returned: all of it is yours to spend again" in detail.text
    assert "Came back" not in detail.text
    again = paste(alice, detail.value("text")).page
    assert "They get ⚡️2,000" in again.text


def test_trying_again_finds_the_form_filled_in(alice: Person, network: Control) -> None:
    bolt11 = network.invoice(None, node="fail")
    shown = amount(alice, bolt11, amount="2000", memo="rent").page
    confirm(alice, shown)
    detail = alice.get(f"/payment/{alice.line().id}").page
    fields = ("text", "amount_sat", "fee_rate", "memo")
    again = alice.post("/send", **{name: detail.value(name) for name in fields}).page
    assert "How much?" in again.text
    assert again.value("amount") == "2000"
    assert again.value("memo") == "rent"


def test_a_withdrawal_that_the_node_has_not_taken_is_being_prepared(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(payment_id: Any) -> None:
        raise NodeUnavailable()

    shown = amount(alice, network.address(), amount="20000").page
    monkeypatch.setattr("payments.services.onchain.advance", away)
    page = follow(alice, confirm(alice, shown))
    assert "Being prepared" in page.text
    assert "not yet confirmed" not in page.text
    assert "do not pay again" in page.text


def test_one_whose_broadcast_was_lost_does_not_say_that_the_network_has_it(
    alice: Person, network: Control
) -> None:
    shown = amount(alice, network.address(), amount="20000").page
    network.set_faults(BROADCAST_IS_LOST)
    page = follow(alice, confirm(alice, shown))
    assert Payment.objects.get().broadcast_attempted_at
    assert "Being prepared" in page.text
    assert "given to the network" not in page.text

    network.clear_faults()
    next_round()
    page = alice.get(f"/payment/{alice.line().id}").page
    assert "given to the network" in page.text


def test_m33_a_held_payment_is_shown_as_not_known_until_it_is_decided(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    from payments.services import lightning, resolve_due

    monkeypatch.setattr(lightning, "ANSWER_WITHIN_S", 1)
    bolt11 = network.invoice(3_000_000, node="hold")
    page = follow(alice, confirm(alice, paste(alice, bolt11).page))
    assert "On its way" in page.text
    assert "Your sats are safe" in page.text
    assert "Do not pay again" in page.text
    assert "Normally decided by" in page.text
    assert "Network fee not known yet" in page.text
    assert "Sent −" not in page.text
    assert "Settled" not in page.text
    home = alice.get("/alice").page.text
    assert "On its way out ⚡️3,015" in home
    assert "Spendable ⚡️96,985" in home

    payment = Payment.objects.get()
    assert payment.payment_hash
    network.release(payment.payment_hash, settle=True)
    for _ in range(50):
        Payment.objects.update(next_look_at=payment.created)
        resolve_due()
        if Payment.objects.get().state == Payment.State.SETTLED:
            break
        threading.Event().wait(0.1)
    assert "Settled: proven by the preimage" in alice.get(f"/payment/{payment.id}").page.text


def test_nothing_is_sent_while_the_operator_has_paused_withdrawals(
    alice: Person, bob: Person, network: Control, settings: Any
) -> None:
    shown = paste(alice, network.invoice(1_000_000)).page
    settings.STOP_FILE.touch()
    answer = confirm(alice, shown)
    assert "Sending to other wallets is paused" in answer.page.text
    assert alice.available_sat == 100_000
    follow(alice, confirm(alice, amount(alice, "bob", amount="10").page))


def test_an_unreachable_node_is_said_and_nothing_is_held(
    alice: Person, network: Control, settings: Any, tmp_path: Any
) -> None:
    bolt11 = network.invoice(1_000_000)
    settings.LIGHTNING_RPC = str(tmp_path / "nobody-listens-here")
    answer = paste(alice, bolt11)
    assert answer.status_code == 422
    assert "nothing was sent" in answer.page.text
    assert ledger.balance_of(alice.user.id).held_sat == 0


def test_a_node_that_went_away_before_the_confirmation_leaves_what_was_pasted(
    alice: Person, network: Control, settings: Any, tmp_path: Any
) -> None:
    bolt11 = network.invoice(1_000_000)
    shown = paste(alice, bolt11).page
    settings.LIGHTNING_RPC = str(tmp_path / "nobody-listens-here")
    answer = confirm(alice, shown)
    assert answer.status_code == 422
    assert "nothing was sent" in answer.page.text
    assert bolt11 in answer.page.html
    assert alice.available_sat == 100_000


# --- On-chain ------------------------------------------------------------------------------------


def test_an_onchain_payment_offers_speeds_and_names_the_fee(
    alice: Person, network: Control
) -> None:
    address = network.address()
    page = paste(alice, f"bitcoin:{address}?amount=0.0002").page
    assert page.value("amount") == "20000"
    speeds = [found for found in page.all("input") if found.get("name") == "speed"]
    assert len([found for found in speeds if "checked" in found]) == 1
    for words in ("As soon as possible", "sat/vB about ⚡️", "Another fee rate"):
        assert words in page.text
    shown = amount(alice, address, amount="20000", speed=speeds[0]["value"]).page
    assert "On-chain" in shown.text
    assert "Fee rate" in shown.text
    assert address in shown.text
    page = follow(alice, confirm(alice, shown))
    assert "Sent, not yet confirmed" in page.text
    payment = Payment.objects.get()
    assert payment.amount_sat == 20_000
    assert payment.txid
    assert payment.txid in page.html


def test_the_three_speeds_cost_what_they_say(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = FeeRates(fastest=30, half_hour=10, hour=3, economy=2, minimum=1)
    monkeypatch.setattr(type(nodes.bitcoin()), "fee_rates", lambda self: rates)
    address = network.address()
    page = paste(alice, f"bitcoin:{address}?amount=0.0002").page
    for words, rate in [("an hour", 3), ("half an hour", 10), ("As soon as possible", 30)]:
        shown = amount(
            alice,
            address,
            amount="20000",
            speed={3: "hour", 10: "half_hour", 30: "fastest"}[rate],
        ).page
        assert shown.value("fee_rate") == str(rate)
        (fee,) = re.findall(r"about ⚡️([\d,]+) sats", shown.text)
        assert f"{words} {rate} sat/vB about ⚡️{fee}" in page.text


@pytest.fixture
def no_estimates(network: Control) -> Iterator[None]:
    network.fee_estimates(None)
    yield
    network.fee_estimates(FEE_ESTIMATES_SAT_VB)


@pytest.mark.usefixtures("no_estimates")
def test_without_estimates_no_speed_is_promised(alice: Person, network: Control) -> None:
    """input-I17q: the fallback is one choice, and the page says that its time is not known."""
    page = paste(alice, f"bitcoin:{network.address()}?amount=0.0002").page
    assert page.text.count("How long it takes is not known at the moment 1 sat/vB") == 1
    assert "As soon as possible" not in page.text
    shown = amount(alice, network.address(), amount="20000", speed="fastest").page
    follow(alice, confirm(alice, shown))
    payment = Payment.objects.get()
    assert payment.fee_rate_sat_vb == 1
    assert payment.expected_by
    assert payment.expected_by - payment.created > timedelta(hours=23)


def test_a_rate_of_ones_own_is_taken_and_changed(alice: Person, network: Control) -> None:
    address = network.address()
    missing = amount(alice, address, amount="20000", speed="own")
    assert "Enter a whole number of sats per virtual byte" in missing.page.text
    shown = amount(alice, address, amount="20000", speed="own", fee_rate="7", memo="rent").page
    assert "Fee rate 7 sat/vB" in shown.text
    fields = ("text", "amount_sat", "fee_rate", "memo")
    again = alice.post("/send", **{name: shown.value(name) for name in fields}).page
    assert again.value("amount") == "20000"
    assert again.value("memo") == "rent"
    own = next(found for found in again.all("input") if found.get("value") == "own")
    assert "checked" in own
    assert again.value("fee_rate") == "7"
    follow(alice, confirm(alice, shown))
    assert Payment.objects.get().fee_rate_sat_vb == 7


def test_dust_is_refused_in_the_words_of_the_api(alice: Person, network: Control) -> None:
    answer = amount(alice, network.address(), amount="100")
    assert answer.status_code == 422
    assert "On-chain payments must be at least 546 sats" in answer.page.text
    assert not Activity.objects.exists()


def test_send_all_empties_the_account_on_chain(alice: Person, network: Control) -> None:
    shown = amount(alice, network.address(), amount="", all="1").page
    page = follow(alice, confirm(alice, shown))
    assert "Sent, not yet confirmed" in page.text
    payment = Payment.objects.get()
    assert payment.amount_sat + (payment.fee_sat or 0) == 100_000
    assert alice.available_sat == 0


def test_send_max_leaves_what_the_lightning_fee_can_be_at_most(
    alice: Person, network: Control
) -> None:
    bolt11 = network.invoice(amount_msat=None)
    shown = amount(alice, bolt11, amount="", all="1").page
    assert "Left to spend ⚡️0" in shown.text
    follow(alice, confirm(alice, shown))
    line = alice.line()
    assert line.status == "settled"
    assert line.total_sat + 100_000 == alice.available_sat
    assert -line.amount_sat > 98_000


def test_send_max_gives_back_what_the_route_did_not_cost(
    known_rates: None, network: Control
) -> None:
    """input-C7: 0.5 % are kept for the route, and what it does not take stays with dave."""
    dave = sign_in(make_user("dave"))
    fund(dave.user, 32_760)
    shown = amount(dave, network.invoice(amount_msat=None), amount="", all="1").page
    follow(dave, confirm(dave, shown))
    line = dave.line()
    assert (line.status, line.amount_sat) == ("settled", -32_597)
    assert line.fee_sat
    assert dave.available_sat == 32_760 - 32_597 - line.fee_sat


def test_send_max_is_no_more_than_one_payment_may_be(
    alice: Person, bob: Person, settings: Any
) -> None:
    settings.MAX_PAYMENT_SAT = 30_000
    shown = amount(alice, "bob", amount="", all="1").page
    assert "They get ⚡️30,000" in shown.text
    follow(alice, confirm(alice, shown))
    assert (alice.available_sat, bob.available_sat) == (70_000, 30_000)


# --- Other ways to say whom ----------------------------------------------------------------------


def test_the_ten_latest_contacts_are_one_press_away(alice: Person, known_rates: None) -> None:
    for number in range(11):
        name = f"friend{number}"
        make_user(name)
        follow(alice, confirm(alice, amount(alice, name, amount="10").page))
    page = alice.get("/send").page
    names = [field["value"] for field in page.all("input") if field.get("name") == "text"]
    assert names == [f"friend{number}" for number in range(10, 0, -1)]
    assert "How much?" in paste(alice, names[0]).page.text


def test_a_pinned_contact_stays_on_top_until_it_is_unpinned(alice: Person) -> None:
    for number in range(12):
        name = f"friend{number}"
        make_user(name)
        follow(alice, confirm(alice, amount(alice, name, amount="10").page))

    def shown() -> list[str]:
        page = alice.get("/send").page
        return [field["value"] for field in page.all("input") if field.get("name") == "text"]

    assert "friend0" not in shown()
    assert alice.post("/send/pin", contact="friend0", pinned="1").status_code == 302
    assert shown() == ["friend0", *[f"friend{number}" for number in range(11, 1, -1)]]
    assert "Unpin friend0" in alice.get("/send").page.html
    alice.post("/send/pin", contact="friend0")
    assert "friend0" not in shown()
    for nobody in ("nobody", "no\x00body", ""):
        assert alice.post("/send/pin", contact=nobody, pinned="1").status_code == 404


def test_an_address_elsewhere_is_remembered_and_tried_again_by_its_name(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    metadata = '[["text/plain","Paying carol"]]'

    def answer(url: str, until: float) -> dict[str, Any]:
        """What the server of this address says: an invoice of a node that refuses, then one that
        takes it."""
        asked.append(url)
        if "amount=" not in url:
            terms = {"tag": "payRequest", "minSendable": 1000, "maxSendable": 10_000_000}
            return terms | {"callback": "https://pay.example/callback", "metadata": metadata}
        node = "fail" if sum("amount=" in url for url in asked) == 1 else "carol"
        return {"pr": network.invoice(2_000_000, metadata, hashed=True, node=node)}

    monkeypatch.setattr("payments.services.lnurl._get", answer)
    confirm(alice, amount(alice, "carol@pay.example", amount="2000").page)
    detail = alice.get(f"/payment/{alice.line().id}").page
    assert "To carol@pay.example" in detail.text
    assert "Failed" in detail.text
    assert "Note Paying carol" in detail.text
    assert detail.value("memo") == ""  # those are Carol's words, not to be sent back to her
    assert detail.value("text") == "carol@pay.example"
    again = alice.post("/send", text=detail.value("text"), amount_sat=detail.value("amount_sat"))
    assert again.page.value("amount") == "2000"
    follow(alice, confirm(alice, amount(alice, "carol@pay.example", amount="2000").page))
    texts = [found for found in alice.get("/send").page.all("input") if found.get("name") == "text"]
    assert [found["value"] for found in texts] == ["carol@pay.example"]
    assert asked[0] == "https://pay.example/.well-known/lnurlp/carol"


def test_the_amount_begins_in_the_unit_that_she_wants_first(alice: Person, bob: Person) -> None:
    def unit() -> list[str]:
        options = paste(alice, "bob").page.all("option")
        return [option["value"] for option in options if "selected" in option]

    assert unit() == []  # sats, the first of the list
    alice.post("/swap")
    assert unit() == ["USD"]


def test_nobody_yet_is_said(alice: Person) -> None:
    assert "one tap to pay them again" in alice.get("/send").page.text


def test_a_note_may_be_written_beside_an_invoice(alice: Person, network: Control) -> None:
    shown = paste(alice, network.invoice(1_000_000, description="theirs")).page
    assert "Only you see it." in shown.text
    follow(alice, confirm(alice, shown, memo="mine"))
    assert alice.line().memo == "mine"


def test_the_scanner_waits_for_a_script_and_comes_from_this_site(alice: Person) -> None:
    page = alice.get("/send").page
    button = next(found for found in page.all("button") if "data-scan" in found)
    assert "hidden" in button
    dialog = next(found for found in page.all("dialog"))
    assert Path(f".{dialog['data-decoder']}").is_file()
    assert not [found for found in page.all("script") if "jsqr" in found["src"]]


# --- Taking it back -------------------------------------------------------------------------------


def test_what_waits_is_taken_back_from_its_page(
    database: Any, alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money-H4"""
    monkeypatch.setattr("payments.services.lightning.send_soon", lambda *_, **__: None)
    bolt11 = network.invoice(1_000_000)
    page = follow(alice, confirm(alice, paste(alice, bolt11).page))
    assert "It has not been sent yet" in page.text
    url = f"/payment/{alice.line().id}"
    assert f"{url}/cancel" in page.html
    page = follow(alice, alice.post(f"{url}/cancel"))
    assert "Cancelled −⚡️1,000" in page.text
    assert "Cancelled. Your sats are back." in page.text
    assert f"{url}/cancel" not in page.html
    assert alice.available_sat == 100_000


def test_what_was_sent_is_not_offered_to_be_cancelled(
    database: Any, alice: Person, network: Control
) -> None:
    bolt11 = network.invoice(1_000_000)
    page = follow(alice, confirm(alice, paste(alice, bolt11).page))
    assert "/cancel" not in page.html
    page = follow(alice, alice.post(f"/payment/{alice.line().id}/cancel"))
    assert "This payment cannot be cancelled any more" in page.text
    assert alice.available_sat == 98_999


def test_a_withdrawal_that_waits_for_a_block_is_sped_up_from_its_page(
    database: Any, alice: Person, network: Control
) -> None:
    network.mine(1)
    shown = amount(alice, network.address(), amount="5000", speed="hour").page
    page = follow(alice, confirm(alice, shown))
    url = f"/payment/{alice.line().id}/bump"
    assert url in page.html
    assert "Held for the network fee, at most" in page.text
    before = alice.available_sat
    assert "3 sat/vB" in alice.get(url).page.text
    refused = alice.post(url, fee_rate="3")
    assert refused.status_code == 422
    assert "The fee rate must be higher" in refused.page.text
    assert alice.available_sat == before
    page = follow(alice, alice.post(url, fee_rate="30"))
    assert "It goes out with the higher fee now." in page.text
    assert "Held for the network fee, at most" not in page.text  # it was less than this fee
    assert alice.available_sat < before
    network.mine(1)
    advance_withdrawals()
    Payment.objects.update(next_look_at=None, created="2020-01-01T00:00Z")
    advance_withdrawals()
    page = follow(alice, alice.get(url))
    assert "Only an on-chain payment that waits for a block can be sped up" in page.text
