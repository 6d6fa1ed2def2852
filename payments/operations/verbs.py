"""The table of what operators may do. A new verb is a line here, and one in docs/operating.md."""

from __future__ import annotations

from payments.operations import books, holds
from payments.operations.verb import Verb

VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        holds.RELEASE,
        books.CREDIT,
        books.CORRECT,
        books.WRITE_OFF,
        books.PAY_OUT,
    )
}
