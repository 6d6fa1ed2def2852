"""What an act of operators is made of, whatever it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from accounts.models import User
from coinos.errors import CoinosError
from payments.models import OperatorAct

Arguments = dict[str, Any]


class ActRefused(CoinosError):
    """Raised when an act cannot be asked for, approved or carried out; the text says why."""


@dataclass(frozen=True)
class Parameter:
    """One thing that a verb is told. `read` makes its value of a text, or raises ValueError."""

    name: str
    help: str
    read: Callable[[str], Any] = str
    is_flag: bool = False
    is_optional: bool = False

    @property
    def option(self) -> str:
        """As the command line calls it: a word in its place, or a flag."""
        return f"--{self.name.replace('_', '-')}" if self.is_flag else self.name


@dataclass(frozen=True)
class Claim:
    """What an act would do, as it is shown to whoever approves it."""

    about: str
    user: User | None
    """Whose money or payment it is, for the audit log."""
    amount_sat: int = 0
    """How much it moves on an operator's word alone; what the node proves is nothing."""
    needs_two: bool = False
    """Whatever the amount."""


@dataclass(frozen=True)
class Verb:
    """Something that an operator may do.

    `look` says what it would do, and raises `ActRefused` when that makes no sense. `begin` asks the
    nodes and returns what is then done in one transaction with the note that it was; it may run
    again after a process died, so what it does outside must be harmless twice. The outcome that
    comes back stands in the row."""

    name: str
    help: str
    parameters: tuple[Parameter, ...]
    look: Callable[[Arguments], Claim]
    begin: Callable[[OperatorAct], Callable[[], str]]
    of_the_owner: bool = False
    """It touches the operator's own money, or what arrived for nobody, which only the role that
    owns the tables may."""

    def read(self, given: Arguments) -> Arguments:
        """The arguments as they are kept. Raises `ActRefused` for one that cannot be read."""
        read: Arguments = {}
        for parameter in self.parameters:
            value = given.get(parameter.name)
            if parameter.is_flag:
                read[parameter.name] = bool(value)
                continue
            if parameter.is_optional and value in (None, ""):
                read[parameter.name] = None
                continue
            try:
                read[parameter.name] = parameter.read(
                    str(value if value is not None else "").strip()
                )
            except ValueError:
                raise ActRefused(f"{parameter.name}: write {parameter.help}")
        return read


def payment_id(text: str) -> str:
    """The id of a payment as it is kept in an act."""
    return str(UUID(text))
