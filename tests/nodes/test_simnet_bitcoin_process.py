"""How simnet's bitcoin node is spoken to, fails on demand, and remembers across restarts."""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bitcoinrpc.authproxy import AuthServiceProxy

from coinos.simnet.bitcoin_node import BitcoinNode
from coinos.simnet.chain import HALVING_BLOCKS
from coinos.simnet.control import ControlError
from coinos.simnet.network import WorldError
from coinos.simnet.transactions import SAT_PER_BTC
from tests.nodes.running_bitcoin import (
    QUIET,
    RunningBitcoin,
    deposit,
    error_of,
    prepare,
)
from tests.simnet_fixtures import SimnetProcess


@pytest.fixture
def bitcoin(tmp_path: Path) -> Iterator[RunningBitcoin]:
    """A node whose wallet holds 1 BTC in ten confirmed coins."""
    running = RunningBitcoin(tmp_path, treasury_sat=SAT_PER_BTC)
    yield running
    running.close()


# --- transport -----------------------------------------------------------------------------------


def test_the_port_outlives_the_node_and_refuses_while_it_is_down(
    bitcoin: RunningBitcoin,
) -> None:
    port = bitcoin.server.port
    bitcoin.wait(bitcoin.server.stop())
    with pytest.raises(ConnectionRefusedError):
        bitcoin.rpc("getblockcount")
    bitcoin.wait(bitcoin.server.start())
    assert bitcoin.server.port == port
    assert bitcoin.rpc("getblockcount") == bitcoin.server.height


def test_json_rpc_2_answers_with_result_or_error_and_status_200(
    bitcoin: RunningBitcoin,
) -> None:
    def ask(**request: Any) -> Any:
        return bitcoin.post(json.dumps({"jsonrpc": "2.0", **request}).encode())

    good = ask(method="getblockcount", id="a")
    assert (good.status, good.json.keys()) == (200, {"jsonrpc", "result", "id"})
    bad = ask(method="nosuchmethod", id="b")
    assert (bad.status, bad.json.keys()) == (200, {"jsonrpc", "error", "id"})
    assert bad.json["error"]["code"] == -32601
    assert (ask(method="getblockcount").status, ask(method="getblockcount").body) == (
        204,
        b"",
    )


def test_a_batch_is_answered_in_order(bitcoin: RunningBitcoin) -> None:
    requests = [{"method": name, "id": name} for name in ("getblockcount", "nosuchmethod")]
    answer = bitcoin.post(json.dumps(requests).encode())
    assert answer.status == 200
    assert [reply["id"] for reply in answer.json] == ["getblockcount", "nosuchmethod"]
    assert answer.json[1]["error"]["code"] == -32601


def test_what_is_not_json_or_not_a_path_is_refused(bitcoin: RunningBitcoin) -> None:
    assert bitcoin.post(b"{").json["error"]["code"] == -32700
    assert bitcoin.post(b"{}").status == 400
    assert bitcoin.http("getblockcount", [], "/elsewhere").status == 404
    assert error_of(bitcoin, "getblockhash")[0] == -1
    assert error_of(bitcoin, "getblockhash", 10**6) == (-8, "Block height out of range")


def test_parameters_may_be_named(bitcoin: RunningBitcoin) -> None:
    answer = bitcoin.http("getnewaddress", {"address_type": "legacy"}, "/wallet/coinos")
    assert answer.json["result"][0] in "mn"
    answer = bitcoin.http("getnewaddress", {"kind": "legacy"}, "/wallet/coinos")
    assert answer.json["error"] == {
        "code": -8,
        "message": "Unknown named parameter kind",
    }


def test_amounts_have_eight_decimals_on_the_wire(bitcoin: RunningBitcoin) -> None:
    assert b'"trusted":1.00000000,' in bitcoin.http("getbalances", [], "/wallet/coinos").body
    assert bitcoin.rpc("getbalance") == Decimal("1.00000000")


def test_a_lost_reply_of_a_broadcast_leaves_the_transaction_in_the_mempool(
    bitcoin: RunningBitcoin,
) -> None:
    prepared = prepare(bitcoin)
    bitcoin.faults.set([{"kind": "exec_then_drop", "method": "sendrawtransaction"}])
    with pytest.raises(OSError):
        bitcoin.rpc("sendrawtransaction", prepared["hex"])
    bitcoin.faults.clear()
    assert prepared["txid"] in bitcoin.rpc("getrawmempool")
    assert bitcoin.rpc("sendrawtransaction", prepared["hex"]) == prepared["txid"]


def test_a_call_dropped_before_it_ran_did_nothing(bitcoin: RunningBitcoin) -> None:
    prepared = prepare(bitcoin)
    bitcoin.faults.set([{"kind": "drop_before", "method": "sendrawtransaction"}])
    with pytest.raises(OSError):
        bitcoin.rpc("sendrawtransaction", prepared["hex"])
    bitcoin.faults.clear()
    assert bitcoin.rpc("getrawmempool") == []


@pytest.mark.parametrize(("how", "status"), [("http_401", 401), ("http_503", 503), ("text", 200)])
def test_garbage_is_served_as_the_fault_says(
    bitcoin: RunningBitcoin, how: str, status: int
) -> None:
    bitcoin.faults.set([{"kind": "garbage", "how": how, "method": "getblockcount"}])
    answer = bitcoin.http("getblockcount", [], "/")
    assert answer.status == status
    with pytest.raises(json.JSONDecodeError):
        answer.json  # noqa: B018


def test_a_truncated_answer_breaks_off_in_the_middle(bitcoin: RunningBitcoin) -> None:
    bitcoin.faults.set([{"kind": "garbage", "how": "truncated", "method": "getbalances"}])
    with pytest.raises(http.client.IncompleteRead):
        bitcoin.http("getbalances", [], "/wallet/coinos")


# --- memory --------------------------------------------------------------------------------------


def picture(bitcoin: RunningBitcoin) -> dict[str, Any]:
    """Everything a restart must bring back."""
    return {
        "truth": bitcoin.world("chain_truth"),
        "mempool": bitcoin.rpc("getrawmempool"),
        "history": bitcoin.rpc("listtransactions", "*", 10_000),
        "since": bitcoin.rpc("listsinceblock", None, 6),
        "next address": bitcoin.server.node.wallets["coinos"].parent_descriptor(
            next(iter(bitcoin.server.node.wallets["coinos"].keys.values()))
        ),
    }


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happened_a_restart_changes_nothing_and_no_coin_is_made_or_lost(
    bitcoin: RunningBitcoin, seed: int
) -> None:
    dice = random.Random(seed)
    for step in range(60):
        happens = dice.choice(["deposit", "mine", "withdraw", "reorg", "replace", "conflict"])
        waiting = bitcoin.rpc("getrawmempool")
        if happens == "deposit":
            deposit(bitcoin, dice.randrange(1_000, 100_000))
        elif happens == "mine":
            bitcoin.world("mine", n=dice.randrange(1, 3))
        elif happens == "withdraw":
            with_change = dice.randrange(1_000, 1_000_000)
            bitcoin.rpc("sendrawtransaction", prepare(bitcoin, with_change)["hex"])
        elif happens == "reorg":
            depth = dice.randrange(1, 4)
            bitcoin.world("reorg", depth=depth, remine=dice.random() < 0.5)
        elif waiting:
            bitcoin.world(happens, txid=dice.choice(waiting))
        if step % 20 == 19:
            before = picture(bitcoin)
            bitcoin.restart()
            assert picture(bitcoin) == before
    chain = bitcoin.server.node.chain
    minted = sum(
        50 * SAT_PER_BTC >> (height // HALVING_BLOCKS) for height in range(1, chain.height + 1)
    )
    assert sum(coin.amount_sat for coin in chain.coins.values()) == minted


@pytest.mark.parametrize("records", [0, 1, 7, 200])
def test_a_first_start_that_was_cut_short_is_begun_again(tmp_path: Path, records: int) -> None:
    journal = tmp_path / "bitcoin.jsonl"
    BitcoinNode(journal).close()
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[: min(records, len(lines) - 1)]))
    node = BitcoinNode(journal)
    assert node.wallets["coinos"].balances_sat()["trusted"] == SAT_PER_BTC
    node.close()


def test_kill_9_loses_nothing_that_was_answered(own_simnet: SimnetProcess) -> None:
    control = own_simnet.control

    def ask(method: str, *params: Any) -> Any:
        return AuthServiceProxy(f"{control.bitcoin_rpc_url}/wallet/coinos", method)(*params)

    address = ask("getnewaddress", "alice")
    confirmed = control.deposit(address, 11_000)
    control.mine(2)
    waiting = control.deposit(address, 22_000)
    outputs = [{control.address(): "0.01"}]
    prepared = ask("send", outputs, None, "unset", 2, QUIET)
    ask("sendrawtransaction", prepared["hex"])
    before, url = control.chain_truth(), control.bitcoin_rpc_url

    own_simnet.kill()
    own_simnet.start()

    assert control.bitcoin_rpc_url == url
    assert control.chain_truth() == before
    assert ask("gettransaction", confirmed)["confirmations"] == 2
    assert ask("gettransaction", waiting)["confirmations"] == 0
    assert ask("sendrawtransaction", prepared["hex"]) == prepared["txid"]
    assert ask("getnewaddress", "bob") != address


def test_the_world_says_in_a_word_what_it_could_not_do(
    bitcoin: RunningBitcoin, own_simnet: SimnetProcess
) -> None:
    refusals: list[tuple[str, str, dict[str, Any]]] = [
        ("bad_request", "deposit", {"address": "hello", "amount_sat": 1_000}),
        ("unknown", "deposit", {"amount_sat": 1_000}),
        ("cannot_spend", "deposit", {"address": bitcoin.world("address"), "amount_sat": 1}),
        ("bad_request", "replace", {"txid": "00" * 32}),
        ("unknown", "conflict", {"txid": "00" * 32}),
        ("bad_request", "reorg", {"depth": 0}),
    ]
    for code, verb, params in refusals:
        with pytest.raises(WorldError) as raised:
            bitcoin.world(verb, **params)
        assert raised.value.code == code
    with pytest.raises(ControlError, match="not a regtest address"):
        own_simnet.control.deposit("hello", 1_000)
