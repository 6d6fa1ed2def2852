"""The second factor on the pages: set up in the settings, asked after the password."""

from __future__ import annotations

import re
import time

import pyotp
import pytest
import time_machine
from django.conf import settings

from accounts import authenticators, services
from accounts.models import RecoveryCode, Session, User
from accounts.sign_in import HALF_SIGNED_IN_FOR_S
from tests.html.conftest import Browser, Page, Person
from tests.html.test_settings import forget_the_password, fresh, revealed
from tests.html.test_sign_in import PASSWORD, sign_in


def code(seed: str, aside: int = 0) -> str:
    return pyotp.TOTP(seed).at(int(time.time()) + 30 * aside)


def turn_on(person: Person) -> tuple[str, Page]:
    """By the pages; the seed, and the page with the recovery codes."""
    begun = person.post("/settings/second-factor/new")
    assert begun.headers["Location"] == "/settings/second-factor"
    seed = revealed(person.get("/settings/second-factor").page, "seed")
    done = person.post("/settings/second-factor", token=code(seed))
    assert done.status_code == 200
    return seed, done.page


@pytest.fixture
def dora(stranger: Browser) -> Person:
    """Registered by the form, so that she has a password."""
    stranger.post("/register", username="dora", password=PASSWORD)
    return Person(client=stranger.client, user=User.objects.get(username="dora"))


def test_dora_sets_it_up_and_is_asked_for_a_code(dora: Person) -> None:
    seed, page = turn_on(dora)
    codes = re.findall(r"\b(?:[0-9a-f]{5}-){3}[0-9a-f]{5}\b", page.text)
    assert len(codes) == RecoveryCode.objects.filter(user=dora.user).count() == 10
    shown = dora.get("/settings").page
    assert "Recovery codes left: 10" in shown.text
    assert seed not in shown.html
    assert codes[0] not in shown.html

    phone = Browser()
    half = sign_in(phone, "dora", PASSWORD, next="/payments")
    assert half.headers["Location"] == "/login/code"
    assert phone.get("/payments").status_code == 302
    asked = phone.get("/login/code").page
    assert {"one-time-code"} == {found.get("autocomplete") for found in asked.all("input")} - {None}
    wrong = phone.post("/login/code", token="000000")
    assert wrong.status_code == 422
    assert "This code is wrong" in wrong.page.text
    right = phone.post("/login/code", token=code(seed, 1))
    assert right.headers["Location"] == "/payments"
    assert phone.get("/dora").status_code == 200


def test_the_code_to_scan_names_the_account_and_the_server(dora: Person) -> None:
    dora.post("/settings/second-factor/new")
    page = dora.get("/settings/second-factor").page
    link = next(found["href"] for found in page.all("a") if found["href"].startswith("otpauth:"))
    parsed = pyotp.parse_uri(link)
    assert (parsed.issuer, parsed.name) == ("coinos", f"dora@{settings.DOMAIN}")
    assert any(found == "svg" for found, _ in page.elements)


def test_setting_it_up_needs_the_password_of_the_last_minutes(dora: Person) -> None:
    forget_the_password(dora)
    assert "password" in {f.get("name") for f in dora.get("/settings").page.all("input")}
    answer = dora.post("/settings/second-factor/new", password="wrong")
    assert answer.status_code == 422
    assert fresh(dora).totp_seed == ""
    assert dora.post("/settings/second-factor/new", password=PASSWORD).status_code == 302


def test_a_wrong_code_leaves_it_off_and_shows_the_same_seed(dora: Person) -> None:
    dora.post("/settings/second-factor/new")
    seed = revealed(dora.get("/settings/second-factor").page, "seed")
    answer = dora.post("/settings/second-factor", token="000000")
    assert answer.status_code == 422
    assert revealed(answer.page, "seed") == seed
    assert not fresh(dora).has_second_factor


def test_turning_it_on_ends_her_other_browsers(dora: Person) -> None:
    """P24"""
    other = Browser()
    sign_in(other, "dora", PASSWORD)
    turn_on(dora)
    assert other.get("/settings").status_code == 302
    assert dora.get("/settings").status_code == 200


def test_it_is_turned_off_only_with_a_code(dora: Person) -> None:
    """P21"""
    seed, _ = turn_on(dora)
    refused = dora.post("/settings/second-factor/off", token="000000")
    assert refused.status_code == 422
    assert "This code is wrong" in refused.page.text
    assert fresh(dora).has_second_factor
    done = dora.post("/settings/second-factor/off", token=code(seed, 1))
    assert done.status_code == 302
    assert sign_in(Browser(), "dora", PASSWORD).headers["Location"] == "/dora"


def test_new_recovery_codes_are_shown_once(dora: Person) -> None:
    seed, page = turn_on(dora)
    assert dora.post("/settings/recovery-codes", token="000000").status_code == 422
    answer = dora.post("/settings/recovery-codes", token=code(seed, 1))
    assert answer.status_code == 200
    assert "cannot be shown again" in answer.page.text
    assert answer.page.text != page.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_second_step_alone_opens_nothing(dora: Person) -> None:
    """P25"""
    seed, _ = turn_on(dora)
    browser = Browser()
    assert browser.get("/login/code").headers["Location"] == "/login"
    answer = browser.post("/login/code", token=code(seed, 1))
    assert answer.headers["Location"] == "/login"
    assert browser.get("/dora").page.text.count("Spendable") == 0


def test_the_first_step_is_forgotten_after_five_minutes(dora: Person) -> None:
    seed, _ = turn_on(dora)
    browser = Browser()
    sign_in(browser, "dora", PASSWORD)
    with time_machine.travel(time.time() + HALF_SIGNED_IN_FOR_S + 1):
        answer = browser.post("/login/code", token=code(seed))
    assert answer.headers["Location"] == "/login"


def test_the_first_step_ends_with_a_new_password_or_eviction(dora: Person) -> None:
    """P20, P24"""
    seed, _ = turn_on(dora)
    first, second = Browser(), Browser()
    sign_in(first, "dora", PASSWORD)
    authenticators.change_password(fresh(dora), current=PASSWORD, new="another one", keep=None)
    assert first.post("/login/code", token=code(seed, 1)).headers["Location"] == "/login"
    sign_in(second, "dora", "another one")
    services.evict(fresh(dora), actor="test")
    assert second.post("/login/code", token=code(seed, 1)).headers["Location"] == "/login"
    assert not Session.objects.filter(user=dora.user, revoked_at=None).exists()


def test_the_key_of_the_session_changes_at_each_step(dora: Person) -> None:
    seed, _ = turn_on(dora)
    browser = Browser()
    sign_in(browser, "dora", PASSWORD)
    half = browser.client.session.session_key
    browser.post("/login/code", token=code(seed, 1))
    assert browser.client.session.session_key != half
