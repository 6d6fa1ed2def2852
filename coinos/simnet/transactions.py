"""Bitcoin transactions, scripts and addresses, as simnet's chain and wallets use them.

Parsing, signing hashes and address encodings come from embit; here is what a node says about
them. Amounts are integer satoshi, scripts are bytes, ids are hex as in the RPC.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from embit import bech32, compact, script
from embit.descriptor.checksum import add_checksum
from embit.networks import NETWORKS
from embit.transaction import Transaction as EmbitTransaction
from embit.transaction import TransactionInput, TransactionOutput

REGTEST = NETWORKS["regtest"]
SAT_PER_BTC = 100_000_000
REPLACEABLE = 0xFFFFFFFD  # the highest sequence that signals replacement (BIP 125)
SCRIPT_TYPES = {
    "p2pkh": "pubkeyhash",
    "p2sh": "scripthash",
    "p2wpkh": "witness_v0_keyhash",
    "p2wsh": "witness_v0_scripthash",
    "p2tr": "witness_v1_taproot",
}


class Outpoint(NamedTuple):
    txid: str
    vout: int


class Output(NamedTuple):
    amount_sat: int
    script: bytes


@dataclass(frozen=True, slots=True)
class Transaction:
    """A serialised transaction with what the chain asks of it all the time."""

    hex: str
    txid: str
    wtxid: str
    inputs: tuple[Outpoint, ...]
    outputs: tuple[Output, ...]
    size: int
    weight: int
    signals_replacement: bool
    is_coinbase: bool

    @property
    def vsize(self) -> int:
        return vsize_of(self.weight)

    @property
    def amount_out_sat(self) -> int:
        return sum(output.amount_sat for output in self.outputs)

    @classmethod
    def parse(cls, raw_hex: str) -> Transaction:
        """Raises ValueError when the hex is not one whole transaction with an input."""
        return cls.of(parse_embit(raw_hex))

    @classmethod
    def of(cls, tx: EmbitTransaction) -> Transaction:
        raw = tx.serialize()
        witness_size = 0
        if tx.is_segwit:
            witness_size = 2 + sum(len(txin.witness.serialize()) for txin in tx.vin)
        is_coinbase = len(tx.vin) == 1 and tx.vin[0].txid == bytes(32)
        return cls(
            hex=raw.hex(),
            txid=tx.txid().hex(),
            wtxid=double_sha256(raw)[::-1].hex(),
            inputs=()
            if is_coinbase
            else tuple(Outpoint(txin.txid.hex(), txin.vout) for txin in tx.vin),
            outputs=tuple(Output(out.value, out.script_pubkey.data) for out in tx.vout),
            size=len(raw),
            weight=4 * len(raw) - 3 * witness_size,
            signals_replacement=any(txin.sequence <= REPLACEABLE for txin in tx.vin),
            is_coinbase=is_coinbase,
        )


def parse_embit(raw_hex: str) -> EmbitTransaction:
    """Raises ValueError when the hex is not one whole transaction with an input."""
    try:
        tx = EmbitTransaction.parse(bytes.fromhex(raw_hex))
    except Exception as error:  # embit raises whatever it stumbles over
        raise ValueError("not a transaction") from error
    if not tx.vin or not tx.vout or len(tx.vin[0].txid) != 32:
        raise ValueError("not a transaction")
    return tx


def unsigned(
    inputs: Sequence[Outpoint],
    outputs: Sequence[Output],
    locktime: int = 0,
    sequence: int = REPLACEABLE,
) -> EmbitTransaction:
    return EmbitTransaction(
        version=2,
        vin=[TransactionInput(bytes.fromhex(o.txid), o.vout, sequence=sequence) for o in inputs],
        vout=[TransactionOutput(o.amount_sat, script.Script(o.script)) for o in outputs],
        locktime=locktime,
    )


def coinbase(height: int, extra: int, output: Output) -> Transaction:
    """The first transaction of a block; `extra` keeps those of rival blocks apart.

    Written by hand: a chain that ran for weeks is rebuilt from nothing else at every start.
    """
    tag = _push_number(height) + _push_number(extra)
    raw = b"".join(
        (
            struct.pack("<IB32xI", 2, 1, 0xFFFFFFFF),
            bytes([len(tag)]) + tag,
            struct.pack("<IBQ", 0xFFFFFFFF, 1, output.amount_sat),
            bytes([len(output.script)]) + output.script,
            bytes(4),
        )
    )
    txid = double_sha256(raw)[::-1].hex()
    return Transaction(
        hex=raw.hex(),
        txid=txid,
        wtxid=txid,
        inputs=(),
        outputs=(output,),
        size=len(raw),
        weight=4 * len(raw),
        signals_replacement=False,
        is_coinbase=True,
    )


def _push_number(number: int) -> bytes:
    data = number.to_bytes(number.bit_length() // 8 + 1, "little")
    return bytes([len(data)]) + data


def vsize_of(weight: int) -> int:
    return -(-weight // 4)


def fee_at(rate_sat_kvb: int, vsize: int) -> int:
    """Fees are rounded up to a whole satoshi."""
    return -(-rate_sat_kvb * vsize // 1000)


def double_sha256(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def dust_sat(script_pubkey: bytes) -> int:
    """Below this an output is not relayed: what it costs to spend at 3 sat/vB (Core's policy)."""
    if script_pubkey[:1] == b"\x6a":
        return 0
    is_witness = len(script_pubkey) >= 4 and script_pubkey[0] in (0, 0x51)
    return 3 * (8 + 1 + len(script_pubkey) + (67 if is_witness else 148))


@lru_cache(maxsize=10_000)
def script_of(address: str) -> bytes | None:
    """The script of a regtest address; None for anything else, other networks included."""
    version, program = bech32.decode(REGTEST["bech32"], address)
    if version is not None:  # embit takes no capitals, and no later version but taproot
        return bytes([0x50 + version if version else 0, len(program), *program])
    try:
        found = script.address_to_scriptpubkey(address)
        again = found.address(REGTEST)
    except Exception:  # embit raises whatever it stumbles over
        return None
    # embit takes addresses of every network; ours encodes back to itself.
    known = address if again and again[0] in "mn2" else address.lower()
    return found.data if again == known else None


@lru_cache(maxsize=10_000)
def address_of(script_pubkey: bytes) -> str | None:
    future = future_witness(script_pubkey)
    if future:
        return str(bech32.encode(REGTEST["bech32"], *future))
    if script.Script(script_pubkey).script_type() is None:
        return None
    address: str = script.Script(script_pubkey).address(REGTEST)
    return address


def future_witness(script_pubkey: bytes) -> tuple[int, bytes] | None:
    """Version and program of a witness output that no rule is made for yet (BIP 350): anybody may
    send to it. None for other scripts, taproot among them."""
    opcode, length = (*script_pubkey[:2], 0, 0)[:2]
    if not (0x51 <= opcode <= 0x60 and 2 <= length <= 40 and len(script_pubkey) == 2 + length):
        return None
    return (opcode - 0x50, script_pubkey[2:]) if (opcode, length) != (0x51, 32) else None


def describe_address(address: str, script_pubkey: bytes) -> dict[str, Any]:
    """What `validateaddress` and `getaddressinfo` both say."""
    kind = script.Script(script_pubkey).script_type()
    facts: dict[str, Any] = {
        "address": address_of(script_pubkey) or address,
        "scriptPubKey": script_pubkey.hex(),
        "isscript": kind in ("p2sh", "p2wsh", "p2tr"),
        "iswitness": kind in ("p2wpkh", "p2wsh", "p2tr"),
    }
    future = future_witness(script_pubkey)
    if future:
        del facts["isscript"]
        facts |= {
            "iswitness": True,
            "witness_version": future[0],
            "witness_program": future[1].hex(),
        }
    elif facts["iswitness"]:
        facts["witness_version"] = 1 if kind == "p2tr" else 0
        facts["witness_program"] = script_pubkey[2:].hex()
    return facts


def describe_script(script_pubkey: bytes) -> dict[str, Any]:
    """The `scriptPubKey` object of a decoded transaction."""
    address = address_of(script_pubkey)
    kind = script.Script(script_pubkey).script_type()
    facts: dict[str, Any] = {
        "asm": assembly(script_pubkey),
        "desc": add_checksum(f"addr({address})" if address else f"raw({script_pubkey.hex()})"),
        "hex": script_pubkey.hex(),
    }
    if address:
        facts["address"] = address
    is_data = script_pubkey[:1] == b"\x6a"
    other = "witness_unknown" if future_witness(script_pubkey) else "nonstandard"
    facts["type"] = SCRIPT_TYPES.get(kind or "", "nulldata" if is_data else other)
    return facts


_OPCODES = {0x6A: "OP_RETURN", 0x76: "OP_DUP", 0x87: "OP_EQUAL", 0x88: "OP_EQUALVERIFY"}
_OPCODES |= {0xA9: "OP_HASH160", 0xAC: "OP_CHECKSIG", 0xAE: "OP_CHECKMULTISIG"}


def assembly(code: bytes) -> str:
    """The script in words: pushed data as hex, small numbers as numbers."""
    words, position = [], 0
    while position < len(code):
        opcode = code[position]
        position += 1
        if 0 < opcode < 0x4C:
            words.append(code[position : position + opcode].hex())
            position += opcode
        elif opcode == 0 or 0x51 <= opcode <= 0x60:
            words.append(str(max(0, opcode - 0x50)))
        else:
            words.append(_OPCODES.get(opcode, f"OP_UNKNOWN_{opcode:02x}"))
    return " ".join(words)


def merkle_root(txids: Sequence[str]) -> bytes:
    level = [bytes.fromhex(txid)[::-1] for txid in txids]
    while len(level) > 1:
        if len(level) % 2:
            level.append(level[-1])
        level = [double_sha256(a + b) for a, b in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def count_prefix(number: int) -> bytes:
    """A number as bitcoin's variable-length integer."""
    prefix: bytes = compact.to_bytes(number)
    return prefix
