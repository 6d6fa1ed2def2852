"""The page of auto-withdraw: what is set, in words, and what it needs."""

from __future__ import annotations

from django.utils import timezone

from accounts import services
from accounts.models import User
from payments.models import AutoWithdraw
from payments.services.autowithdraw_runs import run_due
from tests.cast import give_pin
from tests.html.conftest import Person
from tests.html.test_settings import forget_the_password

PAGE = "/settings/autowithdraw"
WISH = {"autowithdraw": "on", "threshold": "50000", "reserve": "20000", "destination": "bob"}


def test_alice_sets_it_up_and_reads_what_will_happen(alice: Person, bob: Person) -> None:
    assert alice.post(PAGE, **WISH).status_code == 302
    words = alice.get(PAGE).page.text
    assert "When more than ⚡️50,000" in words
    assert "everything above ⚡️20,000" in words
    assert "goes to bob" in words
    assert "Switched on" in alice.get("/settings").page.text
    run_due()
    assert (alice.available_sat, bob.available_sat) == (20_000, 80_000)
    assert "Last time: ⚡️80,000" in alice.get(PAGE).page.text.replace("−", "")
    assert alice.post(PAGE, **(WISH | {"autowithdraw": ""})).status_code == 302
    assert not User.objects.get(id=alice.user.id).autowithdraw


def test_it_says_why_it_did_not_pay_and_when_it_tries_again(alice: Person, bob: Person) -> None:
    alice.post(PAGE, **WISH)
    services.evict(bob.user, actor="operator", reason="test")
    run_due()
    words = alice.get(PAGE).page.text
    assert "The last attempt failed: User not found" in words
    assert alice.available_sat == 100_000
    assert AutoWithdraw.objects.get().next_at > timezone.now()


def test_it_needs_the_password_of_the_last_minutes_and_the_pin(alice: Person, bob: Person) -> None:
    """P21, P22"""
    give_pin(alice.user)
    refused = alice.post(PAGE, **WISH, pin="000000")
    assert refused.status_code == 422
    assert "That PIN is not right" in refused.page.text
    forget_the_password(alice)
    assert alice.post(PAGE, **WISH, pin="123456").status_code == 422
    assert not User.objects.get(id=alice.user.id).autowithdraw
    assert not AutoWithdraw.objects.exists()


def test_what_cannot_be_meant_is_said_at_its_field(alice: Person, bob: Person) -> None:
    for changes, sentence in [
        ({"destination": "alice"}, "You cannot send to yourself"),
        ({"destination": "nobody"}, "not found"),
        ({"destination": ""}, "Enter where"),
        ({"threshold": ""}, "Enter the amount"),
        ({"reserve": "50001"}, "may not be more than"),
    ]:
        refused = alice.post(PAGE, **(WISH | changes))
        assert refused.status_code == 422, changes
        assert sentence in refused.page.text, changes
    assert not User.objects.get(id=alice.user.id).autowithdraw
