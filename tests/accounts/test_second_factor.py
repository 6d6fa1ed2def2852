"""The second factor through the API and the services: asked at every door, each code once (P25)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyotp
import pytest
import time_machine
from django.db import IntegrityError, connections, transaction
from django.test import Client
from django.urls import reverse

from accounts import authenticators, credentials, second_factor
from accounts.errors import WrongCode
from accounts.models import AuditEvent, RecoveryCode, Session, User
from coinos import crypto
from coinos.errors import CoinosError, Forbidden, RateLimited
from tests.cast import PASSWORD, Api, api_of, give_password, make_user
from tests.database import Database

NOON = 1_795_435_200


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def clock() -> Iterator[Any]:
    """Time stands still at the beginning of a step until a test moves it."""
    with time_machine.travel(NOON, tick=False) as clock:
        yield clock


class Phone:
    """An authenticator app that has scanned the code."""

    def __init__(self, seed: str) -> None:
        self._totp = pyotp.TOTP(seed)

    def code(self, aside: int = 0) -> str:
        """Of the step shown now, or of one before or after it."""
        return self._totp.at(int(time.time()) + 30 * aside)


def turn_on(user: User, keep: Session | None = None) -> tuple[Phone, list[str]]:
    second_factor.begin(user)
    user.refresh_from_db()
    set_up = second_factor.set_up_of(user)
    assert set_up is not None
    phone = Phone(set_up.seed)
    codes = authenticators.turn_on_second_factor(user, phone.code(), keep=keep)
    user.refresh_from_db()
    return phone, codes


@pytest.fixture
def alice(db: None) -> User:
    user = make_user("alice")
    give_password(user)
    return user


def login(token: str | None = None, **body: str) -> Any:
    body = {"username": "alice", "password": PASSWORD} | body
    return Api().post("/login", body if token is None else body | {"token": token})


# --- Turning it on -------------------------------------------------------------------------------


def test_the_user_object_tells_whether_there_is_a_second_factor(alice: User) -> None:
    assert api_of(alice).get("/me").body["twofa"] is False
    second_factor.begin(alice)
    assert api_of(alice).get("/me").body["twofa"] is False
    turn_on(alice)
    assert api_of(alice).get("/me").body["twofa"] is True


def test_until_it_is_confirmed_nothing_is_asked_for(alice: User) -> None:
    second_factor.begin(alice)
    assert login().status_code == 200


def test_turning_it_on_ends_all_other_sign_ins(alice: User) -> None:
    """P24"""
    keep, _laptop = (credentials.start_session(alice, kind="web") for _ in range(2))
    turn_on(alice, keep)
    live = Session.objects.filter(user=alice, revoked_at=None)
    assert [session.id for session in live] == [keep.id]
    assert AuditEvent.objects.get(user=alice).action == "second_factor.on"


def test_the_seed_is_sealed_for_its_user_and_no_longer_shown(alice: User, db: None) -> None:
    turn_on(alice)
    assert second_factor.set_up_of(alice) is None
    assert crypto.unseal(alice.totp_seed, place=f"totp:{alice.id}").isalnum()
    bob = make_user("bob", totp_seed=alice.totp_seed)
    with pytest.raises(crypto.SealBroken):
        second_factor.set_up_of(bob)


def test_a_seed_in_use_cannot_be_replaced_by_beginning_again(alice: User) -> None:
    phone, _ = turn_on(alice)
    second_factor.begin(alice)
    assert login(phone.code(1)).status_code == 200


def test_the_database_refuses_a_second_factor_without_a_seed(alice: User) -> None:
    turn_on(alice)
    with pytest.raises(IntegrityError, match="second_factor_has_a_seed"), transaction.atomic():
        User.objects.filter(id=alice.id).update(totp_seed="")


# --- Signing in ----------------------------------------------------------------------------------


def test_without_a_code_the_right_password_does_not_sign_in(alice: User) -> None:
    phone, _ = turn_on(alice)
    answer = login()
    assert (answer.status_code, answer.body["code"]) == (401, "otp_required")
    assert answer.body["message"] == "2fa required"
    assert not answer.cookies
    assert not Session.objects.filter(user=alice, revoked_at=None).exists()
    right = login(phone.code(1))
    assert right.body["user"]["twofa"] is True
    assert Api(right.body["token"]).get("/me").status_code == 200


def test_a_wrong_password_is_answered_as_without_a_second_factor(alice: User) -> None:
    """P19: only who knows the password learns that there is one."""
    phone, _ = turn_on(alice)
    answer = login(phone.code(1), password="wrong")
    assert answer.body["code"] == "invalid_credentials"
    assert login(phone.code(1)).status_code == 200  # and it has not used the code up


@pytest.mark.parametrize(("aside", "status"), [(-2, 401), (-1, 200), (0, 200), (1, 200), (2, 401)])
def test_one_step_early_or_late_is_near_enough(
    alice: User, clock: Any, aside: int, status: int
) -> None:
    phone, _ = turn_on(alice)
    clock.shift(300)
    assert login(phone.code(aside)).status_code == status


def test_a_code_works_once_and_so_do_the_ones_before_it(alice: User, clock: Any) -> None:
    """P25: what was read over the shoulder is of no use."""
    phone, _ = turn_on(alice)
    assert login(phone.code()).status_code == 401  # it has confirmed the phone
    clock.shift(300)
    assert login(phone.code()).status_code == 200
    again = login(phone.code())
    assert (again.status_code, again.body["code"]) == (401, "otp_required")
    assert login(phone.code(-1)).status_code == 401
    assert login(phone.code(1)).status_code == 200


@pytest.mark.parametrize("code", ["12345", "1234567", "١٢٣٤٥٦", "000000 or 1=1", "-", " "])
def test_what_is_no_code_is_refused(alice: User, code: str) -> None:
    turn_on(alice)
    assert login(code).status_code == 401


def test_a_code_may_be_typed_with_a_space(alice: User) -> None:
    phone, _ = turn_on(alice)
    code = phone.code(1)
    assert login(f" {code[:3]} {code[3:]} ").status_code == 200


@pytest.mark.parametrize("value", [123456, True, ["123456"], {"a": 1}])
def test_a_code_of_another_type_is_named(alice: User, value: Any) -> None:
    answer = login(value)
    assert (answer.status_code, answer.body["errors"][0]["pointer"]) == (400, "#/token")


def test_after_five_wrong_codes_not_even_the_right_one_is_tried(alice: User, clock: Any) -> None:
    """P25, P18"""
    phone, _ = turn_on(alice)
    clock.shift(300)
    for _ in range(5):
        assert login("000000").status_code == 401
    assert login(phone.code()).status_code == 429
    clock.shift(601)
    assert login(phone.code()).status_code == 200


def test_whoever_goes_on_guessing_waits_for_a_day(alice: User, clock: Any) -> None:
    """P25: four times five tries, then none until tomorrow."""
    phone, _ = turn_on(alice)
    for _ in range(4):
        clock.shift(601)
        for _ in range(5):
            assert login("000000").status_code == 401
    clock.shift(601)
    answer = login(phone.code())
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 20 * 3600


@pytest.mark.slow
def test_of_parallel_sign_ins_with_one_code_one_succeeds(cloned_db: Database) -> None:
    """P25: two requests at once are not two uses."""
    alice = make_user("alice")
    phone, _ = turn_on(alice)
    code = phone.code(1)

    def attempt(_: int) -> bool:
        try:
            second_factor.require(User.objects.get(id=alice.id), code)
        except (WrongCode, RateLimited):
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(attempt, range(8))) == 1


def test_the_admin_asks_for_it_too(alice: User) -> None:
    """P25: no side door."""
    User.objects.filter(id=alice.id).update(is_staff=True, is_superuser=True)
    phone, _ = turn_on(alice)
    browser = Client()
    path = reverse("admin:login")
    assert 'name="token"' in browser.get(path).content.decode()
    body = {"username": "alice", "password": PASSWORD}
    assert browser.post(path, body).status_code == 200
    assert browser.get(reverse("admin:index")).status_code == 302
    assert browser.post(path, body | {"token": phone.code(1)}).status_code == 302
    assert browser.get(reverse("admin:index")).status_code == 200


# --- Recovery codes ------------------------------------------------------------------------------


def test_a_recovery_code_signs_in_once(alice: User) -> None:
    _, codes = turn_on(alice)
    assert len(set(codes)) == 10
    assert login(codes[0].upper()).status_code == 200
    assert login(codes[0]).status_code == 401
    assert login(codes[1].replace("-", "")).status_code == 200
    assert second_factor.recovery_codes_left(alice) == 8
    actions = AuditEvent.objects.filter(user=alice).values_list("action", flat=True)
    assert list(actions).count("second_factor.recovery_code_used") == 2


def test_only_hashes_of_recovery_codes_are_kept(alice: User) -> None:
    _, codes = turn_on(alice)
    kept = RecoveryCode.objects.values_list("code_sha256", flat=True)
    assert not {code.replace("-", "") for code in codes} & set(kept)
    assert {len(hash) for hash in kept} == {64}


def test_a_recovery_code_opens_no_other_account(alice: User) -> None:
    _, codes = turn_on(alice)
    bob = make_user("bob")
    turn_on(bob)
    with pytest.raises(WrongCode):
        second_factor.require(bob, codes[0])
    assert second_factor.recovery_codes_left(alice) == 10


def test_new_recovery_codes_end_the_old_ones(alice: User) -> None:
    phone, old = turn_on(alice)
    new = authenticators.renew_recovery_codes(alice, phone.code(1))
    assert login(old[0]).status_code == 401
    assert login(new[0]).status_code == 200


def test_recovery_codes_still_work_when_somebody_has_used_up_the_tries(alice: User) -> None:
    """A thief with the password cannot lock the owner out for a day."""
    _, codes = turn_on(alice)
    for _ in range(6):
        login("000000")
    assert login(codes[0]).status_code == 200


# --- Turning it off ------------------------------------------------------------------------------


def test_turning_it_off_needs_a_code_and_ends_all_other_sign_ins(alice: User) -> None:
    """P21, P25: a profile update does not switch it off, whoever holds a token."""
    phone, _ = turn_on(alice)
    api, other = api_of(alice), api_of(alice)
    for body in ({"twofa": False}, {"twofa": False, "token": "000000"}):
        answer = api.post("/user", body)
        assert (answer.status_code, answer.body["errors"][0]["pointer"]) == (403, "#/token")
    assert api.get("/me").body["twofa"] is True
    answer = api.post("/user", {"twofa": False, "token": phone.code(1)})
    assert (answer.status_code, answer.body["user"]["twofa"]) == (200, False)
    assert api.get("/me").status_code == 200
    assert other.get("/me").status_code == 401
    assert login().status_code == 200
    assert not RecoveryCode.objects.exists()
    assert AuditEvent.objects.filter(user=alice, action="second_factor.off").exists()


def test_saying_what_is_so_already_needs_no_code(alice: User) -> None:
    """Clients send the whole user back."""
    assert api_of(alice).post("/user", {"twofa": False}).status_code == 200
    turn_on(alice)
    assert api_of(alice).post("/user", {"twofa": True}).status_code == 200


def test_it_cannot_be_turned_on_without_a_phone_that_shows_codes(alice: User) -> None:
    answer = api_of(alice).post("/user", {"twofa": True, "display": "x"})
    assert (answer.status_code, answer.body["errors"][0]["pointer"]) == (400, "#/twofa")
    alice.refresh_from_db()
    assert (alice.has_second_factor, alice.display) == (False, "")


def test_guesses_at_turning_it_off_count_like_those_at_sign_in(alice: User) -> None:
    turn_on(alice)
    api = api_of(alice)
    for _ in range(5):
        assert api.post("/user", {"twofa": False, "token": "000000"}).status_code == 403
    assert api.post("/user", {"twofa": False, "token": "000000"}).status_code == 429


def test_a_new_password_leaves_it_on(alice: User) -> None:
    turn_on(alice)
    new = {"password": "another one", "current_password": PASSWORD}
    assert api_of(alice).post("/user", new).status_code == 200
    assert login(password="another one").body["code"] == "otp_required"


def test_an_operator_helps_who_has_lost_everything(alice: User) -> None:
    turn_on(alice)
    api = api_of(alice)
    authenticators.remove_second_factor_as_operator(
        alice, actor="operator olga", reason="knows her"
    )
    assert api.get("/me").status_code == 401
    assert login().status_code == 200
    event = AuditEvent.objects.get(user=alice, action="second_factor.removed")
    assert event.actor == "operator olga"


def test_confirming_twice_or_without_beginning_is_refused(alice: User) -> None:
    with pytest.raises(CoinosError):
        authenticators.turn_on_second_factor(alice, "000000", keep=None)
    second_factor.begin(alice)
    alice.refresh_from_db()
    with pytest.raises(Forbidden):
        authenticators.turn_on_second_factor(alice, "000000", keep=None)
    alice.refresh_from_db()
    assert not alice.has_second_factor
