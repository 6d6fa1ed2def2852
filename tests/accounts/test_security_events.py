"""sec-14: how somebody got in, and what was done to an account, is answerable."""

from __future__ import annotations

import json
import logging
from typing import Any

import pyotp
import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import authenticators, credentials, second_factor
from accounts.audit import audit_some
from accounts.models import AuditEvent, User
from coinos import limits
from tests.cast import PASSWORD, Api, api_of, give_password, make_user, office_of

BROWSER = "Firefox/140"


@pytest.fixture(autouse=True)
def quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def edgar(db: None) -> User:
    return give_password(make_user("edgar"))


def events(user: User | None) -> list[str]:
    return list(
        AuditEvent.objects.filter(user=user).order_by("id").values_list("action", flat=True)
    )


def last(user: User | None) -> AuditEvent:
    return AuditEvent.objects.filter(user=user).latest("id")


def sign_in(password: str = PASSWORD, *, name: str = "edgar", token: str = "") -> Any:
    body = {"username": name, "password": password, "token": token}
    return Client(REMOTE_ADDR="192.0.2.7", headers={"user-agent": BROWSER}).post(
        "/api/login", body, content_type="application/json"
    )


# --- Signing in -----------------------------------------------------------------------------------


def test_every_sign_in_is_noted_with_where_it_came_from(edgar: User) -> None:
    edgar.is_staff = True
    edgar.save()
    sign_in()
    browser = Client(REMOTE_ADDR="192.0.2.7", headers={"user-agent": BROWSER})
    for path in ("/login", "/admin/login/"):
        browser.post(path, {"username": "edgar", "password": PASSWORD})
    found = AuditEvent.objects.filter(user=edgar, action="signed_in").order_by("id")
    assert [event.door for event in found] == ["api", "page", "admin"]
    assert [event.detail["kind"] for event in found] == ["login", "web", "admin"]
    for event in found:
        assert (event.address, event.user_agent) == ("192.0.2.7", BROWSER)
        assert edgar.sessions.filter(id=event.object).exists()


def test_so_is_a_wrong_password_and_a_refusal(edgar: User) -> None:
    for _ in range(21):
        sign_in("wrong")
    assert events(edgar) == ["sign_in.wrong"] * 20 + ["sign_in.refused"]
    event = last(edgar)
    assert (event.door, event.address, event.actor) == ("api", "192.0.2.7", "unknown")


def test_a_name_that_does_not_exist_is_noted_without_it(edgar: User) -> None:
    """People type their password where the name belongs."""
    sign_in("wrong", name="hunter2hunter2")
    event = last(None)
    assert (event.action, event.address) == ("sign_in.wrong", "192.0.2.7")
    assert "hunter2" not in json.dumps([event.object, event.detail])


def test_a_wrong_code_is_noted_and_a_right_one_with_the_sign_in(edgar: User) -> None:
    second_factor.begin(edgar)
    edgar.refresh_from_db()
    set_up = second_factor.set_up_of(edgar)
    assert set_up
    [code, *_] = authenticators.turn_on_second_factor(
        edgar, pyotp.TOTP(set_up.seed).now(), keep=None
    )
    assert sign_in(token="no such code").status_code == 401
    assert last(edgar).action == "second_factor.wrong"
    assert sign_in(token=code).status_code == 200
    assert last(edgar).detail == {"kind": "login", "second_factor": True}


def test_strangers_cannot_flood_the_log(edgar: User) -> None:
    """The first twenty of an hour, then the 100th: however many there are."""
    with time_machine.travel(timezone.now(), tick=False) as clock:
        for number in range(105):
            sign_in("wrong", name=f"nobody{number}")
        # From one network, 20 are evaluated; what is refused is counted by itself.
        assert AuditEvent.objects.count() == 20 + 20
        clock.shift(limits.AUDITED.window_s + 1)
        sign_in("wrong", name="nobody")
        assert last(None).action == "sign_in.wrong"


def test_what_was_not_listed_singly_is_counted(edgar: User) -> None:
    with time_machine.travel(timezone.now(), tick=False):
        for _ in range(1000):
            audit_some(edgar, "sign_in.wrong")
    assert AuditEvent.objects.count() == 22
    assert last(edgar).detail == {"times_this_hour": 1000}


def test_each_is_one_line_of_json_in_the_servers_log(
    edgar: User, caplog: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with caplog.at_level(logging.INFO, logger="coinos.audit"):
        with django_capture_on_commit_callbacks(execute=True):
            sign_in("wrong")
    [line] = [json.loads(text) for name, _, text in caplog.record_tuples if name == "coinos.audit"]
    assert line == {
        "action": "sign_in.wrong",
        "user": str(edgar.id),
        "actor": "unknown",
        "door": "api",
        "address": "192.0.2.7",
        "user_agent": BROWSER,
    }


# --- What is done with an account -----------------------------------------------------------------


def test_registration_pins_keys_and_connections_are_noted(db: None) -> None:
    registered = Api().post("/register", {"user": {"username": "dora", "password": PASSWORD}})
    dora, api = User.objects.get(username="dora"), Api(registered.body["token"])
    assert events(dora) == ["account.opened", "connection.made", "signed_in"]

    api.post("/user", {"newpin": "493817", "current_password": "wrong"})
    assert last(dora).action == "password.wrong"
    api.post("/user", {"newpin": "493817", "current_password": PASSWORD})
    assert last(dora).action == "pin.set"
    api.post("/user", {"newpin": "delete", "pin": "000000"})
    assert last(dora).action == "pin.wrong"

    api.post("/app", {"name": "damus", "secret": "1f0e" * 16, "pin": "493817"})
    made = last(dora)
    assert (made.action, made.detail["name"]) == ("connection.made", "damus")
    api.post("/app", {"name": "amethyst", "secret": "1f0e" * 16, "pin": "493817"})
    assert last(dora).action == "connection.changed"
    api.post("/apps/delete", {"pubkey": made.object})
    assert last(dora).action == "connection.deleted"

    api.get("/ro")
    assert last(dora).action == "read_only_token.shown"
    api.post("/logout")
    assert last(dora).action == "session.revoked"
    assert "1f0e" * 16 not in json.dumps(list(AuditEvent.objects.values_list("detail", flat=True)))


def test_what_is_done_on_the_pages_is_noted(edgar: User) -> None:
    browser, other = Client(), api_of(edgar)
    browser.post("/login", {"username": "edgar", "password": PASSWORD})
    browser.post("/settings/keys", {"name": "shop", "scope": "read", "budget_sat": ""})
    made = last(edgar)
    assert (made.action, made.door) == ("key.made", "page")
    assert made.detail == {"name": "shop", "scope": "read", "budget_sat": None}
    steps = [
        (f"/settings/keys/{made.object}", {}, "key.revoked"),
        ("/settings/read-only", {}, "read_only_token.shown"),
        ("/docs", {}, "token.shown"),
        ("/webhooks", {}, "signing_secret.shown"),
        ("/webhooks", {"rotate": "1"}, "signing_secret.replaced"),
        ("/webhooks/account", {"account-url": "https://93.184.215.14/a-secret"}, "webhook.changed"),
        ("/webhooks/account", {"account-url": ""}, "webhook.removed"),
        ("/settings/sessions", {}, "sessions.revoked"),
        ("/logout", {}, "session.revoked"),
    ]
    for path, body, action in steps:
        browser.post(path, body)
        assert last(edgar).action == action, path
    assert other.get("/me").status_code == 401
    details = json.dumps(list(AuditEvent.objects.values_list("detail", flat=True)))
    assert "93.184.215.14" in details
    assert "a-secret" not in details


def test_what_is_over_already_is_not_noted_again(edgar: User) -> None:
    browser = Client()
    browser.post("/login", {"username": "edgar", "password": PASSWORD})
    before = events(edgar)
    for path in ("sessions", "keys"):
        browser.post(f"/settings/{path}/5a249032-7d1c-4c3f-9a90-1f0f9b2f4a11")
    assert events(edgar) == before


# --- For the operator -----------------------------------------------------------------------------


def test_the_page_of_a_user_leads_to_what_happened_to_the_account(edgar: User) -> None:
    office = office_of(make_user("olga", is_staff=True, is_superuser=True))
    make_user("frida")
    sign_in("wrong")
    sign_in("wrong", name="nobody")
    page = office.get(reverse("admin:accounts_user_change", args=[edgar.id])).content.decode()
    link = f"{reverse('admin:accounts_auditevent_changelist')}?user={edgar.id}"
    assert link in page
    listed = office.get(link).content.decode()
    assert listed.count("sign_in.wrong") == 1
    assert "192.0.2.7" in listed
    assert BROWSER in listed
    assert office.get(f"{link}x").status_code in (200, 302)


@pytest.mark.parametrize(
    ("model", "action"), [("user", "unfreeze"), ("session", "revoke"), ("apikey", "revoke")]
)
def test_operators_act_for_a_reason(edgar: User, model: str, action: str) -> None:
    office = office_of(make_user("olga", is_staff=True, is_superuser=True))
    key, _text = credentials.create_api_key(edgar, name="x", scope="read")
    api_of(edgar)
    row = {"user": edgar, "session": edgar.sessions.get(), "apikey": key}[model]
    body = {"action": action, "_selected_action": [str(row.pk)], "index": 0}
    before = events(edgar)
    url = reverse(f"admin:accounts_{model}_changelist")
    assert "write a reason" in office.post(url, body, follow=True).content.decode()
    assert events(edgar) == before
    office.post(url, body | {"reason": "asked by the owner"})
    event = last(edgar)
    assert (event.actor, event.door) == ("operator olga", "admin")
    assert event.detail["reason"] == "asked by the owner"
