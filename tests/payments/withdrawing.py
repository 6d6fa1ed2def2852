"""What the stories of withdrawals share: send one, let rounds pass, move the wallet's coins."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bitcoinrpc.authproxy import AuthServiceProxy
from django.conf import settings
from django.utils import timezone

from coinos.simnet.control import Control
from payments.models import Payment
from payments.services import advance_withdrawals
from tests.payments.conftest import Person

BROADCAST_IS_LOST = [{"kind": "drop_before", "method": "sendrawtransaction"}]


def wallet(network: Control) -> Any:
    """The node's wallet, as an operator uses it by hand."""
    return AuthServiceProxy(f"{network.bitcoin_rpc_url}/wallet/{settings.BITCOIN_WALLET}")


def withdraw(person: Person, address: str, amount: int = 5000, **body: Any) -> Payment:
    sent = person.api.post("/bitcoin/send", {"address": address, "amount": amount, **body})
    assert sent.status_code == 200, sent.body
    return Payment.objects.get(id=sent.body["id"])


def signed_only(person: Person, network: Control, address: str, **body: Any) -> Payment:
    """A withdrawal whose broadcast never reached the node."""
    network.set_faults(BROADCAST_IS_LOST)
    payment = withdraw(person, address, **body)
    network.clear_faults()
    assert payment.state == Payment.State.SIGNED
    return payment


def next_round() -> None:
    """The periodic task, a minute later."""
    Payment.objects.update(
        created=timezone.now() - timedelta(minutes=1), attempted_at=None, next_look_at=None
    )
    advance_withdrawals()


def sweep(network: Control) -> str:
    """An operator moves every coin of the wallet elsewhere, locked or not. Returns the txid."""
    node = wallet(network)
    node.lockunspent(True)
    outputs = [{network.address(): str(node.getbalances()["mine"]["trusted"])}]
    options = {"subtract_fee_from_outputs": [0]}
    return str(node.send(outputs, None, "unset", 5, options)["txid"])


def pay_by_hand(
    network: Control, payment: Payment, address: str, sat: int, *, rate_sat_vb: int = 3
) -> str:
    """An operator spends the first coin of a withdrawal otherwise. Returns the txid."""
    coin = payment.inputs.order_by("id")[0]
    node, point = wallet(network), [{"txid": coin.txid, "vout": coin.vout}]
    node.lockunspent(True)
    outputs = [{address: f"{sat / 100_000_000:.8f}"}]
    options = {"inputs": point, "add_inputs": True}
    return str(node.send(outputs, None, "unset", rate_sat_vb, options)["txid"])


def refill(network: Control) -> None:
    """Give the wallet confirmed coins of its own again, for the tests that come after."""
    for _ in range(10):
        network.deposit(wallet(network).getnewaddress("treasury"), 10_000_000)
    network.mine(1)


def paid_to(network: Control, address: str) -> list[int]:
    """The amounts that the chain says arrived there, a block later."""
    network.mine(1)
    return [
        output["amount_sat"]
        for sent in network.chain_truth()["sent"]
        if sent["confirmations"] > 0
        for output in sent["outputs"]
        if output["address"] == address
    ]
