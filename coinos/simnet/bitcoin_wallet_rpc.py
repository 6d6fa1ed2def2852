"""The wallet calls of Bitcoin Core's JSON-RPC: wallets, addresses, balances, locks.

What came in and went out is in `bitcoin_history_rpc.py`, what builds a transaction in
`bitcoin_spend_rpc.py`.
"""

from __future__ import annotations

import base64
from typing import Any

from embit.util import secp256k1

from coinos.simnet.bitcoin_node import BitcoinNode
from coinos.simnet.bitcoin_rpc import (
    INVALID_ADDRESS,
    INVALID_PARAMETER,
    TYPE_ERROR,
    UNENCRYPTED_WALLET,
    WALLET_ALREADY_LOADED,
    WALLET_ERROR,
    WALLET_NOT_FOUND,
    RpcError,
    btc,
    hash_argument,
    json_kind,
    last_processed_block,
    loaded_wallets,
    rpc,
)
from coinos.simnet.transactions import (
    Outpoint,
    Output,
    address_of,
    count_prefix,
    describe_address,
    double_sha256,
    script_of,
)
from coinos.simnet.wallet import KEY_KINDS, Wallet

Entry = dict[str, Any]
INVALID_LABEL = -11
EVERY_DEPTH = -100_000_000


# --- wallets -------------------------------------------------------------------------------------


@rpc()
def listwallets(node: BitcoinNode) -> list[str]:
    return [wallet.name for wallet in loaded_wallets(node)]


@rpc("filename:string load_on_startup:bool?")
def loadwallet(node: BitcoinNode, filename: str, load_on_startup: bool | None) -> Entry:
    wallet = node.wallets.get(filename)
    if wallet is None or wallet is node.outside:
        raise RpcError(
            WALLET_NOT_FOUND,
            f"Wallet file verification failed. Failed to load database path '{filename}'. "
            "Path does not exist.",
        )
    if wallet.loaded:
        raise RpcError(WALLET_ALREADY_LOADED, f'Wallet "{filename}" is already loaded.')
    node.set_loaded(filename, True)
    return {"name": filename}


@rpc("wallet_name:string? load_on_startup:bool?")
def unloadwallet(node: BitcoinNode, wallet_name: str | None, load_on_startup: bool | None) -> Entry:
    if wallet_name is None or wallet_name not in listwallets(node):
        raise RpcError(WALLET_NOT_FOUND, "Requested wallet does not exist or is not loaded")
    node.set_loaded(wallet_name, False)
    return {}


@rpc(
    "wallet_name:string disable_private_keys:bool? blank:bool? passphrase:string? "
    "avoid_reuse:bool? descriptors:bool? load_on_startup:bool? external_signer:bool?"
)
def createwallet(node: BitcoinNode, wallet_name: str, *options: Any) -> Entry:
    if wallet_name in node.wallets or not wallet_name:
        raise RpcError(
            WALLET_ERROR,
            f"Wallet file verification failed. Failed to create database path '{wallet_name}'. "
            "Database already exists.",
        )
    node.create_wallet(wallet_name)
    return {"name": wallet_name}


@rpc(wallet=True)
def getwalletinfo(node: BitcoinNode, wallet: Wallet) -> Entry:
    return {
        "walletname": wallet.name,
        "walletversion": 169900,
        "format": "sqlite",
        "txcount": len(wallet.history),
        "keypoolsize": 4000,
        "keypoolsize_hd_internal": 4000,
        "private_keys_enabled": True,
        "avoid_reuse": False,
        "scanning": False,
        "descriptors": True,
        "external_signer": False,
        "blank": False,
        "birthtime": wallet.birth_s,
        "flags": ["last_hardened_xpub_cached", "descriptor_wallet"],
        "lastprocessedblock": last_processed_block(node),
    }


@rpc("passphrase:string timeout:number", wallet=True)
def walletpassphrase(node: BitcoinNode, wallet: Wallet, passphrase: str, timeout: int) -> None:
    raise RpcError(
        UNENCRYPTED_WALLET,
        "Error: running with an unencrypted wallet, but walletpassphrase was called.",
    )


@rpc(wallet=True)
def walletlock(node: BitcoinNode, wallet: Wallet) -> None:
    raise RpcError(
        UNENCRYPTED_WALLET, "Error: running with an unencrypted wallet, but walletlock was called."
    )


@rpc("start_height:number? stop_height:number?", wallet=True)
def rescanblockchain(
    node: BitcoinNode, wallet: Wallet, start_height: int | None, stop_height: int | None
) -> Entry:
    start, stop = start_height or 0, node.chain.height if stop_height is None else stop_height
    if not 0 <= start <= node.chain.height:
        raise RpcError(INVALID_PARAMETER, "Invalid start_height")
    if not start <= stop <= node.chain.height:
        raise RpcError(INVALID_PARAMETER, "Invalid stop_height")
    # Nothing to find: a wallet sees every block, or catches up when it is loaded.
    return {"start_height": start, "stop_height": stop}


# --- addresses -----------------------------------------------------------------------------------


@rpc("label:string? address_type:string?", wallet=True)
def getnewaddress(
    node: BitcoinNode, wallet: Wallet, label: str | None, address_type: str | None
) -> str:
    if label == "*":
        raise RpcError(INVALID_LABEL, "Invalid label name")
    kind = "bech32" if address_type is None else address_type
    if kind not in KEY_KINDS:
        raise RpcError(INVALID_ADDRESS, f"Unknown address type '{kind}'")
    return wallet.address(node.new_key(wallet.name, kind, label or ""))


@rpc("address_type:string?", wallet=True)
def getrawchangeaddress(node: BitcoinNode, wallet: Wallet, address_type: str | None) -> str:
    kind = "bech32" if address_type is None else address_type
    if kind not in KEY_KINDS:
        raise RpcError(INVALID_ADDRESS, f"Unknown address type '{kind}'")
    return wallet.address(node.new_key(wallet.name, kind, None))


@rpc("address:string", wallet=True)
def getaddressinfo(node: BitcoinNode, wallet: Wallet, address: str) -> Entry:
    script = script_of(address)
    if script is None:
        raise RpcError(
            INVALID_ADDRESS, "Invalid or unsupported Segwit (Bech32) or Base58 encoding."
        )
    facts = describe_address(address, script)
    answer: Entry = {key: facts.pop(key) for key in ("address", "scriptPubKey")}
    key = wallet.keys.get(script)
    answer |= {"ismine": key is not None, "solvable": key is not None}
    if key:
        answer["desc"] = wallet.descriptor(key)
        answer["parent_desc"] = wallet.parent_descriptor(key)
    answer |= {"iswatchonly": False} | facts
    if key:
        if key.kind != "bech32m":
            answer["pubkey"] = key.pubkey.hex()
        path = wallet.path(key.kind, key.is_change)
        answer |= {
            "ischange": wallet.is_change(Output(0, script)),
            "timestamp": wallet.birth_s,
            "hdkeypath": f"m/{path}/{key.index}",
            "hdseedid": "0" * 40,
            "hdmasterfingerprint": wallet.fingerprint,
        }
    else:
        answer["ischange"] = False
    return answer | {"labels": [] if key is None or key.label is None else [key.label]}


@rpc("address:string message:string", wallet=True)
def signmessage(node: BitcoinNode, wallet: Wallet, address: str, message: str) -> str:
    script = script_of(address)
    if script is None:
        raise RpcError(INVALID_ADDRESS, "Invalid address")
    key = wallet.keys.get(script)
    if script[:1] != b"\x76":
        raise RpcError(TYPE_ERROR, "Address does not refer to key")
    if key is None:
        raise RpcError(WALLET_ERROR, "Private key not available")
    text = message.encode()
    magic = b"\x18Bitcoin Signed Message:\n" + count_prefix(len(text)) + text
    recoverable = secp256k1.ecdsa_sign_recoverable(double_sha256(magic), key.private.secret)
    compact, recovery_id = secp256k1.ecdsa_recoverable_signature_serialize_compact(recoverable)
    return base64.b64encode(bytes([31 + recovery_id]) + compact).decode()


# --- balances and coins --------------------------------------------------------------------------


@rpc(wallet=True)
def getbalances(node: BitcoinNode, wallet: Wallet) -> Entry:
    mine = {name: btc(amount_sat) for name, amount_sat in wallet.balances_sat().items()}
    return {"mine": mine, "lastprocessedblock": last_processed_block(node)}


@rpc("dummy:string? minconf:number? include_watchonly:bool? avoid_reuse:bool?", wallet=True)
def getbalance(
    node: BitcoinNode,
    wallet: Wallet,
    dummy: str | None,
    minconf: int | None,
    include_watchonly: bool | None,
    avoid_reuse: bool | None,
) -> str:
    return btc(
        sum(
            output.amount_sat
            for outpoint, output in wallet.unspent()
            if wallet.depth(outpoint.txid) >= (minconf or 0)
            and wallet.is_trusted(outpoint.txid)
            and not wallet.is_immature(outpoint.txid)
        )
    )


@rpc(
    "minconf:number? maxconf:number? addresses:array? include_unsafe:bool? query_options:object?",
    wallet=True,
)
def listunspent(
    node: BitcoinNode,
    wallet: Wallet,
    minconf: int | None,
    maxconf: int | None,
    addresses: list[str] | None,
    include_unsafe: bool | None,
    query_options: Entry | None,
) -> list[Entry]:
    """Coins that are not locked, mature, and between `minconf` (1) and `maxconf` deep."""
    least, most = (1 if minconf is None else minconf), (9999999 if maxconf is None else maxconf)
    found = []
    for outpoint, output in wallet.unspent():
        depth = wallet.depth(outpoint.txid)
        is_safe = wallet.is_safe(outpoint.txid)
        key, address = wallet.keys[output.script], address_of(output.script)
        if not least <= depth <= most or outpoint in wallet.locks:
            continue
        if wallet.is_immature(outpoint.txid) or (include_unsafe is False and not is_safe):
            continue
        if addresses and address not in addresses:
            continue
        entry: Entry = {"txid": outpoint.txid, "vout": outpoint.vout, "address": address}
        if key.label is not None:
            entry["label"] = key.label
        found.append(
            entry
            | {
                "scriptPubKey": output.script.hex(),
                "amount": btc(output.amount_sat),
                "confirmations": depth,
                "spendable": True,
                "solvable": True,
                "desc": wallet.descriptor(key),
                "parent_descs": [wallet.parent_descriptor(key)],
                "safe": is_safe,
            }
        )
    return found


@rpc("unlock:bool transactions:array? persistent:bool?", wallet=True)
def lockunspent(
    node: BitcoinNode,
    wallet: Wallet,
    unlock: bool,
    transactions: list[Any] | None,
    persistent: bool | None,
) -> bool:
    """All or nothing. `unlock` without a list releases every lock there is."""
    if transactions is None:
        if unlock:
            node.unlock(wallet, list(wallet.locks))
        return True
    outpoints = [outpoint_argument(item) for item in transactions]
    for outpoint in outpoints:
        if outpoint.txid not in wallet.history:
            raise RpcError(INVALID_PARAMETER, "Invalid parameter, unknown transaction")
        if wallet.chain.output(outpoint) is None:
            raise RpcError(INVALID_PARAMETER, "Invalid parameter, vout index out of bounds")
        if wallet.is_spent(outpoint):
            raise RpcError(INVALID_PARAMETER, "Invalid parameter, expected unspent output")
        if unlock and outpoint not in wallet.locks:
            raise RpcError(INVALID_PARAMETER, "Invalid parameter, expected locked output")
        if not unlock and outpoint in wallet.locks and not persistent:
            raise RpcError(INVALID_PARAMETER, "Invalid parameter, output already locked")
    if unlock:
        node.unlock(wallet, outpoints)
    else:
        node.lock(wallet, outpoints, bool(persistent))
    return True


def outpoint_argument(item: Any) -> Outpoint:
    """`{"txid", "vout"}` as an outpoint. Raises RpcError."""
    if not isinstance(item, dict):
        raise RpcError(
            TYPE_ERROR, f"JSON value of type {json_kind(item)} is not of expected type object"
        )
    if not isinstance(item.get("txid"), str):
        raise RpcError(INVALID_PARAMETER, "Invalid parameter, missing txid key")
    vout = item.get("vout")
    if isinstance(vout, bool) or not isinstance(vout, int):
        raise RpcError(INVALID_PARAMETER, "Invalid parameter, missing vout key")
    if vout < 0:
        raise RpcError(INVALID_PARAMETER, "Invalid parameter, vout cannot be negative")
    return Outpoint(hash_argument(item["txid"], "txid"), vout)


@rpc(wallet=True)
def listlockunspent(node: BitcoinNode, wallet: Wallet) -> list[Entry]:
    return [{"txid": outpoint.txid, "vout": outpoint.vout} for outpoint in wallet.locks]
