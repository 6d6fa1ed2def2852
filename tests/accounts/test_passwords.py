"""Which passwords are taken, at each door, and the form in which they are hashed."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts import authenticators, links
from accounts.models import User
from accounts.passwords import only_hashed_again
from coinos.errors import InvalidRequest
from tests.cast import PASSWORD, Api, api_of, give_password
from tests.html.conftest import Browser, sign_in

SHORT, COMMON = "seven77", "password1"
COMPOSED, DECOMPOSED = "schl\u00fcsselbund", "schlu\u0308sselbund"  # ü in one sign, and in two


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def fresh(user: User) -> User:
    return User.objects.get(id=user.id)


# --- The doors ------------------------------------------------------------------------------------


def registration_page(alice: User, new: str, _monkeypatch: Any) -> bool:
    Browser().post("/register", username="dora", password=new)
    return User.objects.filter(username="dora").exists()


def settings_page(alice: User, new: str, _monkeypatch: Any) -> bool:
    sign_in(alice).post("/settings/password", current_password=PASSWORD, password=new)
    return fresh(alice).check_password(new)


def api(alice: User, new: str, _monkeypatch: Any) -> bool:
    api_of(alice).post("/user", {"password": new, "current_password": PASSWORD})
    return fresh(alice).check_password(new)


def reset_link(alice: User, new: str, _monkeypatch: Any) -> bool:
    token = links.reset_url(alice).rpartition("/")[2]
    Browser().post(f"/reset/{alice.id}/{token}", password=new)
    return fresh(alice).check_password(new)


def command(alice: User, new: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr("sys.stdin", io.StringIO(new + "\n"))
    try:
        call_command("changepassword", "alice", "--reason", "asked", stdout=io.StringIO())
    except CommandError:
        pass
    return fresh(alice).check_password(new)


def new_operator(alice: User, new: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", new)
    try:
        call_command("createsuperuser", username="olga", interactive=False, verbosity=0)
    except CommandError:
        pass
    return User.objects.filter(username="olga").exists()


DOORS = [registration_page, settings_page, api, reset_link, command, new_operator]


@pytest.mark.parametrize("new", [SHORT, COMMON, "PASSWORD1", "x" * 1025])
@pytest.mark.parametrize("door", DOORS)
def test_a_password_that_is_guessed_first_is_refused(
    alice: User, door: Any, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sec-18: 123456 was taken without a word, and 12345 made an operator (sec-15)."""
    give_password(alice)
    assert not door(alice, new, monkeypatch)


@pytest.mark.parametrize("new", ["eight888", "a few words", "\u5bc6\u7801" * 4, "x" * 1024])
@pytest.mark.parametrize("door", DOORS)
def test_any_other_is_taken(
    alice: User, door: Any, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_password(alice)
    assert door(alice, new, monkeypatch)


def test_the_documented_registration_works_as_written(db: None) -> None:
    """See docs/security.md, "Decided otherwise"."""
    body = {"username": "demo", "password": "hunter2"}
    assert Api().post("/register", {"user": body}).status_code == 200
    assert Api().post("/login", body).status_code == 200
    short = {"user": {"username": "demo2", "password": "12345"}}
    answer = Api().post("/register", short)
    assert (answer.status_code, answer.body["errors"][0]["pointer"]) == (400, "#/user/password")


def test_the_page_says_what_is_wrong(alice: User) -> None:
    browser = sign_in(give_password(alice))
    for new, sentence in [
        (SHORT, "The password must have 8 to 1,024 characters"),
        (COMMON, "This password is one of the first that thieves try"),
    ]:
        answer = browser.post("/settings/password", current_password=PASSWORD, password=new)
        assert answer.status_code == 422
        assert sentence in answer.page.text


# --- One form -------------------------------------------------------------------------------------


def test_a_password_works_from_every_keyboard(alice: User) -> None:
    """A phone sends ü as two signs, a desk as one; letters of full width are letters."""
    give_password(alice)
    authenticators.change_password(alice, current=PASSWORD, new=DECOMPOSED, keep=None)
    for typed in (COMPOSED, DECOMPOSED):
        assert Api().post("/login", {"username": "alice", "password": typed}).status_code == 200
    authenticators.change_password(
        fresh(alice), current=COMPOSED, new="ｑｕｉｔｅ ｌｏｎｇ", keep=None
    )
    body = {"username": "alice", "password": "quite long"}
    assert Api().post("/login", body).status_code == 200


def test_a_hash_of_before_there_was_one_form_still_works(alice: User) -> None:
    from django.contrib.auth.hashers import make_password

    with only_hashed_again():
        User.objects.filter(id=alice.id).update(password=make_password(DECOMPOSED))
    body = {"username": "alice", "password": DECOMPOSED}
    assert Api().post("/login", body).status_code == 200
    assert Api().post("/login", body | {"password": COMPOSED}).status_code == 401


def test_an_operator_made_in_code_obeys_too(db: None) -> None:
    with pytest.raises(InvalidRequest):
        User.objects.create_superuser("olga", COMMON)


def test_signing_in_takes_either_form(db: None) -> None:
    """input-I12: registered with one, by page and API with the other."""
    registered = Api().post("/register", {"user": {"username": "dora", "password": COMPOSED}})
    assert registered.status_code == 200, registered.body
    for word in (COMPOSED, DECOMPOSED):
        signed_in = Api().post("/login", {"username": "dora", "password": word})
        assert signed_in.status_code == 200, signed_in.body
        assert Browser().post("/login", username="dora", password=word).status_code == 302
