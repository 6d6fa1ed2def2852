"""What the table says of one way in: a URL with a method, a command, an action of the admin."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

NOBODY = "00000000-0000-4000-8000-000000000000"
KEY = "ab" * 32

KEYS = ("read key", "receive key", "spend key")
TOKENS = ("login token", "token cookie", "read-only token", *KEYS)
WEB = ("web session", "operator's wallet")
BROWSERS = (*WEB, "operator")
CREDENTIALS = ("nobody", *BROWSERS, *TOKENS)
"""Every kind of caller that the table tells apart; an operator's wallet is one like any other."""

KEYS_OF_SCOPE = {
    "read": set(KEYS),
    "receive": {"receive key", "spend key"},
    "spend": {"spend key"},
    "full": set[str](),
}

Way = Callable[[Any], dict[str, Any]]
"""Makes the body of a call that succeeds, out of the world of `tests.doors.cast`."""


@dataclass(frozen=True)
class Door:
    """One way in. What is not said is the default of its kind."""

    method: str
    route: str
    """As in the URLconf."""
    scope: str = ""
    """What a credential needs: none, read, receive, spend or full at the API, none or web for
    pages, half for who has typed the password and owes the code, operator for the admin; closed
    is to everybody. Without one: full, web, operator."""
    case: str = ""
    """Which of its uses, of a door that has several which ask for different things."""
    read_only: bool = False
    """The read-only token opens it, too."""
    optional: bool = False
    """It opens without a credential as well, and then does less."""
    pin: str = ""
    """The field of the PIN, where the account has one: without it nothing happens."""
    step_up: str = ""
    """`recent`: the password was typed in this browser within the last minutes, or is sent along as
    `password`. Otherwise the field with the password or code that every such call needs."""
    limit: str = ""
    """Names of the rates that a call counts against, in `coinos.limits`; by default the one of its
    kind."""
    audit: tuple[str, ...] = ()
    """What a call that succeeds leaves in the audit log."""
    lowers: str = ""
    """How it can lower a balance: `now` or `later` (it gives somebody what then can)."""
    writes: bool = False
    """A GET that writes: what it asks for is made when it is asked for."""
    stream: bool = False
    path: str = ""
    """An example below /api, with values that are right in form; the route without parameters."""
    body: dict[str, Any] | None = None
    """A body that is right in form, of an endpoint of the API that takes one."""
    fields: tuple[str, ...] = field(default=())
    """Pointers of the members that an endpoint of the API reads."""
    by: str = ""
    """Who makes the call that succeeds; by default Alice with what the scope asks for."""
    way: Way | None = None
    before: Callable[[Any], None] | None = None
    """What must have happened before the call that succeeds."""
    at: dict[str, str] = field(default_factory=dict)
    """Values of the path's parameters: names of the world's values, where the parameter's own
    name is not the right one."""
    ok: tuple[int, ...] = ()
    """Status of a success: 200, and 302 after a form, unless said otherwise."""

    @property
    def is_api(self) -> bool:
        return self.route.startswith(("/api/", "/.well-known/"))

    @property
    def is_admin(self) -> bool:
        return self.route.startswith("/admin/")

    @property
    def needs(self) -> str:
        return self.scope or ("full" if self.is_api else "operator" if self.is_admin else "web")

    @property
    def accepts(self) -> set[str]:
        """The credentials that open it."""
        match self.needs:
            case "none":
                return set(CREDENTIALS)
            case "closed" | "half":
                return set()
            case "web":
                return set(WEB)
            case "operator":
                return {"operator"}
        opened = {"login token", "token cookie"} | KEYS_OF_SCOPE[self.needs]
        if self.read_only:
            opened.add("read-only token")
        if self.optional:
            opened |= {"nobody", *BROWSERS}  # the sessions of pages are nothing to the API
        return opened

    @property
    def caller(self) -> str:
        """Who makes the call that succeeds."""
        if self.by:
            return self.by
        first = {
            "none": "nobody",
            "web": "web session",
            "operator": "operator",
            "half": "half signed in",
        }
        return first.get(self.needs, "login token")

    @property
    def guard(self) -> str:
        """What keeps other sites from calling it in a reader's browser."""
        if self.method == "GET":
            return ""
        if not self.is_api:
            return "csrf"
        return "" if self.needs == "none" else "origin"

    @property
    def rates(self) -> list[str]:
        """Names of the rates that a call counts against, the one of the route first."""
        usual = "change" if self.method == "POST" else "read" if self.is_api else "page"
        return (self.limit or usual).split()

    @property
    def expected(self) -> tuple[int, ...]:
        return self.ok or ((200,) if self.is_api or self.method == "GET" else (200, 302))

    @property
    def example(self) -> str:
        """A path below /api that is right in form."""
        return self.path or self.route.removeprefix("/api")

    @property
    def name(self) -> str:
        return f"{self.method} {self.route}" + (f" · {self.case}" if self.case else "")

    def __str__(self) -> str:
        return self.name

    def filled(self, values: dict[str, str]) -> str:
        """The path with these values in place of its parameters."""

        def value(match: re.Match[str]) -> str:
            return values[self.at.get(match[1], match[1])]

        return re.sub(r"<(?:\w+:)?(\w+)>", value, self.route)


@dataclass(frozen=True)
class Command:
    """A management command. Whoever runs one has the machine; nobody else can."""

    name: str
    changes: str = ""
    """What it can change of money, secrets, authenticators and names; nothing unless said."""
    audit: tuple[str, ...] = ()
    way: Callable[[Any], None] | None = None
    """Runs it so that it succeeds."""


@dataclass(frozen=True)
class Action:
    """An action on rows of a list in the admin; operators only, by a form of this site."""

    model: str
    name: str
    changes: str
    audit: tuple[str, ...]
    reason: bool = True
    """Nothing happens without a reason for the audit log."""
    of: str | None = None
    """Whose row it is, when not that of the table's usual one."""
    asked: str = "because"
    """The reason in the last row of the audit log: of who asked, where another one carries out."""
    body: dict[str, str] = field(default_factory=dict)
    """What else is typed beside the reason."""


def pointers(text: str) -> tuple[str, ...]:
    return tuple(text.split())
