"""T8: the chain does its worst, and the ledger follows it to the satoshi (M24-M26, A06).

Twelve kinds of trouble, in an order drawn from the seed, against one simulated bitcoin node; after
each one everything comes to rest and the oracle compares the chain with the ledger. The same list
runs against a real bitcoind in tests/nodes and tests/realnode.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bitcoinrpc.authproxy import AuthServiceProxy
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from accounts import ledger
from accounts.models import Transfer, User
from coinos import rates
from coinos.models import Rate
from coinos.simnet.control import Control
from invoices import services
from invoices.models import Deposit
from payments.models import Payment, WithdrawalInput
from payments.services import advance_withdrawals
from tests.cast import Api, api_of, available_sat, make_user
from tests.database import Database
from tests.proof import table
from tests.proof.oracle import check, count, deviation_msat
from tests.proof.scale import SEED, random_for, size
from tests.simnet_fixtures import SimnetProcess

CONFIRMATIONS = 3
ROUNDS = size(1, 3)
SCENARIOS_A_ROUND = size(5, 12)


class World:
    """Alice, who receives and withdraws, and the chain."""

    def __init__(self, control: Control, alice: User, rng: random.Random) -> None:
        self.control = control
        self.alice = alice
        self.api: Api = api_of(alice)
        self.rng = rng
        self.counts: Counter[str] = Counter()

    # --- What scenarios are made of ----------------------------------------------------------

    def deposit(self, blocks: int = CONFIRMATIONS) -> tuple[Deposit, int]:
        """Somebody pays a new address of Alice's; `blocks` later it is looked at."""
        amount_sat = self.rng.randint(20_000, 90_000)
        invoice = self.api.post("/invoice", {"invoice": {"type": "bitcoin"}}).body
        txid = self.control.deposit(invoice["hash"], amount_sat)
        services.scan_bitcoin()
        if blocks:
            self.mine(blocks)
        return Deposit.objects.get(txid=txid), amount_sat

    def withdraw(self) -> Payment:
        response = self.api.post(
            "/bitcoin/send",
            {"address": self.control.address(), "amount": self.rng.randint(600, 4_000)},
        )
        assert response.status_code == 200, response.body
        return Payment.objects.get(id=response.body["id"])

    def mine(self, blocks: int = 1) -> None:
        self.control.mine(blocks)
        self.look()

    def look(self) -> None:
        """The periodic tasks, a minute later."""
        services.scan_bitcoin()
        Payment.objects.update(
            created=timezone.now() - timedelta(minutes=1), attempted_at=None, next_look_at=None
        )
        advance_withdrawals()

    def reorg(self, depth: int, **options: Any) -> None:
        self.control.call("reorg", depth=depth, **options)
        self.counts["reorgs"] += 1
        self.look()

    def come_to_rest(self) -> None:
        self.control.clear_faults()
        self.control.stuck(False)
        self.control.min_fee(1)
        for _ in range(2):
            self.look()
            self.mine(CONFIRMATIONS)


def balance(world: World) -> int:
    return available_sat(world.alice)


# --- The scenarios -------------------------------------------------------------------------------


def a_reorg_of_one_block_under_a_deep_deposit(world: World) -> None:
    world.deposit()
    had = balance(world)
    world.reorg(1)
    assert balance(world) == had


def a_reorg_that_takes_the_deposit_back(world: World) -> None:
    """M26: depth 3 is the very block of a deposit that has just been credited."""
    before = balance(world)
    deposit, amount_sat = world.deposit()
    withdrawal = world.withdraw()
    assert balance(world) == before + amount_sat - total_debit(withdrawal)
    world.mine()
    world.reorg(CONFIRMATIONS + 1, remine=False, drop=[withdrawal.txid])
    deposit.refresh_from_db()
    assert deposit.state == Deposit.State.REVERSED
    assert balance(world) == before - total_debit(withdrawal)
    world.mine(CONFIRMATIONS)
    assert balance(world) == before + amount_sat - total_debit(withdrawal)


def a_reorg_that_mines_it_in_another_block(world: World) -> None:
    """M26"""
    deposit, _ = world.deposit(CONFIRMATIONS + 1)
    had = balance(world)
    before = deposit.block_hash
    world.reorg(CONFIRMATIONS + 1)
    world.mine(CONFIRMATIONS)
    deposit.refresh_from_db()
    assert (deposit.state, balance(world)) == (Deposit.State.CREDITED, had)
    assert deposit.block_hash != before


def a_reorg_after_the_money_was_spent(world: World) -> None:
    """M26: bad debt bears what is gone, and has it back when the deposit confirms again."""
    _, amount_sat = world.deposit()
    bad_debt = ledger.house_balance_msat(ledger.House.BAD_DEBT)
    bob = make_user(f"bob{Payment.objects.count()}x{Transfer.objects.count()}")
    sent = world.api.post("/send", {"amount": balance(world), "username": bob.username})
    assert sent.status_code == 200, sent.body
    world.reorg(CONFIRMATIONS, remine=False)
    assert (balance(world), available_sat(bob)) == (0, -sent.body["amount"])
    lost_msat = bad_debt - ledger.house_balance_msat(ledger.House.BAD_DEBT)
    assert lost_msat == amount_sat * 1000
    world.alice.refresh_from_db()
    assert world.alice.frozen_at
    world.mine(CONFIRMATIONS)
    assert balance(world) == 0
    assert ledger.house_balance_msat(ledger.House.BAD_DEBT) == bad_debt
    User.objects.filter(id=world.alice.id).update(frozen_at=None)
    assert api_of(bob).post("/send", {"amount": 200_000, "username": "alice"}).status_code == 200


def a_deposit_that_its_sender_replaces(world: World) -> None:
    """M25"""
    had = balance(world)
    deposit, _ = world.deposit(blocks=0)
    world.control.replace(deposit.txid)
    world.mine(CONFIRMATIONS)
    deposit.refresh_from_db()
    assert (deposit.state, balance(world)) == (Deposit.State.CONFLICTED, had)


def a_deposit_whose_rival_is_mined(world: World) -> None:
    """M25"""
    had = balance(world)
    deposit, _ = world.deposit()
    world.control.conflict(deposit.txid)
    world.counts["reorgs"] += 1
    world.mine(CONFIRMATIONS)
    deposit.refresh_from_db()
    assert (deposit.state, balance(world)) == (Deposit.State.CONFLICTED, had)


def a_node_that_restarts_between_signing_and_sending(world: World) -> None:
    """A06: the node forgets its locks; what it signed goes out, and nothing else spends it."""
    world.control.set_faults([{"kind": "drop_before", "method": "sendrawtransaction"}])
    first = world.withdraw()
    assert first.state == Payment.State.SIGNED
    world.counts["dropped_replies"] += 1
    world.control.clear_faults()
    world.control.restart()
    second = world.withdraw()
    world.look()
    for payment in (first, second):
        payment.refresh_from_db()
        assert payment.state == Payment.State.BROADCAST
    assert disjoint([first, second])


def a_wallet_that_is_unloaded(world: World) -> None:
    world.control.unload_wallet()
    deposit, _ = world.deposit()
    world.control.unload_wallet()
    withdrawal = world.withdraw()
    world.control.unload_wallet()
    world.mine()
    withdrawal.refresh_from_db()
    assert (deposit.state, withdrawal.confirmations) == (Deposit.State.CREDITED, 1)


def a_fee_floor_above_what_was_signed(world: World) -> None:
    """The same transaction waits, its money held, until the network takes it."""
    world.control.set_faults([{"kind": "drop_before", "method": "sendrawtransaction"}])
    withdrawal = world.withdraw()
    world.counts["dropped_replies"] += 1
    world.control.clear_faults()
    world.control.min_fee(400)
    had = balance(world)
    for _ in range(3):
        world.look()
    refused = world.api.post(
        "/bitcoin/send", {"address": world.control.address(), "amount": 600, "feeRate": 2}
    )
    assert (refused.status_code, refused.body["code"]) == (400, "fee_rate_too_low")
    signed = Payment.objects.get(id=withdrawal.id)
    assert (signed.state, signed.txid) == (Payment.State.SIGNED, withdrawal.txid)
    assert balance(world) == had
    world.control.min_fee(1)
    world.look()
    sent = Payment.objects.get(id=withdrawal.id)
    assert (sent.state, sent.txid) == (Payment.State.BROADCAST, withdrawal.txid)


def a_lost_reply_to_the_broadcast(world: World) -> None:
    """M24: the same hex again, whatever became of the first: one transaction."""
    kind = world.rng.choice(["exec_then_drop", "drop_before", "delay", "garbage"])
    fault = {"kind": kind, "method": "sendrawtransaction", "how": "truncated", "seconds": 0.1}
    world.control.set_faults([fault])
    withdrawal = world.withdraw()
    world.counts["dropped_replies"] += kind != "delay"
    world.look()
    world.control.clear_faults()
    world.look()
    sent = Payment.objects.get(id=withdrawal.id)
    assert (sent.state, sent.txid) == (Payment.State.BROADCAST, withdrawal.txid)
    held = Transfer.objects.filter(external_id=f"send:{withdrawal.id}")
    assert held.filter(kind="send.post").count() == 1


def a_fee_that_an_operator_bumps_by_hand(world: World) -> None:
    """money-M1: another transaction of the same withdrawal, whose real fee the books have."""
    withdrawal = world.withdraw()
    had = balance(world)
    bumped = wallet().bumpfee(withdrawal.txid, {"fee_rate": world.rng.randint(60, 300)})["txid"]
    if world.rng.random() < 0.5:
        world.look()
    world.mine()
    world.look()
    withdrawal.refresh_from_db()
    assert (withdrawal.txid, balance(world)) == (bumped, had)


def withdrawals_at_once(world: World) -> None:
    """A06: no two share an input."""
    world.deposit(6)
    withdrawals: list[Payment] = []

    def run() -> None:
        try:
            withdrawals.append(world.withdraw())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(withdrawals) == 5
    for _ in range(5):
        world.look()
    assert disjoint(withdrawals)


def total_debit(payment: Payment) -> int:
    payment.refresh_from_db()
    assert payment.fee_sat is not None
    return payment.amount_sat + payment.fee_sat + payment.platform_fee_sat


def wallet() -> Any:
    """The node's wallet, as an operator uses it by hand."""
    return AuthServiceProxy(f"{settings.BITCOIN_RPC_URL}/wallet/{settings.BITCOIN_WALLET}")


def disjoint(payments: list[Payment]) -> bool:
    rows = WithdrawalInput.objects.filter(payment__in=payments).values_list("txid", "vout")
    return len(rows) == len(set(rows)) >= len(payments)


SCENARIOS: list[Callable[[World], None]] = [
    a_reorg_of_one_block_under_a_deep_deposit,
    a_reorg_that_takes_the_deposit_back,
    a_reorg_that_mines_it_in_another_block,
    a_reorg_after_the_money_was_spent,
    a_deposit_that_its_sender_replaces,
    a_deposit_whose_rival_is_mined,
    a_node_that_restarts_between_signing_and_sending,
    a_wallet_that_is_unloaded,
    a_fee_floor_above_what_was_signed,
    a_lost_reply_to_the_broadcast,
    a_fee_that_an_operator_bumps_by_hand,
    withdrawals_at_once,
]


# --- The test ------------------------------------------------------------------------------------


def stop_file() -> Path:
    return Path(settings.STOP_FILE)


@pytest.fixture
def chain_simnet() -> Iterator[SimnetProcess]:
    """A network of this test's own, so that its sums can be compared with the ledger's."""
    process = SimnetProcess()
    process.start()
    yield process
    process.stop()


@pytest.fixture
def world(
    cloned_db: Database, chain_simnet: SimnetProcess, redis: Any, settings: Any, tmp_path: Path
) -> Iterator[World]:
    settings.LIGHTNING_RPC = chain_simnet.control.lightning_rpc
    settings.BITCOIN_RPC_URL = chain_simnet.control.bitcoin_rpc_url
    settings.STOP_FILE = tmp_path / "stop-sends"
    settings.CONFIRMATION_TIERS = ((0, CONFIRMATIONS),)
    cache.delete(rates.CACHE_KEY)
    Rate.objects.create(minute=timezone.now(), rates={"USD": "100000"})
    rates.forget()
    services.scan_bitcoin()
    found = World(chain_simnet.control, make_user("alice"), random_for("chain"))
    for _ in range(4):
        found.deposit()
    yield found
    rates.forget()


def test_the_ledger_follows_the_chain_through_all_of_it(world: World) -> None:
    broken: list[str] = []
    tried = 0
    for _ in range(ROUNDS):
        for scenario in world.rng.sample(SCENARIOS, SCENARIOS_A_ROUND):
            world.deposit()
            scenario(world)
            world.come_to_rest()
            broken += [f"after {scenario.__name__}: {text}" for text in check(world.control)]
            tried += 1
            assert not stop_file().exists(), f"{scenario.__name__} stopped all sends"
    table.record(
        test="T8",
        tried=f"{tried} troubles of the chain in {ROUNDS} orders",
        found=len(broken),
        seed=SEED,
        **world.counts,
        double_credits=count([text.partition(": ")[2] for text in broken], "I5"),
        deviation_msat=deviation_msat(),
    )
    assert broken == []


def test_a_withdrawal_whose_coins_went_elsewhere_comes_back_when_that_is_deep(
    world: World,
) -> None:
    """M24, money-M1: not before, and not when its recipient may have been paid. Users can pay each
    other all the while, and others can withdraw: what happened is known."""
    had = balance(world)
    withdrawal = world.withdraw()
    world.control.conflict(withdrawal.txid)
    world.mine(4)
    withdrawal.refresh_from_db()
    assert withdrawal.state == Payment.State.BROADCAST
    assert balance(world) == had - total_debit(withdrawal)
    world.mine(1)
    withdrawal.refresh_from_db()
    assert (withdrawal.state, balance(world)) == (Payment.State.FAILED, had)
    assert not stop_file().exists()
    world.withdraw()


# --- Could it fail? ------------------------------------------------------------------------------


def test_a_credit_that_no_reorg_takes_back_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle, with the look at the active chain left out."""
    for look in ("_check_credited", "_check_removed"):
        monkeypatch.setattr(f"invoices.services.deposits.{look}", lambda *_, **__: None)
    deposit, _ = world.deposit()
    world.control.conflict(deposit.txid)
    world.mine(CONFIRMATIONS)
    assert count(check(world.control), "I5") == 1
