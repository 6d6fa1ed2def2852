"""Every page speaks every language: nothing missing, nothing left in English, and the reader's
choice before the browser's. The API speaks English, whatever is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from gettext import GNUTranslations
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po
from django.conf import settings
from django.forms import BaseForm
from django.template import engines
from django.template.base import Lexer, TokenType
from django.templatetags.i18n import BlockTranslateNode, TranslateNode
from django.utils.translation import override

from accounts import statement
from accounts.errors import InsufficientFunds
from coinos.alarms import NoSuchAlarm
from coinos.errors import CoinosError, DatabaseUnavailable, NotFound, NotTheOwner
from coinos.simnet.control import Control
from coinos.web import InternalError, sentence
from invoices.errors import NotThatNode
from invoices.services import InvoiceDraft, create_invoice
from payments.errors import MayStillConfirm, NotThisWithdrawal
from tests.cast import api_of, give_pin
from tests.html.conftest import Browser, Person

ROOT = Path(settings.BASE_DIR)
TEMPLATES = ROOT / "templates"
TRANSLATED = [code for code, _ in settings.LANGUAGES if code != "en"]
Message = tuple[str, str]  # context, English

# For programmers, like the API itself: these are in English and say so with `lang`. So is all of
# the admin.
IN_ENGLISH = {
    "accounts/docs.html",
    "accounts/errors.html",
    "coinos/_components.html",
    "coinos/design.html",
    "coinos/schema_docs.html",
}
# The same in every language.
NAMES = {"coinos", "sats", "Sats", "ms", "UTC", "JSON", "CSV", "PIN", "Simnet", "PNG", "SVG"}
NAMES |= {"webhook-id", "webhook-timestamp", "webhook-signature"}  # of headers
CLASSES = {"middle", "split", "wide"}  # of a page, in a block of their own
API_ONLY = {
    "2fa required",
    "A read-only token may not change a webhook. Use an API key with the scope receive",
    "Connection not found",
    "Internal error",
    "Payment not found",
    "Something went wrong on our side. Quote the instance number to the operator",
    "This payment link has expired; ask for a new one",
    "account not found",
    "secret is sent to a webhook: name one",
}
OF_OPERATORS = {
    said
    for error in (MayStillConfirm, NoSuchAlarm, NotTheOwner, NotThatNode, NotThisWithdrawal)
    for said in (error.title, error.message)
}
SPOKEN_ATTRIBUTES = {"aria-label", "alt", "title", "placeholder", "data-no-camera", "data-no-code"}
SPOKEN_ATTRIBUTES |= {"data-waiting", "data-written", "data-unavailable", "data-failed"}
SPOKEN_ATTRIBUTES |= {"data-copied", "data-detected", "data-received"}


# --- Complete ------------------------------------------------------------------------------------


def templates() -> list[str]:
    return sorted(str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.html"))


def in_python() -> Iterator[Message]:
    keywords: dict[str, Any] = dict.fromkeys(("_", "gettext", "gettext_lazy", "gettext_noop"))
    keywords |= {"pgettext": ((1, "c"), 2), "pgettext_lazy": ((1, "c"), 2)}
    for package in ("coinos", "accounts", "invoices", "payments"):
        for path in (ROOT / package).rglob("*.py"):
            for _, message, _, context in extract_from_file("python", path, keywords=keywords):
                yield context or "", str(message)


def in_templates() -> Iterator[Message]:
    for name in templates():
        nodes: Any = engines["django"].get_template(name).template.nodelist  # type: ignore[attr-defined]
        for node in nodes.get_nodes_by_type(TranslateNode):
            context = node.message_context.resolve({}) if node.message_context else ""
            yield context, node.filter_expression.var.literal
        for node in nodes.get_nodes_by_type(BlockTranslateNode):
            yield "", node.render_token_list(node.singular)[0]


@cache
def messages() -> set[Message]:
    return {*in_python(), *in_templates()}


def folder(language: str) -> Path:
    return ROOT / "locale" / language / "LC_MESSAGES"


def catalog(language: str) -> Catalog:
    with (folder(language) / "django.po").open("rb") as file:
        return read_po(file, locale=language)


def translations(language: str) -> dict[Message, str]:
    return {
        (found.context or "", found.id): found.string for found in catalog(language) if found.id
    }


def test_there_is_something_to_translate() -> None:
    assert len(messages()) > 400
    assert ("", "Wrong username or password") in messages()
    assert ("", "Signed in as %(name)s") in messages()
    assert ("a sign-in", "End") in messages()


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_language_has_every_message(language: str) -> None:
    translated = translations(language)
    missing = {message for message in messages() if not translated.get(message)}
    assert not missing, "see docs/translating.md"


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_translation_is_a_guess_and_each_is_compiled(language: str) -> None:
    assert not [found.id for found in catalog(language) if found.id and found.fuzzy]
    with (folder(language) / "django.mo").open("rb") as file:
        compiled = GNUTranslations(file)
    for (context, english), translated in translations(language).items():
        spoken = compiled.pgettext(context, english) if context else compiled.gettext(english)
        assert spoken == (translated or english), "see docs/translating.md"


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_keep_their_placeholders_and_links(language: str) -> None:
    for (_, english), translated in translations(language).items():
        if not translated:
            continue  # that is for another test
        for pattern in (r"%\(\w+\)s", r"<[^>]+>"):
            assert sorted(re.findall(pattern, english)) == sorted(re.findall(pattern, translated))


def test_french_keeps_its_punctuation_on_the_line_of_its_word() -> None:
    breakable = re.compile("[ ][:;!?»]|«[ ]")
    broken = [said for said in translations("fr").values() if breakable.search(said)]
    assert not broken, "a no-break space (U+00A0, U+202F) stands before : ; ! ? and inside « »"


def test_forms_and_errors_say_nothing_unmarked() -> None:
    known = {english for _, english in messages()} | NAMES | API_ONLY | OF_OPERATORS | {""}
    said = {error.title for error in derived(CoinosError)}
    said |= {error.page_message or error.message for error in derived(CoinosError)}
    for form in derived(BaseForm):
        if form.__module__.startswith(("accounts.forms", "invoices.forms", "payments.forms")):
            fields = form.base_fields.values()  # type: ignore[attr-defined]
            said |= {str(text) for field in fields for text in (field.label or "", field.help_text)}
    assert said - known == set()


def derived(base: type[Any]) -> set[type[Any]]:
    children = base.__subclasses__()
    return {base, *children, *(error for child in children for error in derived(child))}


class Spoken(HTMLParser):
    """What a template says by itself: text, and the attributes that are read or shown."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.said: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.said += [value or "" for name, value in attrs if name in SPOKEN_ATTRIBUTES]

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def untranslated(source: str) -> list[str]:
    html, is_translated = "", False
    for token in Lexer(source).tokenize():
        if token.token_type == TokenType.BLOCK and token.contents.startswith("blocktranslate"):
            is_translated = True
        elif token.token_type == TokenType.BLOCK and token.contents == "endblocktranslate":
            is_translated = False
        elif token.token_type == TokenType.TEXT and not is_translated:
            html += token.contents
    words = [word for said in Spoken(html).said for word in re.findall(r"[^\W\d_]{2,}", said)]
    return [word for word in words if word not in NAMES | CLASSES]


@pytest.mark.parametrize(
    "name",
    [one for one in templates() if one not in IN_ENGLISH and not one.startswith("admin/")],
)
def test_a_template_says_nothing_untranslated(name: str) -> None:
    assert untranslated((TEMPLATES / name).read_text()) == []


@pytest.mark.parametrize("name", templates())
def test_the_punctuation_after_a_word_is_translated_with_it(name: str) -> None:
    assert not re.findall(r"%\}[:;!?] .*", (TEMPLATES / name).read_text())


def test_untranslated_text_is_found() -> None:
    source = '<p class="x" title="Hello">{% if a %}{% translate "Yes" %}{% else %}No{% endif %}</p>'
    assert untranslated(source) == ["Hello", "No"]


# --- Spoken --------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", [code for code, _ in settings.LANGUAGES])
def test_every_page_speaks_the_language_of_the_browser(
    alice: Person, stranger: Browser, network: Control, language: str
) -> None:
    invoice = create_invoice(alice.user, InvoiceDraft(amount_sat=1000), own=True)
    line = statement.record(
        user=alice.user,
        type="lightning",
        status="settled",
        amount_sat=1000,
        hash="lnbc",
        currency="USD",
        rate=None,
    )
    asked = {"Accept-Language": f"{language}-XX,{language};q=0.9,en;q=0.5"}
    public = [
        "/",
        "/login",
        "/register",
        "/forgot",
        "/privacy",
        "/support",
        "/alice",
        f"/invoice/{invoice.id}",
        "/docs",
        "/simnet",
    ]
    own = ["/alice", "/receive", "/send", "/payments", f"/payment/{line.id}", "/settings"]
    own += ["/webhooks", f"/invoice/{invoice.id}", "/docs", "/docs/errors"]
    for browser, paths in ((stranger, public), (alice, own)):
        for path in paths:
            answer = browser.get(path, **asked)
            assert answer.status_code == 200, path
            assert answer.page.all("html")[0]["lang"] == language, path
            assert answer.headers["Content-Language"] == language
            assert "Accept-Language" in answer.headers["Vary"]
    missing = stranger.get("/no/such/page", **asked)
    assert (missing.status_code, missing.page.all("html")[0]["lang"]) == (404, language)


def test_even_a_failure_of_ours_speaks_the_language(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr("accounts.views.selectors.pending_incoming_sat", fail)
    alice.client.raise_request_exception = False
    answer = alice.get("/alice", **{"Accept-Language": "fr"})
    assert answer.status_code == 500
    assert answer.page.all("html")[0]["lang"] == "fr"
    assert "Vos sats sont en sécurité" in answer.page.text


def test_an_unknown_language_is_answered_in_english(stranger: Browser) -> None:
    page = stranger.get("/", **{"Accept-Language": "tlh"}).page
    assert page.all("html")[0]["lang"] == "en"
    assert "Open a wallet" in page.text


def test_a_visitor_chooses_a_language_below_the_page(stranger: Browser) -> None:
    german = {"Accept-Language": "de"}
    form = stranger.get("/login", **german).page
    assert [found["lang"] for found in form.all("button") if found.get("name") == "language"] == [
        code for code, _ in settings.LANGUAGES
    ]
    answer = stranger.post("/language", language="ja", next="/login")
    assert answer.headers["Location"] == "/login"
    assert "ログイン" in stranger.get("/login", **german).page.text


@pytest.mark.parametrize("language", ["", "xx", "en-gb", "../../etc"])
def test_a_language_that_is_not_offered_changes_nothing(stranger: Browser, language: str) -> None:
    answer = stranger.post("/language", language=language, next="//evil.example/")
    assert answer.headers["Location"] == "/"
    assert settings.LANGUAGE_COOKIE_NAME not in stranger.client.cookies


def test_the_choice_in_the_settings_counts_before_cookie_and_browser(alice: Person) -> None:
    saved = alice.post("/settings/preferences", currency="USD", language="fr", theme="system")
    page = alice.get(saved.headers["Location"]).page
    assert "Vos préférences sont enregistrées" in page.text
    alice.client.cookies[settings.LANGUAGE_COOKIE_NAME] = "ja"
    home = alice.get("/alice", **{"Accept-Language": "de"}).page
    assert home.all("html")[0]["lang"] == "fr"
    assert "Disponible" in home.text


def test_the_choice_outlives_the_sign_out(alice: Person) -> None:
    alice.post("/settings/preferences", currency="USD", language="es", theme="system")
    alice.post("/logout")
    assert "Iniciar sesión" in alice.get("/login").page.text


def test_numbers_money_and_days_follow_the_language(alice: Person) -> None:
    from datetime import UTC, datetime
    from decimal import Decimal

    from accounts.models import Activity

    line = statement.record(
        user=alice.user,
        type="lightning",
        status="settled",
        amount_sat=1_234_500,
        hash="lnbc",
        currency="EUR",
        rate=Decimal(92_000),
    )
    Activity.objects.filter(id=line.id).update(created=datetime(2024, 3, 9, 7, 46, tzinfo=UTC))
    seen = {
        language: alice.get("/payments", **{"Accept-Language": language}).page.text
        for language, _ in settings.LANGUAGES
    }
    assert "1,234,500" in seen["en"]
    assert "Saturday, 9 March 2024" in seen["en"]
    assert "1.234.500" in seen["de"]
    assert "1.135,74 €" in seen["de"]
    assert "Samstag, 9. März 2024" in seen["de"]
    assert "1 234 500" in seen["fr"]
    assert "samedi 9 mars 2024" in seen["fr"]
    assert "sábado, 9 de marzo de 2024" in seen["es"]
    assert "sábado, 9 de março de 2024" in seen["pt"]
    assert "2024年3月9日土曜日" in seen["ja"]


# --- Errors --------------------------------------------------------------------------------------


def test_an_error_is_explained_in_the_language_of_the_page(alice: Person) -> None:
    german = {"HTTP_ACCEPT_LANGUAGE": "de"}
    answer = alice.client.post("/send", {"text": "nobody"}, **german)  # type: ignore[arg-type]
    assert "Hier heißt niemand nobody" in answer.content.decode()
    stranger = Browser()
    fields = {"username": "alice", "password": "correct horse battery"}
    answer = stranger.client.post("/register", fields, **german)  # type: ignore[arg-type]
    assert "Dieser Name ist schon vergeben. Wähle einen anderen" in answer.content.decode()
    empty = stranger.client.post("/register", {"username": "", "password": ""}, **german)  # type: ignore[arg-type]
    assert "Dieses Feld ist zwingend erforderlich." in empty.content.decode()


def test_a_stored_reason_is_translated_when_it_is_shown(alice: Person) -> None:
    line = statement.record(
        user=alice.user,
        type="lightning",
        status="pending",
        amount_sat=-10,
        hash="lnbc",
        currency="USD",
        rate=None,
    )
    statement.change(line, status="failed", reason="The recipient refused the payment")
    page = alice.get(f"/payment/{line.id}", **{"Accept-Language": "es"}).page
    assert "El destinatario rechazó el pago" in page.text


def test_the_api_speaks_english_whatever_is_asked(alice: Person) -> None:
    alice.post("/settings/preferences", currency="USD", language="de", theme="system")
    alice.user.refresh_from_db()
    answer = api_of(alice.user).post(
        "/send", {"amount": 10, "username": "nobody"}, Accept_Language="de"
    )
    assert answer.status_code == 404
    assert "not found" in answer.json()["message"].lower()
    assert "Content-Language" not in answer.headers
    missing = alice.client.get("/api/nothing", headers={"Accept-Language": "ja"})
    assert missing.json()["message"] == "Not found"


def test_the_api_keeps_its_words_where_the_page_says_what_to_do(alice: Person, bob: Person) -> None:
    give_pin(bob.user)
    answer = api_of(bob.user).post("/send", {"username": "alice", "amount": 10, "pin": "1"})
    assert answer.body["message"] == answer.body["detail"] == "Invalid pin"
    answer = api_of(alice.user).post("/send", {"username": "bob", "amount": 100_001})
    assert answer.body["message"] == "Insufficient funds ⚡️100000 / 100001"


@pytest.mark.parametrize(
    ("language", "numbers"),
    [
        ("en", ("100,000", "100,001")),
        ("de", ("100.000", "100.001")),
        ("fr", ("100 000", "100 001")),
    ],
)
def test_numbers_in_an_error_follow_the_language(
    alice: Person, bob: Person, language: str, numbers: tuple[str, str]
) -> None:
    for error in (InsufficientFunds(100_000, 100_001), InsufficientFunds(100_000, 100_001, 99_000)):
        with override(language):
            said = re.sub(r"\s", " ", sentence(error))
        assert all(number in said for number in numbers)
        assert "⚡️" not in said


def test_a_reader_who_can_send_nothing_is_not_told_to_send_at_most_nothing() -> None:
    assert "most you can send" in sentence(InsufficientFunds(1000, 1200, 800))
    assert "most" not in sentence(InsufficientFunds(100, 1200, 0))


@pytest.mark.parametrize(("language", "stop"), [("en", "."), ("de", "."), ("ja", "。")])
def test_every_error_on_a_page_ends_with_one_full_stop(language: str, stop: str) -> None:
    with override(language):
        for error in (NotFound(), InternalError(), DatabaseUnavailable(), InsufficientFunds(1, 2)):
            said = sentence(error)
            assert said.endswith(stop)
            assert not said.removesuffix(stop).endswith(stop)
    assert not NotFound().message.endswith(".")  # the API's words stay


def test_a_form_s_own_problem_ends_with_a_full_stop_too(alice: Person) -> None:
    fields = {"close-username": "somebody", "close-password": "wrong horse"}
    page = alice.post("/settings/close", **fields).page
    assert "This is not the name of this account." in page.text
