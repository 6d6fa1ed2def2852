"""money-H2: all users withdraw from one wallet, and nobody can keep its coins from the others."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from bitcoinrpc.authproxy import AuthServiceProxy
from django.db import connection

from accounts import ledger
from accounts.models import Transfer
from coinos import limits
from coinos.limits import Bound, By
from coinos.simnet.control import Control
from invoices.models import Deposit
from invoices.services import scan_bitcoin
from payments.models import Payment, WithdrawalInput
from payments.services import advance_withdrawals
from payments.services.coins import COINS_MIN, keep_coins_split
from tests.payments.conftest import Person
from tests.simnet_fixtures import SimnetProcess

DEFAULT_RATES_SAT_VB = {1: 6, 2: 6, 3: 4, 6: 3, 12: 2, 144: 1}


@pytest.fixture
def network(own_simnet: SimnetProcess, settings: Any, tmp_path: Any) -> Control:
    """A network of our own, whose blocks are full from now on."""
    control = own_simnet.control
    settings.STOP_FILE = tmp_path / "stop"
    settings.LIGHTNING_RPC = control.lightning_rpc
    settings.BITCOIN_RPC_URL = control.bitcoin_rpc_url
    control.stuck(False)
    control.mine(6)
    control.fee_estimates(DEFAULT_RATES_SAT_VB)
    control.stuck(True)
    return control


@pytest.fixture
def no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """One user stands for many."""
    many = Bound("unconfirmed-withdrawals", 1000, By.USER, "withdrawals", "403")
    monkeypatch.setattr(limits, "UNCONFIRMED_WITHDRAWALS", many)


def wallet_of(network: Control) -> Any:
    return AuthServiceProxy(f"{network.bitcoin_rpc_url}/wallet/coinos")


def confirm_all(network: Control, blocks: int = 6) -> None:
    network.stuck(False)
    network.mine(blocks)
    network.stuck(True)


def coins(network: Control) -> list[Any]:
    """Those that can be spent: confirmed ones, and own change."""
    return list(wallet_of(network).listunspent(0, 9999999, [], False))


def into_one_coin(network: Control) -> None:
    """The operator consolidates the wallet."""
    wallet = wallet_of(network)
    all_of_it = wallet.getbalances()["mine"]["trusted"]
    wallet.send(
        [{wallet.getrawchangeaddress(): all_of_it}],
        None,
        "unset",
        1,
        {"subtract_fee_from_outputs": [0]},
    )
    confirm_all(network)
    assert len(coins(network)) == 1


def withdraw(person: Person, network: Control, amount: int = 600, rate: int = 1) -> Any:
    body = {"address": network.address(), "amount": amount, "feeRate": rate}
    return person.api.post("/bitcoin/send", body)


# --- One user, and the others ---------------------------------------------------------------------


def test_small_withdrawals_of_one_user_block_nobody_elses(
    alice: Person, charlie: Person, network: Control
) -> None:
    """money-H2: ten for the price of dust were enough, at any rate and for everybody."""
    answers = [withdraw(alice, network) for _ in range(limits.UNCONFIRMED_WITHDRAWALS.at_most)]
    assert {answer.status_code for answer in answers} == {200}
    before = alice.available_sat
    refused = withdraw(alice, network)
    assert (refused.status_code, refused.body["code"]) == (403, "limit_exceeded")
    assert "in no block yet" in refused.body["message"]
    assert alice.available_sat == before
    for rate in (1, 100):
        assert withdraw(charlie, network, 5000, rate).body["confirmed"] is True
    confirm_all(network, 1)
    Payment.objects.update(created="2020-01-01T00:00Z")
    advance_withdrawals()
    assert withdraw(alice, network).status_code == 200


def test_of_withdrawals_at_once_no_more_than_the_bound_are_taken(
    alice: Person, network: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money-H2"""
    few = Bound("unconfirmed-withdrawals", 3, By.USER, "withdrawals", "403")
    monkeypatch.setattr(limits, "UNCONFIRMED_WITHDRAWALS", few)
    codes: list[int] = []

    def run() -> None:
        codes.append(withdraw(alice, network).status_code)
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200] * 3 + [403] * 5
    assert Payment.objects.count() == 3


def test_what_would_not_be_in_a_block_within_a_day_is_refused(
    alice: Person, network: Control
) -> None:
    """money-H2: 1 sat/vB, while others pay 20."""
    network.fee_estimates({2: 60, 3: 50, 6: 40, 144: 20})
    refused = withdraw(alice, network, rate=19)
    assert (refused.status_code, refused.body["code"]) == (400, "fee_rate_too_low")
    assert "at least 20 sat/vB" in refused.body["message"]
    asked = {"address": network.address(), "amount": 5000}
    quote = alice.api.post("/bitcoin/fee", asked).body
    assert quote["fees"]["minimumFee"] == quote["fees"]["economyFee"] == 20
    assert withdraw(alice, network, rate=20).status_code == 200


# --- Change that waits for a block ----------------------------------------------------------------


def test_change_is_spent_before_a_block_has_it(
    alice: Person, charlie: Person, network: Control
) -> None:
    """money-H2: with one coin there was one withdrawal a block."""
    into_one_coin(network)
    for person in (alice, charlie, alice, charlie):
        assert withdraw(person, network, 5000, 5).body["confirmed"] is True
    states = set(Payment.objects.values_list("state", "confirmations"))
    assert states == {("broadcast", 0)}
    confirm_all(network)
    Payment.objects.update(created="2020-01-01T00:00Z")
    advance_withdrawals()
    assert set(Payment.objects.values_list("state", flat=True)) == {"confirmed"}
    assert ledger.differences() == []


def test_coins_of_others_are_not_spent_before_a_block_has_them(
    alice: Person, network: Control
) -> None:
    """Whoever sent them can still take them back."""
    into_one_coin(network)
    wallet = wallet_of(network)
    network.deposit(wallet.getnewaddress(), 50_000_000)
    sent = withdraw(alice, network, 5000, 5).body
    assert sent["confirmed"] is True
    spent = WithdrawalInput.objects.get(payment_id=sent["id"])
    assert wallet.gettransaction(spent.txid)["confirmations"] > 0
    [change] = coins(network)
    assert change["txid"] == sent["hash"]


def test_a_chain_ends_before_the_network_refuses_it_and_a_block_helps(
    alice: Person, network: Control, no_bound: None
) -> None:
    """money-H2: only a wallet without a coin to spend is being refilled."""
    into_one_coin(network)
    answers = []
    for _ in range(40):
        answers.append(withdraw(alice, network))
        if answers[-1].status_code != 200:
            break
    assert len(answers) > 20
    assert (answers[-1].status_code, answers[-1].body["code"]) == (503, "node_unavailable")
    assert "being refilled" in answers[-1].body["message"]
    assert set(Payment.objects.values_list("state", flat=True)) == {"broadcast"}
    assert ledger.balance_of(alice.user.id).held_sat == 0
    confirm_all(network, 1)
    assert withdraw(alice, network).status_code == 200


# --- Many coins -----------------------------------------------------------------------------------


def test_a_wallet_with_few_coins_is_split_and_nobody_is_credited(
    network: Control, cloned_db: Any
) -> None:
    """money-H2"""
    scan_bitcoin()
    into_one_coin(network)
    [before] = coins(network)
    assert keep_coins_split() == COINS_MIN
    assert len(coins(network)) == COINS_MIN
    confirm_all(network)
    pieces = [coin["amount"] for coin in coins(network)]
    assert max(pieces) < 2 * min(pieces)
    assert 0 < before["amount"] - sum(pieces) < 0.0001
    assert keep_coins_split() == 0
    scan_bitcoin()
    assert not Deposit.objects.exists()
    assert not Transfer.objects.exists()


def test_withdrawals_go_on_while_the_wallet_is_split(
    alice: Person, charlie: Person, network: Control
) -> None:
    into_one_coin(network)
    assert keep_coins_split() == COINS_MIN
    assert withdraw(alice, network, 5000, 5).body["confirmed"] is True
    assert withdraw(charlie, network, 5000, 5).body["confirmed"] is True


def test_rounds_at_once_split_a_coin_once(network: Control, cloned_db: Any) -> None:
    into_one_coin(network)
    made: list[int] = []

    def run() -> None:
        made.append(keep_coins_split())
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [0, 0, 0, COINS_MIN]
    assert len(coins(network)) == COINS_MIN
    assert wallet_of(network).listlockunspent() == []


@pytest.mark.parametrize("why", ["dear", "stopped", "shallow", "taken", "small"])
def test_a_coin_is_left_as_it_is(
    alice: Person, network: Control, settings: Any, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Fees are high, sends are stopped, it is young, a withdrawal spends it, it is worth little."""
    into_one_coin(network)
    [coin] = coins(network)
    match why:
        case "dear":
            network.fee_estimates({2: 60, 3: 50, 6: 40, 144: 20})
        case "stopped":
            settings.STOP_FILE.write_text("theft")
        case "shallow":
            network.stuck(False)
            network.reorg(6, blocks=3)
        case "taken":
            with monkeypatch.context() as died:
                died.setattr("payments.services.withdrawals.rounds.send", lambda payment: None)
                assert withdraw(alice, network).status_code == 200
            taken = WithdrawalInput.objects.get()
            assert (taken.txid, taken.vout) == (coin["txid"], coin["vout"])
            point = [{"txid": taken.txid, "vout": taken.vout}]
            wallet_of(network).lockunspent(True, point)  # as a node that was started again
        case "small":
            monkeypatch.setattr("payments.services.coins.COIN_SAT_MIN", 100_000_000)
    assert keep_coins_split() == 0
    assert len(coins(network)) == 1
