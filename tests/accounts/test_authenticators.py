"""What proves who somebody is changes in one place, and whatever is signed in by what was before
ends, whichever door it changed by."""

from __future__ import annotations

import ast
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyotp
import pytest
import time_machine
from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.hashers import PBKDF2PasswordHasher, make_password
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.urls import reverse
from django.utils import timezone

from accounts import authenticators, credentials, emails, links, second_factor, services
from accounts.authenticators import Change
from accounts.errors import UsernameTaken
from accounts.models import ApiKey, Attempts, AuditEvent, Session, User
from accounts.passwords import only_hashed_again
from accounts.step_up import CONFIRMED_AT
from coinos.errors import CoinosError, Unauthorized
from tests.accounts.mailbox import Mailbox, open_mailbox
from tests.cast import (
    PASSWORD,
    Api,
    api_of,
    give_password,
    give_pin,
    make_user,
    office_of,
    token_of,
)
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
    authenticators.change_password(fresh(alice), current=PASSWORD, new=NEW, keep=None)
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
    authenticators.change_password(fresh(alice), current=PASSWORD, new=NEW, keep=None)
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
    assert event.detail == {"reason": "came to the shop"}


def test_the_operator_ends_the_api_keys_too_when_asked(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    _row, key = credentials.create_api_key(alice, name="shop", scope="read")
    change_password_by_command(monkeypatch, NEW, "--revoke-api-keys")
    assert Api(key).get("/me").status_code == 401
    assert not ApiKey.objects.filter(user=alice, revoked_at=None).exists()
    event = AuditEvent.objects.get(user=alice, action="password.set")
    assert event.detail == {"reason": "came to the shop", "api_keys": True}


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


# --- An open session is not enough ----------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"newpin": "999999"},
        {"email": "evil@evil.example"},
        {"password": NEW},
        {"display": "x", "newpin": "999999"},
    ],
)
def test_a_token_alone_changes_no_authenticator(alice: User, body: dict[str, str]) -> None:
    """sec-12: with a PIN of the thief's the owner could not spend any more."""
    give_password(alice)
    api, before = api_of(alice), User.objects.filter(id=alice.id).values().get()
    for current, is_counted in ((None, False), ("", False), ("wrong", True)):
        sent = body if current is None else body | {"current_password": current}
        answer = api.post("/user", sent)
        assert (answer.status_code, answer.body["code"]) == (403, "forbidden")
        assert answer.body["errors"][0]["pointer"] == "#/current_password"
        assert Attempts.objects.filter(key=f"password:{alice.id}").exists() is is_counted
    assert User.objects.filter(id=alice.id).values().get() == before
    assert api.post("/user", body | {"current_password": PASSWORD}).status_code == 200
    assert User.objects.filter(id=alice.id).values().get() != before


def test_a_token_alone_still_renames_and_says_what_is_already_so(alice: User) -> None:
    """As documented. Clients send back the whole account, too."""
    api = api_of(alice)
    User.objects.filter(id=alice.id).update(email="alice@mail.example")
    body = {"username": "demo", "email": "alice@mail.example", "display": "Demo"}
    assert api.post("/user", body).body["user"]["username"] == "demo"


def test_a_page_left_open_sets_no_pin(alice: User) -> None:
    """sec-12"""
    browser = sign_in(give_password(alice))
    session = browser.client.session
    session[CONFIRMED_AT] = 0
    session.save()
    assert browser.post("/settings/pin", newpin="123456").status_code == 422
    assert browser.post("/settings/pin", newpin="123456", password="wrong").status_code == 422
    assert not fresh(alice).has_pin
    right = browser.post("/settings/pin", newpin="123456", password=PASSWORD)
    assert right.status_code == 302
    assert fresh(alice).has_pin


def test_twenty_wrong_pins_a_day_are_all_that_are_tried(alice: User) -> None:
    """sec-18: five in ten minutes alone would be 720 a day."""
    give_pin(alice)
    start = time.time()
    statuses = []
    for number in range(5):
        with time_machine.travel(start + 700 * number, tick=False):
            for _try in range(5):
                try:
                    services.require_pin(alice, "000000")
                except CoinosError as error:
                    statuses.append(error.status)
    assert statuses == [403] * 20 + [429] * 5
    with time_machine.travel(start + 25 * 3600, tick=False):
        services.require_pin(alice, "123456")


# --- All of it or nothing -------------------------------------------------------------------------

EVERYTHING = {
    "display": "Alice B.",
    "username": "alicia",
    "email": "alicia@mail.example",
    "password": NEW,
    "current_password": PASSWORD,
    "newpin": "654321",
    "pin": "123456",
    "locktime": 60,
    "twofa": False,
}


class Phone:
    """Alice's app."""

    def __init__(self, user: User) -> None:
        second_factor.begin(user)
        user.refresh_from_db()
        set_up = second_factor.set_up_of(user)
        assert set_up is not None
        self.totp = pyotp.TOTP(set_up.seed)
        authenticators.turn_on_second_factor(user, self.totp.now(), keep=None)
        User.objects.filter(id=user.id).update(totp_last_step=0)
        user.refresh_from_db()


@pytest.fixture
def guarded(alice: User) -> tuple[User, Phone]:
    """Alice with a password, a PIN and a second factor."""
    give_pin(give_password(alice))
    return alice, Phone(alice)


def state_of(user: User) -> dict[str, Any]:
    return {
        **User.objects.filter(id=user.id).values().get(),
        "codes": sorted(user.recovery_codes.values_list("code_sha256", flat=True)),
        "sessions": sorted(user.sessions.values_list("id", "revoked_at")),
        # A wrong proof is noted; nothing else may be when nothing changed.
        "audit": AuditEvent.objects.filter(user=user).exclude(action__endswith=".wrong").count(),
    }


def test_one_request_changes_everything_at_once(guarded: tuple[User, Phone]) -> None:
    """sec-12"""
    alice, phone = guarded
    api, elsewhere = api_of(alice), api_of(alice)
    answer = api.post("/user", EVERYTHING | {"token": phone.totp.now()})
    assert answer.status_code == 200, answer.body
    assert answer.body["user"]["twofa"] is False
    assert api.get("/me").body["username"] == "alicia"
    assert elsewhere.get("/me").status_code == 401
    alice = fresh(alice)
    assert (alice.email, alice.locktime_s, alice.display) == ("alicia@mail.example", 60, "Alice B.")
    assert alice.check_password(NEW)
    services.require_pin(alice, "654321")
    assert set(
        AuditEvent.objects.filter(user=alice, door="api").values_list("action", flat=True)
    ) == {
        "username.changed",
        "email.changed",
        "password.changed",
        "pin.set",
        "pin.lock_timer",
        "second_factor.off",
    }


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"current_password": "wrong"}, "#/current_password"),
        ({"pin": "000000"}, "#/pin"),
        ({"token": "000000"}, "#/token"),
        ({"newpin": "12345"}, "#/newpin"),
        ({"password": "short"}, "#/password"),
        ({"confirm": "another"}, "#/confirm"),
        ({"username": "bob"}, "#/username"),
        ({"email": "bob@gma\u0131l.com"}, "#/email"),
        ({"currency": "XXX"}, "#/currency"),
        ({"language": "EN"}, "#/language"),
        ({"autowithdraw": True, "threshold": 5}, "#/destination"),
        ({"autowithdraw": True, "threshold": 5, "destination": "nobody"}, "#/destination"),
    ],
)
def test_one_wrong_member_changes_nothing(
    guarded: tuple[User, Phone], bob: User, wrong: dict[str, object], pointer: str
) -> None:
    """sec-12: until now each member was a transaction of its own."""
    alice, phone = guarded
    before = state_of(alice)
    api = api_of(alice)
    before["sessions"] = state_of(alice)["sessions"]
    answer = api.post("/user", EVERYTHING | {"token": phone.totp.now()} | wrong)
    assert answer.body["errors"][0]["pointer"] == pointer
    after = state_of(alice)
    assert {k: v for k, v in after.items() if k != "totp_last_step"} == {
        k: v for k, v in before.items() if k != "totp_last_step"
    }
    assert api.get("/me").status_code == 200


def test_a_refusal_uses_no_code_up(guarded: tuple[User, Phone]) -> None:
    alice, phone = guarded
    api, code = api_of(alice), phone.totp.now()
    assert api.post("/user", EVERYTHING | {"token": code, "pin": "000000"}).status_code == 403
    assert api.post("/user", EVERYTHING | {"token": code}).status_code == 200


def test_a_name_taken_in_between_changes_nothing_else(alice: User) -> None:
    """The database decides last."""
    give_password(alice)
    change = Change(alice)
    change.username("alicia")
    change.password(NEW, authenticators.Password(PASSWORD))
    make_user("alicia")
    with pytest.raises(UsernameTaken):
        change.make()
    assert fresh(alice).check_password(PASSWORD)
    assert fresh(alice).username == "alice"


def test_of_two_changes_with_one_old_password_the_second_proves_nothing(alice: User) -> None:
    """The thief's request and the owner's arrive together; both knew the password before."""
    give_password(alice)
    thief = Change(fresh(alice))
    thief.email("thief@mail.example", authenticators.Password(PASSWORD))
    checked = thief._check_proofs

    def owner_is_faster() -> None:
        checked()
        authenticators.change_password(fresh(alice), current=PASSWORD, new=NEW, keep=None)

    thief._check_proofs = owner_is_faster  # type: ignore[method-assign]
    with pytest.raises(Unauthorized):
        thief.make()
    assert fresh(alice).email == ""


# --- The owner is told ----------------------------------------------------------------------------


@pytest.fixture
def mailbox(settings: Any) -> Iterator[Mailbox]:
    with open_mailbox() as mailbox:
        settings.EMAIL_ENABLED = True
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", mailbox.port
        settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
        settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
        settings.DEFAULT_FROM_EMAIL = "My wallet <wallet@pay.example>"
        yield mailbox


def confirmed(user: User) -> User:
    User.objects.filter(id=user.id).update(
        email="old@mail.example", email_verified_at=timezone.now()
    )
    return fresh(user)


def test_each_change_is_told_at_the_address_that_was_confirmed_before(
    guarded: tuple[User, Phone], mailbox: Mailbox
) -> None:
    """sec-12: whoever takes an account over does not also silence its owner."""
    alice, phone = guarded
    confirmed(alice)
    api_of(fresh(alice)).post("/user", EVERYTHING | {"token": phone.totp.now()})
    assert mailbox.messages == []  # no request waits for the mail server
    emails.deliver_due()
    assert set(mailbox.recipients) == {"old@mail.example"}
    assert {message["Subject"] for message in mailbox.messages} == {
        "Your password was changed",
        "Your PIN was changed",
        "Your e-mail address was changed",
        "Your username was changed",
        "Your second factor was turned off",
    }
    for message in mailbox.messages:
        text = message.get_content()  # type: ignore[attr-defined]
        assert "From: 127.0.0.1" in text
        assert f"When: {timezone.now():%b} " in text
        assert "If it was not you" in text
        assert ("/forgot" in text) is (message["Subject"] != "Your e-mail address was changed")


def test_what_an_operator_does_is_told_as_the_operators(
    guarded: tuple[User, Phone], mailbox: Mailbox
) -> None:
    alice, _phone = guarded
    alice = confirmed(alice)
    by = {"actor": "operator olga", "reason": "knows her"}
    authenticators.remove_pin_as_operator(alice, **by)
    authenticators.remove_second_factor_as_operator(alice, **by)
    authenticators.set_password_as_operator(alice, new=NEW, **by)
    emails.deliver_due()
    assert [message["Subject"] for message in mailbox.messages] == [
        "Your PIN was removed",
        "Your second factor was turned off",
        "Your password was changed",
    ]
    for message in mailbox.messages:
        assert "From: the operator of this server" in message.get_content()  # type: ignore[attr-defined]


def test_an_address_that_nobody_confirmed_is_told_nothing(alice: User, mailbox: Mailbox) -> None:
    """It may be anybody's."""
    User.objects.filter(id=alice.id).update(email="stranger@mail.example")
    api_of(give_password(fresh(alice))).post(
        "/user", {"newpin": "123456", "current_password": PASSWORD}
    )
    emails.deliver_due()
    assert mailbox.messages == []


# --- A lost PIN -----------------------------------------------------------------------------------


def test_an_operator_removes_a_pin_for_a_reason(alice: User) -> None:
    """sec-12: else a PIN that a thief has set or that was forgotten locks the sats in."""
    give_pin(alice)
    call_command("createsuperuser", username="olga", interactive=False, verbosity=0)
    office = office_of(User.objects.get(username="olga"))
    wish = {"action": "remove_pin", "_selected_action": [str(alice.id)]}
    url = reverse("admin:accounts_user_changelist")
    office.post(url, wish)
    assert fresh(alice).has_pin, "without a reason nothing is done"
    done = office.post(url, wish | {"reason": "came with a passport"}, follow=True)
    assert "1 user: PIN removed." in done.content.decode()
    assert not fresh(alice).has_pin
    event = AuditEvent.objects.get(user=alice, action="pin.removed")
    assert (event.actor, event.door) == ("operator olga", "admin")
    assert event.detail == {"reason": "came with a passport"}
    again = office.post(url, wish | {"reason": "once more"}, follow=True)
    assert "alice: This account has no PIN" in again.content.decode()
    assert AuditEvent.objects.filter(user=alice, action="pin.removed").count() == 1


def test_a_new_password_by_e_mail_leaves_the_pin(alice: User) -> None:
    """It guards the sats from whoever reads the mailbox."""
    alice = give_pin(give_password(confirmed(alice)))
    token = links.reset_url(alice).rpartition("/")[2]
    authenticators.reset_password(alice.id, token, new=NEW)
    assert fresh(alice).check_password(NEW)
    assert fresh(alice).has_pin


# --- Signing out ----------------------------------------------------------------------------------


def test_signing_out_on_the_page_ends_the_session_behind_the_cookie_of_the_api(
    alice: User,
) -> None:
    """sec-18: the cookie went, and its token lived on for a year."""
    give_password(alice)
    browser = sign_in(alice)
    token = browser.client.post(
        "/api/login",
        {"username": "alice", "password": PASSWORD},
        content_type="application/json",
    ).json()["token"]
    assert Api(token).get("/me").status_code == 200
    browser.post("/logout")
    assert Api(token).get("/me").status_code == 401
    assert browser.client.cookies["token"].value == ""


# --- One place ------------------------------------------------------------------------------------

COLUMNS = {"password", "pin_hash", "second_factor_at", "totp_seed", "email", "email_verified_at"}
WRITERS = {
    "accounts/authenticators.py": "the place",
    "accounts/second_factor.py": "a seed that waits to be confirmed",
    "accounts/models.py": "a new hash of the same password",
    "accounts/hashing.py": "a new hash of the same PIN",
    "accounts/services.py": "the password of a new account",
}


def test_nobody_else_writes_an_authenticator() -> None:
    """A door that changes one without the service is found here before it is found outside."""
    root = Path(__file__).resolve().parents[2]
    written = set()
    for path in [
        p
        for app in ("accounts", "coinos", "invoices", "payments")
        for p in (root / app).rglob("*.py")
    ]:
        where = str(path.relative_to(root))
        if "/migrations/" in where or "/bench/" in where:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign):
                names = {one.attr for one in node.targets if isinstance(one, ast.Attribute)}
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                names = (
                    {word.arg for word in node.keywords} if node.func.attr == "update" else set()
                )
                names |= {"password"} if node.func.attr == "set_password" else set()
            else:
                continue
            if names & COLUMNS:
                written.add(where)
    assert written == set(WRITERS)


def test_whoever_is_signed_out_sees_the_sign_in_page(alice: User) -> None:
    """A browser whose session has ended is a visitor's again, not an error."""
    browser = sign_in(alice)
    save_as_django_would(alice)
    assert browser.get("/").status_code == 200
    assert isinstance(browser, Browser)
