"""sec-15: the admin is a place of its own, with sessions, lookups and passwords under our rules."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyotp
import pytest
from django.contrib import admin
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from accounts import authenticators, credentials, second_factor
from accounts.models import Session, User
from tests.cast import PASSWORD, Api, give_password, make_user, office_of

INDEX, SIGN_IN = "/admin/", "/admin/login/"
MODELS = [model for model in admin.site._registry if model._meta.app_label != "auth"]


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def olga(db: None) -> User:
    """The operator."""
    olga = make_user("olga", is_staff=True, is_superuser=True)
    give_password(olga)
    return olga


def sign_in(browser: Client, path: str, **more: str) -> Any:
    return browser.post(path, {"username": "olga", "password": PASSWORD} | more)


# --- Sessions -------------------------------------------------------------------------------------


def test_a_sign_in_to_the_wallet_does_not_open_the_admin(olga: User) -> None:
    browser = Client()
    assert sign_in(browser, "/login").status_code == 302
    assert browser.get("/settings").status_code == 200
    assert browser.get(INDEX).status_code == 302
    wallet_cookie = browser.cookies["sessionid"].value
    browser.cookies["admin"] = wallet_cookie
    assert browser.get(INDEX).status_code == 302


def test_a_sign_in_to_the_admin_does_not_open_the_wallet(olga: User) -> None:
    browser = Client()
    assert sign_in(browser, SIGN_IN).status_code == 302
    assert browser.get(INDEX).status_code == 200
    assert browser.get("/settings").status_code == 302
    cookie = browser.cookies["admin"]
    assert (cookie["path"], cookie["samesite"], cookie["httponly"]) == ("/admin/", "Strict", True)
    assert "sessionid" not in browser.cookies
    browser.cookies["sessionid"] = cookie.value
    assert browser.get("/settings").status_code == 302


def test_a_browser_can_be_signed_in_to_both(olga: User) -> None:
    browser = Client()
    sign_in(browser, "/login")
    sign_in(browser, SIGN_IN)
    assert [browser.get(path).status_code for path in ("/settings", INDEX)] == [200, 200]
    browser.post("/admin/logout/")
    assert [browser.get(path).status_code for path in ("/settings", INDEX)] == [200, 302]


def test_an_operators_session_is_listed_and_ended_with_the_others(olga: User) -> None:
    office, browser = Client(), Client()
    sign_in(office, SIGN_IN)
    sign_in(browser, "/login")
    row = Session.objects.get(user=olga, kind="admin")
    assert row.address == "127.0.0.1"
    assert str(row.id) in browser.get("/settings").content.decode()
    browser.post("/settings/sessions")
    assert office.get(INDEX).status_code == 302


def test_signing_out_ends_the_row(olga: User) -> None:
    office = Client()
    sign_in(office, SIGN_IN)
    office.post("/admin/logout/")
    assert Session.objects.get(user=olga).revoked_at


def test_a_new_password_ends_it(olga: User) -> None:
    office = office_of(olga)
    token = Api().post("/login", {"username": "olga", "password": PASSWORD}).body["token"]
    change = {"password": "another good horse", "current_password": PASSWORD}
    assert Api(token).post("/user", change).status_code == 200
    assert office.get(INDEX).status_code == 302


def test_an_operators_session_ends_after_half_an_hour_of_nothing(olga: User) -> None:
    office = office_of(olga)
    session = Session.objects.get(user=olga)
    assert session.expires - session.created == timedelta(minutes=30)
    now = timezone.now()
    Session.objects.filter(id=session.id).update(
        last_used=now - timedelta(minutes=20), expires=now + timedelta(minutes=10)
    )
    assert office.get(INDEX).status_code == 200
    session.refresh_from_db()
    assert session.expires > now + timedelta(minutes=29)  # somebody is there
    Session.objects.filter(id=session.id).update(expires=now)
    assert office.get(INDEX).status_code == 302


def test_it_ends_after_twelve_hours_all_the_same(olga: User) -> None:
    office = office_of(olga)
    now = timezone.now()
    created = now - timedelta(hours=11, minutes=50)
    Session.objects.filter(user=olga).update(
        created=created, last_used=now - timedelta(minutes=2), expires=now + timedelta(minutes=28)
    )
    assert office.get(INDEX).status_code == 200
    assert Session.objects.get(user=olga).expires == created + timedelta(hours=12)


def test_an_operators_session_is_no_token(olga: User) -> None:
    session = credentials.start_session(olga, kind=Session.Kind.ADMIN)
    session.kind = Session.Kind.LOGIN  # as somebody would write it who had the key
    assert Api(credentials.token_of(session)).get("/me").status_code == 401


# --- Second factor and password -------------------------------------------------------------------


def test_where_sats_are_worth_something_a_password_alone_opens_nothing(
    olga: User, settings: Any
) -> None:
    settings.OPERATORS_NEED_SECOND_FACTOR = True
    office = Client()
    told = sign_in(office, SIGN_IN)
    assert told.status_code == 403
    assert f"{settings.PUBLIC_URL}/settings#second-factor" in told.content.decode()
    assert office.get(INDEX).status_code == 302
    assert not Session.objects.filter(user=olga).exists()

    # What the page says is possible: the wallet opens, and the factor is set up there.
    assert sign_in(Client(), "/login").status_code == 302
    second_factor.begin(olga)
    olga.refresh_from_db()
    set_up = second_factor.set_up_of(olga)
    assert set_up
    [recovery_code, *_] = authenticators.turn_on_second_factor(
        olga, pyotp.TOTP(set_up.seed).now(), keep=None
    )
    assert sign_in(office, SIGN_IN).status_code == 200  # asked for the code
    assert office.get(INDEX).status_code == 302
    assert sign_in(office, SIGN_IN, token=recovery_code).status_code == 302
    assert office.get(INDEX).status_code == 200


def test_a_session_of_before_does_not_do_either(olga: User, settings: Any) -> None:
    office = office_of(olga)
    settings.OPERATORS_NEED_SECOND_FACTOR = True
    assert office.get(INDEX).status_code == 302


def test_passwords_are_not_changed_in_the_admin(olga: User) -> None:
    office = office_of(olga)
    for page in ("password_change/", "password_change/done/", f"accounts/user/{olga.pk}/password/"):
        for answer in (office.get(INDEX + page), office.post(INDEX + page, {"password1": "x"})):
            assert answer.status_code in (302, 404)
    assert office.get("/admin/password_change/").status_code == 404
    assert "/settings#password" in office.get(INDEX).content.decode()
    olga.refresh_from_db()
    assert olga.check_password(PASSWORD)


# --- Lookups --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "accounts/user/?password__startswith=argon2",
        "accounts/user/?totp_seed__gte=g",
        "accounts/session/?user__password__startswith=argon2",
        "accounts/apikey/?key_sha256__startswith=0",
        "invoices/lightningrequest/?preimage__startswith=0",
        "payments/gift/?giver__pin_hash__isnull=0",
        "coinos/rate/?minute__year=2026",
    ],
)
def test_no_field_can_be_read_letter_by_letter(olga: User, path: str) -> None:
    assert office_of(olga).get(INDEX + path).status_code == 400


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_list_is_filtered_by_its_filters_and_nothing_else(model: Any) -> None:
    request: Any = RequestFactory().get("/")
    page = admin.site._registry[model]
    names = [field.name for field in model._meta.get_fields()]
    for name in [*names, *(f"{name}__password" for name in names)]:
        for lookup in ("startswith", "iexact", "contains", "regex", "gte", "lt", "in", "isnull"):
            is_filter = lookup == "isnull" and name in str(page.list_filter)
            assert is_filter or not page.lookup_allowed(f"{name}__{lookup}", "1", request)


def test_the_filters_that_lists_offer_work(olga: User) -> None:
    office = office_of(olga)
    request: Any = RequestFactory().get("/")
    request.user = olga
    for model in MODELS:
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for spec in admin.site._registry[model].get_changelist_instance(request).filter_specs:
            for name in spec.expected_parameters():
                assert office.get(url, {name: "1"}).status_code in (200, 302), name


# --- A host of its own ----------------------------------------------------------------------------


def test_with_a_host_of_its_own_the_admin_answers_there_only(olga: User, settings: Any) -> None:
    settings.ADMIN_HOST = "admin.example.com"
    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "admin.example.com"]
    there, here = Client(headers={"host": "admin.example.com"}), Client()
    assert here.get(SIGN_IN).status_code == 404
    assert here.get("/login").status_code == 200
    for path in ("/login", "/api/me", "/olga", "/nowhere"):
        assert there.get(path).status_code == 404, path
    assert there.get("/").headers["Location"] == INDEX
    assert there.get("/static/unfold/css/styles.css").status_code == 200
    assert sign_in(there, SIGN_IN).status_code == 302
    assert there.get(INDEX).status_code == 200


def test_who_asks_for_health_under_no_name_of_ours_is_answered_there_too(
    db: None, settings: Any
) -> None:
    """The health check of the container asks 127.0.0.1, and the proxy waits for its answer."""
    settings.ADMIN_HOST = "admin.example.com"
    settings.ALLOWED_HOSTS = ["wallet.example.com", "admin.example.com"]
    machine = Client(headers={"host": "127.0.0.1:8000"})
    assert machine.get("/api/health").status_code == 200
    assert machine.get("/login").status_code == 400
    assert machine.get(SIGN_IN).status_code == 404


def test_browsers_need_not_ask_for_an_icon_that_is_not_there(olga: User) -> None:
    assert 'rel="icon" href="/static/icons/favicon' in Client().get(SIGN_IN).content.decode()
