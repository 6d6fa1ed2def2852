"""The calls of Bitcoin Core's JSON-RPC that build, sign or bump a wallet's transaction."""

from __future__ import annotations

from typing import Any

from coinos.simnet.bitcoin_history_rpc import wallet_transaction
from coinos.simnet.bitcoin_node import BitcoinNode
from coinos.simnet.bitcoin_rpc import (
    DESERIALIZATION_ERROR,
    INSUFFICIENT_FUNDS,
    INVALID_ADDRESS,
    INVALID_PARAMETER,
    MISC_ERROR,
    TYPE_ERROR,
    WALLET_ERROR,
    RpcError,
    amount_sat,
    btc,
    json_kind,
    rpc,
)
from coinos.simnet.bitcoin_wallet_rpc import outpoint_argument
from coinos.simnet.chain import RELAY_FLOOR_SAT_KVB, Chain
from coinos.simnet.spending import (
    CannotSpend,
    Draft,
    Funding,
    Recipient,
    from_psbt,
    fund,
    is_signed,
    parse_psbt,
    sign,
    signed,
    to_psbt,
)
from coinos.simnet.transactions import Outpoint, Transaction, fee_at, script_of
from coinos.simnet.wallet import KEY_KINDS, Wallet

Options = dict[str, Any]
DEFAULT_TARGET_BLOCKS = 6
BUMP_SAT_KVB = 5000  # a bump without a rate adds at least this

# What `send` calls its options, and the type of each.
OPTIONS = {
    "add_inputs": "bool",
    "include_unsafe": "bool",
    "add_to_wallet": "bool",
    "change_address": "string",
    "change_position": "number",
    "change_type": "string",
    "include_watching": "bool",
    "inputs": "array",
    "lock_unspents": "bool",
    "locktime": "number",
    "fee_rate": "any",
    "psbt": "bool",
    "subtract_fee_from_outputs": "array",
    "replaceable": "bool",
    "conf_target": "number",
    "estimate_mode": "string",
    "minconf": "number",
    "maxconf": "number",
    "solving_data": "object",
    "max_tx_weight": "number",
}
# `walletcreatefundedpsbt` still has its older names beside the new ones.
OLDER_NAMES = {
    "changeAddress": "change_address",
    "changePosition": "change_position",
    "includeWatching": "include_watching",
    "lockUnspents": "lock_unspents",
    "subtractFeeFromOutputs": "subtract_fee_from_outputs",
}


@rpc(
    "outputs:any conf_target:number? estimate_mode:string? fee_rate:any? options:object?",
    wallet=True,
)
def send(
    node: BitcoinNode,
    wallet: Wallet,
    outputs: Any,
    conf_target: int | None,
    estimate_mode: str | None,
    fee_rate: Any,
    options: Options | None,
) -> Options:
    """With `add_to_wallet` false the signed transaction is returned and nothing else happens,
    except that `lock_unspents` locks its inputs until the node restarts."""
    chosen = checked_options(options)
    _merge_fee_arguments(chosen, conf_target, estimate_mode, fee_rate)
    draft = _funded(node, wallet, recipients_argument(outputs, chosen), chosen)
    tx = signed(draft, wallet)
    answer: Options = {}
    is_kept = chosen.get("add_to_wallet", True) and not chosen.get("psbt", False)
    if not is_kept:
        answer["psbt"] = to_psbt(draft.tx, wallet).to_base64()
    answer["txid"] = tx.txid
    if is_kept:
        node.commit(tx)
    else:
        answer["hex"] = tx.hex
    return answer | {"complete": True}


@rpc(
    "address:string amount:any comment:string? comment_to:string? subtractfeefromamount:bool? "
    "replaceable:bool? conf_target:number? estimate_mode:string? avoid_reuse:bool? fee_rate:any? "
    "verbose:bool?",
    wallet=True,
)
def sendtoaddress(
    node: BitcoinNode,
    wallet: Wallet,
    address: str,
    amount: Any,
    comment: str | None,
    comment_to: str | None,
    subtractfeefromamount: bool | None,
    replaceable: bool | None,
    conf_target: int | None,
    estimate_mode: str | None,
    avoid_reuse: bool | None,
    fee_rate: Any,
    verbose: bool | None,
) -> Any:
    script = script_of(address)
    if script is None:
        raise RpcError(INVALID_ADDRESS, f"Invalid Bitcoin address: {address}")
    recipient = Recipient(script, amount_sat(amount), bool(subtractfeefromamount))
    if not recipient.amount_sat:
        raise RpcError(TYPE_ERROR, "Invalid amount for send")
    chosen: Options = {"replaceable": replaceable is not False}
    _merge_fee_arguments(chosen, conf_target, estimate_mode, fee_rate)
    try:
        draft = fund(wallet, [recipient], _funding(node, wallet, chosen))
    except CannotSpend as error:
        raise RpcError(INSUFFICIENT_FUNDS, str(error)) from None
    tx = signed(draft, wallet)
    node.commit(tx)
    return {"txid": tx.txid, "fee_reason": "Fee rate"} if verbose else tx.txid


@rpc(
    "inputs:array? outputs:any locktime:number? options:object? bip32derivs:bool? version:number?",
    wallet=True,
)
def walletcreatefundedpsbt(
    node: BitcoinNode,
    wallet: Wallet,
    inputs: list[Any] | None,
    outputs: Any,
    locktime: int | None,
    options: Options | None,
    bip32derivs: bool | None,
    version: int | None,
) -> Options:
    renamed = {OLDER_NAMES.get(name, name): value for name, value in (options or {}).items()}
    chosen = checked_options(renamed)
    if inputs:
        chosen["inputs"] = inputs
    draft = _funded(node, wallet, recipients_argument(outputs, chosen), chosen)
    return {
        "psbt": to_psbt(draft.tx, wallet).to_base64(),
        "fee": btc(draft.fee_sat),
        "changepos": draft.change_position,
    }


@rpc("psbt:string sign:bool? sighashtype:string? bip32derivs:bool? finalize:bool?", wallet=True)
def walletprocesspsbt(
    node: BitcoinNode,
    wallet: Wallet,
    psbt: str,
    sign_it: bool | None,
    sighashtype: str | None,
    bip32derivs: bool | None,
    finalize: bool | None,
) -> Options:
    tx = from_psbt(psbt_argument(psbt))
    if sign_it is not False:
        sign(tx, wallet.chain, [wallet])
    answer: Options = {"psbt": to_psbt(tx, wallet).to_base64(), "complete": is_signed(tx)}
    return answer | {"hex": Transaction.of(tx).hex} if is_signed(tx) else answer


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


# --- fee bumps -----------------------------------------------------------------------------------


@rpc("txid:string options:object?", wallet=True)
def bumpfee(node: BitcoinNode, wallet: Wallet, txid: str, options: Options | None) -> Options:
    """Replace at once: signed and broadcast before the caller could store anything."""
    old, draft = _bumped(node, wallet, txid, options)
    tx = signed(draft, wallet)
    node.commit(tx, replaces=old.txid)
    return {"txid": tx.txid} | _bump_answer(wallet, old, draft)


@rpc("txid:string options:object?", wallet=True)
def psbtbumpfee(node: BitcoinNode, wallet: Wallet, txid: str, options: Options | None) -> Options:
    """The replacement, unsigned, to be signed, stored and broadcast by the caller."""
    old, draft = _bumped(node, wallet, txid, options)
    return {"psbt": to_psbt(draft.tx, wallet).to_base64()} | _bump_answer(wallet, old, draft)


def _bump_answer(wallet: Wallet, old: Transaction, draft: Draft) -> Options:
    origfee_sat = wallet.chain.fee_sat(old)
    return {"origfee": btc(origfee_sat), "fee": btc(draft.fee_sat), "errors": []}


def _bumped(
    node: BitcoinNode, wallet: Wallet, txid: str, options: Options | None
) -> tuple[Transaction, Draft]:
    """Same inputs, same recipients, less change, more fee."""
    old = wallet_transaction(wallet, txid)
    _check_inputs_are_there(wallet.chain, old)
    _check_may_bump(wallet, old)
    chosen = checked_options(options)
    old_fee_sat = wallet.chain.fee_sat(old)
    if chosen.get("fee_rate") is None and chosen.get("conf_target") is None:
        old_rate_sat_kvb = old_fee_sat * 1000 // old.vsize
        estimate = node.fee_estimate_sat_kvb(DEFAULT_TARGET_BLOCKS) or 0
        rate = max(old_rate_sat_kvb + 1 + BUMP_SAT_KVB, estimate)
    else:
        rate = fee_rate_sat_kvb(node, chosen)
    least_sat = old_fee_sat + fee_at(RELAY_FLOOR_SAT_KVB, old.vsize)
    total_sat = fee_at(rate, old.vsize)
    if total_sat < least_sat:
        raise RpcError(
            INVALID_PARAMETER,
            f"Insufficient total fee {total_sat / 1e8:.8f}, must be at least "
            f"{least_sat / 1e8:.8f} (oldFee {old_fee_sat / 1e8:.8f} + incrementalFee "
            f"{(least_sat - old_fee_sat) / 1e8:.8f})",
        )
    change = next((o.script for o in old.outputs if wallet.is_change(o)), None)
    recipients = [Recipient(o.script, o.amount_sat) for o in old.outputs if o.script != change]
    if not recipients:
        raise RpcError(WALLET_ERROR, "Transaction has no recipient")
    funding = Funding(
        fee_rate_sat_kvb=rate,
        change=lambda: change or node.change_script(wallet),
        inputs=old.inputs,
        min_depth=1,
        min_fee_sat=least_sat,
    )
    try:
        return old, fund(wallet, recipients, funding)
    except CannotSpend as error:
        raise RpcError(WALLET_ERROR, f"Unable to create transaction. {error}") from None


def _check_inputs_are_there(chain: Chain, tx: Transaction) -> None:
    """They are not once a block has this transaction, or another one that spends them."""
    for outpoint in tx.inputs:
        if outpoint not in chain.coins and outpoint.txid not in chain.mempool:
            raise RpcError(MISC_ERROR, f"{outpoint.txid}:{outpoint.vout} is already spent")


def _check_may_bump(wallet: Wallet, tx: Transaction) -> None:
    outpoints = [Outpoint(tx.txid, vout) for vout in range(len(tx.outputs))]
    if any(wallet.is_spent(outpoint) for outpoint in outpoints):
        raise RpcError(INVALID_PARAMETER, "Transaction has descendants in the wallet")
    if any(outpoint in wallet.chain.mempool_spender for outpoint in outpoints):
        raise RpcError(INVALID_PARAMETER, "Transaction has descendants in the mempool")
    replaced_by = wallet.history[tx.txid].replaced_by
    if replaced_by:
        raise RpcError(
            WALLET_ERROR,
            f"Cannot bump transaction {tx.txid} which was already bumped by transaction "
            f"{replaced_by}",
        )
    if any(outpoint not in wallet.received for outpoint in tx.inputs):
        raise RpcError(WALLET_ERROR, "Transaction contains inputs that don't belong to this wallet")


# --- arguments -----------------------------------------------------------------------------------


def checked_options(options: Options | None) -> Options:
    """A copy without nulls. Raises RpcError for an unknown name or a wrong type."""
    chosen: Options = {}
    for name, value in (options or {}).items():
        if name in OLDER_NAMES:
            raise RpcError(INVALID_PARAMETER, f"Use {OLDER_NAMES[name]} instead of {name}")
        if name not in OPTIONS:
            raise RpcError(TYPE_ERROR, f"Unexpected key {name}")
        if value is None:
            continue
        if OPTIONS[name] not in ("any", json_kind(value)):
            raise RpcError(
                TYPE_ERROR,
                f"JSON value of type {json_kind(value)} for field {name} is not of expected type "
                f"{OPTIONS[name]}",
            )
        chosen[name] = value
    return chosen


def _merge_fee_arguments(
    chosen: Options, conf_target: int | None, estimate_mode: str | None, fee_rate: Any
) -> None:
    """Fee instructions come as arguments or as options, never both."""
    if conf_target is not None or estimate_mode is not None:
        if "conf_target" in chosen or "estimate_mode" in chosen:
            raise RpcError(
                INVALID_PARAMETER,
                "Pass conf_target and estimate_mode either as arguments or in the options object, "
                "but not both",
            )
        chosen |= {"conf_target": conf_target, "estimate_mode": estimate_mode}
    if fee_rate is not None:
        if "fee_rate" in chosen:
            raise RpcError(
                INVALID_PARAMETER,
                "Pass the fee_rate either as an argument, or in the options object, but not both",
            )
        chosen["fee_rate"] = fee_rate


def fee_rate_sat_kvb(node: BitcoinNode, chosen: Options) -> int:
    """The rate that was given, or the estimate. Raises RpcError, CannotSpend."""
    if (fee_rate := chosen.get("fee_rate")) is not None:
        if chosen.get("conf_target") is not None:
            raise RpcError(
                INVALID_PARAMETER,
                "Cannot specify both conf_target and fee_rate. Please provide either a "
                "confirmation target in blocks for automatic fee estimation, or an explicit fee "
                "rate.",
            )
        if (chosen.get("estimate_mode") or "unset").lower() != "unset":
            raise RpcError(INVALID_PARAMETER, "Cannot specify both estimate_mode and fee_rate")
        rate = amount_sat(fee_rate, decimals=3)
        if rate < RELAY_FLOOR_SAT_KVB:
            raise CannotSpend(
                f"Fee rate ({rate / 1000:.3f} sat/vB) is lower than the minimum fee rate setting "
                f"({RELAY_FLOOR_SAT_KVB / 1000:.3f} sat/vB)"
            )
        return rate
    estimate = node.fee_estimate_sat_kvb(chosen.get("conf_target") or DEFAULT_TARGET_BLOCKS)
    if estimate is None:
        raise CannotSpend(
            "Fee estimation failed. Fallbackfee is disabled. Wait a few blocks or enable "
            "-fallbackfee."
        )
    return estimate


def recipients_argument(outputs: Any, chosen: Options) -> list[Recipient]:
    """`{address: amount, …}` or `[{address: amount}, …]`. Raises RpcError."""
    if not isinstance(outputs, dict | list):
        raise RpcError(
            TYPE_ERROR, f"JSON value of type {json_kind(outputs)} is not of expected type array"
        )
    pairs = list(outputs.items()) if isinstance(outputs, dict) else []
    for item in outputs if isinstance(outputs, list) else []:
        if not isinstance(item, dict) or len(item) != 1:
            raise RpcError(
                INVALID_PARAMETER,
                "Invalid parameter, key-value pair must contain exactly one key",
            )
        pairs += item.items()
    if not pairs:
        raise RpcError(INVALID_PARAMETER, "TX must have at least one output")
    addresses = [address for address, _ in pairs]
    payers = {
        _position(choice, addresses) for choice in chosen.get("subtract_fee_from_outputs", [])
    }
    recipients = []
    for position, (address, amount) in enumerate(pairs):
        script = script_of(address)
        if script is None:
            raise RpcError(INVALID_ADDRESS, f"Invalid Bitcoin address: {address}")
        if addresses.count(address) > 1:
            raise RpcError(INVALID_PARAMETER, f"Invalid parameter, duplicated address: {address}")
        recipients.append(Recipient(script, amount_sat(amount), position in payers))
    return recipients


def _position(choice: Any, addresses: list[str]) -> int:
    name = "Invalid parameter 'subtract fee from output'"
    if isinstance(choice, str):
        if choice not in addresses:
            raise RpcError(
                INVALID_PARAMETER, f"{name}, destination {choice} not found in tx outputs"
            )
        return addresses.index(choice)
    if isinstance(choice, bool) or not isinstance(choice, int):
        raise RpcError(INVALID_PARAMETER, f"{name}, invalid value type: {json_kind(choice)}")
    if choice < 0:
        raise RpcError(INVALID_PARAMETER, f"{name}, negative position: {choice}")
    if choice >= len(addresses):
        raise RpcError(INVALID_PARAMETER, f"{name}, position too large: {choice}")
    return choice


def _funding(node: BitcoinNode, wallet: Wallet, chosen: Options) -> Funding:
    change_script = None
    if "change_address" in chosen:
        change_script = script_of(chosen["change_address"])
        if change_script is None:
            raise RpcError(INVALID_ADDRESS, "Change address must be a valid bitcoin address")
    if chosen.get("change_type", "bech32") not in KEY_KINDS:
        raise RpcError(INVALID_ADDRESS, f"Unknown change type '{chosen['change_type']}'")
    inputs = tuple(outpoint_argument(item) for item in chosen.get("inputs", []))
    if chosen.get("minconf", 0) < 0:
        raise RpcError(INVALID_PARAMETER, "Negative minconf")
    return Funding(
        fee_rate_sat_kvb=fee_rate_sat_kvb(node, chosen),
        change=lambda: change_script or node.change_script(wallet),
        inputs=inputs,
        may_add_inputs=chosen.get("add_inputs", not inputs),
        min_depth=chosen.get("minconf", 0),
        include_unsafe=chosen.get("include_unsafe", False),
        replaceable=chosen.get("replaceable", True),
    )


def _funded(
    node: BitcoinNode, wallet: Wallet, recipients: list[Recipient], chosen: Options
) -> Draft:
    """Choose coins as the options say. Raises RpcError -4 when it cannot be done."""
    try:
        draft = fund(wallet, recipients, _funding(node, wallet, chosen))
    except CannotSpend as error:
        raise RpcError(WALLET_ERROR, str(error)) from None
    if chosen.get("lock_unspents"):
        node.lock(wallet, draft.inputs, persistent=False)
    return draft
