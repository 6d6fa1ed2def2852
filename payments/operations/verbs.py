"""The table of what operators may do. A new verb is a line here, and one in docs/operating.md."""

from __future__ import annotations

from payments.operations import alarms, books, holds, nodes, unknown, withdrawals
from payments.operations.verb import Verb

VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        holds.RELEASE,
        holds.CANCEL,
        withdrawals.ABANDON,
        withdrawals.MATCH,
        withdrawals.BUMP,
        books.CREDIT,
        books.CORRECT,
        books.WRITE_OFF,
        books.FORGIVE,
        books.PAY_OUT,
        unknown.CHARGE,
        alarms.ACKNOWLEDGE,
        nodes.ADOPT,
    )
}
