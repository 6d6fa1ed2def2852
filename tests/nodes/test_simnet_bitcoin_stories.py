"""Deposits and withdrawals on simnet's bitcoin node, from end to end."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from embit import ec, script
from embit.transaction import Transaction as EmbitTransaction

from coinos.simnet.bitcoin_node import TREASURY_COINS
from coinos.simnet.transactions import SAT_PER_BTC, double_sha256
from tests.nodes.running_bitcoin import (
    BTC,
    QUIET,
    RunningBitcoin,
    deposit,
    error_of,
    inputs_of,
    locked,
    prepare,
    removed,
    since,
)


@pytest.fixture
def bitcoin(tmp_path: Path) -> Iterator[RunningBitcoin]:
    """A node whose wallet holds 1 BTC in ten confirmed coins."""
    running = RunningBitcoin(tmp_path, treasury_sat=SAT_PER_BTC)
    yield running
    running.close()


# --- deposits ------------------------------------------------------------------------------------


def test_a_deposit_is_seen_then_confirmed_then_lost_then_mined_again(
    bitcoin: RunningBitcoin,
) -> None:
    start = bitcoin.rpc("getbestblockhash")
    txid = deposit(bitcoin)
    assert since(bitcoin, start) == {txid: 0}
    [mined_in] = bitcoin.world("mine")
    assert since(bitcoin, start) == {txid: 1}

    bitcoin.world("reorg", depth=1, remine=False)
    assert since(bitcoin, start) == {txid: 0}
    assert removed(bitcoin, mined_in) == {txid: 0}
    assert removed(bitcoin, start) == {}
    assert bitcoin.rpc("getblockheader", mined_in)["confirmations"] == -1

    bitcoin.world("mine")
    assert since(bitcoin, start) == {txid: 1}
    assert removed(bitcoin, mined_in) == {txid: 1}


def test_a_reorg_mines_the_lost_transactions_again_unless_told_otherwise(
    bitcoin: RunningBitcoin,
) -> None:
    start = bitcoin.rpc("getbestblockhash")
    again, kept, dropped = deposit(bitcoin), deposit(bitcoin), deposit(bitcoin)
    bitcoin.world("mine", n=3)
    height = bitcoin.server.height
    bitcoin.world("reorg", depth=3, keep=[kept], drop=[dropped])
    assert bitcoin.server.height == height + 1
    assert since(bitcoin, start) == {again: 4, kept: 0, dropped: 0}
    assert bitcoin.rpc("getrawmempool") == [kept]
    bitcoin.world("mine")
    assert since(bitcoin, start) == {again: 5, kept: 1, dropped: 0}


def test_a_cursor_that_is_fed_back_shows_a_deposit_until_it_is_deep(
    bitcoin: RunningBitcoin,
) -> None:
    cursor = bitcoin.rpc("getbestblockhash")
    txid = deposit(bitcoin)
    shown = []
    for _ in range(6):
        answer = bitcoin.rpc("listsinceblock", cursor, 3)
        shown += [e["confirmations"] for e in answer["transactions"] if e["txid"] == txid]
        cursor = answer["lastblock"]
        bitcoin.world("mine")
    assert shown == [0, 1, 2, 3]
    assert bitcoin.rpc("gettransaction", txid)["confirmations"] == 6


def test_a_replaced_deposit_disappears_once_its_rival_is_confirmed(
    bitcoin: RunningBitcoin,
) -> None:
    start = bitcoin.rpc("getbestblockhash")
    txid = deposit(bitcoin)
    rival = bitcoin.world("replace", txid=txid)
    waiting = bitcoin.rpc("gettransaction", txid)
    assert (waiting["confirmations"], waiting["mempoolconflicts"]) == (0, [rival])
    bitcoin.world("mine", n=2)
    assert since(bitcoin, start) == {}
    lost = bitcoin.rpc("gettransaction", txid)
    assert (lost["confirmations"], lost["details"]) == (-2, [])
    assert bitcoin.rpc("getbalances")["mine"]["untrusted_pending"] == 0


def test_a_confirmed_deposit_can_be_spent_twice_by_a_reorg(
    bitcoin: RunningBitcoin,
) -> None:
    start = bitcoin.rpc("getbestblockhash")
    txid, other = deposit(bitcoin), deposit(bitcoin)
    bitcoin.world("mine", n=2)
    mined_in = bitcoin.rpc("gettransaction", txid)["blockhash"]
    rival = bitcoin.world("conflict", txid=txid)
    assert bitcoin.rpc("gettransaction", txid)["confirmations"] < 0
    assert since(bitcoin, start) == {other: 3}
    assert removed(bitcoin, mined_in)[txid] < 0
    assert bitcoin.rpc("getrawtransaction", rival, 1)["confirmations"] == 3
    assert bitcoin.rpc("getbalance") == 1 + Decimal("0.0005")


def test_a_rival_that_is_reorganised_away_gives_the_deposit_its_chance_back(
    bitcoin: RunningBitcoin,
) -> None:
    txid = deposit(bitcoin)
    rival = bitcoin.world("replace", txid=txid)
    bitcoin.world("mine")
    assert bitcoin.rpc("gettransaction", txid)["confirmations"] == -1
    bitcoin.world("reorg", depth=1, drop=[rival])
    raw = bitcoin.rpc("gettransaction", txid)
    assert raw["confirmations"] == 0
    assert bitcoin.rpc("sendrawtransaction", raw["hex"]) == txid
    bitcoin.world("mine")
    assert bitcoin.rpc("gettransaction", txid)["confirmations"] == 1


def test_a_block_mined_to_our_address_is_no_deposit_until_it_is_mature(
    bitcoin: RunningBitcoin,
) -> None:
    start = bitcoin.rpc("getbestblockhash")
    [mined] = bitcoin.rpc("generatetoaddress", 1, bitcoin.rpc("getnewaddress"))
    [entry] = bitcoin.rpc("listsinceblock", start)["transactions"]
    assert (entry["category"], entry["generated"]) == ("immature", True)
    assert bitcoin.rpc("getbalances")["mine"]["immature"] > 0
    bitcoin.world("mine", n=100)
    [entry] = bitcoin.rpc("listsinceblock", start)["transactions"]
    assert entry["category"] == "generate"
    bitcoin.world("reorg", depth=101)
    assert bitcoin.rpc("gettransaction", entry["txid"])["confirmations"] == 0
    assert removed(bitcoin, mined) == {entry["txid"]: 0}


def test_a_rival_of_a_transaction_with_unconfirmed_parents_takes_them_along(
    bitcoin: RunningBitcoin,
) -> None:
    everything = bitcoin.server.node.outside.balances_sat()["trusted"] - SAT_PER_BTC
    parent, child = deposit(bitcoin, everything), deposit(bitcoin)
    assert parent in bitcoin.rpc("getmempoolentry", child)["depends"]
    rival = bitcoin.world("conflict", txid=child)
    assert bitcoin.rpc("gettransaction", parent)["confirmations"] == 1
    assert bitcoin.rpc("gettransaction", child)["confirmations"] == -1
    assert rival in bitcoin.rpc("getblock", bitcoin.rpc("getbestblockhash"))["tx"]


def test_a_reorg_deeper_than_the_maturity_of_coinbases_drops_what_spent_them(
    bitcoin: RunningBitcoin,
) -> None:
    bitcoin.world("reorg", depth=bitcoin.server.height)
    assert bitcoin.rpc("getbalances")["mine"]["trusted"] == 0
    assert bitcoin.rpc("getrawmempool") == []


def test_blocks_are_real(bitcoin: RunningBitcoin) -> None:
    """The header hashes to the block's name with proof of work and commits to its transactions."""
    deposit(bitcoin)
    [name] = bitcoin.world("mine")
    raw = bytes.fromhex(bitcoin.rpc("getblock", name, 0))
    assert double_sha256(raw[:80])[::-1].hex() == name
    assert int(name, 16) <= int(bitcoin.rpc("getblockchaininfo")["target"], 16)
    block = bitcoin.rpc("getblock", name, 2)
    txs = [EmbitTransaction.parse(bytes.fromhex(tx["hex"])) for tx in block["tx"]]
    assert [tx.txid().hex() for tx in txs] == bitcoin.rpc("getblock", name)["tx"]
    assert raw[36:68] == double_sha256(b"".join(tx.txid()[::-1] for tx in txs))
    assert raw[81:] == b"".join(tx.serialize() for tx in txs)
    assert block["size"] == len(raw)


def test_deposits_by_the_hundred_wait_in_one_mempool(bitcoin: RunningBitcoin) -> None:
    start = bitcoin.rpc("getbestblockhash")
    txids = {deposit(bitcoin, 1_000 + n) for n in range(300)}
    assert since(bitcoin, start) == dict.fromkeys(txids, 0)
    bitcoin.world("mine")
    assert since(bitcoin, start) == dict.fromkeys(txids, 1)


def test_an_unloaded_wallet_catches_up_when_it_is_loaded(
    bitcoin: RunningBitcoin,
) -> None:
    address = bitcoin.rpc("getnewaddress")
    bitcoin.world("unload_wallet")
    assert error_of(bitcoin, "getbalances")[0] == -18
    txid = bitcoin.world("deposit", address=address, amount_sat=7_000)
    bitcoin.world("mine")
    assert bitcoin.rpc("loadwallet", "coinos") == {"name": "coinos"}
    assert error_of(bitcoin, "loadwallet", "coinos")[0] == -35
    assert bitcoin.rpc("gettransaction", txid)["confirmations"] == 1


# --- withdrawals ---------------------------------------------------------------------------------


def test_a_withdrawal_is_prepared_broadcast_and_broadcast_again(
    bitcoin: RunningBitcoin,
) -> None:
    prepared = prepare(bitcoin)
    assert error_of(bitcoin, "gettransaction", prepared["txid"])[0] == -5
    assert bitcoin.rpc("getbalance") == 1
    assert locked(bitcoin) == inputs_of(bitcoin, prepared["hex"])

    [test] = bitcoin.rpc("testmempoolaccept", [prepared["hex"]])
    assert test["allowed"]
    assert test["fees"]["base"] == Decimal(2 * test["vsize"]) / BTC
    for _ in range(2):
        assert bitcoin.rpc("sendrawtransaction", prepared["hex"]) == prepared["txid"]
    assert locked(bitcoin) == set()
    sent = bitcoin.rpc("gettransaction", prepared["txid"])
    assert (sent["amount"], sent["fee"]) == (Decimal("-0.001"), -test["fees"]["base"])

    bitcoin.world("mine")
    code, _ = error_of(bitcoin, "sendrawtransaction", prepared["hex"])
    assert code == -27
    assert bitcoin.rpc("getbalance") == 1 - Decimal("0.001") - test["fees"]["base"]
    [truth] = bitcoin.world("chain_truth")["sent"]
    assert (truth["amount_sat"], truth["confirmations"]) == (100_000, 1)


def test_sending_everything_takes_the_fee_from_the_amount(
    bitcoin: RunningBitcoin,
) -> None:
    prepared = prepare(bitcoin, SAT_PER_BTC, subtract_fee_from_outputs=[0])
    decoded = bitcoin.rpc("decoderawtransaction", prepared["hex"])
    [test] = bitcoin.rpc("testmempoolaccept", [prepared["hex"]])
    assert [out["value"] for out in decoded["vout"]] == [1 - test["fees"]["base"]]
    bitcoin.rpc("sendrawtransaction", prepared["hex"])
    assert bitcoin.rpc("getbalance") == 0


def test_a_quote_that_locks_nothing_leaves_no_trace(bitcoin: RunningBitcoin) -> None:
    first, second = (
        prepare(bitcoin, lock_unspents=False),
        prepare(bitcoin, lock_unspents=False),
    )
    assert locked(bitcoin) == set()
    assert inputs_of(bitcoin, first["hex"]) == inputs_of(bitcoin, second["hex"])
    assert len(bitcoin.rpc("listunspent")) == TREASURY_COINS


def test_of_two_withdrawals_that_share_an_input_only_one_is_relayed(
    bitcoin: RunningBitcoin,
) -> None:
    """206aacd4: without locks the second takes the first one's coin."""
    first, second = (
        prepare(bitcoin, lock_unspents=False),
        prepare(bitcoin, lock_unspents=False),
    )
    bitcoin.rpc("sendrawtransaction", first["hex"])
    assert error_of(bitcoin, "sendrawtransaction", second["hex"])[0] == -26
    bitcoin.world("mine")
    code, message = error_of(bitcoin, "sendrawtransaction", second["hex"])
    assert (code, message) == (-25, "bad-txns-inputs-missingorspent")


def test_locks_vanish_at_a_restart_unless_they_are_persistent(
    bitcoin: RunningBitcoin,
) -> None:
    prepared = prepare(bitcoin)
    [coin] = inputs_of(bitcoin, prepared["hex"])
    bitcoin.restart()
    assert locked(bitcoin) == set()
    point = [{"txid": coin[0], "vout": coin[1]}]
    assert bitcoin.rpc("lockunspent", False, point, True) is True
    bitcoin.restart()
    assert locked(bitcoin) == {coin}
    assert inputs_of(bitcoin, prepare(bitcoin)["hex"]).isdisjoint({coin})
    assert bitcoin.rpc("lockunspent", True, point) is True
    assert error_of(bitcoin, "lockunspent", True, point)[0] == -8
    bitcoin.restart()
    assert locked(bitcoin) == set()


def test_the_same_hex_waits_for_the_fee_floor_to_fall(bitcoin: RunningBitcoin) -> None:
    prepared = prepare(bitcoin, fee_rate=1)
    bitcoin.world("min_fee", sat_vb=5)
    assert bitcoin.rpc("getmempoolinfo")["mempoolminfee"] == Decimal("0.00005")
    code, message = error_of(bitcoin, "sendrawtransaction", prepared["hex"])
    assert (code, message.split(",")[0]) == (-26, "mempool min fee not met")
    bitcoin.world("min_fee", sat_vb=0)
    assert bitcoin.rpc("sendrawtransaction", prepared["hex"]) == prepared["txid"]


def test_a_stuck_mempool_waits_while_blocks_go_by(bitcoin: RunningBitcoin) -> None:
    txid = bitcoin.rpc(
        "sendtoaddress",
        bitcoin.world("address"),
        "0.001",
        None,
        None,
        False,
        True,
        None,
        "unset",
        False,
        "1.5",
    )
    bitcoin.world("stuck", on=True)
    bitcoin.world("mine", n=5)
    assert bitcoin.rpc("gettransaction", txid)["confirmations"] == 0
    bitcoin.world("stuck", on=False)
    bitcoin.world("mine")
    assert bitcoin.rpc("gettransaction", txid)["confirmations"] == 1


def test_a_bump_keeps_the_inputs_and_only_one_version_confirms(
    bitcoin: RunningBitcoin,
) -> None:
    prepared = prepare(bitcoin)
    bitcoin.rpc("sendrawtransaction", prepared["hex"])
    bumped = bitcoin.rpc("psbtbumpfee", prepared["txid"], {"fee_rate": 10})
    assert bumped["fee"] > bumped["origfee"]
    signed = bitcoin.rpc("walletprocesspsbt", bumped["psbt"])
    assert signed["complete"]
    assert bitcoin.rpc("finalizepsbt", signed["psbt"]) == {
        "hex": signed["hex"],
        "complete": True,
    }
    assert inputs_of(bitcoin, signed["hex"]) >= inputs_of(bitcoin, prepared["hex"])
    second = bitcoin.rpc("sendrawtransaction", signed["hex"])
    bitcoin.world("mine")
    original = bitcoin.rpc("gettransaction", prepared["txid"])
    assert (original["confirmations"], original["walletconflicts"]) == (-1, [second])
    assert bitcoin.rpc("gettransaction", second)["fee"] == -bumped["fee"]
    code, message = error_of(bitcoin, "psbtbumpfee", second)
    assert (code, message.partition(" ")[2]) == (-1, "is already spent")


def test_what_cannot_be_paid_is_refused_before_anything_is_signed(
    bitcoin: RunningBitcoin,
) -> None:
    address = bitcoin.world("address")

    def refusal(amount: str, to: str = address, rate: Any = 2) -> tuple[int, str]:
        return error_of(bitcoin, "send", [{to: amount}], None, "unset", rate, QUIET)

    assert refusal("2") == (-4, "Insufficient funds")
    assert refusal("1") == (-4, "Insufficient funds")
    assert refusal("0.00000100") == (-4, "Transaction amount too small")
    assert refusal("0.1", to="hello")[0] == -5
    assert refusal("0.1", rate="0.01")[0] == -4
    assert refusal("0.123456789") == (-3, "Invalid amount")
    assert refusal("0.1", rate="2.0001") == (-3, "Invalid amount")
    outputs = [{address: "0.1"}]
    assert error_of(bitcoin, "send", outputs, None, "unset", 2, {"feeRate": 1})[0] == -3
    assert locked(bitcoin) == set()


def test_an_absurd_fee_is_not_relayed(bitcoin: RunningBitcoin) -> None:
    prepared = prepare(bitcoin, fee_rate=200)
    limit = "0.00100000"  # 100 sat/vB
    assert error_of(bitcoin, "sendrawtransaction", prepared["hex"], limit)[0] == -25
    assert bitcoin.rpc("sendrawtransaction", prepared["hex"]) == prepared["txid"]


@pytest.mark.parametrize("kind", ["legacy", "p2sh-segwit", "bech32", "bech32m"])
def test_coins_of_every_kind_are_spent_with_valid_signatures_at_the_rate_asked_for(
    bitcoin: RunningBitcoin, kind: str
) -> None:
    address = bitcoin.rpc("getnewaddress", "", kind)
    funding = bitcoin.world("deposit", address=address, amount_sat=500_000)
    bitcoin.world("mine")
    details = bitcoin.rpc("gettransaction", funding)["details"]
    coin = {"txid": funding, "vout": details[0]["vout"]}
    prepared = prepare(bitcoin, 400_000, inputs=[coin], fee_rate=3)
    [test] = bitcoin.rpc("testmempoolaccept", [prepared["hex"]])
    assert test["allowed"]
    assert 0 <= test["fees"]["base"] * BTC - 3 * test["vsize"] <= 6
    assert has_valid_signature(prepared["hex"], bitcoin.rpc("getaddressinfo", address), 500_000)


def has_valid_signature(raw_hex: str, info: dict[str, Any], amount_sat: int) -> bool:
    tx = EmbitTransaction.parse(bytes.fromhex(raw_hex))
    script_pubkey = script.Script(bytes.fromhex(info["scriptPubKey"]))
    [txin] = tx.vin
    if info.get("witness_version") == 1:
        digest = tx.sighash_taproot(0, [script_pubkey], [amount_sat])
        output_key = ec.PublicKey.from_xonly(bytes.fromhex(info["witness_program"]))
        return bool(output_key.schnorr_verify(ec.SchnorrSig.parse(txin.witness.items[0]), digest))
    public = ec.PublicKey.parse(bytes.fromhex(info["pubkey"]))
    if txin.witness.items:
        code = script.p2pkh_from_p2wpkh(script.p2wpkh(public))
        digest = tx.sighash_segwit(0, code, amount_sat)
        signature = txin.witness.items[0]
    else:
        digest = tx.sighash_legacy(0, script_pubkey)
        signature = txin.script_sig.data[1 : 1 + txin.script_sig.data[0]]
    return bool(public.verify(ec.Signature.parse(signature[:-1]), digest))
