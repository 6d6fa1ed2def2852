"""Bitcoin Core's calls about the chain, fees, the mempool and raw transactions."""

from __future__ import annotations

from typing import Any

from coinos.simnet.bitcoin_node import BitcoinNode, now_s
from coinos.simnet.bitcoin_rpc import (
    ALREADY_IN_UTXO_SET,
    DESERIALIZATION_ERROR,
    INVALID_ADDRESS,
    INVALID_PARAMETER,
    VERIFY_ERROR,
    RpcError,
    amount_sat,
    btc,
    hash_argument,
    rpc,
)
from coinos.simnet.chain import BITS, CLUSTER_COUNT_MAX, GENESIS_HASH, Block, Rejected, header
from coinos.simnet.transactions import (
    Outpoint,
    Transaction,
    assembly,
    count_prefix,
    describe_address,
    describe_script,
    parse_embit,
    script_of,
)

WARNINGS = ["This is simnet, not Bitcoin Core - its coins exist nowhere else"]
POW_LIMIT = 0x7FFFFF << 232
VERSION = 319900
MAX_FEE_RATE_SAT_KVB = 10_000_000  # sendrawtransaction's default, 0.1 BTC/kvB


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
        "size_on_disk": 300 * (chain.height + 1),
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
        "limitclustercount": CLUSTER_COUNT_MAX,
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
    children = {t for t in family if any(o.txid == txid for o in chain.transactions[t].inputs)}

    def total(txids: set[str]) -> tuple[int, int, int]:
        fee_sat = sum(chain.mempool[t].fee_sat for t in txids)
        return len(txids), sum(chain.transactions[t].vsize for t in txids), fee_sat

    descendant_count, descendant_size, descendant_fee_sat = total(family)
    ancestor_count, ancestor_size, ancestor_fee_sat = total(chain.ancestors(txid))
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


@rpc("txid:string n:number include_mempool:bool?")
def gettxout(
    node: BitcoinNode, txid: str, n: int, include_mempool: bool | None
) -> dict[str, Any] | None:
    """None for an output that is spent, or that no block has and, if asked, no mempool."""
    chain = node.chain
    outpoint = Outpoint(hash_argument(txid, "txid"), n)
    output = chain.coins.get(outpoint) if include_mempool is False else chain.unspent(outpoint)
    if output is None:
        return None
    return {
        "bestblock": chain.tip.hash,
        "confirmations": chain.confirmations(outpoint.txid),
        "value": btc(output.amount_sat),
        "scriptPubKey": describe_script(output.script),
        "coinbase": chain.transactions[outpoint.txid].is_coinbase,
    }


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
