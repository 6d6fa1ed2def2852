"""What proves who somebody is changes in one place, and whatever is signed in by what was before
ends, whichever door it changed by."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.hashers import PBKDF2PasswordHasher, make_password
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from accounts import credentials, second_factor, services
from accounts.models import ApiKey, AuditEvent, Session, User
from accounts.passwords import only_hashed_again
from tests.cast import PASSWORD, Api, api_of, give_password, token_of
from tests.html.conftest import Browser, sign_in

NEW = "a new one, and long"


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def fresh(user: User) -> User:
    return User.objects.get(id=user.id)


def change_password_by_command(
    monkeypatch: pytest.MonkeyPatch, new: str, *options: str, reason: str = "came to the shop"
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(new + "\n"))
    call_command("changepassword", "alice", "--reason", reason, *options, stdout=io.StringIO())


# --- Every door, forgetful or not ----------------------------------------------------------------


def save_as_django_would(user: User) -> None:
    user = fresh(user)
    user.set_password(NEW)
    user.save()


def djangos_form(user: User) -> None:
    form = SetPasswordForm(fresh(user), {"new_password1": NEW, "new_password2": NEW})
    assert form.is_valid(), form.errors
    form.save()


def djangos_update(user: User) -> None:
    User.objects.filter(id=user.id).update(password=make_password(NEW))


def sql_by_hand(user: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_user SET password = 'x' WHERE id = %s", [user.id])


def second_factor_by_hand(user: User) -> None:
    User.objects.filter(id=user.id).update(totp_seed="x", second_factor_at=timezone.now())


def the_seed_in_use_by_hand(user: User) -> None:
    User.objects.filter(id=user.id).update(totp_seed="another")


@pytest.mark.parametrize(
    "door",
    [
        save_as_django_would,
        djangos_form,
        djangos_update,
        sql_by_hand,
        second_factor_by_hand,
        the_seed_in_use_by_hand,
    ],
)
def test_a_door_that_forgets_the_sessions_ends_them_all_the_same(alice: User, door: Any) -> None:
    """sec-6: each session knows the state of the authenticators that it was made under."""
    give_password(alice)
    if door is the_seed_in_use_by_hand:
        second_factor_by_hand(alice)
        alice = fresh(alice)
    token, read_only = Api(token_of(alice)), Api(credentials.read_only_token(alice))
    browser = sign_in(alice)
    _row, key = credentials.create_api_key(alice, name="shop", scope="read")
    assert token.get("/me").status_code == 200
    assert browser.get("/settings").status_code == 200
    door(alice)
    assert token.get("/me").status_code == 401
    assert read_only.get("/invoices").status_code == 401
    assert "/login" in browser.get("/settings").headers["Location"]
    assert Api(key).get("/me").status_code == 200, "keys live on until they are revoked"
    assert api_of(fresh(alice)).get("/me").status_code == 200, "new sign-ins work"
    assert not credentials.live_sessions(alice).filter(kind="web").exists(), "it is not listed"
    new_read_only = credentials.read_only_token(fresh(alice))
    assert Api(new_read_only).get("/invoices").status_code == 200


def test_only_the_database_counts(alice: User) -> None:
    """Around Python: nobody lowers or keeps the number by writing it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE accounts_user SET password = 'x', authenticators_version = 0 WHERE id = %s",
            [alice.id],
        )
        cursor.execute("UPDATE accounts_user SET authenticators_version = 7")
    assert fresh(alice).authenticators_version == 1


def test_what_is_no_authenticator_ends_no_session(alice: User) -> None:
    token = api_of(alice)
    user = fresh(alice)
    user.display, user.pin_hash = "Alice", "x"
    user.save()
    second_factor.begin(user)  # a seed that waits to be confirmed
    second_factor.begin(user)
    assert token.get("/me").status_code == 200


def test_a_sign_in_with_the_old_password_that_comes_late_has_ended_before_it_began(
    alice: User,
) -> None:
    """sec-6: the password was right when it was checked, and is changed before the row is
    written."""
    give_password(alice)
    thief = services.authenticate(username="alice", password=PASSWORD, code="")
    services.change_password(fresh(alice), current=PASSWORD, new=NEW, keep=None)
    assert Api(token_of(thief)).get("/me").status_code == 401


def test_hashing_a_password_again_ends_nothing(alice: User, settings: Any) -> None:
    """Other parameters, the same password."""
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.MD5PasswordHasher",
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    ]
    old = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1)
    with only_hashed_again():
        User.objects.filter(id=alice.id).update(password=old)
    token = api_of(alice)
    assert Api().post("/login", {"username": "alice", "password": PASSWORD}).status_code == 200
    assert fresh(alice).password.startswith("md5$")
    assert token.get("/me").status_code == 200
    assert Api().post("/login", {"username": "alice", "password": PASSWORD}).status_code == 200


def test_hashing_again_undoes_no_change_made_meanwhile(alice: User, settings: Any) -> None:
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.MD5PasswordHasher",
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    ]
    old = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1)
    User.objects.filter(id=alice.id).update(password=old)
    slow = fresh(alice)
    services.change_password(fresh(alice), current=PASSWORD, new=NEW, keep=None)
    slow.check_password(PASSWORD)
    assert fresh(alice).check_password(NEW)


def test_hashing_again_says_so_for_its_own_statement_only(alice: User) -> None:
    token = api_of(alice)
    with transaction.atomic():
        with only_hashed_again():
            User.objects.filter(id=alice.id).update(password="one")
        User.objects.filter(id=alice.id).update(password="two")
    assert token.get("/me").status_code == 401


# --- The operator's command ----------------------------------------------------------------------


def test_the_operator_sets_a_password_and_throws_out_the_thief(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sec-6: this is what docs/operating.md says to do."""
    give_password(alice)
    thief, browser = api_of(alice), sign_in(alice)
    _row, key = credentials.create_api_key(alice, name="shop", scope="read")
    change_password_by_command(monkeypatch, NEW)
    assert thief.get("/me").status_code == 401
    assert "/login" in browser.get("/settings").headers["Location"]
    assert Api(key).get("/me").status_code == 200
    assert not Session.objects.filter(user=alice, revoked_at=None).exists()
    assert Api().post("/login", {"username": "alice", "password": PASSWORD}).status_code == 401
    assert Api().post("/login", {"username": "alice", "password": NEW}).status_code == 200
    event = AuditEvent.objects.get(user=alice, action="password.set")
    assert event.actor.startswith("operator")
    assert event.detail == {"reason": "came to the shop", "api_keys": False}


def test_the_operator_ends_the_api_keys_too_when_asked(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    _row, key = credentials.create_api_key(alice, name="shop", scope="read")
    change_password_by_command(monkeypatch, NEW, "--revoke-api-keys")
    assert Api(key).get("/me").status_code == 401
    assert not ApiKey.objects.filter(user=alice, revoked_at=None).exists()


def test_the_command_refuses_what_it_cannot_do(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fresh(alice).password
    with pytest.raises(CommandError, match="password must have"):
        change_password_by_command(monkeypatch, "short")
    with pytest.raises(CommandError, match="reason"):
        change_password_by_command(monkeypatch, NEW, reason=" ")
    with pytest.raises(CommandError, match="no user nobody"):
        call_command("changepassword", "nobody", "--reason", "x")
    with pytest.raises(CommandError, match="--reason"):
        call_command("changepassword", "alice")
    assert fresh(alice).password == before


def test_whoever_is_signed_out_sees_the_sign_in_page(alice: User) -> None:
    """A browser whose session has ended is a visitor's again, not an error."""
    browser = sign_in(alice)
    save_as_django_would(alice)
    assert browser.get("/").status_code == 200
    assert isinstance(browser, Browser)
