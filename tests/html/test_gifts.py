"""Alice makes a gift in her browser and hands over the link; somebody opens it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.utils import timezone

from accounts import services
from accounts.models import AuditEvent, User
from payments.models import Gift
from payments.services.gifts import return_expired
from tests.cast import available_sat, give_password, give_pin
from tests.html.conftest import Browser, Page, Person


def make(person: Person, amount: str = "1000", memo: str = "For cake", **more: str) -> Any:
    hidden = person.get("/gifts").page.hidden()
    fields = {"amount": amount, "unit": "sats", "memo": memo, "days": "30"}
    return person.post("/gifts", **(fields | {"key": hidden["key"]} | more))


def goes_on_to(page: Page) -> str:
    """The hidden `next` of the page's own form; the footer has one, too."""
    return next(found for found in page.all("input") if found.get("name") == "next")["value"]


def link_on(page: Page) -> str:
    link = next(found for found in page.all("input") if found.get("id") == "gift-link")["value"]
    return link[link.index("/gift/") :]


def next_steps(page: Page) -> list[str]:
    return [found["href"] for found in page.all("a") if "button" in found.get("class", "")]


@pytest.mark.parametrize("pin", ["", "111111"])
def test_a_refused_gift_can_be_sent_again_as_it_stands(alice: Person, pin: str) -> None:
    """input-B6: what was typed is still in the fields."""
    if pin:
        give_pin(alice.user)
    amount = "1000" if pin else "900000"
    refused = make(alice, amount=amount, days="7", pin=pin)
    assert refused.status_code == 422
    values = {field.get("name"): field.get("value") for field in refused.page.all("input")}
    assert (values["amount"], values["memo"]) == (amount, "For cake")
    assert "valid choice" not in refused.page.text
    days = [day["value"] for day in refused.page.all("option") if "selected" in day]
    assert "7" in days


def test_bob_opens_the_link_and_takes_the_gift(alice: Person, bob: Person) -> None:
    made = make(alice)
    assert made.status_code == 200
    assert made.headers["Cache-Control"] == "no-store"
    link = link_on(made.page)
    assert alice.available_sat == 99_000
    seen = bob.get(link)
    assert "alice gives you" in seen.page.text
    assert "⚡️1,000" in seen.page.text
    assert "For cake" in seen.page.text
    assert (seen.headers["Cache-Control"], seen.headers["X-Robots-Tag"]) == ("no-store", "noindex")
    assert bob.available_sat == 0, "looking takes nothing"
    assert bob.post(link).status_code == 302
    assert bob.available_sat == 1000
    assert "The gift is yours" in bob.get("/bob").page.text
    taken = bob.get(link).page
    assert "You have taken it" in taken.text
    assert next_steps(taken) == ["/"]
    assert "taken by bob" in alice.get("/gifts").page.text
    story = alice.get(f"/payment/{alice.line().id}").page.text
    assert "Set aside as a gift" in story
    assert "Taken by bob" in story
    assert "From alice" in bob.get("/payments").page.text


def test_the_link_is_shown_once_and_can_be_replaced(
    alice: Person, bob: Person, charlie: Person
) -> None:
    """P23: by its giver only."""
    old = link_on(make(alice).page)
    assert old.removeprefix("/gift/") not in alice.get("/gifts").page.html
    gift = Gift.objects.get()
    assert charlie.post(f"/gifts/{gift.id}/link").status_code == 404
    assert charlie.post(f"/gifts/{gift.id}/return").status_code == 404
    new = link_on(alice.post(f"/gifts/{gift.id}/link").page)
    assert bob.get(old).status_code == 404
    assert bob.post(new).status_code == 302
    assert bob.available_sat == 1000


def test_the_giver_can_write_the_link_to_an_nfc_tag(
    alice: Person, bob: Person, settings: Any
) -> None:
    """Where the browser can: a script shows the button, and says below it what came of it."""
    voucher = make(alice).page
    link = link_on(voucher)
    for page in (voucher, alice.get(link).page):
        button = next(found for found in page.all("button") if "data-nfc" in found)
        assert button["data-nfc"] == settings.PUBLIC_URL + link
        assert "hidden" in button
        assert all(button[f"data-{word}"] for word in "waiting written unavailable failed".split())
        says = next(found for found in page.all("p") if found.get("id") == "nfc-says")
        assert says["role"] == "status"
        assert any("nfc.js" in found.get("src", "") for found in page.all("script"))
    assert "data-nfc" not in bob.get(link).page.html
    assert bob.post(link).status_code == 302
    assert "data-nfc" not in alice.get(link).page.html


def test_the_same_form_twice_is_one_gift(alice: Person) -> None:
    key = alice.get("/gifts").page.hidden()["key"]
    make(alice, key=key)
    again = make(alice, key=key)
    assert again.status_code == 302
    assert "shown once" in alice.get("/gifts").page.text
    assert alice.available_sat == 99_000


def test_a_visitor_registers_and_comes_back_to_the_gift(alice: Person, stranger: Browser) -> None:
    link = link_on(make(alice).page)
    page = stranger.get(link).page
    assert "alice gives you" in page.text
    assert stranger.post(link).status_code == 302, "to the sign-in page"
    register = next(found["href"] for found in page.all("a") if "/register?next" in found["href"])
    form = stranger.get(register).page
    assert goes_on_to(form) == link
    answer = stranger.post(
        "/register", username="newcomer", password="correct horse", next=goes_on_to(form)
    )
    assert answer.headers["Location"] == link
    assert "Take it" in stranger.get(link).page.text
    stranger.post(link)
    assert available_sat(User.objects.get(username="newcomer")) == 1000


def test_who_signs_in_comes_back_to_the_gift(alice: Person, bob: Person, stranger: Browser) -> None:
    give_password(bob.user)
    link = link_on(make(alice).page)
    page = stranger.get(link).page
    login = next(found["href"] for found in page.all("a") if "/login?next" in found["href"])
    form = stranger.get(login).page
    answer = stranger.post(
        "/login", username="bob", password="correct horse", next=goes_on_to(form)
    )
    assert answer.headers["Location"] == link


def test_a_link_to_elsewhere_is_not_followed_after_registering(stranger: Browser) -> None:
    """P12"""
    answer = stranger.post(
        "/register", username="dora", password="correct horse", next="https://evil.example/"
    )
    assert answer.headers["Location"] == "/dora"


def test_a_second_taker_reads_that_it_is_gone(
    alice: Person, bob: Person, charlie: Person, stranger: Browser
) -> None:
    """M20"""
    link = link_on(make(alice).page)
    bob.post(link)
    late = charlie.post(link)
    assert late.status_code == 409
    assert "Somebody has taken it" in late.page.text
    assert next_steps(late.page) == ["/"]
    assert next_steps(stranger.get(link).page) == [f"/login?next={link}"]
    assert charlie.available_sat == 50_000


def test_the_giver_sees_her_own_gift_and_takes_it_back(alice: Person, bob: Person) -> None:
    link = link_on(make(alice).page)
    assert "your own" in alice.get(link).page.text
    assert alice.post(link).status_code == 409
    assert alice.post(f"/gifts/{Gift.objects.get().id}/return").status_code == 302
    assert alice.available_sat == 100_000
    assert "It has gone back" in bob.get(link).page.text
    assert bob.post(link).status_code == 409


def test_an_expired_gift_is_gone_and_comes_back(alice: Person, bob: Person) -> None:
    link = link_on(make(alice, memo="").page)
    Gift.objects.update(expires=timezone.now() - timedelta(seconds=1))
    assert bob.post(link).status_code == 409
    return_expired()
    assert alice.available_sat == 100_000
    assert "Gift returned" in alice.get("/payments").page.text


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"amount": "0"}, "whole number of sats"),
        ({"amount": "-5"}, "whole number of sats"),
        ({"amount": "1.5"}, "whole number of sats"),
        ({"amount": "100001"}, "You can spend 100,000 sats, but this needs 100,001"),
        ({"days": "0"}, "Select a valid choice"),
        ({"days": "36500"}, "Select a valid choice"),
    ],
)
def test_what_cannot_be_given_is_refused(
    alice: Person, fields: dict[str, str], sentence: str
) -> None:
    """F08"""
    refused = make(alice, **fields)
    assert refused.status_code == 422
    assert sentence in refused.page.text
    assert alice.available_sat == 100_000
    assert not Gift.objects.exists()


def test_a_gift_needs_the_pin(alice: Person) -> None:
    """P22"""
    give_pin(alice.user)
    assert make(alice, pin="000000").status_code == 422
    assert alice.available_sat == 100_000
    assert make(alice, pin="123456").status_code == 200
    assert alice.available_sat == 99_000


def test_another_link_needs_the_pin_too(alice: Person, bob: Person) -> None:
    """P22, sec-9: whoever has a link takes the gift. It is audited, once it was made."""
    old = link_on(make(alice).page)
    gift = Gift.objects.get()
    User.objects.filter(id=alice.user.id).update(pin_hash=make_password("123456"))
    path = f"/gifts/{gift.id}/link"
    asked = alice.post(path)
    assert (asked.status_code, "Make a new link" in asked.page.text) == (200, True)
    assert alice.post(path, pin="000000").status_code == 422
    gift.refresh_from_db()
    assert bob.get(old).status_code == 200, "the old link is as good as before"
    assert not AuditEvent.objects.filter(action="gift.link_replaced").exists()
    new = link_on(alice.post(path, pin="123456").page)
    assert bob.get(old).status_code == 404
    event = AuditEvent.objects.get(action="gift.link_replaced")
    assert (event.user, event.object, event.door) == (alice.user, str(gift.id), "page")
    assert bob.post(new).status_code == 302


def test_who_may_not_spend_gets_no_other_link(alice: Person) -> None:
    """P22"""
    make(alice)
    services.freeze(alice.user, actor="operator", reason="test")
    refused = alice.post(f"/gifts/{Gift.objects.get().id}/link")
    assert refused.status_code == 403


def test_a_note_is_text_and_nothing_else(alice: Person, stranger: Browser) -> None:
    """P12"""
    link = link_on(make(alice, memo="<script>alert(1)</script>").page)
    html = stranger.get(link).page.html
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
