"""docs/doors.md: the table of doors as a page to read."""

from __future__ import annotations

from pathlib import Path

from coinos import limits
from tests.doors import table
from tests.doors.door import CREDENTIALS, KEYS, TOKENS, Door

PAGE = Path(__file__).resolve().parents[2] / "docs" / "doors.md"
RATES = {rate.name: rate for rate in limits.all_rates()}

HEAD = """\
# Doors

Every way in, and what it asks for. This page is written by `python -m tests.doors` from the table
that `tests/doors` holds to the running application: a route, a command or an action without a row
fails there, and so does a row that the application contradicts.

- **Opens for**: *a browser* is one that is signed in to the wallet, *an operator* one that is
  signed in to the admin; keys are API keys, by scope. Anybody else is turned away, and nothing
  changes.
- **Also asks for**: the *PIN*, where the account has one, with every call (a browser that has given
  it may spend without for as long as its owner has set); the *password of the last minutes*, typed
  in this browser; the *password* or a *code* of the second factor, with every call. An API key that
  can spend needs no PIN: making it did.
- **Other sites**: pages want Django's token with every form (*csrf*); the API takes its cookie for
  a change only from our own pages (*origin*). It reads no session of pages.
- **Limit**: the rate in `coinos/limits.py`, with what it is counted by.
- **Audited as**: what a success leaves in the audit log, with user, address, program and door.
- **Lowers**: whether it can lower a balance, *now*, or *later* through what it gives somebody. Each
  of these asks for the PIN.
"""


def page() -> str:
    sections = {
        "API: accounts": table.ACCOUNTS,
        "API: receiving": table.INVOICES,
        "API: paying": table.PAYMENTS,
        "API: the server": table.SERVER,
        "Pages: signing in": table.SIGN_IN,
        "Pages: the wallet and its settings": table.SETTINGS,
        "Pages: receiving": table.RECEIVING,
        "Pages: paying": table.SENDING,
        "Pages: funds": table.FUNDS,
        "The admin": table.ADMIN,
    }
    parts = [HEAD]
    for title, doors in sections.items():
        parts.append(f"\n## {title}\n\n{_table(doors)}")
    parts.append(f"\n## Actions of the admin\n\n{_actions()}\n## Commands\n\n{_commands()}")
    return "".join(parts)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _table(doors: list[Door]) -> str:
    head = ["Door", "Opens for", "Also asks for", "Other sites", "Limit", "Audited as", "Lowers"]
    rows = [_row(*head), _row(*["---"] * len(head))]
    for door in doors:
        name = f"`{door.method} {door.route}`" + (f", {door.case}" if door.case else "")
        limit = ", ".join(f"{name} ({RATES[name].by})" for name in door.rates)
        audit = ", ".join(door.audit)
        rows.append(_row(name, _who(door), _asks(door), door.guard, limit, audit, door.lowers))
    return "".join(rows)


def _who(door: Door) -> str:
    if door.needs in ("none", "closed", "half"):
        return {
            "none": "everybody",
            "closed": "nobody",
            "half": "a browser that owes the code",
        }[door.needs]
    words = {
        "login token": "login token",
        "read-only token": "read-only token",
        "nobody": "everybody, for less",
        "web session": "a browser",
        "operator": "an operator",
    }
    named = [words[name] for name in (*TOKENS, *CREDENTIALS) if name in door.accepts & words.keys()]
    if "everybody, for less" in named:
        named = [word for word in named if word not in ("a browser", "an operator")]
    scopes = [key.removesuffix(" key") for key in KEYS if key in door.accepts]
    if scopes:
        named.append(f"key: {', '.join(scopes)}")
    return "; ".join(dict.fromkeys(named))


def _asks(door: Door) -> str:
    asked = ["PIN"] if door.pin else []
    if door.step_up == "recent":
        asked.append("password of the last minutes")
    elif door.step_up:
        asked.append("code" if "token" in door.step_up else "password")
    return ", ".join(asked)


def _actions() -> str:
    head = ["Action", "Changes", "Reason", "Audited as"]
    rows = [_row(*head), _row(*["---"] * len(head))]
    for action in table.ACTIONS:
        reason = "needed" if action.reason else ""
        name = f"`{action.model}.{action.name}`"
        rows.append(_row(name, action.changes, reason, ", ".join(action.audit)))
    return "".join(rows)


def _commands() -> str:
    head = ["Command", "Changes", "Audited as"]
    rows = [_row(*head), _row(*["---"] * len(head))]
    for command in table.COMMANDS:
        changes = command.changes or "nothing of this"
        rows.append(_row(f"`{command.name}`", changes, ", ".join(command.audit)))
    for what, names in table.DJANGOS.items():
        rows.append(_row(", ".join(f"`{name}`" for name in names), f"Django's: {what}", ""))
    return "".join(rows)
