"""What an attack is: a word to choose it by, a sentence, the faults it comes from, and a function
that attacks and says what it saw.

An attack is bounded: in what it sends, in how often, and in time. It comes from addresses of
loopback, which differ as strangers' do, and leaves nothing open behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.attack.world import World


@dataclass
class Tried:
    """What an attack tried, with its number in it ("1,100 connections that send nothing"), how
    often each answer came, and the promises that did not hold, as sentences."""

    what: str
    answers: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def require(self, promise: object, otherwise: str) -> None:
        if not promise and otherwise not in self.broken:
            self.broken.append(otherwise)

    def answered(self) -> str:
        """The answers as text, the most frequent first."""
        return ", ".join(f"{count:,} × {answer}" for answer, count in self.answers.most_common(5))


@dataclass(frozen=True)
class Attack:
    name: str
    group: str
    sentence: str
    faults: tuple[str, ...]
    run: Callable[[World], Tried]


ALL: list[Attack] = []


def attack(
    name: str, *faults: str
) -> Callable[[Callable[[World], Tried]], Callable[[World], Tried]]:
    """Register a function as an attack; its docstring is the sentence, its module the group."""

    def register(run: Callable[[World], Tried]) -> Callable[[World], Tried]:
        group = run.__module__.rpartition(".")[2]
        sentence = " ".join((run.__doc__ or "").split("\n\n")[0].split())
        ALL.append(Attack(name, group, sentence, faults, run))
        return run

    return register


def chosen(words: str) -> list[Attack]:
    """The attacks that `A=idle,streams` names, by their own word or by that of their group; all
    without any. Raises ValueError."""
    wanted = [word.strip().lower() for word in words.split(",") if word.strip()]
    known = {attack.name for attack in ALL} | {attack.group for attack in ALL}
    if unknown := [word for word in wanted if word not in known]:
        raise ValueError(f"A={','.join(unknown)}: the attacks are {', '.join(sorted(known))}")
    return [one for one in ALL if not wanted or one.name in wanted or one.group in wanted]
