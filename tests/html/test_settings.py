"""The settings page: what changes, what is refused, and which secrets need a press."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from accounts import services
from accounts.models import ApiKey, Picture, Session, User
from accounts.step_up import CONFIRMED_AT
from invoices import webhooks
from tests.accounts.pictures import GPS, JPEG, PNG, WEBP, with_metadata
from tests.cast import Api, api_of, give_password
from tests.html.conftest import Browser, Page, Person, sign_in

PROFILE = {"username": "alice", "display": "", "about": ""}
PREFERENCES = {"currency": "USD", "language": "en", "theme": "system"}


def forget_the_password(person: Person) -> None:
    """As if she had signed in an hour ago."""
    session = person.client.session
    session[CONFIRMED_AT] = time.time() - 3600
    session.save()


def fresh(person: Person) -> User:
    return User.objects.get(id=person.user.id)


def revealed(page: Page, name: str) -> str:
    return next(found for found in page.all("input") if found.get("id") == name)["value"]


def test_alice_changes_her_profile_and_others_see_it(alice: Person, stranger: Browser) -> None:
    answer = alice.post(
        "/settings/profile", **(PROFILE | {"display": "Alice B.", "about": "Bakes bread"})
    )
    assert answer.status_code == 302
    assert "Your profile is saved" in alice.get("/settings").page.text
    page = stranger.get("/alice").page
    assert "Alice B." in page.text
    assert "Bakes bread" in page.text


def test_a_taken_name_is_refused_and_nothing_is_changed(alice: Person, bob: Person) -> None:
    answer = alice.post("/settings/profile", **(PROFILE | {"username": "bob", "display": "X"}))
    assert answer.status_code == 422
    assert "This name is already taken. Choose another one" in answer.page.text
    assert "Signed in as alice" in answer.page.text
    assert (fresh(alice).username, fresh(alice).display) == ("alice", "")


def test_a_posted_field_that_is_no_setting_is_ignored(alice: Person) -> None:
    alice.post("/settings/profile", **PROFILE, is_staff="on", id=str(alice.user.id), frozen_at="")
    assert not fresh(alice).is_staff


def test_the_currency_decides_how_amounts_are_shown(alice: Person) -> None:
    alice.post("/settings/preferences", **(PREFERENCES | {"currency": "CAD", "fiat": "on"}))
    home = alice.get("/alice").page.text
    assert "Spendable CA$135.00" in home
    alice.post("/swap")
    assert "Spendable ⚡️100,000" in alice.get("/alice").page.text


def test_numbers_are_written_in_the_chosen_language(alice: Person) -> None:
    alice.post("/settings/preferences", **(PREFERENCES | {"language": "de"}))
    assert "Verfügbar ⚡️100.000" in alice.get("/alice").page.text


def test_the_theme_is_kept(alice: Person) -> None:
    alice.post("/settings/preferences", **(PREFERENCES | {"theme": "dark"}))
    assert alice.get("/alice").page.all("html")[0]["data-theme"] == "dark"


def test_messages_and_a_sound_on_open_pages_are_her_choice(alice: Person) -> None:
    def quiet_and_loud() -> tuple[bool, bool]:
        page = alice.get("/alice").page
        scripts = [found.get("src", "") for found in page.all("script")]
        is_loud = any("sound.js" in script for script in scripts)
        return "data-quiet" in page.all("body")[0], is_loud

    assert quiet_and_loud() == (False, False)
    alice.post("/settings/notifications", sound="on")
    assert quiet_and_loud() == (True, True)
    alice.post("/settings/notifications", toasts="on")
    assert quiet_and_loud() == (False, False)


def test_a_currency_without_a_rate_is_refused(alice: Person) -> None:
    answer = alice.post("/settings/preferences", **(PREFERENCES | {"currency": "XXX"}))
    assert answer.status_code == 422
    assert fresh(alice).currency == "USD"


def test_amounts_are_shown_in_sats_when_there_is_no_rate(alice: Person, redis: Any) -> None:
    from coinos import rates
    from coinos.models import Rate

    alice.post("/settings/preferences", **(PREFERENCES | {"fiat": "on"}))
    Rate.objects.all().delete()
    redis.flushdb()
    rates.forget()
    page = alice.get("/alice").page.text
    assert "Spendable ⚡️100,000" in page
    assert "$" not in page


def test_the_pin_is_set_changed_and_removed_only_with_the_old_one(alice: Person) -> None:
    assert "six digits" in alice.post("/settings/pin", newpin="12ab56").page.text
    assert alice.post("/settings/pin", newpin="123456").status_code == 302
    assert alice.post("/settings/pin", pin="000000", newpin="222222").status_code == 422
    services.require_pin(fresh(alice), "123456")
    assert alice.post("/settings/pin", pin="", newpin="").status_code == 422
    assert alice.post("/settings/pin", pin="123456", newpin="").status_code == 302
    assert not fresh(alice).has_pin


def asks_for_the_pin(person: Person) -> bool:
    """Whether paying Bob does; it is paid without a PIN when it does not."""
    page = person.post("/send/confirm", text="bob", amount="1", unit="sats", memo="").page
    asked = "pin" in {found.get("name") for found in page.all("input")}
    answer = person.post("/send/pay", **page.hidden())
    assert answer.status_code == (422 if asked else 302)
    return asked


def test_a_browser_that_gave_the_pin_is_not_asked_again_until_the_lock_timer_ends(
    alice: Person, bob: Person
) -> None:
    """P22: and no other browser or program is spared it."""
    alice.post("/settings/pin", newpin="123456")
    other = sign_in(alice.user)
    assert asks_for_the_pin(alice)
    page = alice.post("/send/confirm", text="bob", amount="1", unit="sats", memo="").page
    assert alice.post("/send/pay", **(page.hidden() | {"pin": "123456"})).status_code == 302
    assert not asks_for_the_pin(alice)
    assert asks_for_the_pin(other)
    refused = api_of(alice.user).post("/send", {"username": "bob", "amount": 1})
    assert refused.status_code == 403
    Session.objects.filter(pin_at__isnull=False).update(
        pin_at=timezone.now() - timedelta(seconds=301)
    )
    assert asks_for_the_pin(alice)


def test_the_pin_can_be_asked_for_before_every_payment(alice: Person, bob: Person) -> None:
    alice.post("/settings/pin", newpin="123456")
    timer = {"timer-locktime_s": "0"}
    assert alice.post("/settings/lock-timer", **timer).status_code == 422
    assert alice.post("/settings/lock-timer", **timer, **{"timer-pin": "0"}).status_code == 422
    assert fresh(alice).locktime_s == 300
    right = alice.post("/settings/lock-timer", **timer, **{"timer-pin": "123456"})
    assert right.status_code == 302
    page = alice.post("/send/confirm", text="bob", amount="1", unit="sats", memo="").page
    alice.post("/send/pay", **(page.hidden() | {"pin": "123456"}))
    assert bob.available_sat == 1
    assert asks_for_the_pin(alice)


def test_a_new_pin_has_to_be_given_everywhere(alice: Person, bob: Person) -> None:
    alice.post("/settings/pin", newpin="123456")
    Session.objects.filter(user=alice.user).update(pin_at=timezone.now())
    assert not asks_for_the_pin(alice)
    alice.post("/settings/pin", pin="123456", newpin="222222")
    assert asks_for_the_pin(alice)


def test_devices_are_listed_and_one_can_be_ended(alice: Person) -> None:
    phone = api_of(alice.user)
    assert phone.get("/me").status_code == 200
    page = alice.get("/settings").page
    assert "this one" in page.text
    assert "API token" in page.text
    session = Session.objects.get(user=alice.user, kind="login")
    assert alice.post(f"/settings/sessions/{session.id}").status_code == 302
    assert phone.get("/me").status_code == 401
    assert alice.get("/settings").status_code == 200


def test_nobody_ends_the_sign_in_of_another(alice: Person, charlie: Person) -> None:
    session = Session.objects.get(user=alice.user)
    charlie.post(f"/settings/sessions/{session.id}")
    assert alice.get("/settings").status_code == 200


@pytest.mark.parametrize("with_keys", [False, True])
def test_logging_out_everywhere_keeps_this_browser(alice: Person, with_keys: bool) -> None:
    phone = api_of(alice.user)
    made = alice.post("/settings/keys", name="shop", scope="spend", budget_sat="")
    program = Api(revealed(made.page, "new-key"))
    alice.post("/settings/sessions", **({"api_keys": "on"} if with_keys else {}))
    assert alice.get("/settings").status_code == 200
    assert phone.get("/me").status_code == 401
    assert program.get("/payments").status_code == (401 if with_keys else 200)


def test_an_api_key_is_shown_once_and_works_within_its_scope(alice: Person, bob: Person) -> None:
    made = alice.post("/settings/keys", name="shop", scope="receive", budget_sat="")
    key = revealed(made.page, "new-key")
    assert key not in alice.get("/settings").page.html
    assert Api(key).get("/payments").status_code == 200
    refused = Api(key).post("/send", {"username": "bob", "amount": 1})
    assert refused.status_code == 403
    alice.post(f"/settings/keys/{ApiKey.objects.get().id}")
    assert Api(key).get("/payments").status_code == 401


def test_a_key_of_somebody_else_cannot_be_revoked(alice: Person, charlie: Person) -> None:
    alice.post("/settings/keys", name="shop", scope="read", budget_sat="")
    charlie.post(f"/settings/keys/{ApiKey.objects.get().id}")
    assert ApiKey.objects.get().revoked_at is None


@pytest.mark.parametrize(("path", "secret"), [("/docs", "export"), ("/webhooks", "secret")])
def test_a_secret_needs_a_press_and_a_password_of_the_last_minutes(
    alice: Person, path: str, secret: str
) -> None:
    give_password(alice.user)
    alice = sign_in(alice.user)
    forget_the_password(alice)

    def shows(page: Page) -> bool:
        return any(found.get("id") == secret for found in page.all("input"))

    assert not shows(alice.get(path).page)
    assert not shows(alice.post(path).page)
    wrong = alice.post(path, password="wrong")
    assert not shows(wrong.page)
    assert "The password is wrong" in wrong.page.text
    right = alice.post(path, password="correct horse")
    assert shows(right.page)
    assert right.headers["Cache-Control"] == "no-store"
    assert shows(alice.post(path).page)
    assert not shows(alice.get(path).page)


def test_a_new_api_key_needs_the_password_too(alice: Person) -> None:
    forget_the_password(alice)
    answer = alice.post("/settings/keys", name="shop", scope="spend", budget_sat="")
    assert answer.status_code == 422
    assert not ApiKey.objects.exists()


def test_a_key_that_can_spend_needs_the_pin(alice: Person) -> None:
    """P22, sec-9: a key spends without one, so whoever knows only the password gets none."""
    User.objects.filter(id=alice.user.id).update(pin_hash=make_password("123456"))
    key = {"name": "shop", "budget_sat": ""}
    for wrong in ({}, {"pin": ""}, {"pin": "000000"}):
        refused = alice.post("/settings/keys", **key, scope="spend", **wrong)
        assert refused.status_code == 422
        assert not ApiKey.objects.exists()
    assert alice.post("/settings/keys", **key, scope="receive").status_code == 200
    assert alice.post("/settings/keys", **key, scope="spend", pin="123456").status_code == 200
    assert ApiKey.objects.count() == 2


def test_the_signing_secret_is_shown_and_can_be_replaced(alice: Person) -> None:
    secret = revealed(alice.post("/webhooks").page, "secret")
    assert secret == webhooks.signing_secret(fresh(alice))
    replaced = revealed(alice.post("/webhooks", rotate="1").page, "secret")
    assert replaced.startswith("whsec_")
    assert replaced != secret


def test_the_read_only_token_reads_and_never_spends(alice: Person, bob: Person) -> None:
    token = revealed(alice.post("/settings/read-only").page, "read-only")
    assert Api(token).get("/payments").status_code == 200
    assert Api(token).get("/me").status_code == 401
    assert Api(token).post("/send", {"username": "bob", "amount": 1}).status_code == 401


def test_the_documentation_runs_with_the_token_that_it_shows(
    alice: Person, stranger: Browser
) -> None:
    assert "&lt;your auth token&gt;" in stranger.get("/docs").page.html
    shown = revealed(alice.post("/docs").page, "export")
    token = shown.removeprefix("export token=")
    assert Api(token).get("/me").body["username"] == "alice"
    assert revealed(alice.post("/docs").page, "export") == shown
    assert stranger.post("/docs").status_code == 302


def test_the_documentation_has_lost_its_three_slips(stranger: Browser) -> None:
    from html import unescape

    page = unescape(stranger.get("/docs").page.html)
    examples = [line for line in page.split("curl ") if line.startswith('"http')]
    assert len(examples) >= 13
    me = next(example for example in examples if "/api/me" in example)
    assert "Authorization: Bearer $token" in me
    assert '{ "username": "demo" }' in page
    assert '"demo", }' not in page
    hash_example = next(example for example in examples if "/api/invoice/bc1q" in example)
    assert "application/json\"'" not in hash_example


def test_every_error_code_is_explained(stranger: Browser) -> None:
    page = stranger.get("/docs/errors").page
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert {"insufficient_funds", "payment_failed", "username_taken", "node_unavailable"} <= ids


# --- The picture and the banner ------------------------------------------------------------------


def upload(person: Person, content: bytes, name: str = "me.png", *, kind: str = "picture") -> Any:
    return person.post(f"/settings/{kind}", **{kind: SimpleUploadedFile(name, content)})


@pytest.mark.parametrize("kind", ["picture", "banner"])
@pytest.mark.parametrize(
    ("content", "type"), [(PNG, "image/png"), (JPEG, "image/jpeg"), (WEBP, "image/webp")]
)
def test_a_picture_is_served_as_it_was_sent_and_as_nothing_but_an_image(
    alice: Person, stranger: Browser, content: bytes, type: str, kind: str
) -> None:
    assert upload(alice, content, "me.html", kind=kind).status_code == 302
    (shown,) = stranger.get("/alice").page.all("img")
    assert ("banner" in shown["class"]) == (kind == "banner")
    answer = stranger.get(shown["src"])
    assert answer.content == content
    assert answer.headers["Content-Type"] == type
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert getattr(fresh(alice), kind).endswith(shown["src"])


@pytest.mark.parametrize("kind", ["picture", "banner"])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"<svg onload=alert(1)>", "must be a JPEG, PNG or WebP"),
        (b"GIF89a" + bytes(50), "must be a JPEG, PNG or WebP"),
        (PNG + bytes(200_000), "at most 200 kB"),
        (PNG[:-1], "This picture is damaged"),
        (JPEG[:100], "This picture is damaged"),
        (b"", "empty"),
    ],
)
def test_what_is_no_small_picture_is_refused(
    alice: Person, content: bytes, sentence: str, kind: str
) -> None:
    """P13"""
    answer = upload(alice, content, kind=kind)
    assert answer.status_code == 422
    assert sentence in answer.page.text
    assert getattr(fresh(alice), kind) == ""
    assert not Picture.objects.exists()


@pytest.mark.parametrize("kind", ["picture", "banner"])
@pytest.mark.parametrize("picture", [PNG, JPEG, WEBP])
def test_a_picture_sent_without_our_script_does_not_tell_where_it_was_taken(
    alice: Person, stranger: Browser, picture: bytes, kind: str
) -> None:
    """sec-18"""
    upload(alice, with_metadata(picture), kind=kind)
    (shown,) = stranger.get("/alice").page.all("img")
    assert GPS not in stranger.get(shown["src"]).content


def test_a_new_picture_has_a_new_address_and_can_be_removed(
    alice: Person, stranger: Browser
) -> None:
    upload(alice, PNG)
    first = fresh(alice).picture
    upload(alice, JPEG)
    assert fresh(alice).picture != first
    alice.post("/settings/picture", remove="1")
    assert fresh(alice).picture == ""
    assert stranger.get(f"/picture/{alice.user.id}").status_code == 404


def test_the_banner_and_the_picture_are_kept_apart(alice: Person, stranger: Browser) -> None:
    upload(alice, PNG)
    upload(alice, WEBP, kind="banner")
    upload(alice, JPEG, kind="banner")
    banner, picture = stranger.get("/alice").page.all("img")
    assert stranger.get(banner["src"]).content == JPEG
    assert stranger.get(picture["src"]).content == PNG
    alice.post("/settings/banner", remove="1")
    assert [found["src"] for found in stranger.get("/alice").page.all("img")] == [picture["src"]]
    assert stranger.get(banner["src"]).status_code == 404
    assert (fresh(alice).banner, Picture.objects.count()) == ("", 1)


def test_a_banner_of_somebody_else_cannot_be_changed(alice: Person, charlie: Person) -> None:
    upload(alice, PNG, kind="banner")
    charlie.post("/settings/banner", remove="1")
    assert fresh(alice).banner
    assert fresh(charlie).banner == ""


def test_the_browser_makes_each_picture_the_size_that_its_field_names(alice: Person) -> None:
    page = alice.get("/settings").page
    sizes = {found["name"]: found.get("data-picture") for found in page.all("input")}
    assert (sizes["picture"], sizes["banner"]) == ("256x256", "960x320")


def test_a_picture_elsewhere_is_not_loaded(alice: Person, stranger: Browser) -> None:
    services.update_profile(alice.user, {"picture": "https://tracker.example/a.png"})
    assert "tracker.example" not in stranger.get("/alice").page.html


# --- Closing the account -------------------------------------------------------------------------


def close(person: Person, username: str, password: str) -> Any:
    fields = {"close-username": username, "close-password": password}
    return person.client.post("/settings/close", fields)


def test_an_empty_account_is_closed_for_good(bob: Person, stranger: Browser) -> None:
    give_password(bob.user)
    person = sign_in(bob.user)
    assert close(person, "bob", "correct horse").headers["Location"] == "/"
    assert "Your account is closed" in person.get("/").page.text
    assert person.get("/settings").status_code == 302
    assert stranger.get("/bob").status_code == 404
    assert not fresh(bob).is_active
    assert stranger.post("/login", username="bob", password="correct horse").status_code == 422


@pytest.mark.parametrize(
    ("username", "password", "sentence"),
    [
        ("alice", "wrong", "The password is wrong"),
        ("bob", "correct horse", "not the name of this account"),
        ("alice", "correct horse", "Send all your sats elsewhere"),
    ],
)
def test_closing_needs_the_name_the_password_and_no_sats(
    alice: Person, username: str, password: str, sentence: str
) -> None:
    give_password(alice.user)
    person = sign_in(alice.user)
    answer = close(person, username, password)
    assert answer.status_code == 422
    assert sentence in answer.content.decode()
    assert fresh(alice).is_active


def test_each_label_of_the_settings_names_the_field_below_it(alice: Person) -> None:
    """Several of its forms ask for the PIN and for the password, each in a field of its own."""
    alice.post("/settings/pin", newpin="246810")
    forget_the_password(alice)
    page = alice.get("/settings").page
    ids = [found["id"] for found in page.all("input") if "id" in found]
    assert len([name for name in ids if name.endswith("_password")]) > 3
    assert sorted(ids) == sorted(set(ids))
    assert {found["for"] for found in page.all("label") if "for" in found} <= {
        found["id"]
        for tag in ("input", "select", "textarea")
        for found in page.all(tag)
        if "id" in found
    }
