"""Notice on-chain deposits, credit them when they are deep enough, take them back after a reorg.

A deposit is shown when it is seen and credited when the node, asked again at that moment, says
that it is confirmed in a block of the active chain. Nothing is decided by what a list contains or
leaves out: a conflicted deposit vanishes from `listsinceblock`, and a reorg may not be mentioned.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts import ledger, services, statement
from accounts.models import Activity, Event
from coinos.errors import NodeUnavailable
from coinos.failpoints import failpoint
from coinos.killswitch import stop_sends
from coinos.leases import only_one
from coinos.money import MSAT_PER_SAT
from coinos.nodes import bitcoin
from coinos.nodes.base import BitcoinNode, NodeRefused, Output, Receipts, WalletTransaction
from invoices.models import Address, Cursor, Deposit, Invoice
from invoices.services.receipts import add, lock, tell_webhooks, tip_within, withdraw_requests
from invoices.webhooks import News

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

CURSOR = "bitcoin"
REORG_BLOCKS = 100  # credited deposits this close to the tip are compared with the active chain
WAITING = [Deposit.State.SEEN, Deposit.State.REVERSED]


def scan_bitcoin() -> bool:
    """Bring every deposit up to date with the chain; one process at a time, False in others.

    1. List what is new since the cursor. 2. Reverse credits whose block has left the active chain.
    3. Note what is new. 4. Credit or mark as conflicted what waits. 5. Move the cursor, once all of
    it is committed. Does nothing while the node is catching up.
    """
    with only_one("scan_bitcoin") as mine:
        if not mine:
            return False
        node = bitcoin()
        info = node.info()
        if not info.synced or info.network != settings.NETWORK:
            logger.warning("the bitcoin node is not ready: network %s", info.network)
            return True
        chain = _Chain(node)
        cursor = Cursor.objects.filter(name=CURSOR).first()
        try:
            receipts = (
                node.receipts_since(cursor.value, confirmations=most_confirmations())
                if cursor
                # Nothing of today is listed again: it is the operator's own.
                else node.receipts_since(None, confirmations=1)
            )
            failpoint("dep.after_list")
            seen_height = node.block_height(cursor.value) if cursor else info.blocks
            unchecked = _check_credited(chain, seen_height=min(seen_height, info.blocks))
            unchecked = _check_removed(chain, receipts.removed_txids) or unchecked
        except NodeRefused as refusal:
            if refusal.code == "block_unknown":
                stop_sends("the bitcoin node does not know a block that our deposits were in")
            raise
        unnoted = _note_new(receipts, is_first_look=cursor is None)
        waiting = Deposit.objects.filter(state__in=WAITING).order_by("created")
        _one_by_one(functools.partial(_follow, chain), waiting)
        if left_out := unchecked or unnoted:
            raise left_out  # the cursor stays, so that it is listed again
        Cursor.objects.update_or_create(name=CURSOR, defaults={"value": receipts.next_block_hash})
        return True


def _one_by_one(do: Callable[[Item], None], items: Iterable[Item]) -> Exception | None:
    """Do each; one that cannot be done holds up no others. Returns the first error of those."""
    failure: Exception | None = None
    for item in items:
        try:
            do(item)
        except (NodeUnavailable, OperationalError, InterfaceError):
            raise
        except Exception as error:
            logger.critical("the scan has to leave out %s", item, exc_info=True)
            failure = failure or error
    return failure


class _Chain:
    """What one scan asks the node: once for each transaction and block, however many outputs it
    has. An answer for one output is as large as the whole transaction."""

    def __init__(self, node: BitcoinNode) -> None:
        self.transaction = functools.cache(node.transaction)
        self.block_is_active = functools.cache(node.block_is_active)


def confirmations_required(amount_sat: int) -> int:
    """Confirmations before a deposit is credited: more for large amounts (design 7)."""
    return max(needed for from_sat, needed in settings.CONFIRMATION_TIERS if amount_sat >= from_sat)


def most_confirmations() -> int:
    """No deposit waits for more than this."""
    return max(needed for _, needed in settings.CONFIRMATION_TIERS)


# --- Seen ----------------------------------------------------------------------------------------


def _note_new(receipts: Receipts, *, is_first_look: bool) -> Exception | None:
    """Write a row for each output that is new. Returns the error of the first that cannot be."""
    # Many small outputs of one transaction are as large as the transaction.
    transaction_sat: Counter[str] = Counter()
    for output in receipts.outputs:
        transaction_sat[output.txid] += output.amount_sat

    def note(output: Output) -> None:
        if output.amount_sat > 0 and output.confirmations >= 0:
            is_ours = _note(output, confirmations_required(transaction_sat[output.txid]))
            # What the wallet held before we first looked is the operator's own.
            if not is_ours and not is_first_look:
                _note_unmatched(output)

    return _one_by_one(note, receipts.outputs)


@ledger.atomic
def _note(output: Output, confirmations_required: int) -> bool:
    """Record that an output pays a user; no balance changes. Repeating it is harmless.
    False when the address is none of ours."""
    address = Address.objects.filter(address=output.address).first()
    if address is None:
        return False
    deposit = Deposit.objects.filter(txid=output.txid, vout=output.vout).first()
    if deposit:
        if deposit.state == Deposit.State.CONFLICTED:
            _bring_back(deposit)
        return True
    invoice = lock(address.invoice_id)
    deposit, is_new = Deposit.objects.get_or_create(
        txid=output.txid,
        vout=output.vout,
        defaults={
            "address": address,
            "amount_sat": output.amount_sat,
            "confirmations": output.confirmations,
            "confirmations_required": confirmations_required,
        },
    )
    if not is_new:
        return True
    tip_sat = 0
    if not invoice.received_sat and not invoice.pending_sat:
        tip_sat = tip_within(invoice, deposit.amount_sat)
    activity = statement.line(
        user_id=invoice.user_id,
        type=Activity.Type.BITCOIN,
        status=Activity.Status.PENDING,
        amount_sat=deposit.amount_sat - tip_sat,
        tip_sat=tip_sat or None,
        hash=address.address,
        ref=deposit.outpoint,
        invoice_id=invoice.id,
        memo=invoice.memo,
        currency=invoice.currency,
        rate=invoice.rate,
    )
    event_ids = statement.record_all([activity])
    deposit.activity_id = activity.id
    deposit.save(update_fields=["activity_id"])
    _count_pending(invoice)
    tell_webhooks(
        [News(invoice, activity, event_ids[activity.id], invoice.received_sat, confirmed=False)]
    )
    return True


@ledger.atomic
def _note_unmatched(output: Output) -> None:
    """Coins for an address of the wallet that no user has: to suspense, once they are final."""
    if output.confirmations < most_confirmations():
        return  # it is listed again until then
    outpoint = f"{output.txid}:{output.vout}"
    if ledger.receive_unmatched(
        source=ledger.House.ONCHAIN,
        external_id=f"onchain:{outpoint}",
        amount_msat=output.amount_sat * MSAT_PER_SAT,
        cause=ledger.Cause("deposit", outpoint),
    ):
        logger.error("the deposit %s matches no user and goes to suspense", outpoint)


# --- Waiting -------------------------------------------------------------------------------------


def _follow(chain: _Chain, deposit: Deposit) -> None:
    """Ask for this very transaction, and credit the deposit or mark it as conflicted."""
    transaction = chain.transaction(deposit.txid)
    if transaction is None:
        logger.error("the wallet does not know the transaction of deposit %s", deposit.outpoint)
    elif transaction.confirmations < 0:
        _conflict(deposit)
    elif _is_deep_enough(chain, deposit, transaction):
        failpoint("dep.before_credit")
        _credit(deposit, transaction)
        failpoint("dep.after_credit")
    elif transaction.confirmations != deposit.confirmations:
        Deposit.objects.filter(id=deposit.id).update(confirmations=transaction.confirmations)


def _is_deep_enough(chain: _Chain, deposit: Deposit, transaction: WalletTransaction) -> bool:
    return (
        transaction.confirmations >= deposit.confirmations_required
        and transaction.block_hash is not None
        and chain.block_is_active(transaction.block_hash)
    )


@ledger.atomic
def _credit(deposit: Deposit, transaction: WalletTransaction) -> None:
    """Book a confirmed deposit, as a new credit when it confirms again after a reorg (M26)."""
    invoice, deposit = _lock(deposit)
    if deposit.state not in WAITING:
        return
    ledger.receive_onchain(
        [
            ledger.Arrived(
                user_id=invoice.user_id,
                ref=deposit.credit_id(deposit.sequence),
                amount_msat=deposit.amount_sat * MSAT_PER_SAT,
                cause=ledger.Cause("deposit", str(deposit.id)),
            )
        ]
    )
    if deposit.sequence:  # the house bore what had been spent while the coins were gone
        ledger.repay_shortfall(
            user_id=invoice.user_id,
            outpoint=deposit.credit_id(deposit.sequence - 1),
            cause=ledger.Cause("deposit", str(deposit.id)),
        )
    deposit.state = Deposit.State.CREDITED
    deposit.sequence += 1
    deposit.confirmations = transaction.confirmations
    deposit.block_hash, deposit.block_height = (
        transaction.block_hash,
        transaction.block_height,
    )
    deposit.credited_at = timezone.now()
    deposit.save()
    add(invoice, deposit.amount_sat)
    if invoice.is_paid:
        withdraw_requests([invoice])
    _count_pending(invoice)
    _tell(invoice, deposit, Activity.Status.SETTLED)


@ledger.atomic
def _conflict(deposit: Deposit) -> None:
    """Another transaction has spent the deposit's inputs: it will not come (M25)."""
    invoice, deposit = _lock(deposit)
    if deposit.state not in WAITING:
        return
    deposit.state = Deposit.State.CONFLICTED
    deposit.save(update_fields=["state"])
    _count_pending(invoice)
    reason = _("The sender replaced this transaction by another one")
    _tell(invoice, deposit, Activity.Status.FAILED, reason)


def _bring_back(deposit: Deposit) -> None:
    """A reorg undid the conflict: the deposit waits again. Another scan may have brought it back
    before we held the lock, and may even have credited it."""
    invoice, deposit = _lock(deposit)
    if deposit.state != Deposit.State.CONFLICTED:
        return
    deposit.state = Deposit.State.SEEN
    deposit.save(update_fields=["state"])
    _count_pending(invoice)
    _tell(invoice, deposit, Activity.Status.PENDING)


# --- Credited ------------------------------------------------------------------------------------


def _check_credited(chain: _Chain, *, seen_height: int) -> Exception | None:
    """Compare the blocks of recent credits with the active chain: those that were recent when we
    looked last, at `seen_height`. Since then any number of blocks may have been found. Returns the
    error of the first that cannot be looked at again."""
    shallow = Deposit.objects.filter(
        state=Deposit.State.CREDITED, block_height__gt=seen_height - REORG_BLOCKS
    )
    hashes = set(shallow.values_list("block_hash", flat=True))
    gone = [each for each in hashes if each and not chain.block_is_active(each)]
    return _one_by_one(functools.partial(_recheck, chain), shallow.filter(block_hash__in=gone))


def _check_removed(chain: _Chain, txids: Iterable[str]) -> Exception | None:
    """Look again at credits that the node says have left a block, however deep it was. Returns the
    error of the first that cannot be looked at."""
    credited = Deposit.objects.filter(state=Deposit.State.CREDITED, txid__in=list(txids))
    gone = [
        deposit
        for deposit in credited
        if not (deposit.block_hash and chain.block_is_active(deposit.block_hash))
    ]
    return _one_by_one(functools.partial(_recheck, chain), gone)


def _recheck(chain: _Chain, deposit: Deposit) -> None:
    """The block of a credit is gone: the deposit stands in another block, or is taken back."""
    transaction = chain.transaction(deposit.txid)
    if transaction is None:
        stop_sends(
            f"the wallet has lost the transaction of the credited deposit {deposit.outpoint}"
        )
    elif _is_deep_enough(chain, deposit, transaction):
        Deposit.objects.filter(id=deposit.id, state=Deposit.State.CREDITED).update(
            block_hash=transaction.block_hash, block_height=transaction.block_height
        )
    else:
        failpoint("dep.before_reversal")
        _reverse(deposit)


@ledger.atomic
def _reverse(deposit: Deposit) -> None:
    """Take a credit back by a new row. What the user has spent already is the house's loss, and
    the account is frozen until an operator has looked."""
    invoice, deposit = _lock(deposit)
    if deposit.state != Deposit.State.CREDITED:
        return
    shortfall_msat = ledger.reverse_onchain(
        user_id=invoice.user_id,
        outpoint=deposit.credit_id(deposit.sequence - 1),
        amount_msat=deposit.amount_sat * MSAT_PER_SAT,
        cause=ledger.Cause("deposit", str(deposit.id)),
    )
    deposit.state = Deposit.State.REVERSED
    deposit.confirmations, deposit.block_hash, deposit.block_height = 0, None, None
    deposit.save()
    add(invoice, -deposit.amount_sat)
    _count_pending(invoice)
    reason = _("The block of this deposit was replaced; it has to confirm again")
    _tell(invoice, deposit, Activity.Status.PENDING, reason)
    if shortfall_msat:
        reason = f"deposit {deposit.outpoint} was undone after {shortfall_msat} msat were spent"
        services.freeze(invoice.user, actor="system", reason=reason)
        logger.critical("account %s frozen: %s", invoice.user_id, reason)


# --- Rows ----------------------------------------------------------------------------------------


def _lock(deposit: Deposit) -> tuple[Invoice, Deposit]:
    """The deposit as it is now, with its invoice locked."""
    invoice = lock(Address.objects.values_list("invoice_id", flat=True).get(pk=deposit.address_id))
    return invoice, Deposit.objects.select_for_update().get(id=deposit.id)


def _tell(invoice: Invoice, deposit: Deposit, status: str, reason: str = "") -> None:
    """Move the deposit's line to this status, and tell the webhook: that money is gone again is
    news as much as that it came."""
    assert deposit.activity_id is not None
    activity = Activity.objects.get(id=deposit.activity_id)
    activity = statement.change(activity, status=status, reason=reason)
    event = Event.objects.filter(activity=activity).latest("id")
    confirmed = status == Activity.Status.SETTLED
    tell_webhooks([News(invoice, activity, event.id, invoice.received_sat, confirmed=confirmed)])


def _count_pending(invoice: Invoice) -> None:
    waiting = Deposit.objects.filter(address__invoice=invoice, state__in=WAITING)
    invoice.pending_sat = sum(waiting.values_list("amount_sat", flat=True))
    invoice.save(update_fields=["pending_sat"])
