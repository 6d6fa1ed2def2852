"""T1: the ledger against a model of it, by a Hypothesis state machine (I1-I5, I10).

The model is a few dictionaries of integers. After every step each balance and debt of every account
must be what the model says; after every run the books must add up and history must only have grown.
First it is shown that the machine notices a broken ledger.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis.strategies as st
import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from accounts import ledger
from accounts.errors import HoldExceeded, InsufficientFunds
from accounts.ledger import Arrived, Cause, House
from accounts.models import LedgerAccount, User
from tests import causes
from tests.cast import make_user
from tests.database import Database
from tests.proof import table
from tests.proof.books import house_balances_msat, transfers_digest
from tests.proof.scale import FULL, SEED, size

EXAMPLES = size(20, 200)
STEPS = size(30, 50)
START_MSAT = 4_000_000
RECEIPT = Cause("receipt", "proof")

msat = st.integers(1, 5_000_000)
sats = st.integers(1, 5_000)
little_or_much = st.one_of(st.integers(1, 500), st.integers(1, 500), st.integers(2_000, 9_000))
who = st.integers(0, 2)
NODES = [House.LIGHTNING, House.ONCHAIN]
few_ids = st.integers(0, 5).map(str)  # few, so that ids are often used again

operations: Counter[str] = Counter()


class LedgerMachine(RuleBasedStateMachine):
    holds = Bundle("holds")
    outpoints = Bundle("outpoints")
    gifts = Bundle("gifts")
    users: list[User]

    def __init__(self) -> None:
        super().__init__()
        self.run = uuid.uuid4().hex[:12]
        self.users = [make_user(f"{name}{self.run}") for name in ("alice", "bob", "charlie")]
        self.accounts = [ledger.account_of(user.id) for user in self.users]
        self.posted = [0, 0, 0]
        self.held = [0, 0, 0]
        self.owed = [0, 0, 0]
        self.borne: dict[str, int] = {}
        self.house_before = house_balances_msat()
        self.house: dict[House, int] = defaultdict(int)
        self.used: set[tuple[str, str]] = set()
        self.open_holds: dict[int, tuple[int, int]] = {}
        self.through: dict[int, House] = {}
        self.paid: dict[int, tuple[int, int, int]] = {}
        self.open_gifts: dict[uuid.UUID, int] = {}
        self.credited: dict[str, tuple[int, int]] = {}
        self.last_id, self.digest = transfers_digest()
        for user in range(3):
            with transaction.atomic():
                self._credit(f"{self.run}:{user}", user, START_MSAT)

    def available(self, user: int) -> int:
        return self.posted[user] - self.held[user]

    def repay(self, user: int, most: int) -> None:
        """Of what becomes a user's again, bad debt gets what he owes."""
        msat = min(self.owed[user], self.available(user), most)
        self.owed[user] -= msat
        self.posted[user] -= msat
        self.house[House.BAD_DEBT] += msat

    # --- Money coming in ---------------------------------------------------------------------

    @rule(user=who, amount=msat, name=few_ids)
    def receive_lightning(self, user: int, amount: int, name: str) -> None:
        """The same payment hash is credited once, whatever amount is named the second time."""
        operations["deposit"] += 1
        payment_hash = f"{self.run}:{name}"
        with transaction.atomic():
            if ("lightning", name) in self.used:
                arrived = Arrived(self.users[user].id, payment_hash, amount, RECEIPT)
            else:
                arrived = causes.receipt(self.users[user], payment_hash, amount)
            # A second time in one call is a second time.
            credited, again = ledger.receive_lightning([arrived, arrived])
        assert again is None
        if ("lightning", name) in self.used:
            assert credited is None
            return
        self.used.add(("lightning", name))
        assert credited == amount - amount % 1000
        self.posted[user] += credited
        self.house[House.ROUNDING] += amount % 1000
        self.house[House.LIGHTNING] -= amount

    @rule(target=outpoints, user=who, amount=sats)
    def deposit(self, user: int, amount: int) -> str:
        operations["deposit"] += 1
        outpoint = f"{uuid.uuid4().hex}:0"
        with transaction.atomic():
            assert self._credit(outpoint, user, amount * 1000)
        return outpoint

    def _credit(self, outpoint: str, user: int, amount_msat: int, times: int = 1) -> bool:
        arrived = causes.deposit(self.users[user], outpoint, amount_msat // 1000, credits=times)
        [done] = ledger.receive_onchain([arrived])
        if done:
            self.credited[outpoint] = (user, amount_msat)
            self.posted[user] += amount_msat
            self.house[House.ONCHAIN] -= amount_msat
        return done

    @rule(outpoint=outpoints)
    def credit_again(self, outpoint: str) -> None:
        operations["bad id"] += 1
        user, amount = self.credited[outpoint]
        with transaction.atomic():
            assert not self._credit(outpoint, user, amount)
            transaction.set_rollback(True)  # the deposit may have been credited again since

    @rule(outpoint=outpoints)
    def reverse(self, outpoint: str) -> None:
        """The user pays what is there, bad debt the rest, once."""
        operations["reverse"] += 1
        user, amount = self.credited[outpoint]
        with transaction.atomic():
            shortfall = ledger.reverse_onchain(
                user_id=self.users[user].id,
                outpoint=outpoint,
                amount_msat=amount,
                cause=causes.reversed_deposit(outpoint),
            )
            if ("reversed", outpoint) in self.used:
                assert shortfall is None
                transaction.set_rollback(True)
                return
        self.used.add(("reversed", outpoint))
        taken = min(self.available(user), amount)
        assert shortfall == amount - taken
        self.posted[user] -= taken
        self.owed[user] += shortfall
        self.borne[outpoint] = shortfall
        self.house[House.BAD_DEBT] -= shortfall
        self.house[House.ONCHAIN] += amount

    @rule(outpoint=outpoints)
    def confirm_again(self, outpoint: str) -> None:
        """The coins came after all: what bad debt bore of them is repaid as far as it is still
        owed, and once."""
        operations["repay"] += 1
        if outpoint not in self.borne:
            return
        user, amount = self.credited[outpoint]
        with transaction.atomic():
            if self._credit(outpoint, user, amount, times=2):
                self.repay(user, self.borne[outpoint])
            cause = causes.deposit(self.users[user], outpoint, amount // 1000, credits=2).cause
            for _ in range(2):
                ledger.repay_shortfall(user_id=self.users[user].id, outpoint=outpoint, cause=cause)

    @rule(amount=msat, name=few_ids)
    def receive_unmatched(self, amount: int, name: str) -> None:
        operations["deposit"] += 1
        with transaction.atomic():
            booked = ledger.receive_unmatched(
                source=House.LIGHTNING,
                external_id=f"lightning:{self.run}:{name}",
                amount_msat=amount,
                cause=RECEIPT,
            )
        assert booked == (("unmatched", name) not in self.used)
        self.used.add(("unmatched", name))
        if booked:
            self.house[House.SUSPENSE] += amount
            self.house[House.LIGHTNING] -= amount

    # --- Between users -----------------------------------------------------------------------

    @rule(payer=who, payee=who, amount=little_or_much, name=few_ids)
    def internal(self, payer: int, payee: int, amount: int, name: str) -> None:
        operations["internal"] += 1
        amount_msat = amount * 1000
        used = ("internal", name) in self.used
        try:
            with transaction.atomic():
                moved = ledger.move_internal(
                    from_user_id=self.users[payer].id,
                    to_user_id=self.users[payee].id,
                    amount_msat=amount_msat,
                    external_id=f"{self.run}:{name}",
                    cause=causes.line(self.users[payer], self.users[payee], amount),
                )
        except InsufficientFunds:
            assert not used
            assert self.available(payer) < amount_msat
            return
        except DatabaseError:
            assert payer == payee
            return
        assert moved == (not used)
        if moved:
            assert payer != payee
            assert self.available(payer) >= amount_msat
            self.used.add(("internal", name))
            self.posted[payer] -= amount_msat
            self.posted[payee] += amount_msat

    # --- Gifts -------------------------------------------------------------------------------

    @rule(target=gifts, giver=who, amount=little_or_much)
    def make_gift(self, giver: int, amount: int) -> Any:
        operations["gift"] += 1
        try:
            with transaction.atomic():
                gift_id = causes.gift(self.users[giver], amount)
                assert ledger.make_gift(
                    user_id=self.users[giver].id, amount_msat=amount * 1000, gift_id=gift_id
                )
        except InsufficientFunds:
            assert self.available(giver) < amount * 1000
            return multiple()
        self.posted[giver] -= amount * 1000
        self.house[House.GIFTS] += amount * 1000
        self.open_gifts[gift_id] = giver
        return (gift_id, giver, amount * 1000)

    @rule(
        gift=gifts,
        to=who,
        off_msat=st.sampled_from([0, 0, 0, 1000, -1000]),
        verb=st.sampled_from(["take_gift", "return_gift"]),
    )
    def resolve_gift(
        self, gift: tuple[uuid.UUID, int, int], to: int, off_msat: int, verb: str
    ) -> None:
        """Taken by anybody or returned to its giver: one of them, whole, and once."""
        operations["gift"] += 1
        gift_id, giver, amount = gift
        try:
            with transaction.atomic():
                done = getattr(ledger, verb)(
                    user_id=self.users[to].id, amount_msat=amount + off_msat, gift_id=gift_id
                )
                if done:
                    causes.gift_ends(gift_id, self.users[to] if verb == "take_gift" else None)
        except DatabaseError:
            is_wrong = off_msat or (verb == "return_gift" and to != giver)
            assert is_wrong or gift_id not in self.open_gifts
            return
        assert done == (gift_id in self.open_gifts)
        if done:
            assert off_msat == 0
            assert verb == "take_gift" or to == giver
            del self.open_gifts[gift_id]
            self.posted[to] += amount
            self.house[House.GIFTS] -= amount
            if verb == "return_gift":
                self.repay(to, amount)

    # --- Money going out ---------------------------------------------------------------------

    @initialize(target=holds)
    def first_hold(self) -> Any:
        return self._hold(0, 700, House.LIGHTNING)

    @rule(target=holds, user=who, amount=little_or_much, through=st.sampled_from(NODES))
    def hold(self, user: int, amount: int, through: House) -> Any:
        return self._hold(user, amount, through)

    def _hold(self, user: int, amount: int, through: House) -> Any:
        operations["hold"] += 1
        payment_id = uuid.uuid4()
        try:
            with transaction.atomic():
                hold_id = ledger.hold_for_payment(
                    user_id=self.users[user].id,
                    through=through,
                    amount_msat=amount * 1000,
                    payment_id=payment_id,
                )
                causes.payment(self.users[user], payment_id, hold_id, amount, through)
        except InsufficientFunds:
            assert self.available(user) < amount * 1000
            return multiple()
        assert self.available(user) >= amount * 1000
        self.open_holds[hold_id] = (user, amount * 1000)
        self.through[hold_id] = through
        self.held[user] += amount * 1000
        return (hold_id, payment_id)

    @rule(
        hold=holds,
        share=st.sampled_from([0.0, 0.3, 0.9, 1.0, 1.1]),
        remainder=st.integers(0, 999),
        fee=st.integers(0, 5),
    )
    def settle(self, hold: tuple[int, uuid.UUID], share: float, remainder: int, fee: int) -> None:
        """Post part of a hold, all of it, or what a node took beyond it."""
        operations["post"] += 1
        hold_id, payment_id = hold
        user, amount = self.open_holds.get(hold_id, (0, 0))
        spent = max(1, int(amount * share) // 1000 * 1000 + remainder)
        fee_msat = fee * 1000
        try:
            with transaction.atomic():
                debit = ledger.settle_payment(
                    hold_id=hold_id,
                    spent_msat=spent,
                    platform_fee_msat=fee_msat,
                    payment_id=payment_id,
                )
        except (HoldExceeded, DatabaseError):
            assert fee_msat >= amount  # no room left for even one msat of the payment
            return
        if hold_id not in self.open_holds:
            assert debit is None
            return
        del self.open_holds[hold_id]
        posted = min(spent, amount - fee_msat)
        rounding = -posted % 1000
        assert debit == posted + rounding + fee_msat <= amount
        self.held[user] -= amount
        self.posted[user] -= debit
        self.paid[hold_id] = (user, posted, fee_msat)
        self.house[self.through[hold_id]] += spent
        self.house[House.ROUNDING] += rounding
        self.house[House.FEES] += fee_msat
        self.house[House.EQUITY] -= spent - posted
        self.repay(user, amount - debit)

    @rule(hold=holds)
    def void(self, hold: tuple[int, uuid.UUID]) -> None:
        operations["void"] += 1
        hold_id, payment_id = hold
        with transaction.atomic():
            released = ledger.release_payment(hold_id=hold_id, payment_id=payment_id)
        assert released == (hold_id in self.open_holds)
        if released:
            user, amount = self.open_holds.pop(hold_id)
            self.held[user] -= amount
            self.repay(user, amount)

    @rule(user=who, amount=sats, released=st.booleans())
    def vanish_while_held(self, user: int, amount: int, released: bool) -> None:
        """A deposit is taken back while all that its user has is on its way."""
        outpoint = self.deposit(user, amount)
        hold = self._hold(user, self.available(user) // 1000, House.LIGHTNING)
        self.reverse(outpoint)
        if released:
            self.void(hold)
        else:
            self.settle(hold, 0.9, 0, 0)

    @rule(hold=holds, more_msat=st.sampled_from([0, 0, 0, 1000]))
    def return_withdrawal(self, hold: tuple[int, uuid.UUID], more_msat: int) -> None:
        """What a withdrawal took, whole sats, once; nothing of any other payment."""
        operations["return"] += 1
        hold_id, payment_id = hold
        user, posted, fee_msat = self.paid.get(hold_id, (0, 1000, 0))
        spent = posted // 1000 * 1000 + more_msat
        is_known = hold_id in self.paid and self.through[hold_id] is House.ONCHAIN
        try:
            with transaction.atomic():
                returned = ledger.return_withdrawal(
                    user_id=self.users[user].id,
                    spent_msat=spent,
                    platform_fee_msat=fee_msat,
                    payment_id=payment_id,
                )
        except DatabaseError:
            assert more_msat or not is_known or not spent
            return
        assert is_known
        assert spent <= posted
        assert returned == (("return", str(hold_id)) not in self.used)
        self.used.add(("return", str(hold_id)))
        if returned:
            self.posted[user] += spent + fee_msat
            self.house[House.ONCHAIN] -= spent
            self.house[House.FEES] -= fee_msat
            self.repay(user, spent + fee_msat)

    # --- Nonsense ----------------------------------------------------------------------------

    @rule(
        user=who,
        amount=st.sampled_from([0, -1, -1500, -(2**63), 2**63 - 1, 1, 999]),
        verb=st.sampled_from(
            ["hold", "suspense", "internal", "receive", "reverse", "void", "settle"]
        ),
    )
    def nonsense(self, user: int, amount: int, verb: str) -> None:
        """Zero, negative, half sats, more than fits, credits and holds that never were: refused,
        and nothing changes."""
        operations["bad"] += 1
        user_id = self.users[user].id
        other = self.users[(user + 1) % 3].id
        new = uuid.uuid4()
        calls: dict[str, Any] = {
            "hold": lambda: ledger.hold_for_payment(
                user_id=user_id, through=House.LIGHTNING, amount_msat=amount, payment_id=new
            ),
            "suspense": lambda: ledger.receive_unmatched(
                source=House.SUSPENSE, external_id="lightning:", amount_msat=amount, cause=RECEIPT
            ),
            "internal": lambda: ledger.move_internal(
                from_user_id=user_id,
                to_user_id=other,
                amount_msat=amount,
                external_id=new.hex,
                cause=RECEIPT,
            ),
            "receive": lambda: ledger.receive_lightning(
                [Arrived(user_id, new.hex, min(amount, 0), RECEIPT)]
            ),
            "reverse": lambda: ledger.reverse_onchain(
                user_id=user_id, outpoint=f"{new.hex}:0", amount_msat=1000, cause=RECEIPT
            ),
            "void": lambda: ledger.release_payment(hold_id=2**62, payment_id=new),
            "settle": lambda: ledger.settle_payment(
                hold_id=2**62, spent_msat=1, platform_fee_msat=0, payment_id=new
            ),
        }
        with pytest.raises((DatabaseError, InsufficientFunds)), transaction.atomic():
            calls[verb]()

    @rule(user=who)
    def roll_back(self, user: int) -> None:
        """What its cause does not commit did not happen."""
        operations["roll back"] += 1
        with transaction.atomic():
            ledger.receive_onchain(
                [causes.deposit(self.users[user], f"{uuid.uuid4().hex}:0", 1000)]
            )
            transaction.set_rollback(True)

    # --- What must hold ----------------------------------------------------------------------

    @invariant()
    def balances_are_the_models(self) -> None:
        """I2, I3"""
        rows = LedgerAccount.objects.filter(id__in=self.accounts).order_by("id")
        kept = [(row.posted_msat, row.held_msat, row.owed_msat) for row in rows]
        assert kept == list(zip(self.posted, self.held, self.owed, strict=True))
        assert all(0 <= held <= posted for posted, held, _ in kept)

    def teardown(self) -> None:
        """I1, I3, I4, I5, I10"""
        house = house_balances_msat()
        for account in House:
            assert house[account] - self.house_before[account] == self.house[account], account
        assert sum(self.posted) + sum(self.house.values()) == 0
        assert ledger.differences() == []
        assert transfers_digest(up_to=self.last_id)[1] == self.digest, "history was edited"


def run_machine(*, examples: int, phases: tuple[Phase, ...] = tuple(Phase)) -> None:
    run_state_machine_as_test(
        seed(SEED)(type("Machine", (LedgerMachine,), {})),
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            database=None,
            deadline=None,
            phases=tuple(phase for phase in phases if phase is not Phase.explain),
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_ledger_does_what_the_model_says(cloned_db: Database) -> None:
    operations.clear()
    run_machine(examples=EXAMPLES)
    table.record(
        test="T1",
        tried=f"{operations.total():,} operations on the ledger and its model",
        found=0,
        seed=SEED,
        runs=EXAMPLES,
        **{verb.replace(" ", "_"): count for verb, count in sorted(operations.items())},
    )
    assert len(operations) == 12 or not FULL, "a verb was never tried"


# --- Could it fail? ------------------------------------------------------------------------------

BROKEN = {
    "a release that keeps part of the hold": (
        "ledger_void",
        "held_msat = held_msat - v_hold.amount_msat",
        "held_msat = held_msat - v_hold.amount_msat / 2000 * 1000",
    ),
    "a settlement that forgets the platform fee": (
        "ledger_settle",
        "posted_msat = posted_msat - v_total",
        "posted_msat = posted_msat - (v_total - p_platform_fee_msat)",
    ),
    "a settlement that does not book an overrun": (
        "ledger_settle",
        "IF v_overrun > 0 THEN",
        "IF false THEN",
    ),
    "a release that forgets a debt": ("ledger_void", "IF v_owed > 0 THEN", "IF false THEN"),
    "a repayment of more than is owed": (
        "ledger_repay",
        "LEAST(owed_msat, posted_msat - held_msat, p_most_msat)",
        "LEAST(posted_msat - held_msat, p_most_msat)",
    ),
    "a receipt whose remainder is lost": ("ledger_receive", "v_remainder > 0", "false"),
    "a transfer that takes what is not there": (
        "ledger_post",
        "PERFORM ledger_require(p_debit, p_amount_msat)",
        "NULL",
    ),
}


@contextmanager
def broken(database: Database, function: str, right: str, wrong: str) -> Iterator[None]:
    """The owner replaces a function of the ledger by a wrong one."""
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        [[definition]] = owner.execute(
            "SELECT pg_get_functiondef(%s::regproc)", [function]
        ).fetchall()
        assert right in definition
        owner.execute("ALTER TABLE ledger_account DROP CONSTRAINT available_is_not_negative")
        owner.execute(definition.replace(right, wrong))
    connection.close()
    yield


@pytest.mark.parametrize("name", BROKEN)
def test_the_model_notices(cloned_db: Database, name: str) -> None:
    with broken(cloned_db, *BROKEN[name]):
        with pytest.raises((AssertionError, DatabaseError, BaseExceptionGroup)):
            run_machine(examples=100, phases=(Phase.generate,))
