"""E-mail, through a real mail server on loopback: confirm an address, replace a forgotten password,
be told of payments; and what a server without e-mail says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import authenticators, credentials, emails, second_factor, services, statement
from accounts.authenticators import StepUp
from accounts.models import Activity, AuditEvent, Email, Session, User
from tests.accounts.mailbox import Mailbox, open_mailbox
from tests.cast import Api, api_of
from tests.html.conftest import Browser, Person
from tests.html.test_settings import forget_the_password, fresh
from tests.html.test_sign_in import PASSWORD, sign_in

NEW = "a new one, and long"


@pytest.fixture
def mailbox(settings: Any) -> Iterator[Mailbox]:
    with open_mailbox() as mailbox:
        settings.EMAIL_ENABLED = True
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", mailbox.port
        settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
        settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
        settings.DEFAULT_FROM_EMAIL = "My wallet <wallet@pay.example>"
        yield mailbox


@pytest.fixture
def dora(stranger: Browser) -> Person:
    stranger.post("/register", username="dora", password=PASSWORD)
    return Person(client=stranger.client, user=User.objects.get(username="dora"))


@pytest.fixture
def mallory(db: None) -> Person:
    browser = Browser()
    browser.post("/register", username="mallory", password=PASSWORD)
    return Person(client=browser.client, user=User.objects.get(username="mallory"))


def confirmed(user: User, address: str = "dora@mail.example", **fields: Any) -> User:
    User.objects.filter(id=user.id).update(
        email=address, email_verified_at=timezone.now(), **fields
    )
    return User.objects.get(id=user.id)


def change_email(user: User, address: str) -> User:
    authenticators.change_email(user, address, notify=user.notify, proof=StepUp())
    return user


def link_in(mailbox: Mailbox, part: str) -> str:
    """The path of the link in the last message."""
    content: str = mailbox.messages[-1].get_content()  # type: ignore[attr-defined]
    found = re.search(rf"http://[^/\s]+(/{part}/\S+)", content)
    assert found, content
    return found[1]


def link_for(name: str, mailbox: Mailbox) -> str:
    Browser().post("/forgot", account=name)
    emails.deliver_due()
    return link_in(mailbox, "reset")


# --- The address ---------------------------------------------------------------------------------


def test_dora_confirms_her_address(dora: Person, mailbox: Mailbox) -> None:
    answer = dora.post("/settings/email", email="dora@mail.example")
    assert answer.status_code == 302
    assert "sent a link to dora@mail.example" in dora.get("/settings").page.text
    assert mailbox.messages == []  # no request waits for the mail server
    emails.deliver_due()
    message = mailbox.messages[0]
    assert (message["To"], message["From"]) == (
        "dora@mail.example",
        "My wallet <wallet@pay.example>",
    )
    link = link_in(mailbox, "verify")
    assert dora.get(link).status_code == 200
    assert fresh(dora).email_verified_at is None  # opening it changes nothing
    assert api_of(dora.user).get("/me").body["verified"] is False
    assert dora.post(link).status_code == 302
    assert api_of(dora.user).get("/me").body["verified"] is True
    assert AuditEvent.objects.filter(user=dora.user, action="email.verified").count() == 1
    assert dora.post(link).status_code == 410  # once


def test_a_link_confirms_only_the_address_it_was_sent_to(dora: Person, mailbox: Mailbox) -> None:
    dora.post("/settings/email", email="first@mail.example")
    emails.deliver_due()
    link = link_in(mailbox, "verify")
    change_email(fresh(dora), "second@mail.example")
    assert dora.post(link).status_code == 410
    assert fresh(dora).email_verified_at is None


def test_the_link_of_one_account_confirms_no_other(
    dora: Person, alice: Person, mailbox: Mailbox
) -> None:
    """P01"""
    alice.post("/settings/email", email="dora@mail.example")
    change_email(fresh(dora), "dora@mail.example")
    emails.deliver_due()
    assert dora.post(link_in(mailbox, "verify")).status_code == 410


def test_confirming_needs_a_sign_in_and_the_password_of_the_last_minutes(
    dora: Person, mailbox: Mailbox
) -> None:
    """P21: whoever names an address with the password does not make it count."""
    body = {"email": "thief@mail.example", "current_password": PASSWORD}
    api_of(dora.user).post("/user", body)
    emails.queue_verification(fresh(dora))
    emails.deliver_due()
    link = link_in(mailbox, "verify")
    assert "/login" in Browser().post(link).headers["Location"]
    forget_the_password(dora)
    assert dora.post(link, password="wrong").status_code == 422
    assert fresh(dora).email_verified_at is None


def test_a_changed_address_is_no_longer_confirmed(dora: Person) -> None:
    user = confirmed(dora.user)
    body = api_of(user).post("/user", {"email": "dora@mail.example"}).body["user"]
    assert body["verified"] is True
    proof = {"current_password": PASSWORD}
    body = api_of(user).post("/user", {"email": "other@mail.example"} | proof).body["user"]
    assert (body["email"], body["verified"]) == ("other@mail.example", False)
    body = api_of(user).post("/user", {"email": ""} | proof).body["user"]
    assert body["verified"] is False


def test_the_database_knows_no_confirmed_address_that_is_none(dora: Person) -> None:
    confirmed(dora.user)
    with pytest.raises(IntegrityError, match="no_email_is_not_verified"), transaction.atomic():
        User.objects.filter(id=dora.user.id).update(email="")


def test_changing_the_address_needs_the_password_of_the_last_minutes(
    dora: Person, mailbox: Mailbox
) -> None:
    forget_the_password(dora)
    assert dora.post("/settings/email", email="thief@mail.example").status_code == 422
    assert fresh(dora).email == ""
    wrong = dora.post("/settings/email", email="thief@mail.example", password="wrong")
    assert "The password is wrong" in wrong.page.text
    assert not Email.objects.exists()


def test_nobodys_mailbox_is_flooded(dora: Person, mailbox: Mailbox) -> None:
    dora.post("/settings/email", email="victim@mail.example")
    statuses = [dora.post("/settings/email/link").status_code for _ in range(5)]
    assert statuses == [302] * 4 + [429]
    assert Email.objects.count() == 5


@pytest.mark.parametrize("tag", ["", "+1"])
def test_nobodys_mailbox_is_flooded_by_many_accounts(
    stranger: Browser, mailbox: Mailbox, tag: str
) -> None:
    """sec-17: what comes after a plus does not make another mailbox."""
    for name in ("mallory", "marvin", "moriarty"):
        browser = Browser()
        browser.post("/register", username=name, password=PASSWORD)
        browser.post("/settings/email", email=f"victim{tag}@mail.example")
        for _ in range(3):
            browser.post("/settings/email/link")
        tag = tag and f"{tag}1"
    emails.deliver_due()
    assert len(mailbox.messages) == 5


# --- A forgotten password ------------------------------------------------------------------------


@pytest.mark.parametrize("account", ["dora", " DORA ", "Dora@Mail.example"])
def test_dora_chooses_a_new_password_by_a_link(
    dora: Person, mailbox: Mailbox, account: str
) -> None:
    confirmed(dora.user)
    link = link_for(account, mailbox)
    assert mailbox.recipients == ["dora@mail.example"]
    browser = Browser()
    # The address is the secret; without any referrer browsers would post from the origin `null`.
    assert browser.get(link).headers["Referrer-Policy"] == "same-origin"
    assert browser.post(link, password="short").status_code == 422
    assert browser.post(link, password=NEW).headers["Location"] == "/login"
    assert "Wrong username" in sign_in(Browser(), "dora", PASSWORD).page.text
    assert sign_in(Browser(), "dora", NEW).headers["Location"] == "/dora"
    assert AuditEvent.objects.filter(user=dora.user, action="password.reset").count() == 1


def test_all_sign_ins_end_and_the_keys_when_she_asks(dora: Person, mailbox: Mailbox) -> None:
    """P06, P24"""
    user = confirmed(dora.user)
    phone = api_of(user)
    _, key = credentials.create_api_key(user, name="shop", scope="read")
    Browser().post(link_for("dora", mailbox), password=NEW)
    assert phone.get("/me").status_code == 401
    assert dora.get("/settings").status_code == 302
    assert Api(key).get("/payments").status_code == 200
    Browser().post(link_for("dora", mailbox), password=PASSWORD, api_keys="on")
    assert Api(key).get("/payments").status_code == 401


def test_a_link_works_once_and_for_an_hour(dora: Person, mailbox: Mailbox) -> None:
    confirmed(dora.user)
    link, other = link_for("dora", mailbox), link_for("dora", mailbox)
    with time_machine.travel(timezone.now() + timedelta(minutes=61)):
        assert Browser().get(link).status_code == 410
        assert Browser().post(link, password=NEW).status_code == 410
    assert Browser().post(link, password=NEW).status_code == 302
    for used in (link, other):
        assert Browser().post(used, password="yet another one").status_code == 410
    assert "no longer works" in Browser().get(link).page.text
    assert sign_in(Browser(), "dora", NEW).status_code == 302


def test_a_link_of_one_account_opens_no_other(
    dora: Person, alice: Person, mailbox: Mailbox
) -> None:
    """P01"""
    confirmed(dora.user)
    link = link_for("dora", mailbox).replace(str(dora.user.id), str(alice.user.id))
    assert Browser().post(link, password=NEW).status_code == 410


def test_an_evicted_account_gets_no_link_and_its_link_opens_nothing(
    dora: Person, mailbox: Mailbox
) -> None:
    """P20"""
    confirmed(dora.user)
    link = link_for("dora", mailbox)
    services.evict(fresh(dora), actor="test")
    assert Browser().post(link, password=NEW).status_code == 410
    Browser().post("/forgot", account="dora")
    emails.deliver_due()
    assert len(mailbox.messages) == 1


def test_the_second_factor_is_asked_for_all_the_same(dora: Person, mailbox: Mailbox) -> None:
    """P25"""
    confirmed(dora.user)
    second_factor.begin(fresh(dora))
    User.objects.filter(id=dora.user.id).update(second_factor_at=timezone.now())
    Browser().post(link_for("dora", mailbox), password=NEW)
    browser = Browser()
    assert sign_in(browser, "dora", NEW).headers["Location"] == "/login/code"
    assert fresh(dora).has_second_factor
    login = Api().post("/login", {"username": "dora", "password": NEW})
    assert (login.status_code, login.body["code"]) == (401, "otp_required")


@pytest.mark.parametrize("account", ["dora", "nobody", "alice", "nobody@mail.example"])
def test_the_answer_does_not_tell_whether_there_is_an_account(
    dora: Person, alice: Person, mailbox: Mailbox, account: str
) -> None:
    """P19: a confirmed address, none, no such account; one row and one answer for all."""
    confirmed(dora.user)
    browser = Browser()
    answer = browser.post("/forgot", account=account)
    assert answer.headers["Location"] == "/login"
    assert "If this account has a confirmed e-mail address" in browser.get("/login").page.text
    assert Email.objects.count() == 1
    assert mailbox.messages == []
    emails.deliver_due()
    assert len(mailbox.messages) == (1 if account == "dora" else 0)
    assert Email.objects.get().state == "done"


def test_the_answer_takes_as_long_for_any_name(dora: Person, mailbox: Mailbox) -> None:
    """P19: the request does not look the account up at all, so its time cannot tell."""
    confirmed(dora.user)
    asked = []
    for account in ("dora", "nobody", "dora@mail.example", "nobody@mail.example"):
        with CaptureQueriesContext(connection) as queries:
            emails.queue_reset(account)
        asked.append([query["sql"].split()[0] for query in queries])
        assert not any("accounts_user" in query["sql"] for query in queries)
    assert asked == [asked[0]] * 4


def test_one_message_lists_all_accounts_of_an_address(
    dora: Person, alice: Person, mailbox: Mailbox
) -> None:
    for person in (dora, alice):
        confirmed(person.user, "shared@mail.example")
    Browser().post("/forgot", account="shared@mail.example")
    emails.deliver_due()
    assert mailbox.recipients == ["shared@mail.example"]
    assert {"dora:", "alice:"} <= set(mailbox.text().split())


LOOK_ALIKES = ["dora@maıl.example", "dora@maİl.example", "dora@ｍail.example", "dorá@mail.example"]


@pytest.mark.parametrize("look_alike", LOOK_ALIKES)
def test_nobody_names_a_look_alike_of_an_address(
    dora: Person, mallory: Person, mailbox: Mailbox, look_alike: str
) -> None:
    """sec-1: `ı` is `I` in capitals, so a search without regard to case took it for `i`."""
    page = mallory.post("/settings/email", email=look_alike)
    assert page.status_code == 422
    refusal = api_of(mallory.user).post("/user", {"email": look_alike})
    assert (refusal.status_code, refusal.body["errors"][0]["pointer"]) == (400, "#/email")
    assert fresh(mallory).email == ""
    with pytest.raises(IntegrityError, match="email_is_in_stored_form"), transaction.atomic():
        confirmed(mallory.user, look_alike)
    confirmed(dora.user)
    Browser().post("/forgot", account=look_alike)
    emails.deliver_due()
    assert mailbox.messages == []


def test_an_address_is_the_same_in_capitals_and_small_letters(
    dora: Person, mailbox: Mailbox
) -> None:
    """sec-1"""
    dora.post("/settings/email", email="Dora@MAIL.example")
    assert fresh(dora).email == "dora@mail.example"
    emails.deliver_due()
    confirmed(dora.user)
    link_for("DORA@mail.EXAMPLE", mailbox)
    assert mailbox.recipients == ["dora@mail.example"] * 2
    with pytest.raises(IntegrityError, match="email_is_in_stored_form"), transaction.atomic():
        confirmed(dora.user, "Dora@mail.example")


def test_an_address_that_was_never_confirmed_gets_no_link(dora: Person, mailbox: Mailbox) -> None:
    change_email(dora.user, "dora@mail.example")
    for account in ("dora", "dora@mail.example"):
        Browser().post("/forgot", account=account)
    emails.deliver_due()
    assert mailbox.messages == []


def test_one_name_is_asked_for_five_times_an_hour(mailbox: Mailbox, stranger: Browser) -> None:
    """P19: whether or not there is such an account."""
    statuses = [Browser().post("/forgot", account="nobody").status_code for _ in range(6)]
    assert statuses == [302] * 5 + [422]


def test_a_name_is_one_however_it_is_written(
    stranger: Browser, mailbox: Mailbox, settings: Any
) -> None:
    """sec-17: with the host of this server, and in capitals."""
    spellings = ["nobody", "NOBODY", f"nobody@{settings.DOMAIN}", f" Nobody@{settings.DOMAIN}"]
    asked = [Browser().post("/forgot", account=name).status_code for name in spellings * 2]
    assert asked == [302] * 5 + [422] * 3


def test_a_mailbox_gets_a_bounded_number_of_links_by_whatever_name(
    dora: Person, mallory: Person, mailbox: Mailbox
) -> None:
    """sec-17: two accounts and an address lead to one mailbox. The answer says nothing of it."""
    confirmed(dora.user)
    confirmed(mallory.user)
    for name in ("dora", "mallory", "dora@mail.example"):
        asked = [Browser().post("/forgot", account=name).status_code for _ in range(3)]
        assert asked == [302] * 3
    emails.deliver_due()
    assert len(mailbox.messages) == 5
    assert set(Email.objects.values_list("state", flat=True)) == {"done"}


# --- Payments ------------------------------------------------------------------------------------


def pay(user: User, *, status: str = "settled", amount_sat: int = 1234) -> Activity:
    with transaction.atomic():
        return statement.record(
            user=user,
            type="bitcoin",
            status=status,
            amount_sat=amount_sat,
            hash="x",
            currency="USD",
            rate=None,
            memo="visit https://evil.example",
        )


def test_dora_is_told_of_a_payment_when_she_wants_it(dora: Person, mailbox: Mailbox) -> None:
    user = confirmed(dora.user, notify=True, language="de")
    line = pay(user)
    emails.deliver_due()
    assert mailbox.messages[0]["To"] == "dora@mail.example"
    text = mailbox.text()
    assert "1.234" in text  # as German writes it
    assert f"/payment/{line.id}" in text
    assert "evil.example" not in text  # a payer's words go no further


@pytest.mark.parametrize("wrong", ["not wanted", "not confirmed", "pending", "outgoing"])
def test_of_nothing_else_she_is_told(dora: Person, mailbox: Mailbox, wrong: str) -> None:
    user = confirmed(dora.user, notify=wrong != "not wanted")
    if wrong == "not confirmed":
        User.objects.filter(id=user.id).update(email_verified_at=None)
    pay(
        user,
        status="pending" if wrong == "pending" else "settled",
        amount_sat=-1 if wrong == "outgoing" else 1,
    )
    assert not Email.objects.exists()


def test_a_deposit_that_settles_twice_is_told_once(dora: Person, mailbox: Mailbox) -> None:
    """After a reorganisation the same line settles again."""
    line = pay(confirmed(dora.user, notify=True), status="pending")
    for status in ("settled", "pending", "settled"):
        statement.change(line, status=status)
    emails.deliver_due()
    assert len(mailbox.messages) == 1


def test_without_a_mail_server_a_payment_costs_no_query_more(
    dora: Person, django_assert_num_queries: Any
) -> None:
    user = confirmed(dora.user, notify=True)
    with django_assert_num_queries(1 + 2):  # the line, and the test's savepoint
        pay(user)
    assert not Email.objects.exists()


# --- Sending -------------------------------------------------------------------------------------


def test_a_refused_address_is_given_up_and_a_busy_server_tried_again(
    dora: Person, mailbox: Mailbox
) -> None:
    user = confirmed(dora.user, notify=True)
    pay(user)
    mailbox.refusals = ["451 later"]
    assert emails.deliver_due() == 1
    row = Email.objects.get()
    assert (row.state, row.attempts_count) == ("pending", 1)
    assert row.next_attempt_at > timezone.now() + timedelta(seconds=50)
    assert emails.deliver_due() == 0
    mailbox.refusals = ["550 no such mailbox"]
    Email.objects.update(next_attempt_at=timezone.now())
    emails.deliver_due()
    assert Email.objects.get().state == "failed"
    assert mailbox.messages == []


def test_a_mail_server_that_is_away_delays_and_loses_nothing(
    dora: Person, mailbox: Mailbox, settings: Any
) -> None:
    pay(confirmed(dora.user, notify=True))
    settings.EMAIL_PORT, port = 1, settings.EMAIL_PORT
    emails.deliver_due()
    assert Email.objects.get().state == "pending"
    settings.EMAIL_PORT = port
    Email.objects.update(next_attempt_at=timezone.now())
    emails.deliver_due()
    assert Email.objects.get().state == "done"
    assert len(mailbox.messages) == 1


def test_a_leased_message_is_sent_by_nobody_else_until_the_lease_ends(
    dora: Person, mailbox: Mailbox
) -> None:
    """A killed worker's message comes free by itself."""
    pay(confirmed(dora.user, notify=True))
    Email.objects.update(leased_until=timezone.now() + emails.LEASE)
    assert emails.deliver_due() == 0
    Email.objects.update(leased_until=timezone.now())
    assert emails.deliver_due() == 1


def test_who_asked_for_what_is_forgotten(stranger: Browser, mailbox: Mailbox) -> None:
    stranger.post("/forgot", account="nobody")
    emails.deliver_due()
    Email.objects.update(created=timezone.now() - timedelta(days=8))
    emails.forget_old()
    assert not Email.objects.exists()


# --- A server without e-mail ---------------------------------------------------------------------


def test_a_server_without_e_mail_says_so(dora: Person, stranger: Browser) -> None:
    assert "This server sends no e-mail" in dora.get("/settings").page.text
    page = Browser().get("/forgot").page
    assert "This server sends no e-mail" in page.text
    assert not [found for found in page.all("input") if found.get("name") == "account"]
    Browser().post("/forgot", account="dora")
    assert not Email.objects.exists()
    assert "cannot e-mail you" in Browser().get("/").page.text
    assert Session.objects.filter(user=dora.user, revoked_at=None).exists()


@pytest.mark.parametrize(
    ("contact", "link"),
    [
        ("", None),
        ("help@pay.example", "mailto:help@pay.example"),
        ("https://pay.example/help", "https://pay.example/help"),
        ("javascript:alert(1)", None),
        ("Ring at the bakery, <b>mornings</b>", None),
    ],
)
def test_the_support_page_names_whom_the_operator_named(
    stranger: Browser, settings: Any, contact: str, link: str | None
) -> None:
    """P12"""
    settings.SUPPORT_CONTACT = contact
    page = stranger.get("/support").page
    assert (contact or "Ask whoever runs this server") in page.text
    hrefs = [found["href"] for found in page.all("a")]
    assert (link in hrefs) if link else not [h for h in hrefs if h.startswith(("java", "mailto"))]
