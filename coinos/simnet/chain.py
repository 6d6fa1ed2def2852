"""The chain: blocks, the coins they leave unspent, and the mempool.

One tree of blocks with one active branch. Everything a wallet wants to know of a transaction
(confirmed where, in the mempool, or beaten by a rival) is derived from here and never stored
twice. Nothing here touches a file: `bitcoin_node.py` writes down what changes the chain.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from coinos.simnet.transactions import (
    SAT_PER_BTC,
    Outpoint,
    Output,
    Transaction,
    coinbase,
    double_sha256,
    dust_sat,
    fee_at,
    merkle_root,
)

GENESIS_HASH = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
GENESIS_TIME_S = 1296688602
GENESIS_MERKLE_ROOT = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
BITS = 0x207FFFFF  # regtest: every second hash is a proof of work
COINBASE_MATURITY_BLOCKS = 100
HALVING_BLOCKS = 150  # regtest's
RELAY_FLOOR_SAT_KVB = 100
CLUSTER_COUNT_MAX = 64
"""Transactions in the mempool that hang together, by whatever way."""


class Rejected(Exception):
    """The transaction does not enter the mempool; `code` and `reason` as Core reports them."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Block:
    hash: str
    previous: str
    height: int
    time_s: int
    nonce: int
    merkle_root: str
    txids: tuple[str, ...]  # the coinbase first
    reward_script: bytes
    extra: int


@dataclass
class MempoolEntry:
    fee_sat: int
    time_s: int
    height: int
    chain_length: int = 1  # itself and the longest line of unconfirmed parents


@dataclass
class Chain:
    transactions: dict[str, Transaction] = field(default_factory=dict)
    seen_s: dict[str, int] = field(default_factory=dict)
    blocks: dict[str, Block] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)
    coins: dict[Outpoint, Output] = field(default_factory=dict)
    block_of: dict[str, Block] = field(default_factory=dict)
    spender: dict[Outpoint, str] = field(default_factory=dict)
    mempool: dict[str, MempoolEntry] = field(default_factory=dict)
    mempool_spender: dict[Outpoint, str] = field(default_factory=dict)
    mempool_floor_sat_kvb: int = RELAY_FLOOR_SAT_KVB

    def __post_init__(self) -> None:
        genesis = Block(
            GENESIS_HASH, "0" * 64, 0, GENESIS_TIME_S, 2, GENESIS_MERKLE_ROOT, (), b"", 0
        )
        self.blocks[genesis.hash] = genesis
        self.active.append(genesis.hash)

    # --- looking ---------------------------------------------------------------------------

    @property
    def tip(self) -> Block:
        return self.blocks[self.active[-1]]

    @property
    def height(self) -> int:
        return len(self.active) - 1

    def is_active(self, block: Block) -> bool:
        return block.height < len(self.active) and self.active[block.height] == block.hash

    def confirmations(self, txid: str) -> int:
        """How deep the transaction is in the active chain; 0 if it is not there."""
        block = self.block_of.get(txid)
        return self.height - block.height + 1 if block else 0

    def output(self, outpoint: Outpoint) -> Output | None:
        tx = self.transactions.get(outpoint.txid)
        return tx.outputs[outpoint.vout] if tx and outpoint.vout < len(tx.outputs) else None

    def unspent(self, outpoint: Outpoint) -> Output | None:
        """The output if the chain or the mempool has it and neither spends it."""
        if outpoint in self.mempool_spender:
            return None
        if outpoint.txid in self.mempool:
            return self.output(outpoint)
        return self.coins.get(outpoint)

    def fee_sat(self, tx: Transaction) -> int:
        """Inputs minus outputs. Raises KeyError when an input was never seen."""
        paid_in = 0
        for outpoint in tx.inputs:
            paid_in += self.transactions[outpoint.txid].outputs[outpoint.vout].amount_sat
        return paid_in - tx.amount_out_sat

    def median_time_s(self, block: Block) -> int:
        times: list[int] = []
        while len(times) < 11 and block.hash in self.blocks:
            times.append(block.time_s)
            block = self.blocks.get(block.previous, GENESIS_END)
        return int(median(times))

    def fork_point(self, block: Block) -> Block:
        """The last block that `block` has in common with the active chain."""
        while not self.is_active(block):
            block = self.blocks[block.previous]
        return block

    def descendants(self, txids: Iterable[str]) -> set[str]:
        """The given transactions and everything in the mempool that spends them."""
        family = set(txids)
        if not family:
            return family
        for txid in self.mempool:
            if any(o.txid in family for o in self.transactions[txid].inputs):
                family.add(txid)
        return family

    def ancestors(self, txid: str) -> set[str]:
        """The transaction and every unconfirmed one that it builds upon."""
        found: set[str] = set()
        todo = [txid]
        while todo:
            current = todo.pop()
            if current in self.mempool and current not in found:
                found.add(current)
                todo += [o.txid for o in self.transactions[current].inputs]
        return found

    def cluster(self, txids: Iterable[str]) -> set[str]:
        """Everything in the mempool that hangs together with one of these, they themselves too."""
        found: set[str] = set()
        todo = [txid for txid in txids if txid in self.mempool]
        while todo:
            txid = todo.pop()
            if txid in found:
                continue
            found.add(txid)
            tx = self.transactions[txid]
            todo += [o.txid for o in tx.inputs if o.txid in self.mempool]
            spenders = (self.mempool_spender.get(outpoint) for outpoint, _ in outputs_of(tx))
            todo += [spender for spender in spenders if spender]
        return found

    def chain_length(self, txid: str) -> int:
        """How many unconfirmed transactions end in this one, along the longest line."""
        entry = self.mempool.get(txid)
        return entry.chain_length if entry else 0

    def rivals(self, tx: Transaction) -> set[str]:
        """Mempool transactions that spend one of the same inputs."""
        found = {self.mempool_spender.get(outpoint) for outpoint in tx.inputs}
        return {txid for txid in found if txid and txid != tx.txid}

    # --- the mempool -----------------------------------------------------------------------

    def check(self, tx: Transaction) -> int:
        """Would the mempool take this transaction? Returns its fee; raises Rejected.

        Policy only as far as a wallet meets it: inputs exist, amounts, dust, fee floor,
        replacement. Scripts and signatures are not executed.
        """
        if tx.is_coinbase:
            raise Rejected(-26, "coinbase")
        if len(set(tx.inputs)) != len(tx.inputs):
            raise Rejected(-26, "bad-txns-inputs-duplicate")
        for outpoint in tx.inputs:
            if outpoint not in self.coins and outpoint.txid not in self.mempool:
                raise Rejected(-25, "bad-txns-inputs-missingorspent")
            if self.output(outpoint) is None:
                raise Rejected(-25, "bad-txns-inputs-missingorspent")
            self._check_maturity(outpoint)
        fee_sat = self.fee_sat(tx)
        if fee_sat < 0:
            raise Rejected(-26, "bad-txns-in-belowout")
        if any(output.amount_sat < dust_sat(output.script) for output in tx.outputs):
            raise Rejected(-26, "dust")
        for floor, name in (
            (RELAY_FLOOR_SAT_KVB, "min relay fee not met"),
            (self.mempool_floor_sat_kvb, "mempool min fee not met"),
        ):
            needed_sat = fee_at(floor, tx.vsize)
            if fee_sat < needed_sat:
                raise Rejected(-26, f"{name}, {fee_sat} < {needed_sat}")
        self._check_replacement(tx, fee_sat)
        self._check_cluster(tx)
        return fee_sat

    def _check_maturity(self, outpoint: Outpoint) -> None:
        is_deep = self.confirmations(outpoint.txid) >= COINBASE_MATURITY_BLOCKS
        if self.transactions[outpoint.txid].is_coinbase and not is_deep:
            raise Rejected(-26, "bad-txns-premature-spend-of-coinbase")

    def _check_replacement(self, tx: Transaction, fee_sat: int) -> None:
        """Full replacement by fee: pay more in all, and at a higher rate than each rival."""
        rivals = self.rivals(tx)
        if not rivals:
            return
        evicted = self.descendants(rivals)
        if any(outpoint.txid in evicted for outpoint in tx.inputs):
            raise Rejected(-26, "bad-txns-spends-conflicting-tx")
        evicted_fee_sat = sum(self.mempool[txid].fee_sat for txid in evicted)
        relay_sat = fee_at(RELAY_FLOOR_SAT_KVB, tx.vsize)
        pays_less = fee_sat < evicted_fee_sat + relay_sat
        is_slower = any(
            fee_sat * self.transactions[txid].vsize <= self.mempool[txid].fee_sat * tx.vsize
            for txid in rivals
        )
        if pays_less or is_slower:
            raise Rejected(-26, f"insufficient fee, rejecting replacement {tx.txid}")

    def _check_cluster(self, tx: Transaction) -> None:
        rest = self.cluster(o.txid for o in tx.inputs) - self.descendants(self.rivals(tx))
        if len(rest - {tx.txid}) >= CLUSTER_COUNT_MAX:
            raise Rejected(-26, "too-large-cluster")

    def accept(self, tx: Transaction, time_s: int) -> None:
        """Put a checked transaction into the mempool; its rivals and their children leave."""
        for txid in self.descendants(self.rivals(tx)):
            self._leave_mempool(txid)
        self.know(tx, time_s)
        self._enter_mempool(tx)

    def know(self, tx: Transaction, time_s: int) -> None:
        self.transactions.setdefault(tx.txid, tx)
        self.seen_s.setdefault(tx.txid, time_s)

    def refill(self, txids: Iterable[str]) -> None:
        """Make these the mempool, in this order, without those whose inputs are gone."""
        old, self.mempool, self.mempool_spender = self.mempool, {}, {}
        for txid in txids:
            tx = self.transactions[txid]
            is_free = all(self.unspent(outpoint) for outpoint in tx.inputs)
            if txid not in self.mempool and txid not in self.block_of and is_free:
                self._enter_mempool(tx, old.get(txid))

    def _enter_mempool(self, tx: Transaction, entry: MempoolEntry | None = None) -> None:
        entry = entry or MempoolEntry(self.fee_sat(tx), self.seen_s[tx.txid], self.height)
        entry.chain_length = 1 + max(self.chain_length(o.txid) for o in tx.inputs)
        self.mempool[tx.txid] = entry
        for outpoint in tx.inputs:
            self.mempool_spender[outpoint] = tx.txid

    def _leave_mempool(self, txid: str) -> None:
        del self.mempool[txid]
        for outpoint in self.transactions[txid].inputs:
            del self.mempool_spender[outpoint]

    # --- blocks ----------------------------------------------------------------------------

    def add_block(
        self, previous: str, time_s: int, txids: Sequence[str], reward_script: bytes, extra: int
    ) -> Block:
        """Build a block on `previous` and keep it; it is not active yet."""
        height = self.blocks[previous].height + 1
        fees_sat = sum(self.fee_sat(self.transactions[txid]) for txid in txids)
        subsidy_sat = 50 * SAT_PER_BTC >> (height // HALVING_BLOCKS)
        reward = coinbase(height, extra, Output(subsidy_sat + fees_sat, reward_script))
        self.know(reward, time_s)
        all_txids = (reward.txid, *txids)
        root = merkle_root(all_txids)
        nonce, digest = 0, b"\xff"
        while digest[-1] > 0x7F:  # the target of regtest
            nonce += 1
            digest = double_sha256(header(previous, root, time_s, nonce))
        block = Block(
            hash=digest[::-1].hex(),
            previous=previous,
            height=height,
            time_s=time_s,
            nonce=nonce,
            merkle_root=root[::-1].hex(),
            txids=all_txids,
            reward_script=reward_script,
            extra=extra,
        )
        self.blocks[block.hash] = block
        return block

    def activate(self, tip_hash: str, forget: Iterable[str] = ()) -> list[str]:
        """Make `tip_hash` the tip, going back to the fork first; returns the txids connected.

        Transactions of the blocks left behind return to the mempool, except those in `forget`.
        """
        branch: list[Block] = []
        block = self.blocks[tip_hash]
        while not self.is_active(block):
            branch.append(block)
            block = self.blocks[block.previous]
        returned: list[str] = []
        while self.height > block.height:
            returned = [*self.tip.txids[1:], *returned]
            self._disconnect_tip()
        connected: list[str] = []
        for block in reversed(branch):
            self._connect(block)
            connected += block.txids
        forgotten = set(forget)
        self.refill([t for t in [*returned, *self.mempool] if t not in forgotten])
        return connected

    def _connect(self, block: Block) -> None:
        for txid in block.txids:
            tx = self.transactions[txid]
            for outpoint in tx.inputs:
                del self.coins[outpoint]
                self.spender[outpoint] = txid
            for outpoint, output in outputs_of(tx):
                self.coins[outpoint] = output
            self.block_of[txid] = block
        self.active.append(block.hash)

    def _disconnect_tip(self) -> None:
        for txid in reversed(self.tip.txids):
            tx = self.transactions[txid]
            for outpoint, _ in outputs_of(tx):
                del self.coins[outpoint]
            for outpoint in tx.inputs:
                self.coins[outpoint] = self.transactions[outpoint.txid].outputs[outpoint.vout]
                del self.spender[outpoint]
            del self.block_of[txid]
        self.active.pop()


GENESIS_END = Block("", "", -1, 0, 0, "", (), b"", 0)


def outputs_of(tx: Transaction) -> Iterator[tuple[Outpoint, Output]]:
    for vout, output in enumerate(tx.outputs):
        yield Outpoint(tx.txid, vout), output


def header(previous: str, root: bytes, time_s: int, nonce: int) -> bytes:
    """The 80 bytes that are hashed; `root` in the order of the wire."""
    version = 0x20000000
    return (
        struct.pack("<I", version)
        + bytes.fromhex(previous)[::-1]
        + root
        + struct.pack("<III", time_s, BITS, nonce)
    )
