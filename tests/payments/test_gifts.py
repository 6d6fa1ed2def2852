"""Alice sets sats aside and gives Bob the link; he takes them, or they come back. Real commits."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import ledger, services
from accounts.books import check_books
from accounts.credentials import Credential
from accounts.errors import AccountFrozen, InsufficientFunds, InvalidPin, SelfPayment
from accounts.ledger import House
from accounts.models import Activity, Transfer, User
from payments.errors import GiftGone, GiftNotFound
from payments.idempotency import Named
from payments.models import Gift
from payments.services import gifts
from tests import causes
from tests.cast import give_password, give_pin
from tests.database import Database
from tests.payments.conftest import Person
from tests.payments.test_claims import at_once
from tests.proof.oracle import deviation_msat


def give(person: Person, amount_sat: int = 1000, **more: Any) -> tuple[Gift, str]:
    made = gifts.make_gift(
        credential=Credential(person.user), amount_sat=amount_sat, days=30, **more
    )
    assert made is not None
    return made


def expire(gift: Gift) -> None:
    Gift.objects.filter(id=gift.id).update(expires=timezone.now() - timedelta(seconds=1))


def books_are_right() -> bool:
    return deviation_msat() == 0 and not any(found.differences for found in check_books())


def tried(function: Any) -> str:
    """What became of it: "done", or the name of what it raised."""
    try:
        function()
    except Exception as error:
        return type(error).__name__
    return "done"


def test_a_gift_leaves_the_giver_is_owed_and_arrives(alice: Person, bob: Person) -> None:
    owed_msat = ledger.owed_msat()
    gift, token = give(alice, 1000, memo="Happy birthday")
    assert (alice.available_sat, bob.available_sat) == (99_000, 0)
    assert ledger.house_balance_msat(House.GIFTS) == 1_000_000
    assert ledger.owed_msat() == owed_msat
    assert books_are_right()
    taken = gifts.take_gift(bob.user, token)
    assert (taken.state, taken.taker) == (Gift.State.TAKEN, bob.user)
    assert (alice.available_sat, bob.available_sat) == (99_000, 1000)
    assert ledger.house_balance_msat(House.GIFTS) == 0
    assert ledger.owed_msat() == owed_msat
    kinds = Transfer.objects.filter(external_id=f"gift:{gift.id}").order_by("id")
    assert list(kinds.values_list("kind", flat=True)) == ["gift.make", "gift.take"]
    sent, received = alice.line(), bob.line()
    assert (sent.amount_sat, sent.type, sent.status) == (-1000, "internal", "settled")
    assert (received.amount_sat, received.counterparty) == (1000, alice.user)
    assert {sent.memo, received.memo} == {"Happy birthday"}
    assert books_are_right()


def test_only_the_hash_of_the_link_is_kept(alice: Person) -> None:
    gift, token = give(alice)
    assert len(token) >= 43
    row = Gift.objects.filter(id=gift.id).values_list()[0]
    assert token not in str(row)


def test_fifty_people_take_one_gift_and_one_gets_it(
    alice: Person, bob: Person, charlie: Person
) -> None:
    """M20"""
    _gift, token = give(alice)
    takers = iter([bob.user, charlie.user] * 25)
    results = at_once(lambda: tried(lambda: gifts.take_gift(next(takers), token)), 50)
    assert sorted(results) == ["GiftGone"] * 49 + ["done"]
    assert Transfer.objects.filter(kind="gift.take").count() == 1
    assert Activity.objects.filter(amount_sat=1000).count() == 1
    assert bob.available_sat + charlie.available_sat == 51_000
    assert books_are_right()


def test_taking_and_taking_back_at_once_is_one_of_them(alice: Person, bob: Person) -> None:
    """M20: whoever wins, the sats are with one of them."""
    for _ in range(5):
        gift, token = give(alice)
        turns = iter([gifts.take_gift, gifts.take_back] * 5)

        def try_one(gift: Gift = gift, token: str = token, turns: Any = turns) -> str:
            if next(turns) is gifts.take_gift:
                return tried(lambda: gifts.take_gift(bob.user, token))
            return tried(lambda: gifts.take_back(alice.user, gift.id))

        results = at_once(try_one, 10)
        assert sorted(results) == ["GiftGone"] * 9 + ["done"]
    assert Transfer.objects.filter(kind__in=["gift.take", "gift.return"]).count() == 5
    assert alice.available_sat + bob.available_sat == 100_000
    assert books_are_right()


def test_ten_bells_at_once_return_an_expired_gift_once(alice: Person, bob: Person) -> None:
    """M27"""
    gift, token = give(alice)
    expire(gift)
    with pytest.raises(GiftGone):
        gifts.take_gift(bob.user, token)
    assert sum(at_once(gifts.return_expired, 10)) == 1
    assert alice.available_sat == 100_000
    assert [line.amount_sat for line in Activity.objects.order_by("created")] == [-1000, 1000]
    assert Gift.objects.get().state == Gift.State.RETURNED
    assert books_are_right()


def test_a_gift_that_has_not_expired_stays(alice: Person) -> None:
    give(alice)
    assert gifts.return_expired() == 0
    assert alice.available_sat == 99_000


def test_the_database_refuses_a_second_resolution_whatever_python_believes(
    alice: Person, bob: Person, charlie: Person
) -> None:
    """M20: the ledger's functions themselves, past every service."""
    gift, _ = give(alice)
    other, _ = give(alice)
    aside = {"amount_msat": 1_000_000, "gift_id": gift.id}
    with transaction.atomic():
        assert ledger.take_gift(user_id=bob.user.id, **aside)
        causes.gift_ends(gift.id, bob.user)
    with transaction.atomic():
        assert not ledger.take_gift(user_id=charlie.user.id, **aside)
    with pytest.raises(IntegrityError), transaction.atomic():
        ledger.return_gift(user_id=alice.user.id, **aside)
    wrong = [
        lambda: ledger.take_gift(user_id=bob.user.id, amount_msat=2_000_000, gift_id=other.id),
        lambda: ledger.return_gift(user_id=bob.user.id, amount_msat=1_000_000, gift_id=other.id),
        lambda: ledger.take_gift(user_id=bob.user.id, amount_msat=1000, gift_id=alice.user.id),
        lambda: ledger.take_gift(user_id=bob.user.id, amount_msat=1_000_000, gift_id=other.id),
    ]
    for call in wrong:
        with pytest.raises(IntegrityError), transaction.atomic():
            call()
    assert (alice.available_sat, bob.available_sat, charlie.available_sat) == (98_000, 1000, 50_000)
    assert ledger.house_balance_msat(House.GIFTS) == 1_000_000


def test_not_even_the_owner_of_the_tables_resolves_a_gift_twice(
    alice: Person, bob: Person, cloned_db: Database
) -> None:
    """M20: plain SQL as the owner role meets the same index."""
    _gift, token = give(alice)
    gifts.take_gift(bob.user, token)
    with psycopg.connect(cloned_db.owner_url) as owner, pytest.raises(psycopg.IntegrityError):
        owner.execute(
            "INSERT INTO ledger_transfer (debit_id, credit_id, amount_msat, kind, external_id,"
            " phase, cause_kind, cause_id) SELECT credit_id, debit_id, amount_msat, 'gift.return',"
            " external_id, 'posted', cause_kind, cause_id FROM ledger_transfer"
            " WHERE kind = 'gift.make'"
        )


def test_the_row_of_a_gift_cannot_say_what_did_not_happen(alice: Person) -> None:
    gift, _ = give(alice)
    row = Gift.objects.filter(id=gift.id)
    for wrong in (
        {"state": "taken"},
        {"state": "returned"},
        {"taker": alice.user},
        {"resolved_at": timezone.now()},
        {"amount_sat": 0},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            row.update(**wrong)


def test_a_gift_passes_the_gate_as_every_spend(
    alice: Person, settings: Any, monkeypatch: Any
) -> None:
    """P22: PIN, balance, freezing, the most that one payment may be."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    with pytest.raises(InsufficientFunds):
        give(alice, 100_001)
    give_pin(alice.user)
    for pin in (None, "", "000000"):
        with pytest.raises(InvalidPin):
            give(alice, pin=pin)
    give(alice, pin="123456")
    services.freeze(alice.user, actor="operator", reason="test")
    alice.user.refresh_from_db()
    with pytest.raises(AccountFrozen):
        give(alice, pin="123456")
    assert alice.available_sat == 99_000
    assert Gift.objects.count() == 1


def test_the_same_form_sent_twenty_times_makes_one_gift(alice: Person) -> None:
    named = Named("form", "f" * 64)

    def send() -> object:
        return gifts.make_gift(
            credential=Credential(alice.user), amount_sat=1000, days=30, named=named
        )

    made = [result for result in at_once(send, 20) if result]
    assert len(made) == 1
    assert alice.available_sat == 99_000
    assert Gift.objects.count() == 1


def test_the_giver_does_not_take_his_own_gift_but_takes_it_back(
    alice: Person, bob: Person, charlie: Person
) -> None:
    gift, token = give(alice)
    with pytest.raises(SelfPayment):
        gifts.take_gift(alice.user, token)
    with pytest.raises(GiftNotFound):
        gifts.take_back(charlie.user, gift.id)
    gifts.take_back(alice.user, gift.id)
    with pytest.raises(GiftGone):
        gifts.take_back(alice.user, gift.id)
    with pytest.raises(GiftGone):
        gifts.take_gift(bob.user, token)
    assert alice.available_sat == 100_000


def test_a_replaced_link_ends_the_old_one(alice: Person, bob: Person, charlie: Person) -> None:
    """P23: only the giver replaces it."""
    gift, old = give(alice)
    with pytest.raises(GiftNotFound):
        gifts.replace_link(credential=Credential(charlie.user), gift_id=gift.id)
    _, new = gifts.replace_link(credential=Credential(alice.user), gift_id=gift.id)
    with pytest.raises(GiftNotFound):
        gifts.take_gift(bob.user, old)
    gifts.take_gift(bob.user, new)
    with pytest.raises(GiftGone):
        gifts.replace_link(credential=Credential(alice.user), gift_id=gift.id)
    assert bob.available_sat == 1000


@pytest.mark.parametrize("sanction", ["freeze", "evict"])
def test_what_a_sanctioned_giver_has_set_aside_stays_until_it_returns(
    alice: Person, bob: Person, sanction: str
) -> None:
    gift, token = give(alice)
    getattr(services, sanction)(alice.user, actor="operator", reason="stolen")
    with pytest.raises(GiftGone):
        gifts.take_gift(bob.user, token)
    assert Gift.objects.get().state == Gift.State.OPEN
    expire(gift)
    gifts.return_expired()
    assert (alice.available_sat, bob.available_sat) == (100_000, 0)


def test_an_account_with_open_gifts_cannot_be_closed(alice: Person, settings: Any) -> None:
    """A05: the balance is not all that somebody has here."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    give_password(alice.user)
    gift, _ = give(alice, 100_000)
    assert alice.available_sat == 0
    with pytest.raises(services.GiftsOpen):
        services.close_account(alice.user, password="correct horse")
    assert User.objects.get(id=alice.user.id).is_active
    gifts.take_back(alice.user, gift.id)
    with pytest.raises(services.BalanceLeft):
        services.close_account(alice.user, password="correct horse")


def test_an_account_is_not_closed_while_a_gift_comes_back(
    alice: Person, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money-M8: between the look at its balance and the one at its gifts."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    give_password(alice.user)
    gift, _ = give(alice, 100_000)
    look = ledger.set_aside_msat
    bell = threading.Thread(target=lambda: at_once(lambda: gifts.take_back(alice.user, gift.id), 1))

    def look_late(user_id: UUID) -> int:
        bell.start()
        bell.join(timeout=1)  # it can only commit when we have
        return look(user_id)

    monkeypatch.setattr(ledger, "set_aside_msat", look_late)
    with pytest.raises(services.GiftsOpen):
        services.close_account(alice.user, password="correct horse")
    bell.join()
    alice.user.refresh_from_db()
    assert (alice.user.is_active, alice.available_sat) == (True, 100_000)


def test_an_account_whose_gifts_are_taken_can_be_closed(
    alice: Person, bob: Person, settings: Any
) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    give_password(alice.user)
    _, token = give(alice, 100_000)
    gifts.take_gift(bob.user, token)
    services.close_account(alice.user, password="correct horse")
    assert not User.objects.get(id=alice.user.id).is_active


def test_the_check_of_the_books_finds_a_gift_without_its_money(alice: Person) -> None:
    give(alice)
    Gift.objects.update(amount_sat=999)
    found = [finding for finding in check_books() if finding.differences]
    assert [finding.check for finding in found] == [
        "what is set aside as gifts is what nobody has taken"
    ]
