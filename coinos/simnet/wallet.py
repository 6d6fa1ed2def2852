"""A descriptor wallet: keys, addresses, the transactions that concern it, its coins.

What became of a transaction is asked of the chain each time; the wallet itself only remembers
which transactions it has seen, when, and which of its coins are locked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from embit import bip32, script
from embit.descriptor.checksum import add_checksum

from coinos.simnet.chain import COINBASE_MATURITY_BLOCKS, Chain, outputs_of
from coinos.simnet.transactions import REGTEST, Outpoint, Output, Transaction, address_of


@dataclass(frozen=True)
class KeyKind:
    """One of the four output types, by the name that `getnewaddress` takes."""

    purpose: int
    descriptor: str
    input_weight: int  # spending one such coin: outpoint, sequence, scriptSig, witness


KEY_KINDS = {
    "legacy": KeyKind(44, "pkh({})", 588),
    "p2sh-segwit": KeyKind(49, "sh(wpkh({}))", 363),
    "bech32": KeyKind(84, "wpkh({})", 271),
    "bech32m": KeyKind(86, "tr({})", 230),
}


@dataclass(frozen=True)
class Key:
    """A key of the wallet and the script it unlocks. `label` is None for change."""

    kind: str
    index: int
    is_change: bool
    label: str | None
    created_s: int
    private: bip32.HDKey
    script: bytes

    @property
    def pubkey(self) -> bytes:
        sec: bytes = self.private.get_public_key().sec()
        return sec


@dataclass
class WalletTransaction:
    time_s: int
    replaces: str | None = None
    replaced_by: str | None = None


@dataclass
class Wallet:
    name: str
    seed: bytes
    birth_s: int
    chain: Chain
    loaded: bool = True
    keys: dict[bytes, Key] = field(default_factory=dict)
    history: dict[str, WalletTransaction] = field(default_factory=dict)
    received: dict[Outpoint, Output] = field(default_factory=dict)
    spends: dict[Outpoint, list[str]] = field(default_factory=dict)
    locks: dict[Outpoint, bool] = field(default_factory=dict)  # True: survives a restart

    def __post_init__(self) -> None:
        self._root = bip32.HDKey.from_seed(self.seed, version=REGTEST["xprv"])
        self._next: Counter[tuple[str, bool]] = Counter()
        self._branches: dict[tuple[str, bool], bip32.HDKey] = {}
        self._descriptors: dict[tuple[str, bool], str] = {}

    # --- keys ------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        return bytes(self._root.my_fingerprint).hex()

    def path(self, kind: str, is_change: bool) -> str:
        return f"{KEY_KINDS[kind].purpose}h/1h/0h/{int(is_change)}"

    def new_key(self, kind: str, label: str | None, time_s: int) -> Key:
        """Derive the next key; `label` None makes it change."""
        is_change = label is None
        branch = kind, is_change
        if branch not in self._branches:
            self._branches[branch] = self._root.derive("m/" + self.path(kind, is_change))
        private = self._branches[branch].child(self._next[branch])
        public = private.get_public_key()
        scripts = {
            "legacy": script.p2pkh,
            "p2sh-segwit": lambda key: script.p2sh(script.p2wpkh(key)),
            "bech32": script.p2wpkh,
            "bech32m": script.p2tr,
        }
        script_pubkey = scripts[kind](public).data
        key = Key(kind, self._next[branch], is_change, label, time_s, private, bytes(script_pubkey))
        self._next[branch] += 1
        self.keys[key.script] = key
        return key

    def parent_descriptor(self, key: Key) -> str:
        branch = key.kind, key.is_change
        if branch not in self._descriptors:
            account = self._root.derive(f"m/{KEY_KINDS[key.kind].purpose}h/1h/0h")
            inner = (
                f"[{self.fingerprint}/{KEY_KINDS[key.kind].purpose}h/1h/0h]"
                f"{account.to_public().to_base58()}/{int(key.is_change)}/*"
            )
            self._descriptors[branch] = add_checksum(KEY_KINDS[key.kind].descriptor.format(inner))
        return self._descriptors[branch]

    def descriptor(self, key: Key) -> str:
        origin = f"[{self.fingerprint}/{self.path(key.kind, key.is_change)}/{key.index}]"
        public = key.pubkey[1:] if key.kind == "bech32m" else key.pubkey
        return str(add_checksum(KEY_KINDS[key.kind].descriptor.format(origin + public.hex())))

    def is_mine(self, output: Output) -> bool:
        return output.script in self.keys

    def is_change(self, output: Output) -> bool:
        key = self.keys.get(output.script)
        return key is not None and key.label is None

    def label(self, script_pubkey: bytes) -> str | None:
        key = self.keys.get(script_pubkey)
        return key.label if key else None

    # --- history ---------------------------------------------------------------------------

    def see(self, tx: Transaction, time_s: int) -> None:
        """Remember the transaction if it pays us or spends from us. A spent coin is unlocked."""
        if tx.txid in self.history:
            return
        ours = {point: out for point, out in outputs_of(tx) if self.is_mine(out)}
        if not ours and not any(outpoint in self.received for outpoint in tx.inputs):
            return
        self.history[tx.txid] = WalletTransaction(time_s)
        self.received |= ours
        for outpoint in tx.inputs:
            self.spends.setdefault(outpoint, []).append(tx.txid)
            self.locks.pop(outpoint, None)

    def depth(self, txid: str) -> int:
        """Confirmations; 0 while it can still confirm; negative once a rival has confirmed."""
        confirmations = self.chain.confirmations(txid)
        if confirmations or txid in self.chain.mempool or txid not in self.history:
            return confirmations
        deepest = 0
        for outpoint in self.chain.transactions[txid].inputs:
            rival = self.chain.spender.get(outpoint)
            if rival:
                deepest = min(deepest, -self.chain.confirmations(rival))
            else:
                deepest = min(deepest, self.depth(outpoint.txid), 0)
        return deepest

    def debit_sat(self, tx: Transaction) -> int:
        return sum(self.received[o].amount_sat for o in tx.inputs if o in self.received)

    def credit_sat(self, tx: Transaction) -> int:
        return sum(output.amount_sat for output in tx.outputs if self.is_mine(output))

    def wallet_conflicts(self, tx: Transaction) -> list[str]:
        """Other wallet transactions that spend one of its inputs."""
        found = dict.fromkeys(t for o in tx.inputs for t in self.spends.get(o, ()))
        found.pop(tx.txid, None)
        return list(found)

    def mempool_conflicts(self, tx: Transaction) -> list[str]:
        if tx.txid in self.chain.block_of or tx.txid in self.chain.mempool:
            return []
        return sorted(self.chain.rivals(tx))

    def is_trusted(self, txid: str) -> bool:
        """Confirmed, or in the mempool and made of nothing but our own trusted coins."""
        depth = self.depth(txid)
        if depth != 0:
            return depth > 0
        if txid not in self.chain.mempool:
            return False
        inputs = self.chain.transactions[txid].inputs
        return all(o in self.received and self.is_trusted(o.txid) for o in inputs)

    def is_safe(self, txid: str) -> bool:
        """Trusted, and no replacement of another, which may confirm in its stead."""
        if self.depth(txid) == 0 and (entry := self.history.get(txid)) and entry.replaces:
            return False
        return self.is_trusted(txid)

    # --- coins -----------------------------------------------------------------------------

    def is_spent(self, outpoint: Outpoint) -> bool:
        """By one of our transactions that may still confirm, in the mempool or not."""
        for txid in self.spends.get(outpoint, ()):
            tx = self.chain.transactions[txid]
            if self.depth(txid) >= 0 and not self.mempool_conflicts(tx):
                return True
        return False

    def is_immature(self, txid: str) -> bool:
        tx = self.chain.transactions[txid]
        return tx.is_coinbase and self.chain.confirmations(txid) < COINBASE_MATURITY_BLOCKS

    def unspent(self) -> Iterator[tuple[Outpoint, Output]]:
        """Our coins in the chain and the mempool that nothing of ours spends."""
        for outpoint, output in self.received.items():
            is_there = outpoint in self.chain.coins or outpoint.txid in self.chain.mempool
            if is_there and not self.is_spent(outpoint):
                yield outpoint, output

    def balances_sat(self) -> dict[str, int]:
        """By the names of `getbalances`."""
        sums = dict.fromkeys(("trusted", "untrusted_pending", "immature", "nonmempool"), 0)
        for outpoint, output in self.unspent():
            if self.is_immature(outpoint.txid):
                sums["immature"] += output.amount_sat
            elif self.is_trusted(outpoint.txid):
                sums["trusted"] += output.amount_sat
            else:
                sums["untrusted_pending"] += output.amount_sat
        return sums

    def address(self, key: Key) -> str:
        address = address_of(key.script)
        if address is None:
            raise ValueError("a key's script has an address")
        return address
