"""How a wallet spends: choose coins, add change, sign, and the same as a PSBT.

Signatures are real and of real size, so fees are too, although nobody in simnet checks them.
Fee rates are sat per 1000 virtual bytes, as in Core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from embit import bip32, script
from embit.psbt import PSBT, DerivationPath
from embit.transaction import Transaction as EmbitTransaction

from coinos.simnet.chain import Chain
from coinos.simnet.transactions import (
    REPLACEABLE,
    Outpoint,
    Output,
    Transaction,
    dust_sat,
    fee_at,
    parse_embit,
    unsigned,
    vsize_of,
)
from coinos.simnet.wallet import KEY_KINDS, Key, Wallet

MAX_FEE_SAT = 10_000_000  # -maxtxfee
LONGEST_CHAIN = 24  # of unconfirmed transactions that a wallet builds upon
FINAL = 0xFFFFFFFE


class CannotSpend(Exception):
    """The wallet cannot build this transaction; the message is Core's."""


@dataclass(frozen=True)
class Recipient:
    script: bytes
    amount_sat: int
    pays_fee: bool = False


@dataclass(frozen=True)
class Funding:
    """How to choose coins. `change` gives the script for the change, asked only when needed."""

    fee_rate_sat_kvb: int
    change: Callable[[], bytes]
    inputs: tuple[Outpoint, ...] = ()
    may_add_inputs: bool = True
    min_depth: int = 0
    include_unsafe: bool = False
    replaceable: bool = True
    min_fee_sat: int = 0


@dataclass(frozen=True)
class Draft:
    """An unsigned transaction. `change_position` is -1 when there is no change."""

    tx: EmbitTransaction
    fee_sat: int
    change_position: int

    @property
    def inputs(self) -> list[Outpoint]:
        return [Outpoint(txin.txid.hex(), txin.vout) for txin in self.tx.vin]


def spendable(wallet: Wallet, funding: Funding) -> list[tuple[Outpoint, Output]]:
    """Coins that automatic selection may use: the best confirmed first, then the smallest."""
    coins = [coin for coin in _available(wallet, funding) if coin[0] < LONGEST_CHAIN]
    return [(outpoint, wallet.received[outpoint]) for _, _, outpoint in sorted(coins)]


def _available(wallet: Wallet, funding: Funding) -> Iterator[tuple[int, int, Outpoint]]:
    """Coins that may be spent, at the end of however long a chain: its length, sats, outpoint."""
    for outpoint, output in wallet.unspent():
        depth, length = wallet.depth(outpoint.txid), wallet.chain.chain_length(outpoint.txid)
        if depth < funding.min_depth or outpoint in wallet.locks or outpoint in funding.inputs:
            continue
        if wallet.is_immature(outpoint.txid):
            continue
        if depth > 0 or funding.include_unsafe or wallet.is_safe(outpoint.txid):
            yield length, output.amount_sat, outpoint


def fund(wallet: Wallet, recipients: Sequence[Recipient], funding: Funding) -> Draft:
    """Choose coins and add change. Raises CannotSpend with the sentence of Core."""
    rate = funding.fee_rate_sat_kvb
    for recipient in recipients:
        if recipient.amount_sat < dust_sat(recipient.script):
            raise CannotSpend("Transaction amount too small")
    is_subtracting = any(recipient.pays_fee for recipient in recipients)
    target_sat = sum(recipient.amount_sat for recipient in recipients)
    fixed_weight = 42 + sum(_output_weight(recipient.script) for recipient in recipients)

    def fee_sat(chosen: Sequence[tuple[Outpoint, Output]], extra_weight: int = 0) -> int:
        weight = fixed_weight + extra_weight + sum(_input_weight(wallet, o) for _, o in chosen)
        return max(funding.min_fee_sat, fee_at(rate, vsize_of(weight)))

    def covers(chosen: Sequence[tuple[Outpoint, Output]]) -> bool:
        needed_sat = target_sat if is_subtracting else target_sat + fee_sat(chosen)
        return sum(output.amount_sat for _, output in chosen) >= needed_sat

    preset = [(outpoint, _preset(wallet, outpoint)) for outpoint in funding.inputs]
    chosen = _choose(preset, spendable(wallet, funding) if funding.may_add_inputs else [], covers)
    if chosen is None and preset and not funding.may_add_inputs:
        raise CannotSpend(
            "The preselected coins total amount does not cover the transaction target. Please "
            "allow other inputs to be automatically selected or include more coins manually"
        )
    if chosen is None:
        every = list(_available(wallet, funding)) if funding.may_add_inputs else []
        has_long_chains = any(length >= LONGEST_CHAIN for length, _, _ in every)
        if has_long_chains and sum(sats for _, sats, _ in every) > target_sat:
            raise CannotSpend(
                "Unconfirmed UTXOs are available, but spending them creates a chain of "
                "transactions that will be rejected by the mempool"
            )
        raise CannotSpend("Insufficient funds")

    outputs = [Output(recipient.amount_sat, recipient.script) for recipient in recipients]
    paid_in_sat = sum(output.amount_sat for _, output in chosen)
    fee_with_change_sat = fee_sat(chosen, _CHANGE_WEIGHT)
    change_sat = paid_in_sat - target_sat - (0 if is_subtracting else fee_with_change_sat)
    has_change = change_sat >= _CHANGE_DUST_SAT
    # A remainder too small for an output goes to the fee.
    spare_sat = 0 if has_change else paid_in_sat - target_sat
    final_fee_sat = fee_with_change_sat if has_change else max(spare_sat, fee_sat(chosen))
    if is_subtracting:
        outputs = _subtract(outputs, recipients, final_fee_sat - spare_sat)
    change_position = -1
    if has_change:
        # Core puts it anywhere; here the first input decides, so that a run can be repeated.
        change_position = int(chosen[0][0].txid[-2:], 16) % (len(outputs) + 1)
        outputs.insert(change_position, Output(change_sat, funding.change()))
    if final_fee_sat > MAX_FEE_SAT:
        raise CannotSpend("Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)")
    sequence = REPLACEABLE if funding.replaceable else FINAL
    tx = unsigned([point for point, _ in chosen], outputs, wallet.chain.height, sequence)
    return Draft(tx, final_fee_sat, change_position)


_CHANGE_WEIGHT = 4 * (8 + 1 + 22)
_CHANGE_DUST_SAT = dust_sat(b"\x00\x14" + bytes(20))


def _output_weight(script_pubkey: bytes) -> int:
    return 4 * (8 + 1 + len(script_pubkey))


def _input_weight(wallet: Wallet, output: Output) -> int:
    return KEY_KINDS[wallet.keys[output.script].kind].input_weight


def _preset(wallet: Wallet, outpoint: Outpoint) -> Output:
    output = wallet.received.get(outpoint)
    if output is None:
        raise CannotSpend(f"Not found pre-selected input {outpoint.txid}:{outpoint.vout}")
    return output


def _choose(
    preset: list[tuple[Outpoint, Output]],
    coins: list[tuple[Outpoint, Output]],
    covers: Callable[[list[tuple[Outpoint, Output]]], bool],
) -> list[tuple[Outpoint, Output]] | None:
    """The preset coins, then the first single coin that is enough, else the largest first."""
    if preset and covers(preset):
        return preset
    for coin in coins:
        if covers([*preset, coin]):
            return [*preset, coin]
    chosen = list(preset)
    for coin in sorted(coins, key=lambda coin: -coin[1].amount_sat):
        chosen.append(coin)
        if covers(chosen):
            return chosen
    return None


def _subtract(outputs: list[Output], recipients: Sequence[Recipient], fee_sat: int) -> list[Output]:
    payers = [i for i, recipient in enumerate(recipients) if recipient.pays_fee]
    share_sat, odd_sat = divmod(fee_sat, len(payers))
    for i in payers:
        amount_sat = outputs[i].amount_sat - share_sat - (odd_sat if i == payers[0] else 0)
        if amount_sat < 0:
            raise CannotSpend("The transaction amount is too small to pay the fee")
        if amount_sat < dust_sat(outputs[i].script):
            raise CannotSpend(
                "The transaction amount is too small to send after the fee has been deducted"
            )
        outputs[i] = Output(amount_sat, outputs[i].script)
    return outputs


# --- signing -------------------------------------------------------------------------------------


def sign(tx: EmbitTransaction, chain: Chain, wallets: Sequence[Wallet]) -> bool:
    """Sign the inputs whose key one of `wallets` has. Returns whether all are signed."""
    tx.clear_cache()
    spent = [chain.output(Outpoint(txin.txid.hex(), txin.vout)) for txin in tx.vin]
    for position, output in enumerate(spent):
        key = next((w.keys[output.script] for w in wallets if output and w.is_mine(output)), None)
        if output is not None and key is not None:
            _sign_input(tx, position, key, [o or Output(0, b"") for o in spent])
    return all(txin.witness.items or txin.script_sig.data for txin in tx.vin)


def _sign_input(tx: EmbitTransaction, position: int, key: Key, spent: list[Output]) -> None:
    private: bip32.HDKey = key.private.key
    public = private.get_public_key()
    txin = tx.vin[position]
    amount_sat = spent[position].amount_sat
    script_pubkey = script.Script(key.script)
    if key.kind == "bech32m":
        digest = tx.sighash_taproot(
            position, [script.Script(o.script) for o in spent], [o.amount_sat for o in spent]
        )
        signature = private.taproot_tweak(b"").schnorr_sign(digest)
        txin.witness = script.Witness([signature.serialize()])
    elif key.kind == "legacy":
        digest = tx.sighash_legacy(position, script_pubkey)
        txin.script_sig = script.script_sig_p2pkh(private.sign(digest), public)
    else:
        program = script.p2wpkh(public)
        if key.kind == "p2sh-segwit":
            txin.script_sig = script.script_sig_p2sh(program)
        digest = tx.sighash_segwit(position, script.p2pkh_from_p2wpkh(program), amount_sat)
        txin.witness = script.witness_p2wpkh(private.sign(digest), public)


# --- PSBT ----------------------------------------------------------------------------------------


def to_psbt(tx: EmbitTransaction, wallet: Wallet) -> PSBT:
    """Describe a transaction, signed or not, to a signer: coins spent, keys, what is final."""
    bare = EmbitTransaction.parse(_strip(tx).serialize())
    psbt = PSBT(bare)
    for txin, scope in zip(tx.vin, psbt.inputs, strict=True):
        previous = wallet.chain.transactions.get(txin.txid.hex())
        if previous is not None:
            scope.non_witness_utxo = parse_embit(previous.hex)
            scope.witness_utxo = scope.non_witness_utxo.vout[txin.vout]
            _describe_key(scope, wallet, bytes(scope.witness_utxo.script_pubkey.data))
        if txin.witness.items:
            scope.final_scriptwitness = txin.witness
        if txin.script_sig.data:
            scope.final_scriptsig = txin.script_sig
    for out, scope in zip(tx.vout, psbt.outputs, strict=True):
        _describe_key(scope, wallet, bytes(out.script_pubkey.data))
    return psbt


def from_psbt(psbt: PSBT) -> EmbitTransaction:
    """The transaction in a PSBT with whatever is final in it."""
    tx = EmbitTransaction.parse(psbt.tx.serialize())
    for txin, scope in zip(tx.vin, psbt.inputs, strict=True):
        if scope.final_scriptwitness:
            txin.witness = scope.final_scriptwitness
        if scope.final_scriptsig:
            txin.script_sig = scope.final_scriptsig
    return tx


def parse_psbt(text: str) -> PSBT:
    """Raises ValueError when it is not one."""
    try:
        psbt = PSBT.from_base64(text)
    except Exception as error:  # embit raises whatever it stumbles over
        raise ValueError("not a PSBT") from error
    return psbt


def is_signed(tx: EmbitTransaction) -> bool:
    return all(txin.witness.items or txin.script_sig.data for txin in tx.vin)


def _strip(tx: EmbitTransaction) -> EmbitTransaction:
    bare = EmbitTransaction.parse(tx.serialize())
    for txin in bare.vin:
        txin.witness = script.Witness([])
        txin.script_sig = script.Script(b"")
    return bare


def _describe_key(scope: Any, wallet: Wallet, script_pubkey: bytes) -> None:
    key = wallet.keys.get(script_pubkey)
    if key is None or key.kind == "bech32m":
        return
    path = bip32.parse_path(f"m/{wallet.path(key.kind, key.is_change)}/{key.index}")
    derivation = DerivationPath(bytes.fromhex(wallet.fingerprint), path)
    scope.bip32_derivations[key.private.get_public_key()] = derivation


def signed(draft: Draft, wallet: Wallet) -> Transaction:
    """Sign a draft of the wallet's own coins."""
    if not sign(draft.tx, wallet.chain, [wallet]):
        raise CannotSpend("Signing transaction failed")
    return Transaction.of(draft.tx)
