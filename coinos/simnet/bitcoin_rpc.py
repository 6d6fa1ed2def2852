"""The JSON-RPC of Bitcoin Core: how calls are checked and answered, and the calls about chain,
mempool and raw transactions. Those about wallets are in `bitcoin_wallet_rpc.py`.

Names, types, codes and sentences are those of the recorded replies in `node-traces/` and, where
nothing was recorded, of Core's source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from coinos.simnet.bitcoin_node import BitcoinNode, now_s
from coinos.simnet.chain import BITS, GENESIS_HASH, Block, Rejected, header
from coinos.simnet.spending import from_psbt, is_signed, parse_psbt
from coinos.simnet.transactions import (
    SAT_PER_BTC,
    Outpoint,
    Transaction,
    assembly,
    count_prefix,
    describe_address,
    describe_script,
    parse_embit,
    script_of,
)
from coinos.simnet.wallet import Wallet

MISC_ERROR = -1
TYPE_ERROR = -3
WALLET_ERROR = -4
INVALID_ADDRESS = -5
INSUFFICIENT_FUNDS = -6
INVALID_PARAMETER = -8
UNENCRYPTED_WALLET = -15
WALLET_NOT_FOUND = -18
WALLET_NOT_SPECIFIED = -19
DESERIALIZATION_ERROR = -22
VERIFY_ERROR = -25
ALREADY_IN_UTXO_SET = -27
WALLET_ALREADY_LOADED = -35
METHOD_NOT_FOUND = -32601

WARNINGS = ["This is simnet, not Bitcoin Core - its coins exist nowhere else"]
POW_LIMIT = 0x7FFFFF << 232
VERSION = 319900
MAX_FEE_RATE_SAT_KVB = 10_000_000  # sendrawtransaction's default, 0.1 BTC/kvB


class RpcError(Exception):
    """What the caller gets as `error`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Parameter:
    name: str
    kind: str  # string | number | bool | array | object | any
    required: bool


@dataclass(frozen=True)
class Method:
    name: str
    handler: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    needs_wallet: bool

    def arguments(self, params: Any) -> list[Any]:
        """Params, by position or by name, as one value for each parameter. Raises RpcError."""
        if isinstance(params, dict):
            names = [parameter.name for parameter in self.parameters]
            for name in params:
                if name not in names:
                    raise RpcError(INVALID_PARAMETER, f"Unknown named parameter {name}")
            values = [params.get(name) for name in names]
        else:
            values = list(params)
        required = sum(parameter.required for parameter in self.parameters)
        if len(values) > len(self.parameters) or len(values) < required:
            raise RpcError(MISC_ERROR, self.usage())
        values += [None] * (len(self.parameters) - len(values))
        wrong = []
        for position, (value, parameter) in enumerate(zip(values, self.parameters, strict=True), 1):
            if value is None and not parameter.required:
                continue
            if parameter.kind not in ("any", kind := json_kind(value)):
                wrong.append(
                    f'    "Position {position} ({parameter.name})": "JSON value of type {kind} '
                    f'is not of expected type {parameter.kind}"'
                )
        if wrong:
            raise RpcError(TYPE_ERROR, "Wrong type passed:\n{\n" + ",\n".join(wrong) + "\n}")
        return values

    def usage(self) -> str:
        words = [p.name if p.required else f"( {p.name} )" for p in self.parameters]
        return " ".join([self.name, *words])


METHODS: dict[str, Method] = {}


def rpc(parameters: str = "", *, wallet: bool = False) -> Callable[..., Any]:
    """Make a function an RPC method. `parameters` reads `name:kind`, with `?` when optional."""
    parsed = []
    for word in parameters.split():
        name, kind = word.removesuffix("?").split(":")
        parsed.append(Parameter(name, kind, not word.endswith("?")))

    def register(handler: Callable[..., Any]) -> Callable[..., Any]:
        METHODS[handler.__name__] = Method(handler.__name__, handler, tuple(parsed), wallet)
        return handler

    return register


def call(node: BitcoinNode, wallet_name: str | None, method_name: str, params: Any) -> Any:
    """Run one call and return its result. Raises RpcError.

    `wallet_name` comes from the URL; None is the plain path, which means the only wallet.
    """
    method = METHODS.get(method_name)
    if method is None:
        raise RpcError(METHOD_NOT_FOUND, "Method not found")
    if not method.needs_wallet:
        return method.handler(node, *method.arguments(params))
    wallet = _find_wallet(node, wallet_name)
    return method.handler(node, wallet, *method.arguments(params))


def loaded_wallets(node: BitcoinNode) -> list[Wallet]:
    return [w for w in node.wallets.values() if w.loaded and w is not node.outside]


def _find_wallet(node: BitcoinNode, name: str | None) -> Wallet:
    loaded = loaded_wallets(node)
    if name is not None:
        for wallet in loaded:
            if wallet.name == name:
                return wallet
        raise RpcError(WALLET_NOT_FOUND, "Requested wallet does not exist or is not loaded")
    if len(loaded) == 1:
        return loaded[0]
    if loaded:
        raise RpcError(
            WALLET_NOT_SPECIFIED,
            "Multiple wallets are loaded. Please select which wallet to use by requesting the RPC "
            "through the /wallet/<walletname> URI path.",
        )
    raise RpcError(
        WALLET_NOT_FOUND,
        "No wallet is loaded. Load a wallet using loadwallet or create a new one with "
        "createwallet. (Note: A default wallet is no longer automatically created)",
    )


# --- values --------------------------------------------------------------------------------------

AMOUNT_MARK = "\ue000"


def btc(amount_sat: int) -> str:
    """An amount for a reply. It is marked, and `bitcoin.py` writes it as a JSON number with
    eight decimals, which Python's encoder cannot."""
    sign = "-" if amount_sat < 0 else ""
    whole, rest = divmod(abs(amount_sat), SAT_PER_BTC)
    return f"{AMOUNT_MARK}{sign}{whole}.{rest:08d}"


def amount_sat(value: Any, decimals: int = 8) -> int:
    """An amount from a request: number or string, at most `decimals` decimals, not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise RpcError(TYPE_ERROR, "Amount is not a number or string")
    try:
        scaled = Decimal(str(value)).scaleb(decimals)
        if not scaled.is_finite() or scaled != scaled.to_integral_value():
            raise RpcError(TYPE_ERROR, "Invalid amount")
    except InvalidOperation:
        raise RpcError(TYPE_ERROR, "Invalid amount") from None
    if not 0 <= scaled <= 21_000_000 * SAT_PER_BTC:
        raise RpcError(TYPE_ERROR, "Amount out of range")
    return int(scaled)


def json_kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list) else "number"


def hash_argument(value: str, name: str) -> str:
    if len(value) != 64:
        raise RpcError(
            INVALID_PARAMETER, f"{name} must be of length 64 (not {len(value)}, for '{value}')"
        )
    if set(value.lower()) - set("0123456789abcdef"):
        raise RpcError(INVALID_PARAMETER, f"{name} must be hexadecimal string (not '{value}')")
    return value.lower()


def last_processed_block(node: BitcoinNode) -> dict[str, Any]:
    return {"hash": node.chain.tip.hash, "height": node.chain.height}


# --- chain ---------------------------------------------------------------------------------------


@rpc()
def getblockchaininfo(node: BitcoinNode) -> dict[str, Any]:
    chain = node.chain
    return {
        "chain": "regtest",
        "blocks": chain.height,
        "headers": chain.height,
        "bestblockhash": chain.tip.hash,
        "bits": f"{BITS:08x}",
        "target": f"{POW_LIMIT:064x}",
        "difficulty": 4.656542373906925e-10,
        "time": chain.tip.time_s,
        "mediantime": chain.median_time_s(chain.tip),
        "verificationprogress": 1,
        "initialblockdownload": False,
        "chainwork": _chainwork(chain.height),
        "size_on_disk": 300 * (chain.height + 1) + sum(t.size for t in chain.transactions.values()),
        "pruned": False,
        "warnings": WARNINGS,
    }


def _chainwork(height: int) -> str:
    return f"{2 * (height + 1):064x}"


@rpc()
def getnetworkinfo(node: BitcoinNode) -> dict[str, Any]:
    reachable = {"ipv4": True, "ipv6": True, "onion": False, "i2p": False, "cjdns": False}
    return {
        "version": VERSION,
        "subversion": "/Satoshi:31.99.0(simnet)/",
        "protocolversion": 70016,
        "localservices": "0000000000000c09",
        "localservicesnames": ["NETWORK", "WITNESS", "NETWORK_LIMITED", "P2P_V2"],
        "localrelay": True,
        "timeoffset": 0,
        "networkactive": True,
        "connections": 0,
        "connections_in": 0,
        "connections_out": 0,
        "networks": [
            {
                "name": name,
                "limited": not is_reachable,
                "reachable": is_reachable,
                "proxy": "",
                "proxy_randomize_credentials": False,
            }
            for name, is_reachable in reachable.items()
        ],
        "relayfee": btc(100),
        "incrementalfee": btc(100),
        "localaddresses": [],
        "warnings": WARNINGS,
    }


@rpc()
def getblockcount(node: BitcoinNode) -> int:
    return node.chain.height


@rpc()
def getbestblockhash(node: BitcoinNode) -> str:
    return node.chain.tip.hash


@rpc("height:number")
def getblockhash(node: BitcoinNode, height: int) -> str:
    if not 0 <= height <= node.chain.height:
        raise RpcError(INVALID_PARAMETER, "Block height out of range")
    return node.chain.active[height]


@rpc("blockhash:string verbosity:any?")
def getblock(node: BitcoinNode, blockhash: str, verbosity: Any) -> Any:
    block = node.chain.blocks.get(hash_argument(blockhash, "blockhash"))
    if block is None:
        raise RpcError(INVALID_ADDRESS, "Block not found")
    level = 1 if verbosity is None else int(verbosity)
    txs = [node.chain.transactions[txid] for txid in block.txids]
    root = bytes.fromhex(block.merkle_root)[::-1]
    body = count_prefix(len(txs)) + b"".join(bytes.fromhex(tx.hex) for tx in txs)
    if level == 0:
        return (header(block.previous, root, block.time_s, block.nonce) + body).hex()
    size = 80 + len(body)
    weight = 4 * (size - sum(tx.size for tx in txs)) + sum(tx.weight for tx in txs)
    return _block_header(node, block) | {
        "nTx": len(txs),
        "strippedsize": (weight - size) // 3,
        "size": size,
        "weight": weight,
        "tx": list(block.txids) if level == 1 else [decoded(tx) | {"hex": tx.hex} for tx in txs],
    }


@rpc("blockhash:string verbose:bool?")
def getblockheader(node: BitcoinNode, blockhash: str, verbose: bool | None) -> Any:
    block = node.chain.blocks.get(hash_argument(blockhash, "hash"))
    if block is None:
        raise RpcError(INVALID_ADDRESS, "Block not found")
    if verbose is False:
        root = bytes.fromhex(block.merkle_root)[::-1]
        return header(block.previous, root, block.time_s, block.nonce).hex()
    return _block_header(node, block) | {"nTx": len(block.txids)}


def _block_header(node: BitcoinNode, block: Block) -> dict[str, Any]:
    chain = node.chain
    is_active = chain.is_active(block)
    facts: dict[str, Any] = {
        "hash": block.hash,
        # -1: not in the active chain.
        "confirmations": chain.height - block.height + 1 if is_active else -1,
        "height": block.height,
        "version": 0x20000000,
        "versionHex": "20000000",
        "merkleroot": block.merkle_root,
        "time": block.time_s,
        "mediantime": chain.median_time_s(block),
        "nonce": block.nonce,
        "bits": f"{BITS:08x}",
        "target": f"{POW_LIMIT:064x}",
        "difficulty": 4.656542373906925e-10,
        "chainwork": _chainwork(block.height),
    }
    if block.hash != GENESIS_HASH:
        facts["previousblockhash"] = block.previous
    if is_active and block.height < chain.height:
        facts["nextblockhash"] = chain.active[block.height + 1]
    return facts


@rpc("nblocks:number address:string maxtries:number?")
def generatetoaddress(
    node: BitcoinNode, nblocks: int, address: str, maxtries: int | None
) -> list[str]:
    script = script_of(address)
    if script is None:
        raise RpcError(INVALID_ADDRESS, "Error: Invalid address")
    return node.mine(nblocks, script) if nblocks > 0 else []


@rpc()
def uptime(node: BitcoinNode) -> int:
    return now_s() - node.started_s


@rpc("conf_target:number estimate_mode:string?")
def estimatesmartfee(
    node: BitcoinNode, conf_target: int, estimate_mode: str | None
) -> dict[str, Any]:
    if not 1 <= conf_target <= 1008:
        raise RpcError(INVALID_PARAMETER, "Invalid conf_target, must be between 1 and 1008")
    rate = node.fee_estimate_sat_kvb(conf_target)
    if rate is None:
        return {"errors": ["Insufficient data or no feerate found"], "blocks": conf_target}
    return {"feerate": btc(rate), "blocks": max(2, conf_target)}


@rpc("address:string")
def validateaddress(node: BitcoinNode, address: str) -> dict[str, Any]:
    script = script_of(address)
    if script is None:
        return {
            "isvalid": False,
            "error_locations": [],
            "error": "Invalid or unsupported Segwit (Bech32) or Base58 encoding.",
        }
    return {"isvalid": True} | describe_address(address, script)


# --- mempool and raw transactions ----------------------------------------------------------------


@rpc()
def getmempoolinfo(node: BitcoinNode) -> dict[str, Any]:
    chain = node.chain
    size = sum(chain.transactions[txid].vsize for txid in chain.mempool)
    return {
        "loaded": True,
        "size": len(chain.mempool),
        "bytes": size,
        "usage": 96 + 5 * size,
        "total_fee": btc(sum(entry.fee_sat for entry in chain.mempool.values())),
        "maxmempool": 300000000,
        "mempoolminfee": btc(chain.mempool_floor_sat_kvb),
        "minrelaytxfee": btc(100),
        "incrementalrelayfee": btc(100),
        "unbroadcastcount": 0,
        "permitbaremultisig": True,
        "maxdatacarriersize": 100000,
        "limitclustercount": 64,
        "limitclustersize": 101000,
        "optimal": True,
    }


@rpc("verbose:bool? mempool_sequence:bool?")
def getrawmempool(node: BitcoinNode, verbose: bool | None, mempool_sequence: bool | None) -> Any:
    if verbose:
        return {txid: _mempool_entry(node, txid) for txid in node.chain.mempool}
    return list(node.chain.mempool)


@rpc("txid:string")
def getmempoolentry(node: BitcoinNode, txid: str) -> dict[str, Any]:
    if hash_argument(txid, "txid") not in node.chain.mempool:
        raise RpcError(INVALID_ADDRESS, "Transaction not in mempool")
    return _mempool_entry(node, txid)


def _mempool_entry(node: BitcoinNode, txid: str) -> dict[str, Any]:
    chain = node.chain
    tx, entry = chain.transactions[txid], chain.mempool[txid]
    family = chain.descendants([txid])
    ancestors = _ancestors(node, txid)
    children = {t for t in family if any(o.txid == txid for o in chain.transactions[t].inputs)}

    def total(txids: set[str]) -> tuple[int, int, int]:
        fee_sat = sum(chain.mempool[t].fee_sat for t in txids)
        return len(txids), sum(chain.transactions[t].vsize for t in txids), fee_sat

    descendant_count, descendant_size, descendant_fee_sat = total(family)
    ancestor_count, ancestor_size, ancestor_fee_sat = total(ancestors)
    return {
        "vsize": tx.vsize,
        "weight": tx.weight,
        "time": entry.time_s,
        "height": entry.height,
        "descendantcount": descendant_count,
        "descendantsize": descendant_size,
        "ancestorcount": ancestor_count,
        "ancestorsize": ancestor_size,
        "wtxid": tx.wtxid,
        "fees": {
            "base": btc(entry.fee_sat),
            "modified": btc(entry.fee_sat),
            "ancestor": btc(ancestor_fee_sat),
            "descendant": btc(descendant_fee_sat),
        },
        "depends": sorted({o.txid for o in tx.inputs} & chain.mempool.keys()),
        "spentby": sorted(children),
        "bip125-replaceable": True,
        "unbroadcast": False,
    }


def _ancestors(node: BitcoinNode, txid: str) -> set[str]:
    found, todo = set(), [txid]
    while todo:
        current = todo.pop()
        if current in node.chain.mempool and current not in found:
            found.add(current)
            todo += [o.txid for o in node.chain.transactions[current].inputs]
    return found


def transaction_argument(raw_hex: str) -> Transaction:
    try:
        return Transaction.parse(raw_hex)
    except ValueError:
        raise RpcError(
            DESERIALIZATION_ERROR,
            "TX decode failed. Make sure the tx has at least one input.",
        ) from None


@rpc("hexstring:string iswitness:bool?")
def decoderawtransaction(
    node: BitcoinNode, hexstring: str, iswitness: bool | None
) -> dict[str, Any]:
    return decoded(transaction_argument(hexstring))


def decoded(tx: Transaction) -> dict[str, Any]:
    """A transaction in words, as `decoderawtransaction` answers."""
    parsed = parse_embit(tx.hex)
    inputs = []
    for txin in parsed.vin:
        code = txin.script_sig.data
        entry: dict[str, Any] = {"coinbase": code.hex()}
        if not tx.is_coinbase:
            entry = {
                "txid": txin.txid.hex(),
                "vout": txin.vout,
                "scriptSig": {"asm": assembly(code), "hex": code.hex()},
            }
        if txin.witness.items:
            entry["txinwitness"] = [item.hex() for item in txin.witness.items]
        inputs.append(entry | {"sequence": txin.sequence})
    return {
        "txid": tx.txid,
        "hash": tx.wtxid,
        "version": parsed.version,
        "size": tx.size,
        "vsize": tx.vsize,
        "weight": tx.weight,
        "locktime": parsed.locktime,
        "vin": inputs,
        "vout": [
            {"value": btc(out.amount_sat), "n": n, "scriptPubKey": describe_script(out.script)}
            for n, out in enumerate(tx.outputs)
        ],
    }


@rpc("txid:string verbosity:any? blockhash:string?")
def getrawtransaction(node: BitcoinNode, txid: str, verbosity: Any, blockhash: str | None) -> Any:
    chain = node.chain
    tx = chain.transactions.get(hash_argument(txid, "parameter 1"))
    if tx is None or (txid not in chain.mempool and txid not in chain.block_of):
        raise RpcError(
            INVALID_ADDRESS,
            "No such mempool or blockchain transaction. Use gettransaction for wallet "
            "transactions.",
        )
    if not verbosity:
        return tx.hex
    facts = decoded(tx) | {"hex": tx.hex}
    if block := chain.block_of.get(txid):
        facts["blockhash"] = block.hash
        facts["confirmations"] = chain.confirmations(txid)
        facts["time"] = facts["blocktime"] = block.time_s
    return facts


@rpc("rawtxs:array maxfeerate:any?")
def testmempoolaccept(node: BitcoinNode, rawtxs: list[str], maxfeerate: Any) -> list[Any]:
    if len(rawtxs) != 1:
        raise RpcError(INVALID_PARAMETER, "simnet tests one transaction at a time.")
    tx = transaction_argument(rawtxs[0])
    answer: dict[str, Any] = {"txid": tx.txid, "wtxid": tx.wtxid}
    try:
        if tx.txid in node.chain.mempool:
            raise Rejected(VERIFY_ERROR, "txn-already-in-mempool")
        if _in_utxo_set(node, tx):
            raise Rejected(VERIFY_ERROR, "txn-already-known")
        fee_sat = node.chain.check(tx)
        if _exceeds(tx, fee_sat, maxfeerate):
            raise Rejected(VERIFY_ERROR, "max-fee-exceeded")
    except Rejected as error:
        code, _, details = error.reason.partition(",")
        if code == "bad-txns-inputs-missingorspent":
            code = "missing-inputs"
        answer |= {"allowed": False, "reject-reason": code}
        return [answer | {"reject-details": error.reason} if details else answer]
    return [
        answer
        | {
            "allowed": True,
            "vsize": tx.vsize,
            "fees": {
                "base": btc(fee_sat),
                "effective-feerate": btc(fee_sat * 1000 // tx.vsize),
                "effective-includes": [tx.wtxid],
            },
        }
    ]


@rpc("hexstring:string maxfeerate:any? maxburnamount:any?")
def sendrawtransaction(
    node: BitcoinNode, hexstring: str, maxfeerate: Any, maxburnamount: Any
) -> str:
    """The txid again while it is in the mempool; -27 once its outputs are in the UTXO set."""
    tx = transaction_argument(hexstring)
    if _in_utxo_set(node, tx):
        raise RpcError(ALREADY_IN_UTXO_SET, "Transaction outputs already in utxo set")
    if tx.txid not in node.chain.mempool:
        try:
            if _exceeds(tx, node.chain.check(tx), maxfeerate):
                raise RpcError(
                    VERIFY_ERROR,
                    "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)",
                )
            node.broadcast(tx)
        except Rejected as error:
            raise RpcError(error.code, error.reason) from None
    return tx.txid


def _in_utxo_set(node: BitcoinNode, tx: Transaction) -> bool:
    return any(Outpoint(tx.txid, vout) in node.chain.coins for vout in range(len(tx.outputs)))


def _exceeds(tx: Transaction, fee_sat: int, maxfeerate: Any) -> bool:
    limit = MAX_FEE_RATE_SAT_KVB if maxfeerate is None else amount_sat(maxfeerate)
    return limit > 0 and fee_sat * 1000 > limit * tx.vsize


@rpc("psbt:string extract:bool?")
def finalizepsbt(node: BitcoinNode, psbt: str, extract: bool | None) -> dict[str, Any]:
    tx = from_psbt(psbt_argument(psbt))
    if not is_signed(tx) or extract is False:
        return {"psbt": psbt, "complete": is_signed(tx)}
    return {"hex": Transaction.of(tx).hex, "complete": True}


def psbt_argument(text: str) -> Any:
    try:
        return parse_psbt(text)
    except ValueError:
        raise RpcError(DESERIALIZATION_ERROR, "TX decode failed invalid base64") from None
