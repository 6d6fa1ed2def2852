"""One contract for both networks: what the wallet relies on, asked of simnet and of real nodes."""

from __future__ import annotations

import time
import uuid

import pytest

from coinos.errors import NodeUnavailable
from coinos.nodes.base import (
    Failed,
    NodeRefused,
    Outcome,
    Output,
    Receipt,
    Settled,
    Unknown,
)
from coinos.nodes.release import outcome
from tests.nodes.worlds import World
from tests.realnode.regtest import AVAILABLE, regtest  # noqa: F401

RETRY_FOR_S = 2
SETTLING_SECONDS_MAX = 30
DEPOSIT_SAT = 150_000


# --- Lightning: receiving --------------------------------------------------------------------


def receive(world: World, amount_msat: int | None = 1_000_000, expiry_s: int = 3600):
    label = str(uuid.uuid4())
    invoice = world.lightning.create_invoice(
        label=label, amount_msat=amount_msat, description="coffee", expiry_s=expiry_s
    )
    return label, invoice


def receipts(world: World, after_pay_index: int = 0) -> dict[str, Receipt]:
    """All receipts above a cursor, by label, as the watcher would read them."""
    found = {}
    while True:
        receipt = world.lightning.next_receipt(after_pay_index=after_pay_index, timeout_s=1)
        if receipt is None:
            return found
        assert receipt.pay_index > after_pay_index
        after_pay_index = receipt.pay_index
        assert receipt.label not in found
        found[receipt.label] = receipt


def test_both_nodes_are_synced_on_the_same_network(world):
    assert (world.lightning.info().network, world.lightning.info().synced) == (
        "regtest",
        True,
    )
    assert (world.bitcoin.info().network, world.bitcoin.info().synced) == (
        "regtest",
        True,
    )


def test_a_paid_invoice_is_received_once_with_its_label(world):
    label, invoice = receive(world)

    world.pay(invoice.bolt11)

    receipt = receipts(world)[label]
    assert (receipt.payment_hash, receipt.received_msat) == (
        invoice.payment_hash,
        1_000_000,
    )
    assert label not in receipts(world, after_pay_index=receipt.pay_index)


def test_an_invoice_without_amount_receives_what_was_sent_to_the_msat(world):
    label, invoice = receive(world, amount_msat=None)

    world.pay(invoice.bolt11, 1_234_567)

    assert receipts(world)[label].received_msat == 1_234_567


def test_making_an_invoice_again_gives_the_same_one(world):
    label, invoice = receive(world)

    again = world.lightning.create_invoice(
        label=label, amount_msat=1_000_000, description="coffee", expiry_s=3600
    )

    assert again == invoice


def test_the_sweep_finds_what_was_paid(world):
    label, invoice = receive(world)
    before = [
        i.updated_index
        for i in world.lightning.invoices_updated_since(updated_index=1, limit=10_000)
    ]
    world.pay(invoice.bolt11)

    updated = world.lightning.invoices_updated_since(
        updated_index=max(before, default=0) + 1, limit=500
    )

    [paid] = [found for found in updated if found.label == label]
    assert (paid.status, paid.received_msat) == ("paid", 1_000_000)


def test_an_invoice_that_expired_cannot_be_paid(world):
    label, invoice = receive(world, expiry_s=1)
    wait_until(lambda: world.lightning.invoice_by_label(label).status == "expired")

    with pytest.raises(AssertionError):
        world.pay(invoice.bolt11)


def test_a_deleted_invoice_cannot_be_paid(world):
    label, invoice = receive(world)

    assert world.lightning.delete_unpaid_invoice(label)

    with pytest.raises(AssertionError):
        world.pay(invoice.bolt11)
    assert world.lightning.invoice_by_label(label) is None
    assert not world.lightning.delete_unpaid_invoice(label)


def test_a_paid_invoice_is_not_deleted(world):
    """906: it was paid from outside in between, which is real money."""
    label, invoice = receive(world)
    world.pay(invoice.bolt11)

    assert not world.lightning.delete_unpaid_invoice(label)
    assert world.lightning.invoice_by_label(label).status == "paid"


def test_our_own_invoice_names_us_as_the_payee(world):
    _, invoice = receive(world)

    decoded = world.lightning.decode(invoice.bolt11.upper())

    assert decoded.payee == world.lightning.info().id
    assert (decoded.payment_hash, decoded.currency) == (invoice.payment_hash, "bcrt")


def test_a_paid_offer_is_received_under_its_id(world):
    offer = world.lightning.create_offer(
        amount_msat=None, description="tips", label=str(uuid.uuid4())
    )
    offer_id = world.lightning.decode(offer).raw["offer_id"]

    world.pay(offer, 64_000)

    amounts = [r.received_msat for r in receipts(world).values() if r.offer_id == offer_id]
    assert amounts == [64_000]


def test_the_counters_of_the_node_rise_with_what_it_writes(world):
    before = world.lightning.counters()

    _, invoice = receive(world)
    world.pay(invoice.bolt11)

    after = world.lightning.counters()
    assert after.invoices_created > before.invoices_created
    assert after.invoices_updated > before.invoices_updated
    created = world.lightning.invoices_created_since(
        created_index=before.invoices_created + 1, limit=100
    )
    assert invoice.payment_hash in [one.payment_hash for one in created]


# --- Lightning: paying -----------------------------------------------------------------------


def pay(
    world: World,
    request: str,
    amount_msat: int | None = None,
    max_fee_msat: int = 50_000,
):
    return world.lightning.pay(
        payment_request=request,
        amount_msat=amount_msat,
        max_fee_msat=max_fee_msat,
        retry_for_s=RETRY_FOR_S,
        label=str(uuid.uuid4()),
    )


def verdict(world: World, request: str, *, call_returned: bool) -> Outcome:
    """What the release rule says, as soon as it says anything."""
    payment_hash = world.lightning.decode(request).payment_hash
    result: Outcome = Unknown("not asked")

    def is_decided() -> bool:
        nonlocal result
        record = world.lightning.payment_record(payment_hash)
        result = outcome(
            record,
            call_returned=call_returned,
            deadline_passed=False,
            nothing_is_lost=True,
        )
        return not isinstance(result, Unknown)

    wait_until(is_decided)
    return result


def wait_until(is_so) -> None:
    deadline = time.monotonic() + SETTLING_SECONDS_MAX
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_payment_settles_with_its_preimage_and_exact_fee(world):
    request = world.invoice(1_000_000)

    reply = pay(world, request)

    settled = verdict(world, request, call_returned=reply.returned)
    # 100 millionths of the amount, one hop
    assert settled == Settled(fee_msat=100, preimage=reply.preimage, fee_final=True)


def test_a_payment_without_amount_sends_what_we_say(world):
    request = world.invoice(None)
    assert world.lightning.decode(request).amount_msat is None

    pay(world, request, amount_msat=42_000)

    payment_hash = world.lightning.decode(request).payment_hash
    assert world.lightning.payment_record(payment_hash).delivered_msat == 42_000


def test_a_payment_made_twice_is_paid_once(world):
    request = world.invoice(1_000_000)
    pay(world, request)

    again = pay(world, request)

    assert not again.returned
    payment_hash = world.lightning.decode(request).payment_hash
    assert world.lightning.payment_record(payment_hash).delivered_msat == 1_000_000


@pytest.mark.parametrize(
    ("amount_msat", "max_fee_msat"), [(900_000_000_000_000, 10**12), (1_000_000, 0)]
)
def test_a_payment_beyond_capacity_or_fee_limit_fails_and_leaves_no_parts(
    world, amount_msat, max_fee_msat
):
    request = world.invoice(amount_msat)

    reply = pay(world, request, max_fee_msat=max_fee_msat)

    payment_hash = world.lightning.decode(request).payment_hash
    assert world.lightning.payment_record(payment_hash).parts == 0
    assert isinstance(verdict(world, request, call_returned=reply.returned), Failed)


def test_a_payment_of_an_expired_invoice_is_never_sent(world):
    request = world.invoice(1_000_000, expiry_s=1)
    time.sleep(2.1)

    reply = pay(world, request)

    assert reply.never_sent
    assert isinstance(verdict(world, request, call_returned=reply.returned), Failed)


def test_a_payment_that_its_payee_refuses_fails_in_the_end(world):
    request = world.refused_invoice(1_000_000)

    reply = pay(world, request)

    assert isinstance(verdict(world, request, call_returned=reply.returned), Failed)


def test_an_offer_is_paid_by_the_invoice_it_gives(world):
    request = world.lightning.fetch_invoice(offer=world.offer(), amount_msat=55_000)
    decoded = world.lightning.decode(request)
    assert (decoded.kind, decoded.amount_msat) == ("bolt12 invoice", 55_000)

    reply = pay(world, request)

    assert isinstance(verdict(world, request, call_returned=reply.returned), Settled)


def test_what_we_pay_leaves_our_channels(world):
    wait_until(lambda: not world.lightning.balance().outgoing_msat)
    before = world.lightning.balance()
    request = world.invoice(5_000_000)
    pay(world, request)
    settled = verdict(world, request, call_returned=True)

    payment_hash = world.lightning.decode(request).payment_hash
    wait_until(lambda: payment_hash not in world.lightning.balance().outgoing_msat)

    after = world.lightning.balance()
    assert before.ours_msat - after.ours_msat == 5_000_000 + settled.fee_msat


# --- Bitcoin: receiving ----------------------------------------------------------------------


def deposited(world: World, addresses: int = 1) -> tuple[str, list[str]]:
    ours = [
        world.bitcoin.new_address(label=str(uuid.uuid4()), address_type="bech32")
        for _ in range(addresses)
    ]
    return world.deposit(dict.fromkeys(ours, DEPOSIT_SAT)), ours


def outputs_of(world: World, txid: str, block_hash: str | None = None) -> list[Output]:
    found = world.bitcoin.receipts_since(block_hash, confirmations=1).outputs
    return [output for output in found if output.txid == txid]


@pytest.mark.parametrize("address_type", ["bech32", "bech32m", "p2sh-segwit", "legacy"])
def test_an_address_is_valid_and_ours(world, address_type):
    address = world.bitcoin.new_address(label="x", address_type=address_type)

    assert world.bitcoin.address_is_valid(address)
    assert world.bitcoin.address_is_ours(address)


def test_an_outside_address_is_valid_and_not_ours(world):
    address = world.address()

    assert world.bitcoin.address_is_valid(address)
    assert not world.bitcoin.address_is_ours(address)
    assert not world.bitcoin.address_is_valid("bc1qmhfk9stzffhd9umzmld92vff7zg3mdlh7rvvaj")
    assert not world.bitcoin.address_is_ours("hello")


def test_a_deposit_is_seen_unconfirmed_and_then_in_a_block(world):
    cursor = world.bitcoin.info().tip_hash
    txid, [address] = deposited(world)

    [seen] = outputs_of(world, txid, cursor)
    assert (seen.address, seen.amount_sat, seen.confirmations) == (
        address,
        DEPOSIT_SAT,
        0,
    )
    assert world.bitcoin.transaction(txid).in_mempool

    world.mine()
    [confirmed] = outputs_of(world, txid, cursor)
    assert (confirmed.vout, confirmed.confirmations) == (seen.vout, 1)
    assert world.bitcoin.block_is_active(confirmed.block_hash)
    assert world.bitcoin.block_height(confirmed.block_hash) == confirmed.block_height
    assert not world.bitcoin.transaction(txid).in_mempool


def test_one_transaction_to_two_of_our_addresses_is_two_outputs(world):
    txid, addresses = deposited(world, addresses=2)

    outputs = outputs_of(world, txid)

    assert {output.address for output in outputs} == set(addresses)
    assert len({output.vout for output in outputs}) == 2
    assert set(world.bitcoin.transaction(txid).outputs) == set(outputs)


def test_a_deposit_whose_block_was_reorganised_away_is_unconfirmed_again(world):
    """M26"""
    txid, _ = deposited(world)
    world.mine()
    [confirmed] = outputs_of(world, txid)

    world.reorganise(1)

    assert not world.bitcoin.block_is_active(confirmed.block_hash)
    assert world.bitcoin.transaction(txid).confirmations == 0
    since_lost = world.bitcoin.receipts_since(confirmed.block_hash, confirmations=1)
    assert txid in since_lost.removed_txids

    world.mine()
    [again] = outputs_of(world, txid)
    assert again.confirmations == 1
    assert again.block_hash != confirmed.block_hash


def test_a_block_that_never_was_is_refused(world):
    with pytest.raises(NodeRefused) as refusal:
        world.bitcoin.receipts_since("ab" * 32, confirmations=1)
    assert refusal.value.code == "block_unknown"
    with pytest.raises(NodeRefused):
        world.bitcoin.block_is_active("ab" * 32)


# --- Bitcoin: sending ------------------------------------------------------------------------


def prepare(world: World, amount_sat: int = 50_000, *, lock: bool = True, **changes):
    arguments = {
        "address": world.address(),
        "fee_rate_sat_vb": 2,
        "subtract_fee": False,
    }
    return world.bitcoin.prepare(amount_sat=amount_sat, lock_inputs=lock, **arguments | changes)


def test_a_withdrawal_is_broadcast_again_and_again_and_paid_once(world):
    world.mine()  # what other tests have sent to the wallet
    before = world.bitcoin.balance()
    signed = prepare(world)
    assert world.bitcoin.transaction(signed.txid) is None
    assert signed.fee_sat >= 2 * signed.vsize

    assert world.bitcoin.broadcast(signed.hex).state == "accepted"
    assert world.bitcoin.broadcast(signed.hex).state == "accepted"
    assert world.bitcoin.transaction(signed.txid).in_mempool
    world.mine()

    assert world.bitcoin.broadcast(signed.hex).state in ("accepted", "ambiguous")
    assert world.bitcoin.transaction(signed.txid).confirmations == 1
    assert before.trusted_sat - world.bitcoin.balance().trusted_sat == 50_000 + signed.fee_sat


def test_what_was_sent_is_found_by_its_address(world):
    """money-K3: the wallet remembers, whatever our database has forgotten."""
    began_s, address = int(time.time()) - 7200, world.address()
    signed = prepare(world, address=address)
    assert world.bitcoin.sent_to(address, since_s=began_s) == ()
    assert world.bitcoin.sent(signed.txid) is None

    world.bitcoin.broadcast(signed.hex)

    wait_until(lambda: world.bitcoin.sent_to(address, since_s=began_s) == (signed.txid,))
    found = world.bitcoin.sent(signed.txid)
    assert (found.signed, found.confirmations, found.in_mempool) == (signed, 0, True)
    assert (address, 50_000) in found.paid
    assert world.bitcoin.inputs_of(signed.hex) == signed.inputs
    world.mine()
    assert world.bitcoin.sent(signed.txid).confirmations == 1
    assert world.bitcoin.sent_to(address, since_s=began_s) == (signed.txid,)
    assert world.bitcoin.sent_to(world.address(), since_s=began_s) == ()


def test_a_coin_is_there_until_the_chain_has_spent_it(world):
    """money-K4: not the mempool."""
    signed = prepare(world)
    world.bitcoin.broadcast(signed.hex)
    assert all(world.bitcoin.coin_is_there(*coin) for coin in signed.inputs)
    assert not world.bitcoin.coin_is_there(signed.txid, 0)

    world.mine()

    assert not any(world.bitcoin.coin_is_there(*coin) for coin in signed.inputs)
    assert world.bitcoin.coin_is_there(signed.txid, 0)


def test_two_withdrawals_never_share_an_input(world):
    """A06"""
    first, second = prepare(world), prepare(world)

    assert not set(first.inputs) & set(second.inputs)
    world.bitcoin.unlock(first.inputs + second.inputs)


def test_a_quote_leaves_no_trace(world):
    quote = prepare(world, lock=False)

    assert world.bitcoin.transaction(quote.txid) is None
    wait_until(lambda: is_offered(world, quote.inputs))


def test_locks_are_taken_again_and_given_back(world):
    inputs = prepare(world, lock=False).inputs
    world.bitcoin.lock(inputs)
    world.bitcoin.lock(inputs)
    assert not any(is_offered(world, inputs) for _ in range(10))

    world.bitcoin.unlock(inputs)
    world.bitcoin.unlock(inputs)
    wait_until(lambda: is_offered(world, inputs))


def is_offered(world: World, inputs: tuple[tuple[str, int], ...]) -> bool:
    """Does the wallet choose any of these for a payment? A real one chooses at random."""
    return bool(set(prepare(world, lock=False).inputs) & set(inputs))


def test_the_whole_amount_can_carry_its_own_fee(world):
    signed = prepare(world, 100_000, subtract_fee=True, lock=False)

    assert 0 < signed.fee_sat < 100_000


@pytest.mark.parametrize(
    ("amount_sat", "address", "code"),
    [
        (2_000_000_000_000_000, None, "insufficient_funds"),
        (100, None, "amount_too_small"),
        (50_000, "hello", "invalid_address"),
        (50_000, "bc1qmhfk9stzffhd9umzmld92vff7zg3mdlh7rvvaj", "invalid_address"),
    ],
)
def test_a_withdrawal_that_cannot_be_made_says_why(world, amount_sat, address, code):
    changes = {"address": address} if address else {}

    with pytest.raises(NodeRefused) as refusal:
        prepare(world, amount_sat, **changes)
    assert refusal.value.code == code


# --- Bitcoin: sending faster -----------------------------------------------------------------


def waiting(world: World, address: str):
    """A withdrawal of ours that waits in the mempool, at 2 sat/vB."""
    signed = prepare(world, address=address)
    assert world.bitcoin.broadcast(signed.hex).state == "accepted"
    wait_until(lambda: world.bitcoin.transaction(signed.txid).in_mempool)
    return signed


def speed_up(world: World, txid: str, address: str, fee_rate_sat_vb: int = 20, **changes):
    asked = {"amount_sat": 50_000, "fee_rate_sat_vb": fee_rate_sat_vb, "address": address}
    return world.bitcoin.bump(txid, **asked | changes)


def test_a_faster_version_is_unknown_until_it_is_broadcast_and_then_only_it_is_mined(world):
    world.mine()
    before, address = world.bitcoin.balance(), world.address()
    slow = waiting(world, address)

    fast = speed_up(world, slow.txid, address)

    assert set(slow.inputs) <= set(fast.inputs)
    assert fast.fee_sat >= 20 * fast.vsize > slow.fee_sat
    assert world.bitcoin.transaction(fast.txid) is None
    assert world.bitcoin.transaction(slow.txid).in_mempool
    assert world.bitcoin.broadcast(fast.hex).state == "accepted"
    assert world.bitcoin.broadcast(slow.hex).state != "accepted"
    wait_until(lambda: world.bitcoin.transaction(fast.txid).in_mempool)
    assert not world.bitcoin.transaction(slow.txid).in_mempool
    world.mine()
    assert world.bitcoin.transaction(fast.txid).confirmations == 1
    assert world.bitcoin.transaction(slow.txid).confirmations == -1
    assert before.trusted_sat - world.bitcoin.balance().trusted_sat == 50_000 + fast.fee_sat


def test_a_faster_version_that_was_never_broadcast_leaves_no_trace(world):
    address = world.address()
    slow = waiting(world, address)
    coins = world.bitcoin.coins()

    speed_up(world, slow.txid, address)

    assert world.bitcoin.coins() == coins
    world.mine()
    assert world.bitcoin.transaction(slow.txid).confirmations == 1


def test_a_faster_version_can_be_sped_up_again(world):
    address = world.address()
    version = waiting(world, address)
    for rate_sat_vb in (5, 20, 50):
        version = speed_up(world, version.txid, address, rate_sat_vb)
        assert world.bitcoin.broadcast(version.hex).state == "accepted"
        wait_until(lambda txid=version.txid: world.bitcoin.transaction(txid).in_mempool)
    world.mine()
    assert world.bitcoin.transaction(version.txid).confirmations == 1


def test_a_rate_that_is_not_above_its_own_is_refused(world):
    address = world.address()
    slow = waiting(world, address)

    with pytest.raises(NodeRefused) as refusal:
        speed_up(world, slow.txid, address, 2)
    assert refusal.value.code == "fee_rate_too_low"
    world.mine()


def test_what_a_block_has_is_not_sped_up(world):
    address = world.address()
    mined = waiting(world, address)
    world.mine()

    with pytest.raises(NodeRefused) as refusal:
        speed_up(world, mined.txid, address)
    assert "in a block" in refusal.value.message


def test_what_another_transaction_is_built_upon_is_not_sped_up(world):
    address = world.address()
    parent = waiting(world, address)
    [change] = [coin for coin in world.bitcoin.coins() if coin.txid == parent.txid]
    assert change.confirmations == 0
    assert world.bitcoin.split(change, pieces=2, fee_rate_sat_vb=2)

    with pytest.raises(NodeRefused) as refusal:
        speed_up(world, parent.txid, address)
    assert "built upon it" in refusal.value.message
    world.mine()


def test_a_replacement_that_would_pay_something_else_is_not_given_to_us(world):
    address = world.address()
    slow = waiting(world, address)

    with pytest.raises(NodeUnavailable):
        speed_up(world, slow.txid, address, amount_sat=50_001)
    world.mine()


# --- Bitcoin: the wallet's coins -------------------------------------------------------------


def coin_of(world: World, txid: str):
    return next((coin for coin in world.bitcoin.coins() if coin.txid == txid), None)


def test_a_deposit_is_a_coin_once_a_block_has_it(world):
    txid, _ = deposited(world)
    assert coin_of(world, txid) is None

    world.mine(2)

    coin = coin_of(world, txid)
    assert (coin.amount_sat, coin.confirmations) == (DEPOSIT_SAT, 2)


def test_a_coin_that_is_locked_is_not_offered_and_not_split(world):
    txid, _ = deposited(world)
    world.mine()
    coin = coin_of(world, txid)
    outpoint = ((coin.txid, coin.vout),)
    world.bitcoin.lock(outpoint)

    assert coin_of(world, txid) is None
    assert not world.bitcoin.split(coin, pieces=2, fee_rate_sat_vb=2)

    world.bitcoin.unlock(outpoint)
    assert coin_of(world, txid) == coin


def test_a_coin_is_split_into_equal_ones_of_ours_for_the_fee_alone(world):
    txid, _ = deposited(world)
    world.mine()
    coin, before = coin_of(world, txid), set(world.bitcoin.coins())

    assert world.bitcoin.split(coin, pieces=3, fee_rate_sat_vb=2)

    pieces = set(world.bitcoin.coins()) - before
    assert len(pieces) == 3
    amounts = [piece.amount_sat for piece in pieces]
    fee_sat = DEPOSIT_SAT - sum(amounts)
    assert 0 < fee_sat < 2 * 500
    assert max(amounts) - min(amounts) <= 3
    assert coin_of(world, txid) is None
    assert not world.bitcoin.split(coin, pieces=3, fee_rate_sat_vb=2)  # it is spent
    world.mine()
    [split_txid] = {piece.txid for piece in pieces}
    assert coin_of(world, split_txid).confirmations == 1


def test_a_coin_too_small_for_so_many_pieces_stays_whole_and_free(world):
    txid, _ = deposited(world)
    world.mine()
    coin = coin_of(world, txid)

    with pytest.raises(NodeRefused):
        world.bitcoin.split(coin, pieces=100, fee_rate_sat_vb=100)
    assert coin_of(world, txid) == coin


def test_fee_rates_fall_with_patience(world):
    rates = world.bitcoin.fee_rates()

    assert rates.fastest >= rates.half_hour >= rates.hour >= rates.economy >= rates.minimum >= 1


def test_a_wallet_that_was_unloaded_is_loaded_again(world):
    before = world.bitcoin.balance()
    world.unload_wallet()

    assert world.bitcoin.balance() == before
