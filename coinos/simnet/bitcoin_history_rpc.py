"""Bitcoin Core's calls about what a wallet received and sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coinos.simnet.bitcoin_chain_rpc import decoded
from coinos.simnet.bitcoin_node import BitcoinNode
from coinos.simnet.bitcoin_rpc import (
    INVALID_ADDRESS,
    INVALID_PARAMETER,
    RpcError,
    btc,
    hash_argument,
    last_processed_block,
    rpc,
)
from coinos.simnet.transactions import Output, Transaction, address_of
from coinos.simnet.wallet import Wallet

Entry = dict[str, Any]
EVERY_DEPTH = -100_000_000


def wallet_facts(wallet: Wallet, tx: Transaction) -> Entry:
    """What every reply says of a wallet transaction, the same for all its outputs."""
    chain = wallet.chain
    entry = wallet.history[tx.txid]
    depth = wallet.depth(tx.txid)
    facts: Entry = {"confirmations": depth}
    if tx.is_coinbase:
        facts["generated"] = True
    block = chain.block_of.get(tx.txid)
    if block:
        facts |= {
            "blockhash": block.hash,
            "blockheight": block.height,
            "blockindex": block.txids.index(tx.txid),
            "blocktime": block.time_s,
        }
    else:
        facts["trusted"] = wallet.is_trusted(tx.txid)
    facts |= {
        "txid": tx.txid,
        "wtxid": tx.wtxid,
        "walletconflicts": wallet.wallet_conflicts(tx),
        "mempoolconflicts": wallet.mempool_conflicts(tx),
        "time": entry.time_s,
        "timereceived": entry.time_s,
        "bip125-replaceable": "yes" if not block and tx.signals_replacement else "no",
    }
    if entry.replaced_by:
        facts["replaced_by_txid"] = entry.replaced_by
    if entry.replaces:
        facts["replaces_txid"] = entry.replaces
    return facts


def entries(
    wallet: Wallet,
    txid: str,
    *,
    min_depth: int = 0,
    with_facts: bool = True,
    include_change: bool = False,
    label: str | None = None,
) -> list[Entry]:
    """One entry for each output that we sent or received.

    Received outputs are left out below `min_depth`: that is how a deposit whose rival was
    confirmed disappears from `listsinceblock` (recorded), while a send stays.
    """
    tx = wallet.chain.transactions[txid]
    facts = wallet_facts(wallet, tx) if with_facts else {}
    debit_sat = wallet.debit_sat(tx)
    fee_sat = debit_sat - tx.amount_out_sat
    sent, received = [], []
    for vout, output in enumerate(tx.outputs):
        if debit_sat and wallet.is_change(output) and not include_change:
            continue
        if debit_sat and label is None:
            entry = _output_entry(wallet, output, "send", -output.amount_sat, vout)
            sent.append(entry | {"fee": btc(-fee_sat)} | facts | {"abandoned": False})
        if wallet.is_mine(output) and label in (None, wallet.label(output.script)):
            category = _category(wallet, tx)
            entry = _output_entry(wallet, output, category, output.amount_sat, vout)
            received.append(entry | {"abandoned": False} | facts)
    if received and wallet.depth(txid) < min_depth:
        received = []
    return sent + received


def _category(wallet: Wallet, tx: Transaction) -> str:
    if not tx.is_coinbase:
        return "receive"
    if wallet.depth(tx.txid) < 1:
        return "orphan"
    return "immature" if wallet.is_immature(tx.txid) else "generate"


def _output_entry(
    wallet: Wallet, output: Output, category: str, amount_sat: int, vout: int
) -> Entry:
    entry: Entry = {}
    if address := address_of(output.script):
        entry["address"] = address
    key = wallet.keys.get(output.script)
    if key and category != "send":
        entry["parent_descs"] = [wallet.parent_descriptor(key)]
    entry |= {"category": category, "amount": btc(amount_sat)}
    if key and key.label is not None:
        entry["label"] = key.label
    return entry | {"vout": vout}


@rpc(
    "blockhash:string? target_confirmations:number? include_watchonly:bool? "
    "include_removed:bool? include_change:bool? label:string?",
    wallet=True,
)
def listsinceblock(
    node: BitcoinNode,
    wallet: Wallet,
    blockhash: str | None,
    target_confirmations: int | None,
    include_watchonly: bool | None,
    include_removed: bool | None,
    include_change: bool | None,
    label: str | None,
) -> Entry:
    """Transactions since a block, all unconfirmed ones among them.

    From a block that is no longer in the chain the answer starts at the fork, and `removed`
    lists the wallet transactions of the blocks that were left, mined again or not.
    """
    chain = node.chain
    since, removed = 0, []
    target = 1 if target_confirmations is None else target_confirmations
    if target < 1:
        raise RpcError(INVALID_PARAMETER, "Invalid parameter")
    options: Entry = {"include_change": bool(include_change), "label": label}
    txids: Iterable[str] = list(wallet.history)
    if blockhash:
        block = chain.blocks.get(hash_argument(blockhash, "blockhash"))
        if block is None:
            raise RpcError(INVALID_ADDRESS, "Block not found")
        since = chain.fork_point(block).height
        while include_removed is not False and not chain.is_active(block):
            for txid in block.txids:
                if txid in wallet.history:
                    removed += entries(wallet, txid, min_depth=EVERY_DEPTH, **options)
            block = chain.blocks[block.previous]
        txids = _changed_since(wallet, since)
    found: list[Entry] = []
    for txid in txids:
        if not blockhash or abs(wallet.depth(txid)) <= chain.height - since:
            found += entries(wallet, txid, **options)
    last_height = chain.height + 1 - min(target, chain.height + 1)
    answer: Entry = {"transactions": found}
    if include_removed is not False:
        answer["removed"] = removed
    return answer | {"lastblock": chain.active[last_height]}


def _changed_since(wallet: Wallet, height: int) -> list[str]:
    """Wallet transactions mined above `height`, then those that are in no block."""
    chain = wallet.chain
    mined = [
        txid
        for block_hash in chain.active[height + 1 :]
        for txid in chain.blocks[block_hash].txids
        if txid in wallet.history
    ]
    return mined + [txid for txid in wallet.history if txid not in chain.block_of]


@rpc("txid:string include_watchonly:bool? verbose:bool?", wallet=True)
def gettransaction(
    node: BitcoinNode,
    wallet: Wallet,
    txid: str,
    include_watchonly: bool | None,
    verbose: bool | None,
) -> Entry:
    tx = wallet_transaction(wallet, txid)
    debit_sat = wallet.debit_sat(tx)
    fee_sat = debit_sat - tx.amount_out_sat if debit_sat else 0
    answer: Entry = {"amount": btc(wallet.credit_sat(tx) - debit_sat + fee_sat)}
    if debit_sat:
        answer["fee"] = btc(-fee_sat)
    answer |= wallet_facts(wallet, tx)
    answer["details"] = entries(wallet, tx.txid, with_facts=False)
    answer["hex"] = tx.hex
    if verbose:
        answer["decoded"] = decoded(tx)
    return answer | {"lastprocessedblock": last_processed_block(node)}


def wallet_transaction(wallet: Wallet, txid: str) -> Transaction:
    """Raises RpcError -5 unless the wallet has it."""
    if hash_argument(txid, "txid") not in wallet.history:
        raise RpcError(INVALID_ADDRESS, "Invalid or non-wallet transaction id")
    return wallet.chain.transactions[txid.lower()]


@rpc("label:string? count:number? skip:number? include_watchonly:bool?", wallet=True)
def listtransactions(
    node: BitcoinNode,
    wallet: Wallet,
    label: str | None,
    count: int | None,
    skip: int | None,
    include_watchonly: bool | None,
) -> list[Entry]:
    """The last `count` entries before the last `skip`, the oldest first."""
    count = 10 if count is None else count
    skip = skip or 0
    if count < 0:
        raise RpcError(INVALID_PARAMETER, "Negative count")
    if skip < 0:
        raise RpcError(INVALID_PARAMETER, "Negative from")
    wanted_label = None if label in (None, "*") else label
    found: list[Entry] = []
    for txid in reversed(wallet.history):
        if len(found) >= count + skip:
            break
        found += reversed(entries(wallet, txid, label=wanted_label))
    return found[skip : skip + count][::-1]
