"""A user name is one account's for ever: an old sticker, QR code or contact pays nobody else.

sec-12: a name that was given up could be taken by anybody at once, with the payments to it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import time_machine
from django.db import DatabaseError, IntegrityError, connection, transaction

from accounts import funds, ledger, services
from accounts.errors import UsernameTaken
from accounts.models import AuditEvent, UsedName, User
from tests.cast import Api, api_of, available_sat, fund, make_user, rename
from tests.database import Database


def name_of(user: User) -> str:
    return User.objects.get(id=user.id).username


def test_a_name_that_was_given_up_is_nobody_elses(alice: User, bob: User) -> None:
    assert api_of(alice).post("/user", {"username": "tina"}).status_code == 200
    assert api_of(alice).post("/user", {"username": "tinarenamed"}).status_code == 200
    for name in ("alice", "tina"):
        body = {"user": {"username": name, "password": "long enough"}}
        refused = Api().post("/register", body)
        assert (refused.status_code, refused.body["code"]) == (409, "username_taken")
        refused = api_of(bob).post("/user", {"username": name})
        assert (refused.status_code, refused.body["code"]) == (409, "username_taken")
        with pytest.raises(UsernameTaken):
            funds.create_fund(bob, username=name)
        assert services.suggest_username(name) != name


def test_one_goes_back_to_an_own_old_name(alice: User) -> None:
    api = api_of(alice)
    for name in ("tina", "alice"):
        assert api.post("/user", {"username": name}).body["user"]["username"] == name
    detail = AuditEvent.objects.filter(user=alice, action="username.changed").last().detail  # type: ignore[union-attr]
    assert detail == {"from": "tina", "to": "alice"}


def test_who_pays_an_old_name_pays_nobody(alice: User, bob: User) -> None:
    """Not the new name either: whoever gave a name up may not want to be found by it."""
    rename(alice, "tina")
    fund(bob, 100)
    answer = api_of(bob).post("/send", {"username": "alice", "amount": 10})
    assert answer.status_code == 404
    assert Api().get("/users/alice").status_code == 404
    assert Api(base="").get("/.well-known/lnurlp/alice").body["status"] == "ERROR"
    body = {"invoice": {"amount": 5}, "user": {"username": "alice"}}
    assert Api().post("/invoice", body).status_code == 404
    assert (available_sat(bob), available_sat(alice)) == (100, 0)


def test_three_renames_a_day(alice: User) -> None:
    """Whoever squats names keeps every one of them."""
    api, start = api_of(alice), time.time()
    with time_machine.travel(start, tick=False):
        statuses = [api.post("/user", {"username": f"tina{n}"}).status_code for n in range(4)]
        assert statuses == [200, 200, 200, 429]
        assert api.post("/user", {"username": "tina2"}).status_code == 200, "it is that already"
        assert api.post("/user", {"username": "admin"}).status_code == 400
    with time_machine.travel(start + 25 * 3600, tick=False):
        assert api.post("/user", {"username": "tina3"}).status_code == 200


def test_a_refused_name_is_not_counted(alice: User, bob: User) -> None:
    api = api_of(alice)
    for _ in range(4):
        assert api.post("/user", {"username": "bob"}).status_code == 409
    assert api.post("/user", {"username": "tina"}).status_code == 200


# --- The database refuses, whatever Python does ---------------------------------------------------


def test_db_refuses_the_old_name_of_another(alice: User, bob: User) -> None:
    rename(alice, "tina")
    with pytest.raises(IntegrityError, match="name_is_nobody_elses"), transaction.atomic():
        User.objects.filter(id=bob.id).update(username="alice")
    with pytest.raises(IntegrityError, match="name_is_nobody_elses"), transaction.atomic():
        make_user("alice")
    assert name_of(bob) == "bob"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM accounts_usedname",
        "UPDATE accounts_usedname SET user_id = gen_random_uuid()",
    ],
)
def test_db_forgets_no_name(alice: User, statement: str) -> None:
    rename(alice, "tina")
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(statement)
    names = UsedName.objects.filter(user=alice).values_list("username", flat=True)
    assert set(names) == {"alice", "tina"}


def test_a_name_is_given_up_and_asked_for_at_the_same_time(cloned_db: Database) -> None:
    """Bob's request waits for Alice's to end, and then finds the name hers."""
    alice = make_user("alice")
    outcome: list[Any] = []

    def ask_for_it() -> None:
        try:
            user = User(username="alice", pubkey="a" * 64)
            user.set_unusable_password()
            with transaction.atomic():
                user.save(force_insert=True)
                ledger.open_account(user)
            outcome.append(user)
        except IntegrityError as error:
            outcome.append(error)
        finally:
            connection.close()

    with transaction.atomic():
        User.objects.filter(id=alice.id).update(username="tina")
        bob = threading.Thread(target=ask_for_it)
        bob.start()
        wait_until_somebody_waits()
    bob.join(timeout=30)
    assert isinstance(outcome[0], IntegrityError), "the name was given away"
    assert not User.objects.filter(username="alice").exists()


def wait_until_somebody_waits() -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits")
