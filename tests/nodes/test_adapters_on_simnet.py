"""The adapters against what only a simulated network does on command: holds, deaths and faults."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from coinos.errors import NodeUnavailable
from coinos.nodes.base import Outcome, PayReply, Settled, Unknown
from coinos.nodes.release import outcome
from tests.nodes.worlds import Simnet


@pytest.fixture
def world(simnet) -> Simnet:
    return Simnet(simnet)


def pay(world: Simnet, request: str) -> PayReply:
    return world.lightning.pay(
        payment_request=request,
        amount_msat=None,
        max_fee_msat=50_000,
        retry_for_s=0,
        label=str(uuid.uuid4()),
    )


def verdict(world: Simnet, payment_hash: str, **known: bool) -> Outcome:
    everything = {
        "call_returned": False,
        "deadline_passed": True,
        "nothing_is_lost": True,
    }
    return outcome(world.lightning.payment_record(payment_hash), **everything | known)


def test_a_held_payment_stays_unknown_at_any_age_and_settles_when_released(world):
    """M07, M08"""
    request = world.invoice(1_000_000)
    payment_hash = world.lightning.decode(request).payment_hash
    world.control.hold(payment_hash)

    assert pay(world, request) == PayReply(False, False, None, None)
    assert isinstance(verdict(world, payment_hash), Unknown)

    world.control.release(payment_hash)
    settled = verdict(world, payment_hash)
    assert settled == Settled(100, world.control.payment(payment_hash)["preimage"], True)


def test_a_payment_whose_answer_is_dropped_is_found_settled(world):
    """M07: executed, then no answer."""
    request = world.invoice(1_000_000)
    payment_hash = world.lightning.decode(request).payment_hash
    world.control.set_faults([{"kind": "exec_then_drop", "method": "xpay"}])

    assert pay(world, request) == PayReply(False, False, None, None)
    assert isinstance(verdict(world, payment_hash), Settled)


@pytest.mark.parametrize("how", ["lost", "pending", "in_flight"])
def test_a_payment_in_parts_is_judged_by_its_parts(world, how):
    """M10: error 209 after full success, or with parts in flight."""
    request = world.invoice(3_000_000)
    payment_hash = world.lightning.decode(request).payment_hash
    world.control.set_faults([{"kind": "partial_mpp", "method": "xpay", "how": how}])

    pay(world, request)

    result = verdict(world, payment_hash, call_returned=True)
    truth = world.control.payment(payment_hash)
    if how == "in_flight":
        assert isinstance(result, Unknown)
    else:
        assert isinstance(result, Settled)
        assert result.fee_final == (how == "lost")
        assert result.preimage == truth["preimage"]
    world.control.release(payment_hash)


@pytest.mark.parametrize("how", ["text", "truncated", "empty"])
def test_garbage_from_either_node_is_no_answer(world, how):
    world.control.set_faults([{"kind": "garbage", "method": "*", "how": how}])

    with pytest.raises(NodeUnavailable):
        world.lightning.info()
    with pytest.raises(NodeUnavailable):
        world.bitcoin.balance()


@pytest.mark.parametrize("how", ["missing", "string", "float", "nan", "negative"])
@pytest.mark.parametrize("field", ["amount_msat", "amount_sent_msat", "status"])
def test_a_spoilt_record_of_a_payment_is_no_record(world, field, how):
    """F11"""
    request = world.invoice(1_000_000)
    payment_hash = world.lightning.decode(request).payment_hash
    pay(world, request)
    world.control.set_faults(
        [{"kind": "wrong_type", "method": "listsendpays", "field": field, "how": how}]
    )

    with pytest.raises(NodeUnavailable):
        world.lightning.payment_record(payment_hash)


def test_a_wait_survives_a_restart_of_the_node_by_asking_again(world):
    """A03"""
    label = str(uuid.uuid4())
    invoice = world.lightning.create_invoice(
        label=label, amount_msat=1_000, description="", expiry_s=3600
    )
    cursor = max((r.pay_index for r in all_receipts(world)), default=0)
    with ThreadPoolExecutor(1) as threads:
        wait = threads.submit(world.lightning.next_receipt, after_pay_index=cursor, timeout_s=20)
        time.sleep(0.3)
        world.control.restart()
        with pytest.raises(NodeUnavailable):
            wait.result()

    world.pay(invoice.bolt11)

    assert world.lightning.next_receipt(after_pay_index=cursor, timeout_s=5).label == label


def all_receipts(world: Simnet):
    cursor = 0
    while receipt := world.lightning.next_receipt(after_pay_index=cursor, timeout_s=0):
        cursor = receipt.pay_index
        yield receipt


def test_a_replaced_deposit_is_followed_to_its_end(world):
    """M25: it vanishes from the list; its own lookup says that a rival confirmed."""
    address = world.bitcoin.new_address(label="x", address_type="bech32")
    txid = world.deposit({address: 150_000})
    rival = world.control.replace(txid)
    replaced = world.bitcoin.transaction(txid)
    assert (replaced.confirmations, replaced.in_mempool) == (0, False)
    assert rival in replaced.conflicts

    world.mine()

    assert world.bitcoin.transaction(txid).confirmations < 0
    outputs = world.bitcoin.receipts_since(None, confirmations=1).outputs
    assert txid not in {output.txid for output in outputs}


def test_a_transaction_below_the_floor_of_the_mempool_is_refused_and_taken_later(world):
    signed = world.bitcoin.prepare(
        address=world.address(),
        amount_sat=50_000,
        fee_rate_sat_vb=2,
        subtract_fee=False,
        lock_inputs=True,
    )
    try:
        world.control.min_fee(5)
        assert world.bitcoin.broadcast(signed.hex).state == "refused"
        assert world.bitcoin.fee_rates().minimum == 5
    finally:
        world.control.min_fee(0.1)

    assert world.bitcoin.broadcast(signed.hex).state == "accepted"


def test_a_broadcast_whose_answer_is_lost_is_given_again(world):
    signed = world.bitcoin.prepare(
        address=world.address(),
        amount_sat=50_000,
        fee_rate_sat_vb=2,
        subtract_fee=False,
        lock_inputs=True,
    )
    world.control.set_faults([{"kind": "exec_then_drop", "method": "sendrawtransaction"}])
    with pytest.raises(NodeUnavailable):
        world.bitcoin.broadcast(signed.hex)
    world.control.clear_faults()

    assert world.bitcoin.broadcast(signed.hex).state == "accepted"
    assert [sent["txid"] for sent in world.control.chain_truth()["sent"]].count(signed.txid) == 1
