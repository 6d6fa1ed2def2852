"""A fund of Alice's: everybody may pay in, she and Bob, her manager, spend from it, nobody else
does. Real commits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import credentials, funds, ledger, services
from accounts.books import check_books
from accounts.credentials import Credential
from accounts.errors import (
    AccountFrozen,
    FundClosed,
    FundFrozen,
    FundNotFound,
    InsufficientFunds,
    InvalidCredentials,
    InvalidPin,
    InvalidUsername,
    OwnerOnly,
    ReadOnlyToken,
    TooManyFunds,
    TooManyManagers,
    UsernameTaken,
)
from accounts.ledger import House
from accounts.models import Activity, AuditEvent, FundManager, LedgerAccount, Session, User
from coinos import limits
from coinos.errors import Forbidden, InvalidRequest, Unauthorized
from coinos.simnet.control import Control
from payments.errors import GiftGone, GiftNotFound
from payments.gate import reserve
from payments.idempotency import Named
from payments.models import Gift
from payments.services import funds as spending
from payments.services import gifts, send_to_user
from tests.cast import (
    PASSWORD,
    Api,
    available_sat,
    fund,
    give_password,
    give_pin,
    make_user,
    rename,
)
from tests.database import Database
from tests.invoices.helpers import receive
from tests.payments.conftest import Person
from tests.payments.test_claims import at_once
from tests.proof.oracle import deviation_msat


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def picnic(alice: Person, bob: Person) -> User:
    """Alice's fund with 10,000 sats in it, which Bob manages too."""
    picnic = funds.create_fund(alice.user, username="picnic", display="Picnic")
    funds.add_manager(alice.user, "picnic", "bob")
    fund(picnic, 10_000)
    return picnic


def by(person: Person) -> Credential:
    """What the person's browser is signed in with."""
    return Credential(User.objects.get(id=person.user.id), session=web_session(person))


def web_session(person: Person) -> Session:
    return credentials.start_session(person.user, kind=Session.Kind.WEB)


def take_out(person: Person, picnic: User, amount_sat: int = 1000, **more: Any) -> Any:
    return spending.take_out(credential=by(person), fund=picnic, amount_sat=amount_sat, **more)


def hand_out(person: Person, picnic: User, amount_sat: int = 1000, **more: Any) -> tuple[Gift, str]:
    made = spending.make_gift_of_fund(
        credential=by(person), fund=picnic, amount_sat=amount_sat, days=30, **more
    )
    assert made is not None
    return made


def role_of(person: Person) -> int:
    return FundManager.objects.get(user=person.user).id


def books_are_right() -> bool:
    return deviation_msat() == 0 and not any(found.differences for found in check_books())


def tried(function: Callable[[], Any]) -> str:
    """What became of it: "done", or the name of what it raised."""
    try:
        function()
    except Exception as error:
        return type(error).__name__
    return "done"


# --- The pot -------------------------------------------------------------------------------------


def test_a_fund_has_a_name_a_balance_and_no_door(alice: Person) -> None:
    picnic = funds.create_fund(alice.user, username="Picnic", display="Our picnic", about="Cake")
    picnic.refresh_from_db()
    assert (picnic.username, picnic.owner, picnic.is_fund) == ("picnic", alice.user, True)
    assert (picnic.display, picnic.about) == ("Our picnic", "Cake")
    assert available_sat(picnic) == 0
    assert not picnic.has_usable_password()
    assert not picnic.sessions.exists()
    assert not picnic.connections.exists()
    event = AuditEvent.objects.get(user=picnic)
    assert (event.action, event.actor) == ("fund.created", "user alice")
    assert funds.funds_of(alice.user) == [picnic]
    assert books_are_right()


@pytest.mark.parametrize(
    ("name", "error"),
    [("bob", UsernameTaken), ("x", InvalidUsername), ("funds", InvalidUsername)],
)
def test_the_name_of_a_fund_is_a_free_user_name(
    alice: Person, bob: Person, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        funds.create_fund(alice.user, username=name)
    assert not User.objects.exclude(owner=None).exists()


def test_nobody_has_more_open_funds_than_the_most(alice: Person, monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "OPEN_FUNDS", replace(limits.OPEN_FUNDS, at_most=2))
    names = iter(f"pot{number}" for number in range(9))
    results = at_once(lambda: tried(lambda: funds.create_fund(alice.user, username=next(names))), 5)
    assert sorted(results) == ["TooManyFunds"] * 3 + ["done"] * 2
    funds.close_fund(alice.user, funds.funds_of(alice.user)[0].username)
    funds.create_fund(alice.user, username="another")
    with pytest.raises(TooManyFunds):
        funds.create_fund(alice.user, username="onemore")


def test_anybody_pays_in_by_name(charlie: Person, picnic: User) -> None:
    paid = charlie.api.post("/send", {"username": "picnic", "amount": 700})
    assert paid.status_code == 200
    assert available_sat(picnic) == 10_700
    assert Activity.objects.get(user=picnic).counterparty == charlie.user
    assert books_are_right()


def test_a_wallet_elsewhere_pays_in_over_lightning(
    picnic: User, anyone: Api, network: Control
) -> None:
    asked = anyone.post("/invoice", {"user": {"username": "picnic"}, "invoice": {"amount": 900}})
    assert asked.status_code == 200
    network.pay(asked.body["hash"])
    receive()
    assert available_sat(picnic) == 10_900
    assert books_are_right()


# --- Spending ------------------------------------------------------------------------------------


def test_owner_and_manager_take_out_into_their_own_balance(
    alice: Person, bob: Person, picnic: User
) -> None:
    take_out(bob, picnic, 3000, memo="For the cake")
    take_out(alice, picnic, 2000)
    assert (available_sat(picnic), bob.available_sat, alice.available_sat) == (5000, 3000, 102_000)
    line = Activity.objects.get(user=picnic, counterparty=bob.user)
    assert (line.amount_sat, line.fee_sat, line.memo) == (-3000, 0, "For the cake")
    assert bob.line().counterparty == picnic
    assert books_are_right()


def test_a_manager_hands_out_a_gift_and_charlie_takes_it(
    bob: Person, charlie: Person, picnic: User
) -> None:
    owed_msat = ledger.owed_msat()
    gift, token = hand_out(bob, picnic, memo="Thank you")
    assert (gift.giver, gift.made_by) == (picnic, bob.user)
    assert available_sat(picnic) == 9000
    assert ledger.house_balance_msat(House.GIFTS) == 1_000_000
    assert ledger.owed_msat() == owed_msat
    gifts.take_gift(charlie.user, token)
    assert charlie.available_sat == 51_000
    assert charlie.line().counterparty == picnic
    assert ledger.house_balance_msat(House.GIFTS) == 0
    assert books_are_right()


def test_a_gift_that_nobody_takes_goes_back_into_the_fund(
    alice: Person, bob: Person, picnic: User
) -> None:
    expired, _ = hand_out(bob, picnic)
    kept, token = hand_out(bob, picnic)
    Gift.objects.filter(id=expired.id).update(expires=timezone.now() - timedelta(seconds=1))
    gifts.return_expired()
    assert available_sat(picnic) == 9000
    spending.take_back_gift_of_fund(alice.user, picnic, kept.id)
    assert available_sat(picnic) == 10_000
    with pytest.raises(GiftGone):
        gifts.take_gift(alice.user, token)
    assert books_are_right()


def test_a_new_link_ends_the_old_one_and_is_remembered(
    alice: Person, bob: Person, charlie: Person, picnic: User
) -> None:
    gift, old = hand_out(bob, picnic)
    _, new = spending.replace_link_of_fund(credential=by(alice), fund=picnic, gift_id=gift.id)
    with pytest.raises(GiftNotFound):
        gifts.take_gift(charlie.user, old)
    gifts.take_gift(charlie.user, new)
    event = AuditEvent.objects.get(user=picnic, action="fund.gift_link_replaced")
    assert (event.actor, event.object) == ("user alice", str(gift.id))


def test_a_fund_does_not_give_what_it_does_not_have(bob: Person, picnic: User) -> None:
    with pytest.raises(InsufficientFunds):
        take_out(bob, picnic, 10_001)
    with pytest.raises(InsufficientFunds):
        hand_out(bob, picnic, 10_001)
    assert (available_sat(picnic), bob.available_sat) == (10_000, 0)
    assert not Activity.objects.exists()
    assert not Gift.objects.exists()
    assert books_are_right()


def test_managers_who_race_for_the_same_sats_get_them_once(
    alice: Person, bob: Person, picnic: User
) -> None:
    """M01: whoever wins, by whatever door."""
    turns = iter(
        [
            lambda: take_out(alice, picnic, 10_000),
            lambda: take_out(bob, picnic, 10_000),
            lambda: hand_out(bob, picnic, 10_000),
        ]
        * 4
    )
    results = at_once(lambda: tried(next(turns)), 12)
    assert sorted(results) == ["InsufficientFunds"] * 11 + ["done"]
    assert available_sat(picnic) == 0
    aside_sat = ledger.house_balance_msat(House.GIFTS) // 1000
    assert alice.available_sat - 100_000 + bob.available_sat + aside_sat == 10_000
    assert books_are_right()


def test_the_same_form_sent_twenty_times_takes_out_once(bob: Person, picnic: User) -> None:
    named = Named("form", "f" * 64)
    results = at_once(lambda: tried(lambda: take_out(bob, picnic, named=named)), 20)
    assert results == ["done"] * 20
    assert (available_sat(picnic), bob.available_sat) == (9000, 1000)


# --- Who may -------------------------------------------------------------------------------------


def test_a_stranger_reads_nothing_and_takes_nothing(
    charlie: Person, bob: Person, picnic: User
) -> None:
    """P23: no visitor, early or late, has a role, and none gives himself one."""
    gift, _ = hand_out(bob, picnic)
    me = charlie.user
    for attempt in (
        lambda: funds.fund_for(me, "picnic"),
        lambda: take_out(charlie, picnic),
        lambda: hand_out(charlie, picnic),
        lambda: spending.replace_link_of_fund(credential=by(charlie), fund=picnic, gift_id=gift.id),
        lambda: spending.take_back_gift_of_fund(me, picnic, gift.id),
        lambda: funds.add_manager(me, "picnic", "charlie"),
        lambda: funds.remove_manager(me, "picnic", role_of(bob)),
        lambda: funds.change_fund(me, "picnic", display="Mine", about=""),
        lambda: funds.leave_fund(me, "picnic"),
        lambda: funds.close_fund(me, "picnic"),
    ):
        with pytest.raises(FundNotFound):
            attempt()
    assert funds.funds_of(me) == []
    assert list(FundManager.objects.values_list("user__username", flat=True)) == ["bob"]
    assert available_sat(picnic) == 9000


def test_only_the_owner_gives_and_takes_roles(bob: Person, charlie: Person, picnic: User) -> None:
    """P23"""
    for attempt in (
        lambda: funds.add_manager(bob.user, "picnic", "charlie"),
        lambda: funds.remove_manager(bob.user, "picnic", role_of(bob)),
        lambda: funds.change_fund(bob.user, "picnic", display="Mine", about=""),
        lambda: funds.close_fund(bob.user, "picnic"),
    ):
        with pytest.raises(OwnerOnly):
            attempt()
    assert FundManager.objects.count() == 1


def test_a_manager_is_another_person(alice: Person, bob: Person, picnic: User) -> None:
    funds.create_fund(bob.user, username="other")
    for nobody in ("alice", "other", "picnic", "nosuchuser"):
        with pytest.raises(InvalidRequest):
            funds.add_manager(alice.user, "picnic", nobody)
    funds.add_manager(alice.user, "picnic", "BOB")
    assert FundManager.objects.count() == 1
    for wrong in ({"fund": picnic, "user": bob.user}, {"fund": picnic, "user": picnic}):
        with pytest.raises(IntegrityError), transaction.atomic():
            FundManager.objects.create(**wrong)


def test_a_fund_has_no_more_managers_than_the_most(
    alice: Person, charlie: Person, picnic: User, monkeypatch: Any
) -> None:
    monkeypatch.setattr(limits, "MANAGERS", replace(limits.MANAGERS, at_most=1))
    with pytest.raises(TooManyManagers):
        funds.add_manager(alice.user, "picnic", "charlie")
    funds.add_manager(alice.user, "picnic", "bob")


@pytest.mark.parametrize("end", ["removed", "left"])
def test_whoever_loses_the_role_loses_all_of_it_at_once(
    alice: Person, bob: Person, picnic: User, end: str
) -> None:
    held = funds.to_spend_from(picnic, by(bob))
    gift, _ = hand_out(bob, picnic)
    if end == "removed":
        role_id = role_of(bob)
        rename(bob.user, "bobby")
        funds.remove_manager(alice.user, "picnic", role_id)
    else:
        funds.leave_fund(bob.user, "picnic")
    for attempt in (
        lambda: funds.fund_for(bob.user, "picnic"),
        lambda: take_out(bob, picnic),
        lambda: send_to_user(credential=held, username=bob.user.username, amount_sat=1),
        lambda: spending.take_back_gift_of_fund(bob.user, picnic, gift.id),
    ):
        with pytest.raises(FundNotFound):
            attempt()
    assert funds.funds_of(bob.user) == []
    assert bob.available_sat == 0
    event = AuditEvent.objects.filter(user=picnic).latest("id")
    assert event.action == {"removed": "fund.manager_removed", "left": "fund.manager_left"}[end]
    assert event.detail == {"fund": "picnic", "manager": bob.user.username}
    assert event.object == str(bob.user.id)


def test_a_spend_that_is_under_way_ends_before_the_role_does(
    alice: Person, bob: Person, picnic: User
) -> None:
    """Nothing leaves after the owner has read that the manager is removed."""
    for _ in range(5):
        funds.add_manager(alice.user, "picnic", "bob")
        left: list[int] = []

        def remove(left: list[int] = left) -> None:
            funds.remove_manager(alice.user, "picnic", role_of(bob))
            left.append(available_sat(picnic))

        turns = iter([remove, *[lambda: take_out(bob, picnic, 1)] * 5])
        results = at_once(lambda turns=turns: tried(next(turns)), 6)
        assert set(results) <= {"done", "FundNotFound"}
        assert left == [available_sat(picnic)]
    assert books_are_right()


@pytest.mark.parametrize("sanction", ["freeze", "evict"])
@pytest.mark.parametrize("whom", ["alice", "bob", "picnic"])
def test_nothing_leaves_while_fund_owner_or_manager_is_frozen_or_closed(
    bob: Person, charlie: Person, picnic: User, whom: str, sanction: str
) -> None:
    gift, token = hand_out(bob, picnic)
    held = by(bob)
    user = User.objects.get(username=whom)
    getattr(services, sanction)(user, actor="operator olga", reason="test")
    for credential in (held, by(bob)):  # also one that was read before
        for spend in (
            lambda credential=credential: spending.take_out(
                credential=credential, fund=picnic, amount_sat=1
            ),
            lambda credential=credential: spending.make_gift_of_fund(
                credential=credential, fund=picnic, amount_sat=1, days=1
            ),
            lambda credential=credential: spending.replace_link_of_fund(
                credential=credential, fund=picnic, gift_id=gift.id
            ),
        ):
            with pytest.raises(AccountFrozen):
                spend()
    with pytest.raises(GiftGone):
        gifts.take_gift(charlie.user, token)
    assert available_sat(picnic) == 9000
    assert books_are_right()


def test_the_pin_that_is_asked_is_the_pin_of_the_person(
    alice: Person, bob: Person, picnic: User
) -> None:
    """P22"""
    give_pin(bob.user)
    give_pin(alice.user, "654321")
    gift, _ = hand_out(bob, picnic, pin="123456")
    for pin in (None, "", "000000", "654321"):
        with pytest.raises(InvalidPin):
            take_out(bob, picnic, pin=pin)
        with pytest.raises(InvalidPin):
            spending.replace_link_of_fund(credential=by(bob), fund=picnic, gift_id=gift.id, pin=pin)
        services.forgive(limits.PIN, bob.user.id)
    take_out(bob, picnic, pin="123456")
    assert (available_sat(picnic), bob.available_sat) == (8000, 1000)


def test_programs_and_read_only_tokens_spend_from_no_fund(alice: Person, picnic: User) -> None:
    key, _ = credentials.create_api_key(alice.user, name="till", scope="spend")
    with pytest.raises(Forbidden):
        funds.to_spend_from(picnic, Credential(alice.user, api_key=key))
    token = credentials.read_only_token(alice.user)
    with pytest.raises(ReadOnlyToken):
        funds.to_spend_from(picnic, credentials.credential_of(token))


def test_one_payment_out_of_a_fund_has_the_limit_of_every_payment(
    bob: Person, picnic: User, settings: Any
) -> None:
    settings.MAX_PAYMENT_SAT = 999
    with pytest.raises(Forbidden):
        take_out(bob, picnic, 1000)
    with pytest.raises(Forbidden), transaction.atomic():
        reserve(funds.to_spend_from(picnic, by(bob)), debit_sat=1000, external=False)


# --- Nobody signs in as a fund -------------------------------------------------------------------


def test_no_password_opens_a_fund(picnic: User, anyone: Api) -> None:
    for password in ("", picnic.password, "!", PASSWORD):
        with pytest.raises(InvalidCredentials):
            services.authenticate(username="picnic", password=password, code="")
    refused = anyone.post("/login", {"username": "picnic", "password": picnic.password})
    assert refused.status_code == 401


def test_no_token_and_no_key_of_a_fund_is_accepted(picnic: User) -> None:
    """Whatever wrote the row."""
    session = credentials.start_session(picnic, kind=Session.Kind.LOGIN)
    _, key = credentials.create_api_key(picnic, name="till", scope="spend")
    for token in (credentials.token_of(session), key, credentials.read_only_token(picnic)):
        with pytest.raises(Unauthorized):
            credentials.credential_of(token)
        assert Api(token).get("/me").status_code == 401
    assert credentials.live_session(session.id) is None


@pytest.mark.parametrize(
    "door",
    [
        {"password": "md5$salt$hash"},
        {"password": ""},
        {"pin_hash": "x"},
        {"email": "picnic@example.com"},
        {"totp_seed": "x"},
        {"pubkey": "f" * 64},
        {"is_staff": True},
        {"is_superuser": True},
        {"autowithdraw": True},
    ],
    ids=lambda door: next(iter(door)),
)
def test_the_database_refuses_a_fund_with_a_door(
    picnic: User, cloned_db: Database, door: dict[str, Any]
) -> None:
    """As the owner of the tables, past Python."""
    [(column, value)] = door.items()
    with psycopg.connect(cloned_db.owner_url) as owner, pytest.raises(psycopg.IntegrityError):
        owner.execute(
            f"UPDATE accounts_user SET {column} = %s WHERE username = 'picnic'",
            [value],
        )


def test_the_database_refuses_to_make_a_fund_of_a_person_with_a_door(
    alice: Person, charlie: Person, picnic: User
) -> None:
    User.objects.filter(id=charlie.user.id).update(password=make_password(PASSWORD), pubkey=None)
    for user, owner in ((charlie.user, alice.user), (picnic, picnic)):
        with pytest.raises(IntegrityError), transaction.atomic():
            User.objects.filter(id=user.id).update(owner=owner)


# --- The end -------------------------------------------------------------------------------------


def test_an_owner_with_an_open_fund_does_not_close_the_account(picnic: User) -> None:
    """A05: nobody else could close the fund. A manager may go, and the role goes too."""
    owner, manager = make_user("dora"), make_user("emil")
    for user in (owner, manager):
        give_password(user)
    funds.create_fund(owner, username="cellar")
    funds.add_manager(owner, "cellar", "emil")
    with pytest.raises(services.FundsOpen):
        services.close_account(owner, password=PASSWORD)
    assert User.objects.get(id=owner.id).is_active
    services.close_account(manager, password=PASSWORD)
    assert not FundManager.objects.filter(user=manager).exists()
    funds.close_fund(owner, "cellar")
    services.close_account(owner, password=PASSWORD)
    assert not User.objects.get(id=owner.id).is_active


def test_a_fund_is_closed_when_it_holds_nothing(
    alice: Person, bob: Person, charlie: Person, picnic: User
) -> None:
    with pytest.raises(funds.FundNotEmpty):
        funds.close_fund(alice.user, "picnic")
    _gift, token = hand_out(bob, picnic, 10_000)
    with pytest.raises(funds.FundGiftsOpen):
        funds.close_fund(alice.user, "picnic")
    gifts.take_gift(charlie.user, token)
    funds.close_fund(alice.user, "picnic")
    assert AuditEvent.objects.filter(user=picnic, action="fund.closed").exists()
    assert charlie.api.post("/send", {"username": "picnic", "amount": 1}).status_code == 404
    with pytest.raises(UsernameTaken):
        funds.create_fund(charlie.user, username="picnic")
    with pytest.raises(FundFrozen):
        take_out(alice, picnic)
    for attempt in (
        lambda: funds.close_fund(alice.user, "picnic"),
        lambda: funds.add_manager(alice.user, "picnic", "charlie"),
    ):
        with pytest.raises(FundClosed):
            attempt()
    assert LedgerAccount.objects.get(user=picnic).posted_msat == 0
    assert books_are_right()


def test_a_closed_fund_that_was_paid_is_readmitted_for_its_owner(
    alice: Person, bob: Person, picnic: User
) -> None:
    take_out(alice, picnic, 10_000)
    funds.close_fund(alice.user, "picnic")
    fund(picnic, 700)  # as an invoice of before that is paid now
    services.readmit(picnic, actor="test", reason="paid after the end")
    take_out(alice, picnic, 700)
    funds.close_fund(alice.user, "picnic")
    assert books_are_right()


def test_a_fund_is_not_closed_while_a_gift_comes_back(
    alice: Person, picnic: User, monkeypatch: Any
) -> None:
    """Between the look at its balance and the one at its gifts: no sat is left in a closed fund."""
    gift, _ = hand_out(alice, picnic, 10_000)
    look = ledger.set_aside_msat
    bell = threading.Thread(target=lambda: at_once(lambda: gifts.take_back(picnic, gift.id), 1))

    def look_late(user_id: UUID) -> int:
        bell.start()
        bell.join(timeout=1)  # it can only commit when we have
        return look(user_id)

    monkeypatch.setattr(ledger, "set_aside_msat", look_late)
    with pytest.raises(funds.FundGiftsOpen):
        funds.close_fund(alice.user, "picnic")
    bell.join()
    picnic.refresh_from_db()
    assert (picnic.is_active, available_sat(picnic)) == (True, 10_000)
