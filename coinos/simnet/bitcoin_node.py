"""The simulated bitcoin node: chain, wallets and the world outside, on one journal.

Whatever changes the state goes through `_record`: written first, then applied. A start replays
the journal through the same `_apply`, so what was answered before a kill is there after it.

The world outside is a wallet of its own. It pays us (`deposit`), takes its payments back
(`replace`, `conflict`), mines, and makes the chain turn (`reorg`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from coinos.simnet.chain import RELAY_FLOOR_SAT_KVB, Chain, Rejected
from coinos.simnet.journal import Journal
from coinos.simnet.spending import Funding, Recipient, fund, sign, signed
from coinos.simnet.transactions import (
    SAT_PER_BTC,
    Outpoint,
    Output,
    Transaction,
    script_of,
    unsigned,
)
from coinos.simnet.wallet import Key, Wallet

OUR_WALLET = "coinos"
OUTSIDE = "(outside)"
START_BLOCKS = 120
BLOCK_SPACING_S = 600
OUTSIDE_COINS = 200
BURIED_BLOCKS = 12
"""So deep lie the first coins: a wallet that begins to look at recent blocks sees none of them."""
TREASURY_COINS = 20
# What estimatesmartfee says unless a test wants otherwise: target in blocks -> sat/vB.
FEE_ESTIMATES_SAT_VB = {1: 6, 2: 6, 3: 4, 6: 3, 12: 2, 144: 1}


class BitcoinNode:
    """`treasury_sat` is what the operator's wallet holds, confirmed, on the very first start."""

    def __init__(self, path: Path, treasury_sat: int = SAT_PER_BTC) -> None:
        self.started_s = now_s()
        self._journal = Journal(path)
        self._forget()
        for record in self._journal.replay():
            self._apply(record)
        if not self.has_begun:
            self._begin(treasury_sat)
        self._journal.compact(self._snapshot())

    def _forget(self) -> None:
        self.chain = Chain()
        self.wallets: dict[str, Wallet] = {}
        self.has_begun = False
        self.is_stuck = False
        self.fee_estimates: dict[int, float] | None = dict(FEE_ESTIMATES_SAT_VB)

    def close(self) -> None:
        self._journal.close()

    @property
    def outside(self) -> Wallet:
        return self.wallets[OUTSIDE]

    def _begin(self, treasury_sat: int) -> None:
        """The first blocks and coins. A beginning that a kill interrupted is begun again."""
        self._forget()
        self._journal.compact([])
        self.create_wallet(OUTSIDE)
        self.create_wallet(OUR_WALLET)
        self._extend(START_BLOCKS, self.outside_key().script)
        coins = {self.outside_address(): SAT_PER_BTC for _ in range(OUTSIDE_COINS)}
        self.pay_from_outside(coins)
        share_sat, odd_sat = divmod(treasury_sat, TREASURY_COINS)
        if treasury_sat:
            keys = [self.new_key(OUR_WALLET, "bech32", "") for _ in range(TREASURY_COINS)]
            treasury = {self.wallets[OUR_WALLET].address(key): share_sat for key in keys}
            treasury[next(iter(treasury))] += odd_sat
            self.pay_from_outside(treasury)
        self.mine(BURIED_BLOCKS)
        self._record("begun")

    # --- the journal -----------------------------------------------------------------------

    def _record(self, op: str, **values: Any) -> Any:
        record = {"op": op, **values}
        self._journal.append(record)
        return self._apply(record)

    def _apply(self, record: dict[str, Any]) -> Any:
        values = {name: value for name, value in record.items() if name != "op"}
        return getattr(self, f"_apply_{record['op']}")(**values)

    def _apply_begun(self) -> None:
        self.has_begun = True

    def _apply_wallet(self, name: str, seed: str, time_s: int) -> Wallet:
        wallet = Wallet(name, bytes.fromhex(seed), time_s, self.chain)
        self.wallets[name] = wallet
        return wallet

    def _apply_loaded(self, wallet: str, loaded: bool) -> None:
        self.wallets[wallet].loaded = loaded
        if loaded:
            self._catch_up(self.wallets[wallet])

    def _apply_key(self, wallet: str, kind: str, label: str | None, time_s: int) -> Key:
        return self.wallets[wallet].new_key(kind, label, time_s)

    def _apply_transaction(
        self,
        hex: str,
        time_s: int,
        mempool: bool = True,
        replaces: str | None = None,
    ) -> None:
        tx = Transaction.parse(hex)
        if mempool:
            self.chain.accept(tx, time_s)
        else:
            self.chain.know(tx, time_s)
        self._show(tx)
        for wallet in self.wallets.values():
            if replaces in wallet.history and tx.txid in wallet.history:
                wallet.history[tx.txid].replaces = replaces
                wallet.history[replaces].replaced_by = tx.txid

    def _apply_mempool(self, txids: list[str]) -> None:
        self.chain.refill(txids)

    def _apply_blocks(
        self, blocks: list[dict[str, Any]], tip: str | None, forget: Sequence[str] = ()
    ) -> list[str]:
        """Add blocks and make `tip` (or else the last of them) the tip. Blocks without
        `previous` stand on the one before them in the list."""
        hashes: list[str] = []
        for block in blocks:
            previous = block["previous"] or hashes[-1]
            added = self.chain.add_block(
                previous,
                block["time_s"],
                block["txids"],
                bytes.fromhex(block["to"]),
                block["extra"],
            )
            hashes.append(added.hash)
        for txid in self.chain.activate(tip or hashes[-1], forget):
            self._show(self.chain.transactions[txid])
        return hashes

    def _apply_lock(self, wallet: str, outpoints: list[tuple[str, int]], locked: bool) -> None:
        for outpoint in outpoints:
            if locked:
                self.wallets[wallet].locks[Outpoint(*outpoint)] = True
            else:
                self.wallets[wallet].locks.pop(Outpoint(*outpoint), None)

    def _apply_setting(self, name: str, value: Any) -> None:
        if name == "stuck":
            self.is_stuck = value
        elif name == "min_fee":
            self.chain.mempool_floor_sat_kvb = value
        elif name == "fee_estimates":
            self.fee_estimates = value and {int(target): rate for target, rate in value.items()}

    def _show(self, tx: Transaction) -> None:
        for wallet in self.wallets.values():
            if wallet.loaded:
                wallet.see(tx, self.chain.seen_s[tx.txid])

    def _catch_up(self, wallet: Wallet) -> None:
        """What happened while the wallet was not loaded."""
        for txid, tx in self.chain.transactions.items():
            if txid in self.chain.block_of or txid in self.chain.mempool:
                wallet.see(tx, self.chain.seen_s[txid])

    def _snapshot(self) -> Iterator[dict[str, Any]]:
        """The shortest journal that leads to this state."""
        chain = self.chain
        for wallet in self.wallets.values():
            yield {
                "op": "wallet",
                "name": wallet.name,
                "seed": wallet.seed.hex(),
                "time_s": wallet.birth_s,
            }
            for key in wallet.keys.values():
                yield {
                    "op": "key",
                    "wallet": wallet.name,
                    "kind": key.kind,
                    "label": key.label,
                    "time_s": key.created_s,
                }
        replaces = {
            txid: entry.replaces
            for wallet in self.wallets.values()
            for txid, entry in wallet.history.items()
        }
        known = {txid for wallet in self.wallets.values() for txid in wallet.history}
        known.update(chain.mempool, *(block.txids for block in chain.blocks.values()))
        for txid, tx in chain.transactions.items():
            if txid in known and not tx.is_coinbase:
                record = {"op": "transaction", "hex": tx.hex, "time_s": chain.seen_s[txid]}
                yield record | {"mempool": False, "replaces": replaces.get(txid)}
        blocks = [block for block in chain.blocks.values() if block.height]
        if blocks:
            yield {"op": "blocks", "tip": chain.tip.hash, "blocks": [_block(b) for b in blocks]}
        yield {"op": "mempool", "txids": list(chain.mempool)}
        for wallet in self.wallets.values():
            locks = [outpoint for outpoint, persistent in wallet.locks.items() if persistent]
            yield {"op": "lock", "wallet": wallet.name, "outpoints": locks, "locked": True}
            yield {"op": "loaded", "wallet": wallet.name, "loaded": wallet.loaded}
        yield {"op": "setting", "name": "stuck", "value": self.is_stuck}
        yield {"op": "setting", "name": "min_fee", "value": chain.mempool_floor_sat_kvb}
        yield {"op": "setting", "name": "fee_estimates", "value": self.fee_estimates}
        yield {"op": "begun"}

    # --- wallets ---------------------------------------------------------------------------

    def create_wallet(self, name: str) -> Wallet:
        wallet: Wallet = self._record(
            "wallet", name=name, seed=secrets.token_hex(32), time_s=now_s()
        )
        return wallet

    def set_loaded(self, name: str, loaded: bool) -> None:
        """Load or unload a wallet; an unloaded one sees nothing until it is loaded again."""
        wallet = self.wallets[name]
        wallet.locks = {outpoint: True for outpoint, kept in wallet.locks.items() if kept}
        self._record("loaded", wallet=name, loaded=loaded)

    def new_key(self, wallet: str, kind: str, label: str | None) -> Key:
        key: Key = self._record("key", wallet=wallet, kind=kind, label=label, time_s=now_s())
        return key

    def change_script(self, wallet: Wallet) -> bytes:
        return self.new_key(wallet.name, "bech32", None).script

    def lock(self, wallet: Wallet, outpoints: Iterable[Outpoint], persistent: bool) -> None:
        points = list(outpoints)
        if persistent:
            self._record("lock", wallet=wallet.name, outpoints=points, locked=True)
        for outpoint in points:
            wallet.locks.setdefault(outpoint, persistent)

    def unlock(self, wallet: Wallet, outpoints: Iterable[Outpoint]) -> None:
        points = list(outpoints)
        if any(wallet.locks.get(outpoint) for outpoint in points):
            self._record("lock", wallet=wallet.name, outpoints=points, locked=False)
        for outpoint in points:
            wallet.locks.pop(outpoint, None)

    # --- transactions ----------------------------------------------------------------------

    def broadcast(self, tx: Transaction, replaces: str | None = None) -> None:
        """Give the transaction to the mempool. Raises Rejected. Again is no error."""
        if tx.txid in self.chain.mempool:
            return
        self.chain.check(tx)
        self._record("transaction", hex=tx.hex, time_s=now_s(), replaces=replaces)

    def commit(self, tx: Transaction, replaces: str | None = None) -> None:
        """What a wallet does with its own new transaction: keep it, and broadcast if possible."""
        try:
            self.broadcast(tx, replaces)
        except Rejected:
            self._record(
                "transaction", hex=tx.hex, time_s=now_s(), mempool=False, replaces=replaces
            )

    def broadcast_own(self) -> None:
        """Wallets give the mempool again what it once refused or forgot."""
        for wallet in self.wallets.values():
            if wallet is self.outside:
                continue
            for txid in wallet.history:
                if txid in self.chain.block_of or txid in self.chain.mempool:
                    continue
                tx = self.chain.transactions[txid]
                if wallet.debit_sat(tx) and not self.chain.rivals(tx):
                    with suppress(Rejected):
                        self.broadcast(tx)

    # --- the world outside -----------------------------------------------------------------

    def outside_key(self, kind: str = "bech32") -> Key:
        return self.new_key(OUTSIDE, kind, "")

    def outside_address(self, kind: str = "bech32") -> str:
        return self.outside.address(self.outside_key(kind))

    def pay_from_outside(self, amounts_sat: dict[str, int], fee_rate_sat_vb: float = 2) -> str:
        """The outside wallet pays these addresses in one transaction, into the mempool.

        Raises ValueError for an address that is not of regtest, CannotSpend, Rejected.
        """
        recipients = []
        for address, amount_sat in amounts_sat.items():
            script = script_of(address)
            if script is None:
                raise ValueError(f"not a regtest address: {address}")
            recipients.append(Recipient(script, amount_sat))
        funding = Funding(
            fee_rate_sat_kvb=round(fee_rate_sat_vb * 1000),
            change=self._reward_script,
        )
        tx = signed(fund(self.outside, recipients, funding), self.outside)
        self.broadcast(tx)
        return tx.txid

    def mine(self, count: int = 1, script: bytes | None = None) -> list[str]:
        """Mine `count` blocks; the first takes the mempool, unless that is stuck."""
        txids = [] if self.is_stuck else list(self.chain.mempool)
        return self._extend(count, script or self._reward_script(), txids)

    def mine_replaced(self, txid: str) -> list[str]:
        """A block with this one transaction, whatever the mempool has in its place."""
        rivals = self.chain.rivals(self.chain.transactions[txid])
        return self._extend(1, self._reward_script(), [txid], forget=list(rivals))

    def reorg(
        self,
        depth: int,
        *,
        blocks: int | None = None,
        drop: Iterable[str] = (),
        keep: Iterable[str] = (),
        remine: bool = True,
    ) -> list[str]:
        """Leave the last `depth` blocks for `blocks` new ones (one more than were lost).

        Transactions of the lost blocks are mined again in the first new block, except those in
        `keep` (they stay in the mempool; with `remine` false all do) and those in `drop` (the
        mempool forgets them). `blocks=0` only goes back, as `invalidateblock` does.
        """
        if not 0 < depth <= self.chain.height:
            raise ValueError(f"depth must be from 1 to {self.chain.height}")
        height = self.chain.height - depth
        txids = self._lost_above(height, {*keep, *drop}) if remine else []
        count = depth + 1 if blocks is None else blocks
        base = self.chain.active[height]
        if count == 0:
            self._record("blocks", blocks=[], tip=base, forget=list(drop))
            return []
        return self._extend(count, self._reward_script(), txids, base, list(drop))

    def replace(self, txid: str, fee_rate_sat_vb: float | None = None) -> str:
        """A rival of a mempool transaction takes its place: same inputs, paid to the outside."""
        if txid not in self.chain.mempool:
            raise ValueError("not in the mempool")
        family = self.chain.descendants([txid])
        tx = self.chain.transactions[txid]
        paid_sat = sum(self.chain.mempool[t].fee_sat for t in family)
        fee_sat = max(paid_sat, self.chain.mempool[txid].fee_sat * 2) + tx.vsize
        if fee_rate_sat_vb is not None:
            fee_sat = round(tx.vsize * fee_rate_sat_vb)
        rival = self._rival(tx, fee_sat)
        self.broadcast(rival)
        return rival.txid

    def conflict(self, txid: str) -> str:
        """A rival of the transaction is mined. If it was confirmed, the chain turns for it."""
        tx = self.chain.transactions[txid]
        depth = self.chain.confirmations(txid)
        height = self.chain.height - depth
        rival = self._rival(tx, self.chain.fee_sat(tx))
        parents = self.chain.ancestors(txid) - {txid}
        txids = [
            *self._lost_above(height, {txid}),
            *(waiting for waiting in self.chain.mempool if waiting in parents),
            rival.txid,
        ]
        self._record("transaction", hex=rival.hex, time_s=now_s(), mempool=False)
        base = self.chain.active[height]
        self._extend(depth + 1, self._reward_script(), txids, base, [txid])
        return rival.txid

    def set_stuck(self, stuck: bool) -> None:
        self._record("setting", name="stuck", value=stuck)

    def set_min_fee(self, sat_vb: float) -> None:
        """The least the mempool takes from now on; never below the relay floor."""
        floor = max(RELAY_FLOOR_SAT_KVB, round(sat_vb * 1000))
        self._record("setting", name="min_fee", value=floor)

    def set_fee_estimates(self, sat_vb_by_target: dict[int, float] | None) -> None:
        """What estimatesmartfee answers; None: it has no data, as on a fresh regtest."""
        self._record("setting", name="fee_estimates", value=sat_vb_by_target)

    def fee_estimate_sat_kvb(self, target_blocks: int) -> int | None:
        """For the largest known target that is not slower than asked; at least the floor."""
        if not self.fee_estimates:
            return None
        targets = [t for t in self.fee_estimates if t <= target_blocks] or [min(self.fee_estimates)]
        return max(round(self.fee_estimates[max(targets)] * 1000), self.chain.mempool_floor_sat_kvb)

    def _extend(
        self,
        count: int,
        script: bytes,
        txids: Sequence[str] = (),
        base: str | None = None,
        forget: Sequence[str] = (),
    ) -> list[str]:
        """Mine `count` blocks on `base` (the tip), the first with `txids`."""
        previous = self.chain.blocks[base] if base else self.chain.tip
        time_s = max(now_s() - (count - 1) * BLOCK_SPACING_S, previous.time_s + 1)
        blocks = []
        for position in range(count):
            blocks.append(
                {
                    "previous": previous.hash if position == 0 else None,
                    "time_s": min(time_s + position * BLOCK_SPACING_S, max(time_s, now_s())),
                    "txids": list(txids) if position == 0 else [],
                    "to": script.hex(),
                    "extra": len(self.chain.blocks) + position,
                }
            )
        hashes: list[str] = self._record("blocks", blocks=blocks, tip=None, forget=list(forget))
        self.broadcast_own()
        return hashes

    def _reward_script(self) -> bytes:
        return next(iter(self.outside.keys))

    def _lost_above(self, height: int, unwanted: Iterable[str]) -> list[str]:
        """What a reorg from `height` can mine again: the transactions above it, without the
        coinbases, the unwanted ones and whatever spends either."""
        gone, kept = set(unwanted), []
        for block_hash in self.chain.active[height + 1 :]:
            reward, *txids = self.chain.blocks[block_hash].txids
            gone.add(reward)
            for txid in txids:
                if any(o.txid in gone for o in self.chain.transactions[txid].inputs):
                    gone.add(txid)
                if txid not in gone:
                    kept.append(txid)
        return kept

    def _rival(self, tx: Transaction, fee_sat: int) -> Transaction:
        """Spends the same inputs to the outside. The world outside can sign for anybody."""
        amount_sat = tx.amount_out_sat + self.chain.fee_sat(tx) - fee_sat
        output = Output(amount_sat, self.outside_key().script)
        rival = unsigned(tx.inputs, [output])
        if amount_sat <= 0 or not sign(rival, self.chain, list(self.wallets.values())):
            raise ValueError("no rival can be made for this transaction")
        return Transaction.of(rival)


def _block(block: Any) -> dict[str, Any]:
    return {
        "previous": block.previous,
        "time_s": block.time_s,
        "txids": list(block.txids[1:]),
        "to": block.reward_script.hex(),
        "extra": block.extra,
    }


def now_s() -> int:
    return int(time.time())
