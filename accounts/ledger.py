"""THE module that moves money. Every movement has a named function here and nowhere else.

Each function is one round trip to a SQL function of `sql/`, which keeps the books;
Python keeps the names, the units and the errors. All of them belong inside the caller's
transaction, so that the movement and its cause commit together. Amounts are millisatoshi.

A function that books something with an external id returns False (or None) when that id was
booked before: repeating any call is harmless. Debits and holds raise `InsufficientFunds`.
"""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import psycopg
from django.db import DatabaseError, OperationalError, connection, transaction

from accounts.errors import HoldExceeded, InsufficientFunds
from accounts.models import LedgerAccount, Transfer, User
from coinos.db import Query, ask, ask_at_once

P = ParamSpec("P")
R = TypeVar("R")


class House(IntEnum):
    """The system accounts, by their fixed ids."""

    LIGHTNING = 1
    ONCHAIN = 2
    FEES = 3
    ROUNDING = 4
    SUSPENSE = 5
    BAD_DEBT = 6
    EQUITY = 7
    GIFTS = 8


@dataclass(frozen=True)
class Cause:
    """What a movement was for: a kind of row and its id."""

    kind: str  # payment | invoice | deposit | gift | operator
    id: str


@dataclass(frozen=True)
class Balance:
    """A user's money in whole sats. `available_sat` can be spent; `held_sat` is on its way."""

    available_sat: int
    held_sat: int


# --- Accounts ------------------------------------------------------------------------------------


def open_account(user: User) -> int:
    """Give the user a ledger account; the id of the one he has when there is one."""
    return int(_call("ledger_open", user.id))


def account_of(user_id: UUID) -> int:
    """The id of the user's ledger account, which every user has since registration."""
    return LedgerAccount.objects.values_list("id", flat=True).get(user_id=user_id)


def balance_of(user_id: UUID) -> Balance:
    [row] = ask(
        Query(
            "SELECT (posted_msat - held_msat) / 1000, held_msat / 1000"
            " FROM ledger_account WHERE user_id = %s",
            [user_id],
        )
    )
    return Balance(*row)


# --- Money coming in -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Arrived:
    """Money for a user. `ref` is a payment hash, or the outpoint `txid:vout` of a deposit, with
    `:n` for the n-th time that it confirmed after a reorg took it back."""

    user_id: UUID
    ref: str
    amount_msat: int
    cause: Cause


def receive_lightning(arrived: Sequence[Arrived]) -> list[int | None]:
    """Credit paid bolt11s: whole sats to the user, the rest to rounding. Returns for each the msat
    credited, None when this payment hash was credited before."""
    return _receive("ledger_receive_lightning", arrived)


def receive_onchain(arrived: Sequence[Arrived]) -> list[bool]:
    """Credit confirmed deposits; False for each that was credited before."""
    booked = _receive("ledger_receive_onchain", arrived)
    return [credited_msat is not None for credited_msat in booked]


def reverse_onchain(*, user_id: UUID, outpoint: str, amount_msat: int, cause: Cause) -> int | None:
    """Take back a deposit that a reorg undid. The user pays what is available, `bad_debt` the
    rest, which he owes then; returns that shortfall in msat, None when this credit was reversed
    before. Whatever of his is held, on its way or set aside repays it when it becomes his again."""
    return _call("ledger_reverse_onchain", user_id, amount_msat, outpoint, cause.id)


def repay_shortfall(*, user_id: UUID, outpoint: str, cause: Cause) -> None:
    """Give back to `bad_debt` what it bore when this credit was reversed, as far as it is still
    owed. In the transaction that credits the same coins again: they came after all."""
    _call("ledger_repay_shortfall", user_id, outpoint, cause.id)


def receive_unmatched(*, source: House, external_id: str, amount_msat: int, cause: Cause) -> bool:
    """Book money that arrived and matches nobody to `suspense`, where an operator finds it."""
    row = _call("ledger_receive_unmatched", source, amount_msat, external_id, cause.kind, cause.id)
    return row is not None


# --- Money between users -------------------------------------------------------------------------


def move_internal(
    *,
    from_user_id: UUID,
    to_user_id: UUID,
    amount_msat: int,
    external_id: str,
    cause: Cause,
    then: Sequence[Query] = (),
    commit: bool = False,
) -> bool:
    """Move money between two users: one row, so what one pays is what the other gets.

    `then` goes with it in one round trip, since the accounts stay locked until the COMMIT, and with
    `commit` that too. It is done even when the id was booked before: on False the caller rolls
    back."""
    row = _call(
        "ledger_move_internal",
        from_user_id,
        to_user_id,
        amount_msat,
        external_id,
        cause.id,
        then=then,
        commit=commit,
    )
    return row is not None


# --- Gifts: set aside until somebody takes them --------------------------------------------------


def make_gift(*, user_id: UUID, amount_msat: int, gift_id: UUID) -> bool:
    """Set money of the user's aside for whoever takes the gift. It is owed to somebody still."""
    return _call("ledger_make_gift", user_id, amount_msat, gift_id) is not None


def take_gift(*, user_id: UUID, amount_msat: int, gift_id: UUID) -> bool:
    """Give the taker what was set aside. The database raises `IntegrityError` when the gift has
    gone back, was never made, or had another amount."""
    return _call("ledger_take_gift", user_id, amount_msat, gift_id) is not None


def return_gift(*, user_id: UUID, amount_msat: int, gift_id: UUID) -> bool:
    """Give the giver his gift back, and `bad_debt` what he owes of it. The database raises
    `IntegrityError` when it has been taken."""
    return bool(_call("ledger_return_gift", user_id, amount_msat, gift_id))


def set_aside_msat(user_id: UUID) -> int:
    """What the user has in gifts that nobody has taken yet."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce(sum(made.amount_msat), 0)::bigint
            FROM ledger_transfer made JOIN ledger_account account ON account.id = made.debit_id
            WHERE account.user_id = %(user)s AND made.credit_id = %(gifts)s AND NOT EXISTS (
                SELECT FROM ledger_transfer WHERE debit_id = %(gifts)s
                    AND external_id = made.external_id)
            """,
            {"user": user_id, "gifts": int(House.GIFTS)},
        )
        return int(cursor.fetchone()[0])


# --- Money going out -----------------------------------------------------------------------------


def hold_for_payment(*, user_id: UUID, through: House, amount_msat: int, payment_id: UUID) -> int:
    """Hold amount + maximum fee + platform fee of an outgoing payment; returns the hold's id."""
    return int(_call("ledger_hold_payment", user_id, through, amount_msat, payment_id))


def settle_payment(
    *, hold_id: int, spent_msat: int, platform_fee_msat: int, payment_id: UUID
) -> int | None:
    """Resolve a hold by what the network took: `spent_msat` is the amount plus the exact fee.

    The rest of the hold is free again, but for what the user owes `bad_debt`. Never raises for a
    fee above the hold: the house pays the excess as `fee.overrun`. Returns the user's total debit
    in msat, None when already resolved.
    """
    return _call("ledger_settle_payment", hold_id, spent_msat, platform_fee_msat, payment_id)


def release_payment(*, hold_id: int, payment_id: UUID) -> bool:
    """Give the whole hold back, and `bad_debt` what the user owes of it. Only for a payment that
    certainly failed."""
    return _call("ledger_release_payment", hold_id, payment_id) is not None


def correct_payment(*, hold_id: int, spent_msat: int) -> int:
    """Book what a settled payment took in the end, when another version of its transaction was
    mined: amount plus exact network fee. Returns what the user has back, in msat.

    Nobody is debited again: the house pays for more, as `fee.overrun`. Of less it has back first
    what it bore, then the user the rest. Raises `HoldExceeded` unless the payment is settled."""
    return int(_call("ledger_correct_payment", hold_id, spent_msat))


def raise_fee(*, hold_id: int, spent_msat: int) -> int:
    """Let the user pay for a version of a settled payment with a higher fee: `spent_msat` is its
    amount plus exact fee. Returns what it costs the user more, in msat. Raises `InsufficientFunds`,
    and `HoldExceeded` unless the payment is settled."""
    return int(_call("ledger_raise_fee", hold_id, spent_msat))


def return_withdrawal(
    *, user_id: UUID, spent_msat: int, platform_fee_msat: int, payment_id: UUID
) -> bool:
    """Credit back a settled withdrawal whose inputs a foreign transaction spent for good: amount
    and network fee from the wallet that still has them, the platform fee from the house. What the
    user owes of it goes to `bad_debt`."""
    return bool(
        _call("ledger_return_withdrawal", user_id, spent_msat, platform_fee_msat, payment_id)
    )


# --- Corrections by the operator -----------------------------------------------------------------
# Only the role that owns the tables may do these: inside `coinos.db.as_operator`.


def fund_from_equity(*, user_id: UUID, amount_msat: int, external_id: str, reason: str) -> bool:
    """Give a user money of the operator's: a correction, or a start balance on simnet."""
    account = account_of(user_id)
    return _by_operator(House.EQUITY, account, amount_msat, "operator.credit", external_id, reason)


def credit_from_suspense(*, user_id: UUID, amount_msat: int, external_id: str, reason: str) -> bool:
    """Give a user money that arrived for nobody and turned out to be his. Never more than arrived:
    the database raises `IntegrityError`."""
    row = _call("ledger_credit_from_suspense", user_id, amount_msat, external_id, reason[:100])
    return row is not None


def write_off(*, source: House, amount_msat: int, external_id: str, reason: str) -> bool:
    """Let the operator's own money bear a loss of the house, such as what a node has lost. A
    user's debt is forgiven instead (`forgive_debt`), so that he does not owe it for ever: the
    database raises `IntegrityError`."""
    return _by_operator(
        House.EQUITY, source, amount_msat, "operator.write_off", external_id, reason
    )


def forgive_debt(*, user_id: UUID, amount_msat: int, external_id: str, reason: str) -> bool:
    """Let the operator's own money bear what the user owes `bad_debt`, or a part of it. The
    database raises `IntegrityError` when he owes less."""
    return bool(
        _call(
            "ledger_forgive",
            account_of(user_id),
            amount_msat,
            external_id,
            "operator",
            reason[:100],
        )
    )


def pay_out(
    *, from_user_id: UUID, to_user_id: UUID, amount_msat: int, external_id: str, reason: str
) -> bool:
    """Move a user's money to another on an operator's word: that of an account which is closed."""
    payer, payee = account_of(from_user_id), account_of(to_user_id)
    return _by_operator(payer, payee, amount_msat, "operator.pay_out", external_id, reason)


def _by_operator(
    debit: int, credit: int, amount_msat: int, kind: str, external_id: str, reason: str
) -> bool:
    row = _call(
        "ledger_post", debit, credit, amount_msat, kind, external_id, "operator", reason[:100]
    )
    return row is not None


def owed_by_msat(user_id: UUID) -> int:
    """What `bad_debt` has borne for the user and he has not repaid."""
    return LedgerAccount.objects.values_list("owed_msat", flat=True).get(user_id=user_id)


# --- Does it add up? -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """An account whose kept balance or debt is not the sum of its transfers."""

    account: int
    posted_msat: int
    computed_posted_msat: int
    held_msat: int
    computed_held_msat: int
    owed_msat: int
    computed_owed_msat: int


def differences() -> list[Difference]:
    """Compare every user's kept balance and debt with the sum of his transfers, in one snapshot."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH moved AS (
                SELECT credit_id AS account, amount_msat AS posted, 0 AS held
                    FROM ledger_transfer WHERE phase IN ('posted', 'post')
                UNION ALL
                SELECT debit_id, -amount_msat, 0
                    FROM ledger_transfer WHERE phase IN ('posted', 'post')
                UNION ALL
                SELECT debit_id, 0, amount_msat FROM ledger_transfer WHERE phase = 'pending'
                UNION ALL
                SELECT debit_id, 0, -pending_amount_msat
                    FROM ledger_transfer WHERE phase IN ('post', 'void')
            ), computed AS (
                SELECT account, sum(posted)::bigint AS posted, sum(held)::bigint AS held
                    FROM moved GROUP BY account
            )
            SELECT id, posted_msat, coalesce(posted, 0), held_msat, coalesce(held, 0),
                    owed_msat, coalesce(msat, 0)
                FROM ledger_account LEFT JOIN computed ON computed.account = id
                    LEFT JOIN ledger_debt ON ledger_debt.account_id = id
                WHERE user_id IS NOT NULL AND (posted_msat, held_msat, owed_msat)
                    <> (coalesce(posted, 0), coalesce(held, 0), coalesce(msat, 0))
                ORDER BY id
            """
        )
        return [Difference(*row) for row in cursor.fetchall()]


def house_balance_msat(account: House) -> int:
    """Credits minus debits of a system account, computed: it keeps no balance."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce(sum(CASE WHEN credit_id = %(id)s THEN amount_msat
                                     ELSE -amount_msat END), 0)::bigint
            FROM ledger_transfer
            WHERE %(id)s IN (credit_id, debit_id) AND phase IN ('posted', 'post')
            """,
            {"id": int(account)},
        )
        return int(cursor.fetchone()[0])


def users_msat() -> int:
    """The sum of all posted balances of users."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(sum(posted_msat), 0)::bigint FROM ledger_account")
        return int(cursor.fetchone()[0])


def owed_msat() -> int:
    """What the house owes: all posted balances of users, and gifts that nobody has taken yet. One
    statement, so that a gift taken meanwhile is on one side or the other."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT (
                (SELECT coalesce(sum(posted_msat), 0) FROM ledger_account)
                + (SELECT coalesce(sum(amount_msat), 0) FROM ledger_transfer
                    WHERE credit_id = %(gifts)s AND phase = 'posted')
                - (SELECT coalesce(sum(amount_msat), 0) FROM ledger_transfer
                    WHERE debit_id = %(gifts)s AND phase = 'posted')
            )::bigint
            """,
            {"gifts": int(House.GIFTS)},
        )
        return int(cursor.fetchone()[0])


def received_msat(payment_hashes: Iterable[str]) -> dict[str, int]:
    """By payment hash: what was booked when it came, the remainder of whole sats included. Only for
    users: nothing else is owed to anybody."""
    external_ids = [f"lightning:{payment_hash}" for payment_hash in payment_hashes]
    rows = Transfer.objects.filter(
        kind__in=["receive.lightning", "rounding.receive.lightning"], external_id__in=external_ids
    ).values_list("external_id", "amount_msat")
    booked_msat: dict[str, int] = defaultdict(int)
    for external_id, amount_msat in rows:
        booked_msat[external_id.removeprefix("lightning:")] += amount_msat
    return booked_msat


# --- The one way to the database -----------------------------------------------------------------


def atomic(function: Callable[P, R]) -> Callable[P, R]:
    """Run a service in a transaction of its own, again from the start when the database reports
    a deadlock. Not for functions that talk to a node."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        for attempt in range(5):
            try:
                with transaction.atomic():
                    return function(*args, **kwargs)
            except OperationalError as error:
                retry = isinstance(error.__cause__, psycopg.errors.DeadlockDetected)
                if not retry or connection.in_atomic_block or attempt == 4:
                    raise
                time.sleep(0.01 * 2**attempt)
        raise AssertionError("unreachable")

    return run


def _receive(function: str, arrived: Sequence[Arrived]) -> list[int | None]:
    rows = _rows(
        f"SELECT {function}(%s::uuid[], %s::bigint[], %s::text[], %s::text[])",
        [
            [one.user_id for one in arrived],
            [one.amount_msat for one in arrived],
            [one.ref for one in arrived],
            [one.cause.id for one in arrived],
        ],
    )
    return [credited_msat for (credited_msat,) in rows]


def _call(function: str, *args: Any, then: Sequence[Query] = (), commit: bool = False) -> Any:
    """Run one SQL function of the ledger inside the caller's transaction, and `then` with it."""
    arguments = [int(one) if isinstance(one, IntEnum) else one for one in args]
    call = f"SELECT {function}({', '.join(['%s'] * len(arguments))})"
    [(result,)] = _rows(call, arguments, then, commit)
    return result


def _rows(
    sql: str, arguments: list[Any], then: Sequence[Query] = (), commit: bool = False
) -> list[tuple[Any, ...]]:
    if not connection.in_atomic_block:
        raise RuntimeError("the ledger moves money only inside a transaction")
    try:
        return ask_at_once(Query(sql, arguments), *then, commit=commit)[0]
    except DatabaseError as error:
        cause = error.__cause__
        code = getattr(cause, "sqlstate", None)
        if code == "CO001" and isinstance(cause, psycopg.Error):
            available_msat, needed_msat = map(int, (cause.diag.message_detail or "").split())
            raise InsufficientFunds.of_msat(available_msat, needed_msat) from error
        if code == "CO002":
            raise HoldExceeded(str(cause)) from error
        raise
