"""Alice's fund in the browser: she and Bob, her manager, see it and spend from it; nobody else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.utils import timezone

from accounts import authenticators, emails, funds, links, services
from accounts.models import FundManager, User
from payments.models import Gift
from payments.services.gifts import return_expired
from tests.accounts.mailbox import Mailbox
from tests.cast import PASSWORD, available_sat, fund, give_password, give_pin, make_user
from tests.html.conftest import Browser, Person, sign_in
from tests.html.test_email import mailbox
from tests.html.test_gifts import link_on
from tests.html.test_settings import forget_the_password

__all__ = ["mailbox"]

FUND = "/funds/picnic"


@pytest.fixture
def picnic(alice: Person, bob: Person) -> User:
    """Alice's fund with 10,000 sats in it, which Bob manages too."""
    picnic = funds.create_fund(alice.user, username="picnic", display="Picnic")
    funds.add_manager(alice.user, "picnic", "bob")
    fund(picnic, 10_000)
    return picnic


def take_out(person: Person, amount: str = "1000", **more: str) -> Any:
    key = person.get(f"{FUND}/take").page.hidden()["key"]
    fields = {"amount": amount, "unit": "sats", "memo": "", "key": key}
    return person.post(f"{FUND}/take", **(fields | more))


def hand_out(person: Person, amount: str = "1000", **more: str) -> Any:
    key = person.get(f"{FUND}/gift").page.hidden()["key"]
    fields = {"amount": amount, "unit": "sats", "memo": "For cake", "days": "30", "key": key}
    return person.post(f"{FUND}/gift", **(fields | more))


def test_alice_opens_a_fund_and_makes_bob_a_manager(alice: Person, bob: Person) -> None:
    assert "A fund is a pot" in alice.get("/funds").page.text
    opened = alice.post("/funds", username="picnic", display="Our picnic", about="For cake")
    assert opened.headers["Location"] == FUND
    assert "Your fund is open" in alice.get(FUND).page.text
    added = alice.post(f"{FUND}/managers", username="bob")
    assert added.headers["Location"] == FUND
    assert "bob manages this fund now" in alice.get(FUND).page.text
    seen = bob.get("/funds").page.text
    assert "Our picnic" in seen
    assert "owned by alice" in seen
    page = bob.get(FUND).page
    assert "Hand out a gift" in page.text
    assert "alice owns this fund" in page.text
    assert "Add manager" not in page.text
    assert "Close" not in page.text


@pytest.mark.parametrize(
    ("username", "sentence"),
    [("bob", "already taken"), ("funds", "reserved"), ("a b-c", "letters and numbers")],
)
def test_a_name_that_cannot_be_is_refused_beside_its_field(
    alice: Person, bob: Person, username: str, sentence: str
) -> None:
    refused = alice.post("/funds", username=username)
    assert refused.status_code == 422
    assert sentence in refused.page.text


def test_visitors_see_its_page_and_pay_in(charlie: Person, stranger: Browser, picnic: User) -> None:
    page = stranger.get("/picnic").page
    assert "Picnic" in page.text
    assert "Get an invoice" in page.text
    amount = charlie.post("/send", text="picnic").page.hidden()
    confirm = charlie.post("/send/confirm", **(amount | {"amount": "700", "unit": "sats"})).page
    assert charlie.post("/send/pay", **confirm.hidden()).status_code == 302
    assert available_sat(picnic) == 10_700


def test_the_page_shows_balance_link_payments_and_who_handed_out_what(
    alice: Person, bob: Person, picnic: User
) -> None:
    take_out(bob, "3000", memo="For the cake")
    hand_out(bob)
    page = alice.get(FUND).page
    assert "⚡️6,000" in page.text
    assert "$6.00" in page.text
    assert "To bob" in page.text
    assert "handed out by bob" in page.text
    assert {f"{settings.PUBLIC_URL}/picnic", f"picnic@{settings.DOMAIN}"} <= {
        found.get("value") for found in page.all("input")
    }
    alice.client.cookies["hide_balance"] = "yes"
    assert "⚡️6,000" not in alice.get(FUND).page.text


def test_bob_takes_out_and_it_is_in_his_wallet(bob: Person, picnic: User) -> None:
    taken = take_out(bob, "1000", memo="For the cake")
    assert taken.headers["Location"] == FUND
    assert "The sats are in your wallet" in bob.get(FUND).page.text
    assert (bob.available_sat, available_sat(picnic)) == (1000, 9000)
    assert "From picnic" in bob.get("/bob").page.text


def test_an_amount_may_be_in_the_currency_of_the_reader(bob: Person, picnic: User) -> None:
    assert take_out(bob, "1.00", unit="USD").status_code == 302
    assert bob.available_sat == 1000


def test_the_same_form_twice_takes_out_once(alice: Person, bob: Person, picnic: User) -> None:
    key = bob.get(f"{FUND}/take").page.hidden()["key"]
    for _ in range(2):
        assert take_out(bob, key=key).status_code == 302
    assert (bob.available_sat, available_sat(picnic)) == (1000, 9000)
    assert take_out(alice, key=key).status_code == 422, "the form was Bob's"
    assert available_sat(picnic) == 9000


def test_the_same_form_twice_hands_out_one_gift(bob: Person, picnic: User) -> None:
    key = bob.get(f"{FUND}/gift").page.hidden()["key"]
    assert hand_out(bob, key=key).status_code == 200
    assert hand_out(bob, key=key).headers["Location"] == FUND
    assert "shown once" in bob.get(FUND).page.text
    assert available_sat(picnic) == 9000


@pytest.mark.parametrize(
    ("amount", "sentence"),
    [
        ("10001", "You can spend 10,000 sats, but this needs 10,001"),
        ("0", "whole number of sats"),
        ("-5", "whole number of sats"),
        ("1.5", "whole number of sats"),
        ("", "required"),
    ],
)
def test_what_cannot_leave_is_refused_and_nothing_changes(
    bob: Person, picnic: User, amount: str, sentence: str
) -> None:
    """F08"""
    for refused in (take_out(bob, amount), hand_out(bob, amount)):
        assert refused.status_code == 422
        assert sentence in refused.page.text
    assert (bob.available_sat, available_sat(picnic)) == (0, 10_000)
    assert not Gift.objects.exists()


def test_charlie_takes_the_gift_that_bob_hands_out(
    bob: Person, charlie: Person, picnic: User
) -> None:
    made = hand_out(bob)
    assert made.headers["Cache-Control"] == "no-store"
    assert "A gift from Picnic" in made.page.text
    assert FUND in {found["href"] for found in made.page.all("a")}
    link = link_on(made.page)
    assert "Picnic gives you" in charlie.get(link).page.text
    assert charlie.post(link).status_code == 302
    assert (charlie.available_sat, available_sat(picnic)) == (51_000, 9000)
    assert "taken by charlie" in bob.get(FUND).page.text


def test_a_gift_gets_a_new_link_or_goes_back(
    alice: Person, bob: Person, charlie: Person, picnic: User
) -> None:
    old = link_on(hand_out(bob).page)
    gift = Gift.objects.get()
    new = link_on(alice.post(f"{FUND}/gifts/{gift.id}/link").page)
    assert charlie.get(old).status_code == 404
    assert "Picnic gives you" in charlie.get(new).page.text
    assert alice.post(f"{FUND}/gifts/{gift.id}/return").headers["Location"] == FUND
    assert available_sat(picnic) == 10_000
    hand_out(bob)
    Gift.objects.filter(state="open").update(expires=timezone.now() - timedelta(seconds=1))
    return_expired()
    assert available_sat(picnic) == 10_000
    assert "came back" in bob.get(FUND).page.text


def test_a_gift_of_ones_own_is_not_reached_through_a_fund(alice: Person, picnic: User) -> None:
    hidden = alice.get("/gifts").page.hidden()
    alice.post("/gifts", amount="5", unit="sats", days="30", key=hidden["key"])
    gift = Gift.objects.get()
    for action in ("link", "return"):
        assert alice.post(f"{FUND}/gifts/{gift.id}/{action}").status_code == 404
    assert "handed out" not in alice.get("/gifts").page.text


def test_the_pin_of_the_person_is_asked(bob: Person, picnic: User) -> None:
    """P22"""
    give_pin(bob.user)
    authenticators.set_lock_timer(bob.user, 0, pin="123456")
    assert take_out(bob).status_code == 422
    assert take_out(bob, pin="000000").status_code == 422
    assert hand_out(bob).status_code == 422
    assert available_sat(picnic) == 10_000
    assert take_out(bob, pin="123456").status_code == 302
    old = link_on(hand_out(bob, pin="123456").page)
    link = f"{FUND}/gifts/{Gift.objects.get().id}/link"
    asked = bob.post(link)
    assert asked.status_code == 200
    assert "Make a new link" in asked.page.text
    assert bob.post(link, pin="000000").status_code == 422
    assert "Picnic gives you" in bob.get(old).page.text, "the old link still works"
    assert link_on(bob.post(link, pin="123456").page) != old


def urls(gift: Gift) -> list[tuple[str, str]]:
    return [
        ("get", FUND),
        ("get", f"{FUND}/take"),
        ("get", f"{FUND}/gift"),
        ("post", f"{FUND}/take"),
        ("post", f"{FUND}/gift"),
        ("post", f"{FUND}/gifts/{gift.id}/link"),
        ("post", f"{FUND}/gifts/{gift.id}/return"),
        ("post", f"{FUND}/profile"),
        ("post", f"{FUND}/managers"),
        ("post", f"{FUND}/managers/1"),
        *(("post", f"{FUND}/managers/{role.id}") for role in FundManager.objects.all()),
        ("post", f"{FUND}/leave"),
        ("post", f"{FUND}/close"),
    ]


def answers(person: Browser, gift: Gift) -> set[int]:
    """To every URL of the fund, with all that any of its forms may read."""
    fields = {"username": "charlie", "display": "Mine", "amount": "1", "unit": "sats"}
    fields |= {"days": "1", "key": "a-key-of-a-stranger", "pin": ""}
    return {
        (person.get(path) if method == "get" else person.post(path, **fields)).status_code
        for method, path in urls(gift)
    }


def test_to_strangers_there_is_no_such_page(
    bob: Person, charlie: Person, stranger: Browser, picnic: User
) -> None:
    """P23"""
    hand_out(bob)
    gift = Gift.objects.get()
    assert answers(charlie, gift) == {404}
    assert charlie.get("/funds/nosuchfund").status_code == 404
    assert charlie.get("/funds/bob").status_code == 404, "a person is no fund"
    assert answers(stranger, gift) == {302}, "to the sign-in page"
    assert "Picnic" not in charlie.get("/funds").page.text
    assert list(FundManager.objects.values_list("user__username", flat=True)) == ["bob"]
    assert (available_sat(picnic), charlie.available_sat) == (9000, 50_000)


def test_a_manager_who_is_removed_is_a_stranger(alice: Person, bob: Person, picnic: User) -> None:
    hand_out(bob)
    assert alice.post(f"{FUND}/managers/{FundManager.objects.get().id}").headers["Location"] == FUND
    assert answers(bob, Gift.objects.get()) == {404}
    assert bob.available_sat == 0


def test_a_manager_may_leave_and_does_not_do_what_is_the_owners(bob: Person, picnic: User) -> None:
    for path in ("profile", "managers", f"managers/{FundManager.objects.get().id}", "close"):
        refused = bob.post(f"{FUND}/{path}", username="bob", display="Mine")
        assert refused.status_code == 403
        assert "Only the owner" in refused.page.text
    assert FundManager.objects.exists()
    assert bob.post(f"{FUND}/leave").headers["Location"] == "/funds"
    assert bob.get(FUND).status_code == 404


def test_an_open_page_alone_makes_nobody_a_manager(alice: Person, charlie: Person) -> None:
    """Else whoever finds it open would need no PIN of hers."""
    give_password(alice.user)
    alice = sign_in(alice.user)
    funds.create_fund(alice.user, username="picnic")
    forget_the_password(alice)
    for wrong in ("", "mallory"):
        refused = alice.post(f"{FUND}/managers", username="charlie", password=wrong)
        assert refused.status_code == 422
        assert not FundManager.objects.exists()
    right = alice.post(f"{FUND}/managers", username="charlie", password=PASSWORD)
    assert right.status_code == 302
    assert FundManager.objects.get().user == charlie.user


def test_a_new_manager_needs_the_owners_pin(alice: Person, bob: Person, picnic: User) -> None:
    """P22, sec-9: who manages the fund spends with a PIN of his own, or with none."""
    FundManager.objects.all().delete()
    User.objects.filter(id=alice.user.id).update(pin_hash=make_password("123456"))
    for wrong in ({}, {"pin": "000000"}):
        refused = alice.post(f"{FUND}/managers", username="bob", **wrong)
        assert refused.status_code == 422
        assert not FundManager.objects.exists()
    assert alice.post(f"{FUND}/managers", username="bob", pin="123456").status_code == 302
    assert FundManager.objects.get().user == bob.user


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("alice", "You own this fund"), ("picnic", "not a person"), ("nosuchuser", "nobody")],
)
def test_who_cannot_be_a_manager_is_refused_beside_the_field(
    alice: Person, picnic: User, name: str, sentence: str
) -> None:
    refused = alice.post(f"{FUND}/managers", username=name)
    assert refused.status_code == 422
    assert sentence in refused.page.text
    assert FundManager.objects.count() == 1


@pytest.mark.parametrize("text", ["", "\x00", "%00", "a" * 5000, "'; --", "\N{GRINNING FACE}"])
def test_odd_texts_break_nothing(alice: Person, picnic: User, text: str) -> None:
    for path in ("managers", "profile", "take", "gift"):
        answer = alice.post(
            f"{FUND}/{path}", username=text, display=text, about=text, amount=text, key=text
        )
        assert answer.status_code in (200, 302, 422), path
    assert alice.post("/funds", username=text, display=text).status_code == 422
    assert alice.get(f"/funds/{quote(text)}").status_code in (200, 404)
    assert User.objects.filter(owner=alice.user).count() == 1
    assert available_sat(picnic) == 10_000


@pytest.mark.parametrize("whom", ["picnic", "alice"])
def test_a_frozen_fund_says_so_and_gives_nothing(bob: Person, picnic: User, whom: str) -> None:
    services.freeze(User.objects.get(username=whom), actor="operator olga", reason="test")
    assert "Nothing can leave this fund" in bob.get(FUND).page.text
    refused = take_out(bob)
    assert refused.status_code == 422
    assert "Nothing can leave this fund" in refused.page.text
    assert available_sat(picnic) == 10_000


def test_the_owner_changes_its_page_and_closes_it(
    alice: Person, stranger: Browser, picnic: User
) -> None:
    alice.post(f"{FUND}/profile", display="The great picnic", about="<b>Cake</b>")
    page = stranger.get("/picnic").page
    assert "The great picnic" in page.text
    assert "<b>Cake" not in page.html
    assert alice.post(f"{FUND}/close").headers["Location"] == FUND
    assert "Take out all sats" in alice.get(FUND).page.text
    take_out(alice, "10000")
    assert alice.post(f"{FUND}/close").headers["Location"] == "/funds"
    assert "closed" in alice.get("/funds").page.text
    page = alice.get(FUND).page
    assert "This fund is closed" in page.text
    assert "Take out" not in page.text
    assert stranger.get("/picnic").status_code == 404
    assert alice.post(f"{FUND}/managers", username="bob").status_code == 409


def test_an_account_with_an_open_fund_says_what_to_do_first(alice: Person) -> None:
    dora = make_user("dora")
    give_password(dora)
    funds.create_fund(dora, username="cellar")
    browser = Browser()
    browser.post("/login", username="dora", password=PASSWORD)
    fields = {"close-username": "dora", "close-password": PASSWORD}
    refused = browser.post("/settings/close", **fields)
    assert refused.status_code == 422
    assert "close your funds" in refused.page.text
    assert User.objects.get(username="dora").is_active


def test_nobody_signs_in_as_a_fund(stranger: Browser, picnic: User, mailbox: Mailbox) -> None:
    for password in (picnic.password, "!", PASSWORD):
        refused = stranger.post("/login", username="picnic", password=password)
        assert refused.status_code != 302
        assert "Wrong username or password" in refused.page.text
    stranger.post("/forgot", account="picnic")
    emails.deliver_due()
    assert mailbox.messages == []
    reset = stranger.get(links.reset_url(picnic).removeprefix(settings.PUBLIC_URL))
    assert reset.status_code == 410, "not even with a link that was signed"
    assert stranger.get(FUND).status_code == 302
