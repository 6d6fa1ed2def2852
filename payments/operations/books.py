"""Corrections of the books: what arrived for nobody, what the operator owes, what is lost.

Each is one movement of the ledger, whose external id is the act's, and a line in the statement of
each user whom it concerns, in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.utils.translation import gettext_noop as _

from accounts import ledger, names, statement
from accounts.models import Activity, Transfer, User
from coinos.money import MSAT_PER_SAT
from coinos.rates import rate_or_none
from payments.models import OperatorAct
from payments.operations.verb import ActRefused, Arguments, Claim, Parameter, Verb

MOST_SAT = 2_100_000_000_000_000
LOSSES = {"lightning": ledger.House.LIGHTNING, "onchain": ledger.House.ONCHAIN}


def sats(text: str) -> int:
    """A whole number of sats, 1 or more."""
    amount_sat = int(text.replace(",", ""))
    if not 1 <= amount_sat <= MOST_SAT:
        raise ValueError(text)
    return amount_sat


def place(text: str) -> str:
    """Where the house has lost something."""
    if text not in LOSSES:
        raise ValueError(text)
    return text


# --- What arrived for nobody ----------------------------------------------------------------------


@dataclass(frozen=True)
class SuspenseItem:
    """Money that matched nobody, and what of it has not been credited to anybody since."""

    transfer: Transfer
    open_msat: int

    @property
    def open_sat(self) -> int:
        return self.open_msat // MSAT_PER_SAT


def suspense_items() -> list[SuspenseItem]:
    """All of which a sat or more is open, the oldest first."""
    arrived = list(Transfer.objects.filter(credit_id=ledger.House.SUSPENSE).order_by("id"))
    given = _given_msat()
    items = [SuspenseItem(one, one.amount_msat - given.get(one.id, 0)) for one in arrived]
    return [item for item in items if item.open_sat > 0]


def open_sat_of(transfer: Transfer) -> int:
    """How many sats of an item can still be credited to somebody."""
    return (transfer.amount_msat - _given_msat().get(transfer.id, 0)) // MSAT_PER_SAT


def _given_msat() -> dict[int, int]:
    """What was credited out of each item, by its number."""
    credited = Transfer.objects.filter(
        debit_id=ledger.House.SUSPENSE, external_id__startswith="suspense:"
    )
    given: dict[int, int] = {}
    for external_id, amount_msat in credited.values_list("external_id", "amount_msat"):
        item = int(external_id.split(":")[1])
        given[item] = given.get(item, 0) + amount_msat
    return given


def _look_at_credit(arguments: Arguments) -> Claim:
    user = _user(arguments["username"])
    item = _item(arguments)
    amount_sat = _credited_sat(item, arguments)
    about = (
        f"credit {amount_sat:,} sats to {user.username}, out of item {item.transfer.id} that"
        f" arrived for nobody ({item.transfer.external_id})"
    )
    return Claim(about, user, amount_sat=amount_sat)


def _begin_credit(act: OperatorAct) -> Callable[[], str]:
    return lambda: _credit(act)


def _credit(act: OperatorAct) -> str:
    # Locked, so that two acts cannot give one item away twice.
    Transfer.objects.select_for_update().get(id=act.arguments["item"])
    item = _item(act.arguments)
    _credited_sat(item, act.arguments | {"sats": act.amount_sat})
    assert act.user
    ledger.credit_from_suspense(
        user_id=act.user.id,
        amount_msat=act.amount_sat * MSAT_PER_SAT,
        external_id=f"suspense:{item.transfer.id}:{act.id}",
        reason=f"act {act.id}",
    )
    _line(act, act.user, act.amount_sat, _("Arrived before, and was found to be yours"))
    return f"{act.user.username} has {act.amount_sat:,} sats more"


def _item(arguments: Arguments) -> SuspenseItem:
    for item in suspense_items():
        if item.transfer.id == arguments["item"]:
            return item
    raise ActRefused("There is no open item of this number; `suspense` lists them")


def _credited_sat(item: SuspenseItem, arguments: Arguments) -> int:
    amount_sat = arguments["sats"] or item.open_sat
    if amount_sat > item.open_sat:
        raise ActRefused(f"Only {item.open_sat:,} sats of this item are open")
    return int(amount_sat)


# --- The operator's own money ---------------------------------------------------------------------


def _look_at_correction(arguments: Arguments) -> Claim:
    user = _user(arguments["username"])
    about = f"give {arguments['sats']:,} sats of the operator's own to {user.username}"
    return Claim(about, user, amount_sat=arguments["sats"])


def _begin_correction(act: OperatorAct) -> Callable[[], str]:
    return lambda: _correct(act)


def _correct(act: OperatorAct) -> str:
    assert act.user
    ledger.fund_from_equity(
        user_id=act.user.id,
        amount_msat=act.amount_sat * MSAT_PER_SAT,
        external_id=f"operator:{act.id}",
        reason=f"act {act.id}",
    )
    _line(act, act.user, act.amount_sat, _("A correction by the operator"))
    return f"{act.user.username} has {act.amount_sat:,} sats more"


def _look_at_loss(arguments: Arguments) -> Claim:
    about = (
        f"write off {arguments['sats']:,} sats that the node has lost: the operator's own money"
        f" bears what the account {arguments['place']} lacks"
    )
    return Claim(about, None, amount_sat=arguments["sats"])


def _begin_loss(act: OperatorAct) -> Callable[[], str]:
    return lambda: _write_off(act)


def _write_off(act: OperatorAct) -> str:
    ledger.write_off(
        source=LOSSES[act.arguments["place"]],
        amount_msat=act.amount_sat * MSAT_PER_SAT,
        external_id=f"operator:{act.id}",
        reason=f"act {act.id}",
    )
    return f"{act.amount_sat:,} sats are written off"


def _look_at_debt(arguments: Arguments) -> Claim:
    user, amount_sat = _user(arguments["username"]), arguments["sats"]
    owed_sat = ledger.owed_by_msat(user.id) // MSAT_PER_SAT
    if amount_sat > owed_sat:
        raise ActRefused(f"{user.username} owes {owed_sat:,} sats")
    return Claim(f"forgive {user.username} {amount_sat:,} sats of debt", user, amount_sat)


def _begin_forgiving(act: OperatorAct) -> Callable[[], str]:
    return lambda: _forgive(act)


def _forgive(act: OperatorAct) -> str:
    assert act.user
    _look_at_debt(act.arguments)
    ledger.forgive_debt(
        user_id=act.user.id,
        amount_msat=act.amount_sat * MSAT_PER_SAT,
        external_id=f"operator:{act.id}",
        reason=f"act {act.id}",
    )
    return f"{act.user.username} owes {act.amount_sat:,} sats less"


# --- A closed account with money ------------------------------------------------------------------


def _look_at_pay_out(arguments: Arguments) -> Claim:
    closed, other = _closed(arguments), _user(arguments["to"])
    if not other.is_active or other.id == closed.id:
        raise ActRefused("Pay it out to another account, one that is open")
    amount_sat = _all_of(closed)
    about = f"pay out all {amount_sat:,} sats of the closed account {closed.username} to {other}"
    return Claim(about, closed, amount_sat=amount_sat, needs_two=True)


def _begin_pay_out(act: OperatorAct) -> Callable[[], str]:
    return lambda: _pay_out(act)


def _pay_out(act: OperatorAct) -> str:
    closed, other = _closed(act.arguments), _user(act.arguments["to"])
    if _all_of(closed) != act.amount_sat:
        raise ActRefused("The account holds another amount by now. Drop this and ask again")
    words = _("Paid out by the operator from an account that was closed")
    ledger.pay_out(
        from_user_id=closed.id,
        to_user_id=other.id,
        amount_msat=act.amount_sat * MSAT_PER_SAT,
        external_id=f"operator:{act.id}",
        reason=f"act {act.id}",
    )
    _line(act, closed, -act.amount_sat, words, counterparty=other)
    _line(act, other, act.amount_sat, words, counterparty=closed)
    return f"{other.username} has {act.amount_sat:,} sats more, {closed.username} nothing"


def _closed(arguments: Arguments) -> User:
    user = _user(arguments["username"])
    if user.is_active:
        raise ActRefused(f"{user.username} is open: whoever owns it takes the money out")
    return user


def _all_of(user: User) -> int:
    balance = ledger.balance_of(user.id)
    if balance.held_sat:
        raise ActRefused("A payment of this account is undecided still. Wait for its end")
    if not balance.available_sat:
        raise ActRefused("This account holds nothing")
    return balance.available_sat


# --- Small things ---------------------------------------------------------------------------------


def _user(name: str) -> User:
    user = User.objects.filter(username=names.normalise(name)).first()
    if user is None:
        raise ActRefused(f"There is no account {name}")
    return user


def _line(
    act: OperatorAct, user: User, amount_sat: int, words: str, counterparty: User | None = None
) -> None:
    statement.record(
        user=user,
        type=Activity.Type.INTERNAL,
        status=Activity.Status.SETTLED,
        amount_sat=amount_sat,
        fee_sat=0 if amount_sat < 0 else None,
        platform_fee_sat=0 if amount_sat < 0 else None,
        hash=act.id.hex,
        counterparty=counterparty,
        reason=words,
        currency=user.currency,
        rate=rate_or_none(user.currency),
    )


WHOLE_SATS = "a whole number of sats"

CREDIT = Verb(
    name="credit",
    help="Credit money that arrived for nobody to the user who should have had it.",
    parameters=(
        Parameter("item", "the number of an item; `suspense` lists them", int),
        Parameter("username", "the name of an account"),
        Parameter("sats", f"{WHOLE_SATS}; all that is open, if left out", sats, is_optional=True),
    ),
    look=_look_at_credit,
    begin=_begin_credit,
    of_the_owner=True,
)
CORRECT = Verb(
    name="correct",
    help="Give a user money of the operator's own.",
    parameters=(
        Parameter("username", "the name of an account"),
        Parameter("sats", WHOLE_SATS, sats),
    ),
    look=_look_at_correction,
    begin=_begin_correction,
    of_the_owner=True,
)
WRITE_OFF = Verb(
    name="write-off",
    help="Let the operator's own money bear what a node has lost.",
    parameters=(
        Parameter("place", "lightning or onchain", place),
        Parameter("sats", WHOLE_SATS, sats),
    ),
    look=_look_at_loss,
    begin=_begin_loss,
    of_the_owner=True,
)
FORGIVE = Verb(
    name="forgive",
    help="Let the operator's own money bear what a user owes after a deposit was undone.",
    parameters=(
        Parameter("username", "the name of an account"),
        Parameter("sats", WHOLE_SATS, sats),
    ),
    look=_look_at_debt,
    begin=_begin_forgiving,
    of_the_owner=True,
)
PAY_OUT = Verb(
    name="pay-out",
    help="Pay all that a closed account holds to another account of its owner's.",
    parameters=(
        Parameter("username", "the name of a closed account"),
        Parameter("to", "the name of an open account"),
    ),
    look=_look_at_pay_out,
    begin=_begin_pay_out,
    of_the_owner=True,
)
