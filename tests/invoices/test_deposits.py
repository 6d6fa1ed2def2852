"""On-chain deposits: shown when seen, credited when deep enough, taken back after a reorg."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from accounts import ledger
from accounts.models import AuditEvent, Transfer, User
from coinos.nodes import bitcoin
from coinos.nodes.base import NodeRefused
from coinos.nodes.bitcoind import BitcoinCore
from coinos.simnet.control import Control
from invoices import services
from invoices.models import Cursor, Deposit, Invoice
from invoices.services import deposits
from invoices.services.deposits import REORG_BLOCKS, confirmations_required
from tests.cast import api_of, available_sat, fund, make_user
from tests.invoices.helpers import credits_of, new_invoice, seen, statement_of
from tests.invoices.test_lightning_receipts import in_threads


@pytest.fixture
def chain(world: Control) -> Control:
    """The world, with an empty mempool, and read up to now."""
    world.mine()
    services.scan_bitcoin()
    return world


def address_of(user: User, **fields: Any) -> dict[str, Any]:
    return new_invoice(user, type="bitcoin", **fields)


def pay_onchain(world: Control, invoice: dict[str, Any], amount_sat: int, blocks: int = 0) -> str:
    txid = world.deposit(invoice["hash"], amount_sat)
    if blocks:
        world.mine(blocks)
    services.scan_bitcoin()
    return txid


def shown(invoice: dict[str, Any]) -> tuple[int, int, str]:
    body = seen(invoice)
    return body["pending"], body["received"], body["status"]


def test_a_deposit_is_shown_at_once_and_credited_when_it_confirms(
    chain: Control, alice: User
) -> None:
    invoice = address_of(alice, amount=80_000)
    txid = pay_onchain(chain, invoice, 80_000)
    assert shown(invoice) == (80_000, 0, "pending")
    assert available_sat(alice) == 0
    [line] = statement_of(alice)
    assert (line.type, line.status, line.amount_sat) == ("bitcoin", "pending", 80_000)
    assert line.hash == invoice["hash"]
    assert (line.ref or "").startswith(f"{txid}:")

    chain.mine()
    services.scan_bitcoin()
    assert shown(invoice) == (0, 80_000, "paid")
    assert available_sat(alice) == 80_000
    [line] = statement_of(alice)
    assert line.status == "settled"
    [credit] = credits_of(alice)
    assert credit.external_id == f"onchain:{line.ref}"


def test_m04_scanning_again_and_from_the_start_credits_nothing_twice(
    chain: Control, alice: User
) -> None:
    invoice = address_of(alice)
    pay_onchain(chain, invoice, 5_000, blocks=1)
    before = list(Transfer.objects.order_by("id").values())
    for _ in range(3):
        services.scan_bitcoin()
    Cursor.objects.filter(name="bitcoin").delete()  # as if the pointer had been lost
    services.scan_bitcoin()
    mine = [row for row in Transfer.objects.order_by("id").values() if row in before]
    assert mine == before
    assert available_sat(alice) == 5_000
    assert len(credits_of(alice)) == len(statement_of(alice)) == 1


def test_an_address_may_be_paid_again_and_again(chain: Control, alice: User) -> None:
    invoice = address_of(alice, amount=1_000)
    pay_onchain(chain, invoice, 600, blocks=1)
    assert shown(invoice) == (0, 600, "partial")
    pay_onchain(chain, invoice, 600, blocks=1)
    assert shown(invoice) == (0, 1_200, "overpaid")
    assert available_sat(alice) == 1_200


def test_a_deposit_to_an_invoice_that_has_expired_is_credited(chain: Control, alice: User) -> None:
    """input-C4"""
    invoice = address_of(alice, amount=80_000, expiry=1)
    Invoice.objects.update(created=timezone.now() - timedelta(hours=1))
    assert seen(invoice)["status"] == "expired"
    pay_onchain(chain, invoice, 80_000, blocks=1)
    assert available_sat(alice) == 80_000
    assert seen(invoice)["status"] == "paid"


def test_one_transaction_can_pay_two_invoices(chain: Control, alice: User, bob: User) -> None:
    hers, his = address_of(alice), address_of(bob)
    chain.call("deposit", outputs={hers["hash"]: 4_000, his["hash"]: 6_000})
    chain.mine()
    services.scan_bitcoin()
    assert (available_sat(alice), available_sat(bob)) == (4_000, 6_000)


def test_f13_dust_leaves_a_row_and_its_money(chain: Control, alice: User) -> None:
    invoice = address_of(alice)
    pay_onchain(chain, invoice, 299, blocks=1)
    assert available_sat(alice) == 299
    assert Deposit.objects.get().state == Deposit.State.CREDITED


def test_m25_a_replaced_deposit_is_never_credited(chain: Control, alice: User) -> None:
    invoice = address_of(alice)
    txid = pay_onchain(chain, invoice, 50_000)
    chain.replace(txid)
    services.scan_bitcoin()
    assert available_sat(alice) == 0
    chain.mine()
    services.scan_bitcoin()
    assert Deposit.objects.get().state == Deposit.State.CONFLICTED
    assert shown(invoice)[:2] == (0, 0)
    [line] = statement_of(alice)
    assert line.status == "failed"
    assert "replaced" in line.reason
    assert available_sat(alice) == 0
    assert credits_of(alice) == []


def test_larger_deposits_wait_for_more_confirmations(
    chain: Control, alice: User, settings: Any
) -> None:
    settings.CONFIRMATION_TIERS = ((0, 1), (10_000, 3), (100_000, 6))
    assert [confirmations_required(n) for n in (1, 9_999, 10_000, 99_999, 100_000)] == [
        1,
        1,
        3,
        3,
        6,
    ]
    invoice = address_of(alice)
    pay_onchain(chain, invoice, 10_000, blocks=2)
    assert (available_sat(alice), seen(invoice)["pending"]) == (0, 10_000)
    chain.mine()
    services.scan_bitcoin()
    assert available_sat(alice) == 10_000


def test_many_small_outputs_wait_as_long_as_their_transaction(
    chain: Control, alice: User, settings: Any
) -> None:
    settings.CONFIRMATION_TIERS = ((0, 1), (10_000, 3))
    first, second = address_of(alice), address_of(alice)
    chain.call("deposit", outputs={first["hash"]: 6_000, second["hash"]: 6_000})
    chain.mine()
    services.scan_bitcoin()
    assert available_sat(alice) == 0
    chain.mine(2)
    services.scan_bitcoin()
    assert available_sat(alice) == 12_000


# --- Reorganisations -----------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_m26_a_reorg_takes_the_credit_back_and_a_new_block_gives_a_new_one(
    chain: Control, alice: User, depth: int
) -> None:
    invoice = address_of(alice, amount=70_000)
    pay_onchain(chain, invoice, 70_000, blocks=depth)
    assert available_sat(alice) == 70_000
    chain.call("reorg", depth=depth, remine=False)
    services.scan_bitcoin()
    assert available_sat(alice) == 0
    assert shown(invoice) == (70_000, 0, "pending")
    [line] = statement_of(alice)
    assert line.status == "pending"

    chain.mine()
    services.scan_bitcoin()
    assert available_sat(alice) == 70_000
    assert shown(invoice) == (0, 70_000, "paid")
    outpoint = line.ref
    kinds = Transfer.objects.filter(external_id__startswith=f"onchain:{outpoint}").order_by("id")
    assert list(kinds.values_list("kind", "external_id")) == [
        ("receive.onchain", f"onchain:{outpoint}"),
        ("reverse.onchain", f"onchain:{outpoint}"),
        ("receive.onchain", f"onchain:{outpoint}:1"),
    ]
    assert len(statement_of(alice)) == 1


def test_a_reorg_that_mines_the_deposit_again_changes_only_its_block(
    chain: Control, alice: User
) -> None:
    pay_onchain(chain, address_of(alice), 9_000, blocks=1)
    before = Deposit.objects.get()
    chain.reorg(1)
    services.scan_bitcoin()
    after = Deposit.objects.get()
    assert before.block_hash != after.block_hash
    assert (after.state, after.sequence) == (Deposit.State.CREDITED, 1)
    assert available_sat(alice) == 9_000
    assert not Transfer.objects.filter(kind__startswith="reverse").exists()


def test_credits_of_the_last_hundred_blocks_are_compared_with_the_chain_whatever_the_node_lists(
    chain: Control, alice: User
) -> None:
    """As when a scan ended between the node's list of what has left and the look at it: the list
    is not made again."""
    pay_onchain(chain, address_of(alice), 9_000, blocks=1)
    before = Deposit.objects.get()
    chain.reorg(1)
    chain.mine(50)
    Cursor.objects.filter(name="bitcoin").update(value=bitcoin().info().tip_hash)
    services.scan_bitcoin()
    after = Deposit.objects.get()
    assert before.block_hash != after.block_hash
    assert after.state == Deposit.State.CREDITED


def test_a_block_that_has_left_the_active_chain_meanwhile_credits_nothing(
    chain: Control, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block must be in the active chain when the deposit is credited: the chain turns right
    after the node has said that the deposit is deep enough."""
    txid = chain.deposit(address_of(alice)["hash"], 9_000)
    chain.mine()
    asked = BitcoinCore.transaction

    def and_then_the_chain_turns(node: BitcoinCore, of: str) -> Any:
        answer = asked(node, of)
        if of == txid and answer and answer.confirmations > 0:
            chain.call("reorg", depth=answer.confirmations, remine=False)
        return answer

    with monkeypatch.context() as once:
        once.setattr(BitcoinCore, "transaction", and_then_the_chain_turns)
        services.scan_bitcoin()
    assert available_sat(alice) == 0
    assert not credits_of(alice)
    chain.mine()
    services.scan_bitcoin()
    assert available_sat(alice) == 9_000


def test_a_deposit_that_two_reorgs_take_back_is_credited_a_third_time(
    chain: Control, alice: User
) -> None:
    invoice = address_of(alice)
    pay_onchain(chain, invoice, 9_000, blocks=1)
    for _ in range(2):
        chain.call("reorg", depth=1, remine=False)
        services.scan_bitcoin()
        assert available_sat(alice) == 0
        chain.mine()
        services.scan_bitcoin()
        assert available_sat(alice) == 9_000
    assert Deposit.objects.get().sequence == 3


def test_m26_a_spent_deposit_that_is_undone_costs_the_house_and_freezes_the_account(
    chain: Control, alice: User, bob: User
) -> None:
    invoice = address_of(alice)
    pay_onchain(chain, invoice, 70_000, blocks=1)
    api = api_of(alice)
    assert api.post("/send", {"username": "bob", "amount": 50_000}).status_code == 200
    chain.call("reorg", depth=1, remine=False)
    services.scan_bitcoin()
    assert available_sat(alice) == 0
    assert available_sat(bob) == 50_000  # he was paid in good faith
    shortfall = Transfer.objects.get(kind="reverse.onchain.shortfall")
    assert (shortfall.amount_msat, shortfall.debit_id) == (50_000_000, ledger.House.BAD_DEBT)
    alice.refresh_from_db()
    assert alice.frozen_at is not None
    assert AuditEvent.objects.filter(user=alice, action="account.frozen").exists()
    assert api.get("/me").status_code == 200

    chain.mine()
    services.scan_bitcoin()
    assert available_sat(alice) == 20_000  # what she had not spent, not the whole deposit again
    assert ledger.house_balance_msat(ledger.House.BAD_DEBT) == 0


def test_a_reversed_deposit_whose_coins_are_spent_elsewhere_has_failed(
    chain: Control, alice: User
) -> None:
    invoice = address_of(alice)
    txid = pay_onchain(chain, invoice, 70_000, blocks=1)
    chain.call("reorg", depth=1, remine=False)
    services.scan_bitcoin()
    chain.conflict(txid)
    services.scan_bitcoin()
    assert Deposit.objects.get().state == Deposit.State.CONFLICTED
    assert statement_of(alice)[0].status == "failed"
    assert shown(invoice)[:2] == (0, 0)
    assert available_sat(alice) == 0


# --- The node ------------------------------------------------------------------------------------


def test_coins_for_an_address_of_nobody_go_to_suspense_once_final(
    chain: Control, alice: User, settings: Any
) -> None:
    settings.CONFIRMATION_TIERS = ((0, 1), (1, 3))
    address = bitcoin().new_address(label="treasury", address_type="bech32")
    txid = chain.deposit(address, 12_345)
    chain.mine(2)
    services.scan_bitcoin()
    assert not Transfer.objects.filter(external_id__startswith=f"onchain:{txid}").exists()
    chain.mine()
    services.scan_bitcoin()
    services.scan_bitcoin()
    kept = Transfer.objects.get(external_id__startswith=f"onchain:{txid}")
    assert (kept.kind, kept.credit_id) == ("receive.unmatched", ledger.House.SUSPENSE)
    assert kept.amount_msat == 12_345_000


def test_what_the_wallet_held_before_the_first_look_is_the_operators_own(world: Control) -> None:
    """money-L1: coins of a few blocks ago, too, which would be listed again."""
    address = bitcoin().new_address(label="treasury", address_type="bech32")
    txid = world.deposit(address, 12_345)
    world.mine()
    services.scan_bitcoin()
    world.mine(10)
    services.scan_bitcoin()
    assert not Transfer.objects.filter(external_id__startswith=f"onchain:{txid}").exists()


def test_a_node_that_does_not_know_our_last_block_stops_everything(
    chain: Control, alice: User, settings: Any
) -> None:
    Cursor.objects.update_or_create(name="bitcoin", defaults={"value": "ab" * 32})
    with pytest.raises(NodeRefused):
        services.scan_bitcoin()
    assert settings.STOP_FILE.exists()
    assert Cursor.objects.get(name="bitcoin").value == "ab" * 32


def test_another_network_is_not_scanned(chain: Control, alice: User, settings: Any) -> None:
    invoice = address_of(alice)
    chain.deposit(invoice["hash"], 5_000)
    chain.mine()
    settings.NETWORK = "signet"
    services.scan_bitcoin()
    assert available_sat(alice) == 0
    assert not Deposit.objects.exists()


def test_a_tip_on_chain_is_kept_apart(chain: Control, alice: User) -> None:
    invoice = address_of(alice, amount=1_000, tip=100)
    pay_onchain(chain, invoice, 1_100, blocks=1)
    [line] = statement_of(alice)
    assert (line.amount_sat, line.tip_sat) == (1_000, 100)
    assert shown(invoice) == (0, 1_100, "paid")


def test_m04_m05_fifty_handlers_of_one_deposit_credit_it_once(
    simnet_nodes: Control, cloned_db: Any, redis: Any
) -> None:
    from invoices.services.deposits import _Chain, _credit, _follow, _note

    alice = make_user("alice")
    fund(alice, 1)
    invoice = address_of(alice)
    simnet_nodes.deposit(invoice["hash"], 100_000)
    simnet_nodes.mine()
    node = bitcoin()
    listed = node.receipts_since(None, confirmations=1).outputs
    output = next(output for output in listed if output.address == invoice["hash"])

    def handle() -> None:
        _note(output, 1)
        deposit = Deposit.objects.get(txid=output.txid, vout=output.vout)
        _follow(_Chain(node), deposit)
        transaction = node.transaction(output.txid)
        assert transaction is not None
        _credit(deposit, transaction)

    assert in_threads(20, handle) == []
    assert available_sat(alice) == 100_001
    assert len(credits_of(alice)) == 1
    assert seen(invoice)["received"] == 100_000


# --- An outage, a second scanner, a transaction with many outputs --------------------------------


def test_a_reorganisation_in_a_long_outage_is_noticed(chain: Control, alice: User) -> None:
    """money-H5: what is compared reaches back from where we looked last, not from today's tip."""
    invoice = address_of(alice)
    txid = pay_onchain(chain, invoice, 50_000, blocks=1)
    assert available_sat(alice) == 50_000
    chain.conflict(txid)
    chain.mine(REORG_BLOCKS + 20)
    services.scan_bitcoin()
    assert available_sat(alice) == 0
    services.scan_bitcoin()
    assert Deposit.objects.get().state == Deposit.State.CONFLICTED


def test_a_credit_that_the_node_names_as_removed_is_looked_at_however_old_it_is(
    chain: Control, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money-H5: Bitcoin Core names them once the block that we looked from is gone, too."""
    monkeypatch.setattr("invoices.services.deposits._check_credited", lambda *_, **__: None)
    txid = pay_onchain(chain, address_of(alice), 50_000, blocks=10)
    chain.conflict(txid)
    chain.mine()
    services.scan_bitcoin()
    assert available_sat(alice) == 0


def test_a_deposit_that_another_scan_brought_back_and_credited_is_not_credited_again(
    chain: Control, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money-K2: the first scan reads the deposit as conflicted; before it holds the lock, a second
    one brings it back and credits it."""
    invoice = address_of(alice)
    txid = pay_onchain(chain, invoice, 50_000)
    deposits._conflict(Deposit.objects.get(txid=txid))
    chain.mine()
    listed = bitcoin().receipts_since(None, confirmations=6).outputs
    [output] = [output for output in listed if output.txid == txid]
    lock = deposits.lock

    def lock_after_a_second_scan(invoice_id: UUID) -> Invoice:
        monkeypatch.setattr(deposits, "lock", lock)
        services.scan_bitcoin()
        assert available_sat(alice) == 50_000
        return lock(invoice_id)

    monkeypatch.setattr(deposits, "lock", lock_after_a_second_scan)
    deposits._note(output, 1)
    services.scan_bitcoin()
    assert available_sat(alice) == 50_000
    assert len(credits_of(alice)) == 1
    assert Deposit.objects.get().state == Deposit.State.CREDITED


def test_a_deposit_that_cannot_be_noted_holds_up_no_other_and_is_listed_again(
    chain: Control, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    his, hers = address_of(bob), address_of(alice)
    lock = deposits.lock

    def lock_all_but_his(invoice_id: UUID) -> Invoice:
        if str(invoice_id) == his["id"]:
            raise ValueError("an odd row")
        return lock(invoice_id)

    monkeypatch.setattr(deposits, "lock", lock_all_but_his)
    chain.call("deposit", outputs={his["hash"]: 4_000, hers["hash"]: 6_000})
    chain.mine(7)
    for _ in range(2):
        with pytest.raises(ValueError, match="odd"):
            services.scan_bitcoin()
    assert (available_sat(bob), available_sat(alice)) == (0, 6_000)
    monkeypatch.undo()
    services.scan_bitcoin()
    assert (available_sat(bob), available_sat(alice)) == (4_000, 6_000)


def test_a_credit_that_cannot_be_looked_at_again_holds_up_no_other(
    chain: Control, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    his, hers = address_of(bob), address_of(alice)
    pay_onchain(chain, his, 4_000, blocks=0)
    pay_onchain(chain, hers, 6_000, blocks=1)
    reverse = deposits._reverse

    def reverse_all_but_his(deposit: Deposit) -> None:
        if deposit.amount_sat == 4_000:
            raise ValueError("an odd row")
        reverse(deposit)

    monkeypatch.setattr(deposits, "_reverse", reverse_all_but_his)
    chain.call("reorg", depth=1, remine=False)
    with pytest.raises(ValueError, match="odd"):
        services.scan_bitcoin()
    assert (available_sat(bob), available_sat(alice)) == (4_000, 0)
    monkeypatch.undo()
    services.scan_bitcoin()
    assert (available_sat(bob), available_sat(alice)) == (0, 0)


def test_a_scan_asks_for_each_transaction_once_however_many_outputs_it_has(
    chain: Control, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """money-H9"""
    asked: Counter[str] = Counter()
    call = BitcoinCore._call

    def counted(self: BitcoinCore, method: str, *args: Any, **options: Any) -> Any:
        asked[method] += 1
        return call(self, method, *args, **options)

    monkeypatch.setattr(BitcoinCore, "_call", counted)

    def calls_of_a_scan() -> Counter[str]:
        asked.clear()
        services.scan_bitcoin()
        return Counter(asked)

    scans = []
    for outputs in (2, 12):
        addresses = [address_of(alice)["hash"] for _ in range(outputs)]
        chain.call("deposit", outputs=dict.fromkeys(addresses, 600))
        seen = calls_of_a_scan()
        chain.mine()
        scans.append((seen["gettransaction"], calls_of_a_scan()["gettransaction"]))
    assert available_sat(alice) == 14 * 600
    assert scans == [(1, 1), (1, 1)]
