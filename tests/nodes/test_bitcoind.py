"""The adapter to Bitcoin Core against recorded replies of a real node."""

from __future__ import annotations

from typing import Any

import pytest

from coinos.errors import NodeUnavailable
from coinos.nodes.base import (
    BitcoinBalance,
    BitcoinInfo,
    Broadcast,
    FeeRates,
    NodeRefused,
    Output,
    SignedTransaction,
)
from coinos.nodes.bitcoind import BitcoinCore
from tests.nodes.replay import Error, Result, answer_of, recorded

TXID = "5a8a6ecfbbd60d6390b64f8eaf861b08a8b90f4f915cedc247feb4f5af2c1cf4"
ADDRESS = "bcrt1qgg3h3cgv8yuc0h74cs7pqkmhyla0sn9dtdl6ap"
GONE = Error({"code": -5, "message": "Transaction not in mempool"})


def trace(scenario: str) -> dict[str, Any]:
    return recorded("bitcoin", scenario)


def healthy() -> dict[str, Any]:
    methods = ("getblockchaininfo", "getnetworkinfo", "getwalletinfo")
    return {method: trace(method)["result"] for method in methods}


def test_info_says_which_chain_and_that_it_is_synced(bitcoin, bitcoind):
    bitcoind.will(**{method: Result(reply) for method, reply in healthy().items()})

    assert bitcoin.info() == BitcoinInfo(
        network="regtest",
        blocks=133,
        tip_hash="35296b5f2ace645a75cc11cde300a780660791c12864f107009211d3f7a92c90",
        synced=True,
        version=319900,
    )
    assert bitcoind.paths == ["/", "/", "/wallet/coinos"]


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("getblockchaininfo", {"initialblockdownload": True}),
        ("getblockchaininfo", {"headers": 136}),
        ("getwalletinfo", {"lastprocessedblock": {"hash": "00" * 32, "height": 132}}),
        ("getwalletinfo", {"scanning": {"duration": 5, "progress": 0.5}}),
    ],
)
def test_a_node_or_wallet_behind_the_chain_is_not_synced(bitcoin, bitcoind, method, change):
    replies = healthy()
    replies[method] |= change
    bitcoind.will(**{name: Result(reply) for name, reply in replies.items()})

    assert not bitcoin.info().synced


@pytest.mark.parametrize(
    ("chain", "network"),
    [
        ("main", "bitcoin"),
        ("testnet4", "testnet4"),
        ("signet", "signet"),
        ("regtest", "regtest"),
        ("test", "testnet"),
    ],
)
def test_networks_have_our_names(bitcoin, bitcoind, chain, network):
    replies = healthy()
    replies["getblockchaininfo"] |= {"chain": chain}
    bitcoind.will(**{name: Result(reply) for name, reply in replies.items()})

    assert bitcoin.info().network == network


# --- receiving -------------------------------------------------------------------------------


@pytest.mark.parametrize("address_type", ["bech32", "bech32m", "p2sh-segwit", "legacy"])
def test_an_address_is_made_of_each_type(bitcoin, bitcoind, address_type):
    entry = trace(f"getnewaddress {address_type}")
    bitcoind.will(getnewaddress=answer_of(entry))

    address = bitcoin.new_address(label=f"invoice {address_type}", address_type=address_type)

    assert address == entry["result"]
    assert bitcoind.params("getnewaddress") == entry["params"]


def test_an_address_of_an_unknown_type_is_never_asked_for(bitcoin, bitcoind):
    with pytest.raises(ValueError, match="address type"):
        bitcoin.new_address(label="x", address_type="bech64")

    assert bitcoind.calls == []


def test_receipts_are_asked_for_with_what_was_removed(bitcoin, bitcoind):
    entry = trace(
        "listsinceblock: reorg, the tx unconfirmed again, from the lost block, include_removed"
    )
    bitcoind.will(listsinceblock=answer_of(entry))

    receipts = bitcoin.receipts_since(entry["params"][0], confirmations=1)

    assert bitcoind.params("listsinceblock") == entry["params"]
    assert [output.confirmations for output in receipts.outputs] == [0]
    assert receipts.removed_txids == (TXID,)
    assert receipts.next_block_hash == entry["result"]["lastblock"]


def test_a_deposit_is_seen_and_then_confirmed(bitcoin, bitcoind):
    bitcoind.will(
        listsinceblock=[
            answer_of(trace("listsinceblock: one unconfirmed deposit")),
            answer_of(trace("listsinceblock: one confirmation")),
        ]
    )

    [seen] = bitcoin.receipts_since(None, confirmations=3).outputs
    [confirmed] = bitcoin.receipts_since(None, confirmations=3).outputs

    assert bitcoind.calls[0] == ("listsinceblock", ["", 3, False, True])
    assert seen == Output(TXID, 0, ADDRESS, 1_000_000, 0, None, None)
    assert confirmed == Output(
        TXID,
        0,
        ADDRESS,
        1_000_000,
        1,
        "7de674601a315e7b8411669b1ed2e7c445612890cf2e431682c03335011d5073",
        135,
    )


def test_one_transaction_that_pays_two_addresses_is_two_outputs(bitcoin, bitcoind):
    entry = trace("listsinceblock: one transaction, two of our addresses")
    bitcoind.will(listsinceblock=answer_of(entry))

    outputs = bitcoin.receipts_since(None, confirmations=1).outputs

    assert [(output.vout, output.amount_sat) for output in outputs] == [
        (0, 200_000),
        (1, 100_000),
    ]
    assert len({output.txid for output in outputs}) == 1


def test_only_receipts_count_not_what_we_mined_or_sent(bitcoin, bitcoind):
    entry = trace("listsinceblock: one confirmation")
    [receive] = entry["result"]["transactions"]
    others = [
        receive | {"category": category} for category in ("send", "immature", "generate", "orphan")
    ]
    bitcoind.will(listsinceblock=Result(entry["result"] | {"transactions": [*others, receive]}))

    assert len(bitcoin.receipts_since(None, confirmations=1).outputs) == 1


def test_the_cursor_lags_by_the_confirmations_asked_for(bitcoin, bitcoind):
    entry = trace("listsinceblock: target_confirmations 3 (lastblock lags)")
    bitcoind.will(listsinceblock=answer_of(entry))

    receipts = bitcoin.receipts_since(None, confirmations=3)

    assert receipts.next_block_hash.startswith("35296b5f")


def test_an_unknown_block_is_refused_by_name(bitcoin, bitcoind):
    bitcoind.will(listsinceblock=answer_of(trace("listsinceblock: unknown block")))

    with pytest.raises(NodeRefused) as refusal:
        bitcoin.receipts_since("00" * 32, confirmations=1)
    assert refusal.value.code == "block_unknown"


def test_a_confirmed_conflict_is_a_negative_depth_without_outputs(bitcoin, bitcoind):
    """M25: the deposit has left the list; only its own lookup tells."""
    bitcoind.will(
        listsinceblock=answer_of(
            trace("listsinceblock: conflict confirmed (confirmations negative)")
        ),
        gettransaction=answer_of(trace("gettransaction: conflicted")),
    )

    assert bitcoin.receipts_since(None, confirmations=1).outputs == ()
    transaction = bitcoin.transaction(
        "df96776668136786d7ce9b1e1573c9adb41d70b7f12233f5821a773631cf9d9b"
    )
    assert (transaction.confirmations, transaction.outputs) == (-1, ())
    assert not transaction.in_mempool


def test_a_replaced_deposit_names_its_rival(bitcoin, bitcoind):
    """M25"""
    bitcoind.will(
        gettransaction=answer_of(trace("gettransaction: replaced")),
        getmempoolentry=GONE,
    )

    transaction = bitcoin.transaction("df" * 32)

    assert transaction.conflicts == (
        "3a9658d51d6f72c90c0306e7abcbb6b5e845ba7655908d9a74b354fe3798efd9",
    )
    assert (transaction.confirmations, transaction.in_mempool) == (0, False)


def test_an_unconfirmed_transaction_shows_what_it_pays_us(bitcoin, bitcoind):
    bitcoind.will(
        gettransaction=answer_of(trace("gettransaction: unconfirmed")),
        getmempoolentry=Result({"vsize": 141}),
    )

    transaction = bitcoin.transaction(TXID)

    assert transaction.outputs == (Output(TXID, 0, ADDRESS, 1_000_000, 0, None, None),)
    assert transaction.in_mempool


def test_our_own_bump_is_among_the_conflicts(bitcoin, bitcoind):
    """M24: a withdrawal is a set of transactions."""
    entry = trace("gettransaction: outgoing, after a bump and a block")
    bitcoind.will(gettransaction=answer_of(entry))

    transaction = bitcoin.transaction(entry["params"][0])

    assert transaction.conflicts == (entry["result"]["replaced_by_txid"],)
    assert (transaction.confirmations, transaction.outputs) == (-1, ())


# --- what was sent ---------------------------------------------------------------------------

SENT_TO = "bcrt1qf4rzmzwygv6pjaxjec4cz5g95g5ueyzps9nxm3"
FIRST = "89aef6da9b57d3bc47bb9ae2366c978163a42615ca24772692277ce3857a02a8"
BUMPED = "eaefdce892c2fe4943a5e8a300adb5bd54a4939aa3055766d556998fbd27004a"


def outgoing(**changes: Any) -> Result:
    """A transaction of ours with what `verbose` adds."""
    reply = trace("gettransaction: outgoing, unconfirmed")["result"]
    return Result(reply | {"decoded": trace("decoderawtransaction")["result"]} | changes)


def test_what_was_sent_is_read_with_its_coins_its_fee_and_whom_it_pays(bitcoin, bitcoind):
    bitcoind.will(gettransaction=outgoing(), getmempoolentry=Result({"vsize": 208}))

    sent = bitcoin.sent(FIRST)

    assert bitcoind.calls[0] == ("gettransaction", [FIRST, False, True])
    assert (sent.signed.txid, sent.signed.fee_sat, sent.signed.vsize) == (FIRST, 416, 208)
    assert sent.signed.inputs == (
        (TXID, 0),
        ("d65f820fb6d08fe420712296a64a5a59abff3260099aa76fda0c8a39fa7dca18", 0),
    )
    assert (SENT_TO, 500_000) in sent.paid
    assert (sent.confirmations, sent.in_mempool) == (0, True)


def test_what_only_pays_us_was_not_sent(bitcoin, bitcoind):
    bitcoind.will(gettransaction=answer_of(trace("gettransaction: unconfirmed")))

    assert bitcoin.sent(TXID) is None


def test_what_was_sent_to_an_address_is_found_with_all_its_versions(bitcoin, bitcoind):
    """money-K3: by address and time, the newest first."""
    entry = trace("listtransactions")
    bitcoind.will(listtransactions=answer_of(entry))
    times = [line["time"] for line in entry["result"] if line["category"] == "send"]

    assert bitcoin.sent_to(SENT_TO, since_s=min(times)) == (BUMPED, FIRST)
    assert bitcoin.sent_to(SENT_TO, since_s=max(times) + 1) == ()
    assert bitcoin.sent_to(ADDRESS, since_s=0) == ()


def test_a_wallet_of_years_is_looked_through_by_page_as_far_as_asked(bitcoin, bitcoind):
    lines = trace("listtransactions")["result"]
    newest = [line | {"time": 2000, "timereceived": 2000} for line in lines[:1]] * 500
    older = [line | {"time": 1000, "timereceived": 1000} for line in lines[1:2]] * 500
    bitcoind.will(listtransactions=[Result(newest), Result(older)])

    assert bitcoin.sent_to(SENT_TO, since_s=1001) == ()
    assert [params for _, params in bitcoind.calls] == [["*", 500, 0], ["*", 500, 500]]


@pytest.mark.parametrize("answer", [None, {"confirmations": 3}])
def test_a_coin_is_there_unless_the_chain_has_it_spent(bitcoin, bitcoind, answer):
    """money-K4: what the mempool wants to do with it does not count."""
    bitcoind.will(gettxout=Result(answer))

    assert bitcoin.coin_is_there(TXID, 1) == (answer is not None)
    assert bitcoind.params("gettxout") == [TXID, 1, False]


def test_an_unknown_transaction_is_none(bitcoin, bitcoind):
    bitcoind.will(gettransaction=answer_of(trace("gettransaction: unknown")))

    assert bitcoin.transaction("11" * 32) is None


@pytest.mark.parametrize(("confirmations", "active"), [(1, True), (9, True), (-1, False)])
def test_a_block_is_active_or_was_reorganised_away(bitcoin, bitcoind, confirmations, active):
    """M26"""
    bitcoind.will(getblockheader=Result({"hash": "00" * 32, "confirmations": confirmations}))

    assert bitcoin.block_is_active("00" * 32) is active


def test_a_block_the_node_never_saw_is_no_reorganisation(bitcoin, bitcoind):
    """M26: another data directory must not reverse deposits."""
    bitcoind.will(getblockheader=Error({"code": -5, "message": "Block not found"}))

    with pytest.raises(NodeRefused) as refusal:
        bitcoin.block_is_active("00" * 32)
    assert refusal.value.code == "block_unknown"


@pytest.mark.parametrize(
    ("scenario", "valid"),
    [
        ("validateaddress bech32", True),
        ("validateaddress legacy", True),
        ("validateaddress: mainnet address on regtest", False),
        ("validateaddress: nonsense", False),
    ],
)
def test_only_addresses_of_our_network_are_valid(bitcoin, bitcoind, scenario, valid):
    bitcoind.will(validateaddress=answer_of(trace(scenario)))

    assert bitcoin.address_is_valid(ADDRESS) is valid


@pytest.mark.parametrize(
    ("scenario", "ours"),
    [("getaddressinfo: ours", True), ("getaddressinfo: nonsense", False)],
)
def test_the_wallet_knows_its_own_addresses(bitcoin, bitcoind, scenario, ours):
    bitcoind.will(getaddressinfo=answer_of(trace(scenario)))

    assert bitcoin.address_is_ours(ADDRESS) is ours


def test_the_balance_is_exact(bitcoin, bitcoind):
    bitcoind.will(getbalances=answer_of(trace("getbalances")))

    assert bitcoin.balance() == BitcoinBalance(trusted_sat=301_300_000, pending_sat=0)


# --- fee rates -------------------------------------------------------------------------------


def estimates(bitcoind, **btc_per_kvb: float | None) -> None:
    names = ("economy", "hour", "half_hour", "fastest")
    bitcoind.will(
        getmempoolinfo=answer_of(trace("getmempoolinfo")),
        estimatesmartfee=[
            answer_of(trace("estimatesmartfee: no data on regtest"))
            if btc_per_kvb.get(name) is None
            else Result({"feerate": btc_per_kvb[name], "blocks": 2})
            for name in names
        ],
    )


def test_without_estimates_every_rate_is_the_fallback_and_known_to_be_no_estimate(
    bitcoind, bitcoin
):
    """input-I17q: the least that is relayed was called the fastest."""
    estimates(bitcoind)
    mainnet = BitcoinCore(bitcoind.url, wallet="coinos", fallback_fee_sat_vb=20)
    assert mainnet.fee_rates() == FeeRates(20, 20, 20, 20, 1, estimated=False)
    targets = [params[0] for name, params in bitcoind.calls if name == "estimatesmartfee"]
    assert sorted(targets) == [2, 3, 6, 144]

    estimates(bitcoind, economy=0.00003, hour=0.00005)
    assert mainnet.fee_rates() == FeeRates(20, 20, 5, 3, 1, estimated=False)

    estimates(bitcoind, economy=0.0003)
    assert mainnet.fee_rates() == FeeRates(30, 30, 30, 30, 1, estimated=False)


def test_the_fallback_is_at_least_what_the_mempool_takes(bitcoind, bitcoin):
    """input-I17q"""
    estimates(bitcoind)
    full = trace("getmempoolinfo")["result"] | {"mempoolminfee": 0.0002501}
    bitcoind.will(getmempoolinfo=Result(full))
    assert bitcoin.fee_rates() == FeeRates(26, 26, 26, 26, 26, estimated=False)


def test_estimates_are_rounded_up_to_whole_sats(bitcoin, bitcoind):
    estimates(
        bitcoind,
        fastest=0.00020001,
        half_hour=0.00012,
        hour=0.00011001,
        economy=0.00003,
    )

    assert bitcoin.fee_rates() == FeeRates(21, 12, 12, 3, 1)


def test_a_faster_rate_is_never_below_a_slower_one(bitcoin, bitcoind):
    estimates(bitcoind, fastest=0.00002, hour=0.0001)

    assert bitcoin.fee_rates() == FeeRates(10, 10, 10, 1, 1, estimated=False)


def test_no_rate_is_above_what_we_are_ready_to_pay(bitcoin, bitcoind):
    estimates(bitcoind, fastest=0.5)

    assert bitcoin.fee_rates().fastest == 500


# --- sending ---------------------------------------------------------------------------------

PAID = "bcrt1qf4rzmzwygv6pjaxjec4cz5g95g5ueyzps9nxm3"
INPUTS = (
    (TXID, 0),
    ("d65f820fb6d08fe420712296a64a5a59abff3260099aa76fda0c8a39fa7dca18", 0),
)


def prepared(bitcoind) -> dict[str, Any]:
    send = trace("send: not broadcast, fee_rate 2 sat/vB")
    bitcoind.will(
        send=answer_of(send),
        decoderawtransaction=answer_of(trace("decoderawtransaction")),
        testmempoolaccept=answer_of(trace("testmempoolaccept")),
        lockunspent=Result(True),
    )
    return send["result"]


def prepare(bitcoin: BitcoinCore, **changes: Any) -> SignedTransaction:
    arguments: dict[str, Any] = {
        "address": PAID,
        "amount_sat": 500_000,
        "fee_rate_sat_vb": 2,
        "subtract_fee": False,
        "lock_inputs": True,
    }
    return bitcoin.prepare(**arguments | changes)


def test_a_payment_is_signed_and_not_broadcast(bitcoin, bitcoind):
    """F07: 500,000 sat go over the wire as eight decimals of a BTC, in a string."""
    reply = prepared(bitcoind)

    signed = prepare(bitcoin)

    assert bitcoind.params("send") == [
        [{PAID: "0.00500000"}],
        None,
        "unset",
        2,
        {
            "add_to_wallet": False,
            "lock_unspents": True,
            "minconf": 0,
            "include_unsafe": False,
            "replaceable": True,
        },
    ]
    assert signed == SignedTransaction(
        txid=reply["txid"], hex=reply["hex"], inputs=INPUTS, fee_sat=416, vsize=208
    )
    assert "sendrawtransaction" not in dict(bitcoind.calls)


def test_a_quote_locks_nothing(bitcoin, bitcoind):
    """A06"""
    prepared(bitcoind)

    prepare(bitcoin, lock_inputs=False)

    assert bitcoind.params("send")[4]["lock_unspents"] is False
    assert "lockunspent" not in dict(bitcoind.calls)


def test_the_fee_can_come_out_of_the_amount(bitcoin, bitcoind):
    prepared(bitcoind)

    signed = prepare(bitcoin, amount_sat=500_416, subtract_fee=True)

    assert bitcoind.params("send")[4]["subtract_fee_from_outputs"] == [0]
    assert signed.fee_sat == 416


def test_one_sat_is_eight_decimals_of_a_bitcoin(bitcoin, bitcoind):
    """F07"""
    bitcoind.will(send=answer_of(trace("sendtoaddress: dust")))

    with pytest.raises(NodeRefused):
        prepare(bitcoin, amount_sat=1)
    assert bitcoind.params("send")[0] == [{PAID: "0.00000001"}]


def test_a_transaction_that_pays_something_else_is_not_believed(bitcoin, bitcoind):
    prepared(bitcoind)

    with pytest.raises(NodeUnavailable):
        prepare(bitcoin, amount_sat=500_001)
    unlocked = [params for name, params in bitcoind.calls if name == "lockunspent"]
    assert unlocked == [[True, [{"txid": txid, "vout": vout}]] for txid, vout in INPUTS]


def test_a_transaction_that_would_not_be_relayed_is_refused_and_unlocked(bitcoin, bitcoind):
    prepared(bitcoind)
    verdict = trace("testmempoolaccept")["result"][0] | {"allowed": False}
    bitcoind.will(testmempoolaccept=Result([verdict]))

    with pytest.raises(NodeRefused) as refusal:
        prepare(bitcoin)
    assert refusal.value.code == "not_relayed"
    assert [name for name, _ in bitcoind.calls].count("lockunspent") == len(INPUTS)


TOO_LONG_A_CHAIN = (
    "Unconfirmed UTXOs are available, but spending them creates a chain of transactions that will"
    " be rejected by the mempool"
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (trace("sendtoaddress: insufficient funds")["error"], "insufficient_funds"),
        ({"code": -4, "message": "Insufficient funds"}, "insufficient_funds"),
        ({"code": -4, "message": TOO_LONG_A_CHAIN}, "insufficient_funds"),
        (trace("sendtoaddress: dust")["error"], "amount_too_small"),
        (trace("sendtoaddress: invalid address")["error"], "invalid_address"),
        (trace("sendtoaddress: other network's address")["error"], "invalid_address"),
        (trace("sendtoaddress: negative")["error"], "node_refused"),
    ],
)
def test_a_payment_that_cannot_be_built_says_why(bitcoin, bitcoind, error, code):
    bitcoind.will(send=Error(error))

    with pytest.raises(NodeRefused) as refusal:
        prepare(bitcoin)
    assert refusal.value.code == code


BUMPING = {"address": "bcrt1q", "amount_sat": 50_000, "fee_rate_sat_vb": 20}
TOO_LITTLE = (
    "Insufficient total fee 0.00000282, must be at least 0.00000296 (oldFee 0.00000282 +"
    " incrementalFee 0.00000014)"
)
NOT_TWICE = f"Cannot bump transaction {'11' * 32} which was already bumped by transaction"


@pytest.mark.parametrize(
    ("code", "message", "ours"),
    [
        (-1, f"{'22' * 32}:0 is already spent", "in a block"),
        (-4, "Transaction has been mined, or is conflicted with a mined", "in a block"),
        (-4, f"{NOT_TWICE} {'33' * 32}", "in a block"),
        (-5, "Invalid or non-wallet transaction id", "in a block"),
        (-8, "Transaction has descendants in the wallet", "built upon it"),
        (-8, "Transaction has descendants in the mempool", "built upon it"),
        (-8, TOO_LITTLE, "must be higher"),
        (-4, "Unable to create transaction. Insufficient funds", "Not enough coins"),
    ],
)
def test_a_withdrawal_that_cannot_be_sped_up_says_why(bitcoin, bitcoind, code, message, ours):
    """In the words of Core 31 (src/wallet/feebumper.cpp)."""
    bitcoind.will(psbtbumpfee=Error({"code": code, "message": message}))

    with pytest.raises(NodeRefused, match=ours):
        bitcoin.bump("11" * 32, **BUMPING)


@pytest.mark.parametrize("code", [-13, -1, -20])
def test_a_locked_or_confused_wallet_makes_withdrawals_wait(bitcoin, bitcoind, code):
    bitcoind.will(send=Error({"code": code, "message": "Please enter the wallet passphrase"}))

    with pytest.raises(NodeUnavailable):
        prepare(bitcoin)


@pytest.mark.parametrize(
    "change",
    [
        {"amount_sat": 0},
        {"amount_sat": -1},
        {"fee_rate_sat_vb": 0},
        {"fee_rate_sat_vb": 501},
    ],
)
def test_an_amount_or_rate_out_of_range_never_reaches_the_node(bitcoin, bitcoind, change):
    """F08"""
    with pytest.raises(ValueError, match="out of range"):
        prepare(bitcoin, **change)

    assert bitcoind.calls == []


def test_locks_name_their_outputs_and_outlive_a_restart(bitcoin, bitcoind):
    """A06"""
    bitcoind.will(
        lockunspent=[
            Error({"code": -8, "message": "Invalid parameter, output already locked"}),
            Result(True),
        ]
    )

    bitcoin.lock(INPUTS)

    assert [params for _, params in bitcoind.calls] == [
        [False, [{"txid": txid, "vout": vout}], True] for txid, vout in INPUTS
    ]


def test_unlocking_nothing_does_not_release_everything(bitcoin, bitcoind):
    bitcoin.unlock(())

    assert bitcoind.calls == []


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (answer_of(trace("sendrawtransaction")), "accepted"),
        (
            answer_of(trace("sendrawtransaction: again while in the mempool")),
            "accepted",
        ),
        (
            Error({"code": -27, "message": "Transaction outputs already in utxo set"}),
            "accepted",
        ),
        (answer_of(trace("sendrawtransaction: again after confirmation")), "ambiguous"),
        (answer_of(trace("sendrawtransaction: inputs missing or spent")), "ambiguous"),
        (Error({"code": -26, "message": "min relay fee not met"}), "refused"),
    ],
)
def test_a_broadcast_is_accepted_refused_or_ambiguous(bitcoin, bitcoind, answer, state):
    bitcoind.will(sendrawtransaction=answer)

    result = bitcoin.broadcast("0200")

    assert isinstance(result, Broadcast)
    assert result.state == state
    assert bitcoind.params("sendrawtransaction") == ["0200", "0.01000000"]


@pytest.mark.parametrize("code", [-1, -22, -28, -32601])
def test_any_other_answer_to_a_broadcast_is_unknown(bitcoin, bitcoind, code):
    bitcoind.will(sendrawtransaction=Error({"code": code, "message": "?"}))

    with pytest.raises(NodeUnavailable):
        bitcoin.broadcast("0200")


# --- the wallet ------------------------------------------------------------------------------

NOT_LOADED = answer_of(trace("wallet not loaded"))
BALANCES = answer_of(trace("getbalances"))


def test_a_wallet_that_is_not_loaded_is_loaded_once(bitcoin, bitcoind):
    bitcoind.will(getbalances=[NOT_LOADED, BALANCES], loadwallet=Result({"name": "coinos"}))

    assert bitcoin.balance().trusted_sat == 301_300_000
    assert bitcoind.params("loadwallet") == ["coinos", True]


def test_a_wallet_that_another_process_loaded_is_used(bitcoin, bitcoind):
    already = Error({"code": -35, "message": "Wallet already loaded"})
    bitcoind.will(getbalances=[NOT_LOADED, BALANCES], loadwallet=already)

    assert bitcoin.balance().trusted_sat == 301_300_000


def test_a_wallet_that_does_not_exist_is_made_on_regtest(bitcoin, bitcoind):
    bitcoind.will(
        getbalances=[NOT_LOADED, BALANCES],
        loadwallet=NOT_LOADED,
        getblockchaininfo=answer_of(trace("getblockchaininfo")),
        createwallet=Result({"name": "coinos"}),
    )

    bitcoin.balance()

    assert bitcoind.params("createwallet") == [
        "coinos",
        False,
        False,
        "",
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(("chain", "code"), [("main", -18), ("signet", -18), ("regtest", -4)])
def test_a_wallet_is_made_nowhere_else(bitcoin, bitcoind, chain, code):
    reply = trace("getblockchaininfo")["result"] | {"chain": chain}
    bitcoind.will(
        getbalances=NOT_LOADED,
        loadwallet=Error({"code": code, "message": "?"}),
        getblockchaininfo=Result(reply),
    )

    with pytest.raises(NodeUnavailable):
        bitcoin.balance()
    assert "createwallet" not in dict(bitcoind.calls)
