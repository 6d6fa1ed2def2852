"""GET /me and POST /user: the account as its owner sees and changes it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.hashers import identify_hasher
from django.db import transaction
from django.utils import timezone

from accounts import credentials, ledger, services
from accounts.ledger import House
from accounts.models import AuditEvent, User
from coinos import rates
from coinos.models import Rate
from tests import causes
from tests.cast import PASSWORD, Api, api_of, fund, give_password, give_pin, token_of


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def with_password(user: User) -> User:
    give_password(user)
    return user


def assert_refused(answer: Any, status: int, code: str, pointer: str) -> None:
    assert (answer.status_code, answer.body["code"]) == (status, code)
    assert answer.body["errors"][0]["pointer"] == pointer


# --- GET /me -------------------------------------------------------------------------------------


def test_me_shows_what_can_be_spent(alice: User) -> None:
    fund(alice, 125_000)
    with transaction.atomic():
        hold_id = ledger.hold_for_payment(
            user_id=alice.id, through=House.LIGHTNING, amount_msat=25_000_000, payment_id=alice.id
        )
        causes.payment(alice, alice.id, hold_id, 25_000, ledger.House.LIGHTNING)
    body = api_of(alice).get("/me").body
    assert (body["balance"], body["locked"]) == (100_000, 0)
    assert (body["id"], body["username"], body["pubkey"]) == (str(alice.id), "alice", alice.pubkey)
    assert all(isinstance(code, str) for code in body["currencies"])


def test_a_frozen_balance_is_shown_as_locked(alice: User) -> None:
    fund(alice, 700)
    services.freeze(alice, actor="operator", reason="test")
    body = api_of(alice).get("/me").body
    assert (body["balance"], body["locked"]) == (700, 700)


def test_me_needs_a_token(anyone: Api) -> None:
    answer = anyone.get("/me")
    assert (answer.status_code, answer.body["code"]) == (401, "unauthorized")


def test_me_never_shows_a_secret(alice: User) -> None:
    with_password(alice)
    give_pin(alice)
    answer = api_of(alice).get("/me")
    for secret in (alice.password, alice.pin_hash, "pin_hash", "secret", "is_staff", "frozen_at"):
        assert secret.encode() not in answer.content


# --- POST /user: profile -------------------------------------------------------------------------


def test_the_profile_is_changed_and_answered_below_user(alice: User) -> None:
    body = {"display": "Alice B.", "currency": "CAD", "language": "en"}
    answer = api_of(alice).post("/user", body)
    assert answer.status_code == 200
    assert set(answer.body) == {"user"}
    assert answer.body["user"] | body == answer.body["user"]
    assert "balance" not in answer.body["user"]
    alice.refresh_from_db()
    assert (alice.display, alice.currency, alice.language) == ("Alice B.", "CAD", "en")


def test_every_setting_comes_back_as_it_was_sent(alice: User) -> None:
    wanted = {
        "about": "line\nline",
        "picture": "https://a.example/a.png",
        "banner": "https://a.example/b.png",
        "email": "alice@a.example",
        "currencies": ["EUR", "USD"],
        "fiat": True,
        "theme": "dark",
        "prompt": True,
        "tip": 15,
        "memoPrompt": True,
        "hidepay": True,
        "notify": True,
        "push": False,
        "locktime": 60,
    }
    with_password(alice)
    body = wanted | {"current_password": PASSWORD}  # for the e-mail address
    assert api_of(alice).post("/user", body).status_code == 200
    me = api_of(alice).get("/me").body
    assert {name: me[name] for name in wanted} == wanted


def test_an_account_is_renamed_and_keeps_everything(alice: User) -> None:
    """A13: money never moves by renaming."""
    fund(alice, 500)
    api = api_of(alice)
    answer = api.post("/user", {"username": " Alicia "})
    assert answer.body["user"]["username"] == "alicia"
    me = api.get("/me").body
    assert (me["id"], me["username"], me["balance"]) == (str(alice.id), "alicia", 500)


def test_a_taken_name_is_refused_and_nothing_else_is_changed(alice: User, bob: User) -> None:
    answer = api_of(alice).post("/user", {"username": "BOB", "display": "x"})
    assert_refused(answer, 409, "username_taken", "#/username")
    alice.refresh_from_db()
    assert (alice.username, alice.display) == ("alice", "")


def test_an_empty_body_changes_nothing(alice: User) -> None:
    for body in ({}, {"display": None}, {"nonsense": 1}):
        assert api_of(alice).post("/user", body).status_code == 200


@pytest.mark.parametrize("currency", ["XXX", "usd", "", "US", "BTC", "USDT"])
def test_a_currency_needs_a_rate(alice: User, currency: str) -> None:
    answer = api_of(alice).post("/user", {"currency": currency})
    assert_refused(answer, 400, "invalid_request", "#/currency")


def test_a_currency_that_nobody_quotes_is_refused(alice: User, redis: Any) -> None:
    Rate.objects.create(minute=timezone.now(), rates={"USD": str(Decimal(100_000))})
    rates.forget()
    try:
        answer = api_of(alice).post("/user", {"currency": "CAD"})
    finally:
        rates.forget()
    assert_refused(answer, 400, "invalid_request", "#/currency")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("language", "eng"),
        ("language", "EN"),
        ("language", "e"),
        ("language", "\u0435n"),
        ("email", "alice"),
        ("email", "a" * 250 + "@b.example"),
        ("display", "x" * 101),
        ("display", 5),
        ("display", ["x"]),
        ("about", "x" * 2001),
        ("picture", "x" * 501),
        ("currencies", "USD"),
        ("currencies", []),
        ("currencies", ["USD", "XXX"]),
        ("currencies", [5]),
        ("currencies", [["USD"]]),
        ("theme", "pink"),
        ("theme", {}),
        ("fiat", "yes"),
        ("fiat", 1),
        ("prompt", "true"),
        ("tip", -1),
        ("tip", 1001),
        ("tip", 1.5),
        ("tip", True),
        ("locktime", -1),
        ("locktime", 86_401),
        ("username", "a b!"),
        ("username", "admin"),
        ("password", 123456),
        ("pin", 123456),
        ("newpin", 123456),
    ],
)
def test_a_wrong_value_names_its_field(alice: User, field: str, value: object) -> None:
    answer = api_of(alice).post("/user", {field: value})
    assert answer.status_code == 400
    assert answer.body["errors"][0]["pointer"] == f"#/{field}"


@pytest.mark.parametrize("field", ["threshold", "reserve"])
@pytest.mark.parametrize("value", [-1, 1.5, "1e3", " 1", True, 2_100_000_000_000_001])
def test_a_setting_in_sats_is_a_whole_number(alice: User, field: str, value: object) -> None:
    """F09"""
    answer = api_of(alice).post("/user", {field: value})
    assert_refused(answer, 400, "invalid_amount", f"#/{field}")


def test_what_is_not_a_setting_cannot_be_written(alice: User) -> None:
    """P21: no mass assignment."""
    before = User.objects.filter(id=alice.id).values().get()
    answer = api_of(alice).post(
        "/user",
        {
            "id": "7",
            "balance": 10**9,
            "locked": 0,
            "admin": True,
            "is_staff": True,
            "is_superuser": True,
            "is_active": False,
            "frozen_at": None,
            "twofa": False,
            "haspin": False,
            "pin_hash": "",
            "posted_msat": 10**9,
            "created": 0,
        },
    )
    assert answer.status_code == 200
    assert User.objects.filter(id=alice.id).values().get() == before
    assert ledger.balance_of(alice.id).available_sat == 0


def test_a_user_changes_only_himself(alice: User, bob: User) -> None:
    """P01"""
    api_of(alice).post("/user", {"id": str(bob.id), "user": {"id": str(bob.id)}, "display": "A"})
    bob.refresh_from_db()
    assert bob.display == ""


# --- The documented sample -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signed_in", "status", "code"), [(False, 401, "unauthorized"), (True, 400, "invalid_json")]
)
def test_the_documented_body_with_its_trailing_comma(
    alice: User, client: Any, signed_in: bool, status: int, code: str
) -> None:
    token = {"Authorization": f"Bearer {token_of(alice)}"} if signed_in else {}
    answer = client.post(
        "/api/user", '{ "username": "demo", }', content_type="application/json", headers=token
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_the_documented_body_without_the_comma(alice: User) -> None:
    assert api_of(alice).post("/user", {"username": "demo"}).body["user"]["username"] == "demo"


# --- Password ------------------------------------------------------------------------------------


def test_a_new_password_needs_the_old_one(alice: User) -> None:
    """P21"""
    with_password(alice)
    before = alice.password
    for current in ({}, {"current_password": "wrong"}, {"current_password": ""}):
        answer = api_of(alice).post("/user", {"password": "new password", **current})
        assert_refused(answer, 403, "forbidden", "#/current_password")
    alice.refresh_from_db()
    assert alice.password == before


def test_a_new_password_ends_every_other_session(alice: User) -> None:
    """P06, P21, P24"""
    with_password(alice)
    here, elsewhere, read_only = api_of(alice), api_of(alice), credentials.read_only_token(alice)
    _, key = credentials.create_api_key(alice, name="shop", scope="read")
    answer = here.post(
        "/user",
        {"password": "new password", "confirm": "new password", "current_password": PASSWORD},
    )
    assert answer.status_code == 200
    assert here.get("/me").status_code == 200
    assert elsewhere.get("/me").status_code == 401
    assert Api(read_only).get("/invoices").status_code == 401
    assert Api(key).get("/me").status_code == 200, "keys live on until they are revoked"
    log_in = Api().post("/login", {"username": "alice", "password": "new password"})
    assert log_in.status_code == 200
    assert Api().post("/login", {"username": "alice", "password": PASSWORD}).status_code == 401
    assert AuditEvent.objects.filter(user=alice, action="password.changed").count() == 1


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"confirm": "another"}, "#/confirm"),
        ({"password": "short"}, "#/password"),
        ({"currency": "XXX"}, "#/currency"),
        ({"username": "bob"}, "#/username"),
        ({"tip": 5000}, "#/tip"),
    ],
)
def test_a_password_is_not_half_changed(
    alice: User, bob: User, more: dict[str, object], pointer: str
) -> None:
    before = with_password(alice).password
    body = {"password": "new password", "current_password": PASSWORD} | more
    answer = api_of(alice).post("/user", body)
    assert answer.body["errors"][0]["pointer"] == pointer
    alice.refresh_from_db()
    assert alice.password == before


def test_guesses_at_the_current_password_are_counted(alice: User) -> None:
    """P18"""
    with_password(alice)
    api = api_of(alice)
    body = {"password": "new password", "current_password": "guess"}
    statuses = [api.post("/user", body).status_code for _ in range(21)]
    assert statuses == [403] * 20 + [429]


# --- PIN -----------------------------------------------------------------------------------------


def test_a_pin_is_set_and_kept_as_a_hash(alice: User) -> None:
    """P22"""
    api = api_of(with_password(alice))
    assert api.get("/me").body["haspin"] is False
    body = {"pin": "", "newpin": "123456", "current_password": PASSWORD}
    answer = api.post("/user", body)
    assert answer.body["user"]["haspin"] is True
    alice.refresh_from_db()
    assert "123456" not in alice.pin_hash
    assert identify_hasher(alice.pin_hash)
    assert AuditEvent.objects.get(user=alice).action == "pin.set"


@pytest.mark.parametrize(
    "newpin", ["12345", "1234567", "12345a", "\u0661\u0662\u0663\u0664\u0665\u0666", " 12345"]
)
def test_a_pin_is_six_digits(alice: User, newpin: str) -> None:
    answer = api_of(alice).post("/user", {"newpin": newpin})
    assert_refused(answer, 400, "invalid_request", "#/newpin")
    alice.refresh_from_db()
    assert not alice.has_pin


@pytest.mark.parametrize("newpin", ["654321", "delete"])
def test_changing_or_removing_a_pin_needs_the_old_one(alice: User, newpin: str) -> None:
    """P22"""
    give_pin(alice)
    api = api_of(alice)
    for pin in ({}, {"pin": ""}, {"pin": "000000"}):
        answer = api.post("/user", {"newpin": newpin, **pin})
        assert_refused(answer, 403, "invalid_pin", "#/pin")
        assert answer.body["message"] == "Invalid pin"
    answer = api.post("/user", {"newpin": newpin, "pin": "123456"})
    assert answer.body["user"]["haspin"] is (newpin != "delete")


def test_the_lock_timer_needs_the_pin_unless_nothing_changes(alice: User) -> None:
    """P22: whoever finds an open session does not make it stay open."""
    api = api_of(alice)
    assert api.post("/user", {"locktime": 60}).body["user"]["locktime"] == 60
    alice.refresh_from_db()
    give_pin(alice)
    assert_refused(api.post("/user", {"locktime": 86400}), 403, "invalid_pin", "#/pin")
    assert api.post("/user", {"locktime": 60}).status_code == 200
    answer = api.post("/user", {"locktime": 0, "pin": "123456"})
    assert answer.body["user"]["locktime"] == 0


def test_five_wrong_pins_lock_the_right_one_out(alice: User) -> None:
    """P18, P22"""
    give_pin(alice)
    api = api_of(alice)
    for _ in range(5):
        assert api.post("/user", {"newpin": "delete", "pin": "000000"}).status_code == 403
    answer = api.post("/user", {"newpin": "delete", "pin": "123456"})
    assert (answer.status_code, answer.body["code"]) == (429, "rate_limited")
    alice.refresh_from_db()
    assert alice.has_pin
