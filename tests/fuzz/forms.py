"""A browser that is signed in, and every form of every page that it finds."""

from __future__ import annotations

import itertools
import re
import time
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

from django.urls import get_resolver
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from coinos.routes import routes
from tests.attack.strangers import Stranger
from tests.attack.world import Person, World
from tests.fuzz.run import ANSWER_S, Findings
from tests.fuzz.texts import pasted

EXAMPLES = 12
PAGES = 120
SATS = 20_000
ELSEWHERE = ("api", "admin", "static", "events", "logout", "media")
"""Where no page of the wallet is, or none that ends."""
NAMES = re.compile(r"(?<=/)(?:[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{64}|[A-Za-z0-9_-]{22,})")


@dataclass(frozen=True)
class Form:
    """Where it goes, by which method, and its fields with the values that it had."""

    method: str
    action: str
    fields: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        path = re.sub(r"(?<=/)(?:fuzz|bank)[0-9a-f]{8}", "*", NAMES.sub("*", self.action))
        return f"{self.method} {path} ({' '.join(sorted(name for name, _ in self.fields))})"


class Page(HTMLParser):
    """The forms and the links of a page."""

    def __init__(self, path: str, html: str) -> None:
        super().__init__()
        self.path = path
        self.links: set[str] = set()
        self.forms: list[Form] = []
        self._open: tuple[str, str, dict[str, str]] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "a" and found.get("href"):
            self.links.add(self._of_ours(found["href"]))
        if tag == "form":
            action = self._of_ours(found.get("action") or self.path)
            self._open = (found.get("method", "get").upper(), action, {})
        name = found.get("name", "")
        if self._open and name and name != "csrfmiddlewaretoken":
            fields = self._open[2]
            if tag in ("input", "textarea", "select", "button") and name not in fields:
                fields[name] = found.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._open:
            method, action, fields = self._open
            self.forms.append(Form(method, action, tuple(fields.items())))
            self._open = None

    def _of_ours(self, link: str) -> str:
        parts = urlsplit(urljoin(f"http://here{self.path}", link))
        return parts.path + (f"?{parts.query}" if parts.query else "")


class Forms:
    """Finds the forms by walking the site, then fills one after the other; what a form leads to is
    looked at too."""

    def __init__(self, world: World, findings: Findings, first_seed: int) -> None:
        self.world = world
        self.findings = findings
        self.seeds = itertools.count(first_seed)
        self.person: Person
        self.browser: Stranger
        self.forms: dict[str, Form] = {}
        self.turn = 0
        self._be_somebody_new()

    def go_on(self, until: float) -> None:
        while time.monotonic() < until:
            forms = list(self.forms.values())
            self._fill(forms[self.turn % len(forms)], until)
            self.turn += 1
            if self._is_signed_out():
                self._be_somebody_new()

    def _be_somebody_new(self) -> None:
        """Requests may have closed the account, changed its password or spent its money."""
        self.person = self.world.newcomer("fuzz", sats=SATS)
        self.browser = self.world.browser_of(self.person)
        self.browser.patience_s = ANSWER_S + 5
        self._prepare()
        self._walk()

    def _prepare(self) -> None:
        """Something on every page: an invoice of each kind, a payment, a gift, a fund."""
        program = self.person.program
        for kind in ("lightning", "bitcoin"):
            program.post("/invoice", {"invoice": {"type": kind, "amount": 1000, "memo": "tea"}})
        program.post("/send", {"username": self.world.bank.name, "amount": 10})
        self.browser.submit("/funds", {"name": f"fund{time.time_ns() % 10**8}"})
        self.browser.submit("/gifts", {"amount": "100", "unit": "sats"})

    def _is_signed_out(self) -> bool:
        return self.browser.see("/settings").status != 200

    def _walk(self) -> None:
        """Every page that the URLconf names without a parameter, and what those link to."""
        named = [f"/{route}" for route, _ in routes(get_resolver().url_patterns)]
        waiting = [path for path in named if "<" not in path and self._is_page(path)]
        waiting += [f"/{self.person.name}", f"/{self.world.bank.name}"]
        seen: set[str] = set()
        while waiting and len(seen) < PAGES:
            path = waiting.pop(0)
            shape = NAMES.sub("*", path)
            if shape in seen:
                continue
            seen.add(shape)
            page = self._see(path)
            waiting += sorted(link for link in page.links if self._is_page(link))

    def _is_page(self, path: str) -> bool:
        first = path.lstrip("/").partition("/")[0].partition("?")[0]
        return first not in ELSEWHERE and "\\" not in path and "^" not in path

    def _see(self, path: str) -> Page:
        began = time.monotonic()
        answer = self.browser.see(path)
        self.findings.note("GET a page", answer.status, time.monotonic() - began, path)
        return self._remember(path, answer.headers.get("content-type", ""), answer.text)

    def _remember(self, path: str, kind: str, html: str) -> Page:
        page = Page(path, html if "html" in kind else "")
        for form in page.forms:
            if self._is_page(form.action):
                self.forms[form.name] = form
        return page

    def _fill(self, form: Form, until: float) -> None:
        value = st.fixed_dictionaries(
            {name: st.one_of(st.just(was), pasted()) for name, was in form.fields}
        )

        @seed(next(self.seeds))
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(filled=value)
        def send(filled: dict[str, str]) -> None:
            if time.monotonic() > until:
                return
            self._send(form, filled)

        send()

    def _send(self, form: Form, filled: dict[str, str]) -> None:
        began = time.monotonic()
        if form.method == "POST":
            answer = self.browser.submit(form.action, filled)
        else:
            answer = self.browser.see(form.action.partition("?")[0] + _query(filled))
        how = f"{form.method} {form.action} {filled!r}"
        self.findings.note(form.name, answer.status, time.monotonic() - began, how)
        self._remember(form.action, answer.headers.get("content-type", ""), answer.text)
        place = answer.headers.get("location", "")
        if answer.status == 302 and place.startswith("/") and self._is_page(place):
            self._see(place)


def _query(filled: dict[str, str]) -> str:
    return "?" + urlencode(filled)
