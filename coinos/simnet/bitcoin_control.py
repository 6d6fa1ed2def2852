"""What tests, the simnet page and the miner's timer may do to the bitcoin network from outside.

Each method takes its parameters as a dict (JSON from the control socket) and returns JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from coinos.simnet.bitcoin_node import OUR_WALLET, BitcoinNode
from coinos.simnet.chain import Rejected
from coinos.simnet.network import WorldError
from coinos.simnet.spending import CannotSpend
from coinos.simnet.transactions import Transaction, address_of
from coinos.simnet.wallet import Wallet

Params = dict[str, Any]
ControlMethod = Callable[[Params], Any]


def told(method: ControlMethod) -> ControlMethod:
    """Tell the caller in one word and one sentence why the world could not do it."""

    @wraps(method)
    def call(params: Params) -> Any:
        try:
            return method(params)
        except KeyError as error:
            raise WorldError("unknown", f"missing or unknown: {error.args[0]}") from error
        except ValueError as error:
            raise WorldError("bad_request", str(error)) from error
        except CannotSpend as error:
            raise WorldError("cannot_spend", str(error)) from error
        except Rejected as error:
            raise WorldError("rejected", error.reason) from error

    return call


class BitcoinControl:
    """`node` gives the node as it is now: after a restart it is another object."""

    def __init__(self, node: Callable[[], BitcoinNode]) -> None:
        self._get_node = node

    @property
    def _node(self) -> BitcoinNode:
        return self._get_node()

    def methods(self) -> dict[str, ControlMethod]:
        verbs: list[ControlMethod] = [
            self.deposit,
            self.mine,
            self.mine_replaced,
            self.address,
            self.reorg,
            self.replace,
            self.conflict,
            self.stuck,
            self.min_fee,
            self.fee_estimates,
            self.unload_wallet,
            self.chain_truth,
        ]
        return {verb.__name__: told(verb) for verb in verbs}

    def deposit(self, params: Params) -> str:
        """`address`, `amount_sat` or `outputs` {address: amount_sat}; `fee_rate` sat/vB.
        The outside wallet pays, in one transaction; returns its txid."""
        outputs = params.get("outputs") or {params["address"]: params["amount_sat"]}
        return self._node.pay_from_outside(outputs, params.get("fee_rate", 2))

    def mine(self, params: Params) -> list[str]:
        """`n` blocks (1); the first confirms the mempool. Returns their hashes."""
        return self._node.mine(int(params.get("n", 1)))

    def mine_replaced(self, params: Params) -> list[str]:
        """A miner who never saw what replaced `txid` mines it. Returns the block's hash."""
        return self._node.mine_replaced(params["txid"])

    def address(self, params: Params) -> str:
        """A new address of the outside wallet; `type` as in getnewaddress (bech32)."""
        return self._node.outside_address(params.get("type", "bech32"))

    def reorg(self, params: Params) -> list[str]:
        """`depth` blocks are left for `blocks` new ones (depth + 1). `drop` and `keep` are lists
        of txids, `remine` (true) whether lost transactions are mined again."""
        return self._node.reorg(
            int(params["depth"]),
            blocks=params.get("blocks"),
            drop=params.get("drop", ()),
            keep=params.get("keep", ()),
            remine=params.get("remine", True),
        )

    def replace(self, params: Params) -> str:
        """`txid` in the mempool is replaced from outside; `fee_rate` sat/vB. Returns the rival."""
        return self._node.replace(params["txid"], params.get("fee_rate"))

    def conflict(self, params: Params) -> str:
        """A rival of `txid` is mined, if need be by a reorg. Returns the rival."""
        return self._node.conflict(params["txid"])

    def stuck(self, params: Params) -> None:
        """`on` (true): blocks stay empty, the mempool is not mined."""
        self._node.set_stuck(bool(params.get("on", True)))

    def min_fee(self, params: Params) -> None:
        """`sat_vb`: the mempool takes nothing below it from now on."""
        self._node.set_min_fee(float(params["sat_vb"]))

    def fee_estimates(self, params: Params) -> None:
        """`sat_vb` {target in blocks: sat/vB} for estimatesmartfee; null: no data."""
        self._node.set_fee_estimates(params.get("sat_vb"))

    def unload_wallet(self, params: Params) -> None:
        """`wallet` (coinos) is unloaded, as by an operator; `loadwallet` brings it back."""
        self._node.set_loaded(params.get("wallet", OUR_WALLET), False)

    def chain_truth(self, params: Params) -> dict[str, Any]:
        """What the wallet really received and sent, for comparison with a ledger.

        `received`: one entry an output that others paid to us. `sent`: one entry a transaction
        of ours. Confirmations are negative once a rival has confirmed.
        """
        node = self._node
        wallet = node.wallets[params.get("wallet", OUR_WALLET)]
        received, sent = [], []
        for txid in wallet.history:
            tx = node.chain.transactions[txid]
            state = self._state(wallet, txid)
            outputs = _outputs(wallet, tx)
            received += [output | state for output in outputs if output["is_ours"]]
            if wallet.debit_sat(tx):
                sent.append(
                    state
                    | {
                        "fee_sat": node.chain.fee_sat(tx),
                        "amount_sat": sum(o["amount_sat"] for o in outputs if not o["is_ours"]),
                        "outputs": outputs,
                        "inputs": [f"{o.txid}:{o.vout}" for o in tx.inputs],
                        "replaced_by": wallet.history[txid].replaced_by,
                    }
                )
        balances_sat = wallet.balances_sat()
        return {
            "height": node.chain.height,
            "tip": node.chain.tip.hash,
            "balance_sat": balances_sat["trusted"],
            "balances_sat": balances_sat,
            "received": received,
            "sent": sent,
            "mempool": list(node.chain.mempool),
        }

    def _state(self, wallet: Wallet, txid: str) -> dict[str, Any]:
        chain = self._node.chain
        block = chain.block_of.get(txid)
        return {
            "txid": txid,
            "confirmations": wallet.depth(txid),
            "in_mempool": txid in chain.mempool,
            "block_hash": block.hash if block else None,
            "block_height": block.height if block else None,
        }


def _outputs(wallet: Wallet, tx: Transaction) -> list[dict[str, Any]]:
    """All outputs except the change of a transaction of ours."""
    is_ours = wallet.debit_sat(tx) > 0
    return [
        {
            "outpoint": f"{tx.txid}:{vout}",
            "vout": vout,
            "address": address_of(output.script),
            "amount_sat": output.amount_sat,
            "label": wallet.label(output.script),
            "is_coinbase": tx.is_coinbase,
            "is_ours": wallet.is_mine(output),
        }
        for vout, output in enumerate(tx.outputs)
        if not (is_ours and wallet.is_change(output))
    ]
