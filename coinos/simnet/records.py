"""What simnet's Lightning network remembers: its entities, their indices, and their journal.

`Store.put` writes all entities of one event as one journal record, so after `kill -9` an event
has happened wholly or not at all. Every lookup an RPC needs is an index; nothing scans.
Amounts are msat, times are unix seconds.
"""

from __future__ import annotations

import heapq
import secrets
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coinos.simnet.journal import Journal


@dataclass
class Invoice:
    """An invoice of our node. `updated_index` is set once, when it is paid or expires."""

    created_index: int
    label: str
    payment_hash: str
    preimage: str
    payment_secret: str
    invstring: str
    amount_msat: int | None
    description: str
    expires_at: int
    status: str = "unpaid"  # unpaid | paid | expired
    updated_index: int | None = None
    pay_index: int | None = None
    amount_received_msat: int | None = None
    paid_at: int | None = None
    local_offer_id: str | None = None
    payer_note: str | None = None


@dataclass
class OutsideInvoice:
    """An invoice of a node of the outside world, for our node to pay."""

    payment_hash: str
    preimage: str
    node: str  # the name of the node in the network: bob, carol, fail, …
    invstring: str
    amount_msat: int | None
    expires_at: int
    paid_msat: int | None = None
    held: bool = False  # the control socket asked the receiver to keep the HTLC


@dataclass
class Part:
    """One part of a payment of our node: a row of `listsendpays` and the HTLC behind it.

    `resolve_at` and `will_settle` say when and how it ends; None: when somebody releases it.
    """

    created_index: int
    groupid: int
    partid: int
    payment_hash: str
    destination: str
    invstring: str
    amount_msat: int
    amount_sent_msat: int
    created_at: int
    expiry_height: int
    to_self: bool = False
    label: str | None = None
    status: str = "pending"  # pending | complete | failed
    updated_index: int | None = None
    completed_at: int | None = None
    preimage: str | None = None
    resolve_at: float | None = None
    will_settle: bool = True
    fail_code: int = 203  # 203: the payee refused; 209: it failed some other way


@dataclass
class Receipt:
    """The truth about money that reached our node, even after its invoice was deleted."""

    payment_hash: str
    amount_msat: int
    payer: str
    paid_at: int


@dataclass
class Offer:
    """A BOLT 12 offer; `node` is `ours` or a node of the outside world."""

    offer_id: str
    node: str
    bolt12: str
    amount_msat: int | None
    description: str
    label: str | None
    single_use: bool = False
    used: bool = False


@dataclass
class Channel:
    """Our only channel, to bob. `to_us_msat` follows each settled payment.

    `closing` is mutual or unilateral, since the block `closed_at_height`. While bob is
    `withholding` his commitments, what he pays us is `withheld`, by payment hash: the invoice is
    paid, the HTLC stands, and `to_us_msat` has not grown."""

    total_msat: int
    to_us_msat: int
    in_payments_offered: int = 0
    in_offered_msat: int = 0
    in_payments_fulfilled: int = 0
    in_fulfilled_msat: int = 0
    out_payments_offered: int = 0
    out_offered_msat: int = 0
    out_payments_fulfilled: int = 0
    out_fulfilled_msat: int = 0
    closing: str = ""
    closed_at_height: int = 0
    withholding: bool = False
    withheld: dict[str, int] = field(default_factory=dict)


@dataclass
class Counters:
    """Indices only grow, also over deletions: a deleted invoice leaves a gap."""

    invoice_created: int = 0
    invoice_updated: int = 0
    pay_index: int = 0
    sendpay_created: int = 0
    sendpay_updated: int = 0


@dataclass
class Seed:
    """From which every key of the network derives."""

    hex: str = field(default_factory=lambda: secrets.token_hex(32))


Entity = Invoice | OutsideInvoice | Part | Receipt | Offer | Channel | Counters | Seed
_CLASSES: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (Invoice, OutsideInvoice, Part, Receipt, Offer, Channel, Counters, Seed)
}


class Store:
    """The network's memory. Change an entity, then `put` it, before telling anybody."""

    def __init__(self, path: Path, *, capacity_msat: int) -> None:
        self.seed = Seed()
        self.counters = Counters()
        self.channel = Channel(total_msat=capacity_msat, to_us_msat=capacity_msat // 2)
        self.invoices: dict[int, Invoice] = {}
        self.invoice_by_label: dict[str, Invoice] = {}
        self.invoice_by_hash: dict[str, Invoice] = {}
        self.invoices_created: list[int] = []  # created_index, ascending
        self.invoices_updated: list[tuple[int, int]] = []  # (updated_index, created_index)
        self.invoices_paid: list[tuple[int, int]] = []  # (pay_index, created_index)
        self.expiring: list[tuple[int, int]] = []  # heap of (expires_at, created_index)
        self.outside: dict[str, OutsideInvoice] = {}
        self.parts: dict[int, Part] = {}
        self.parts_by_hash: dict[str, list[Part]] = defaultdict(list)
        self.parts_created: list[int] = []
        self.parts_updated: list[tuple[int, int]] = []
        self.parts_pending: dict[int, Part] = {}
        self.receipts: dict[str, Receipt] = {}
        self.offers: dict[str, Offer] = {}
        self._journal = Journal(path)
        self._load()

    def put(self, *entities: Entity) -> None:
        """Remember these entities: one event, one record, on return it survives kill -9."""
        self._journal.append({"put": [_as_record(entity) for entity in entities]})
        for entity in entities:
            self._index(entity)

    def delete(self, invoice: Invoice) -> None:
        self._journal.append({"delete": invoice.created_index})
        self._forget(invoice)

    def delete_parts(self, parts: list[Part]) -> None:
        """Forget rows of `listsendpays`; their indices are not used again."""
        self._journal.append({"delete_parts": [part.created_index for part in parts]})
        self._forget_parts(part.created_index for part in parts)

    def next_index(self, name: str) -> int:
        """Count one of the Counters up. Put `self.counters` in the same record."""
        value = int(getattr(self.counters, name)) + 1
        setattr(self.counters, name, value)
        return value

    def first_paid_after(self, pay_index: int) -> Invoice | None:
        """The paid invoice with the lowest pay_index above the argument."""
        position = bisect_right(self.invoices_paid, (pay_index, 1 << 62))
        if position == len(self.invoices_paid):
            return None
        return self.invoices[self.invoices_paid[position][1]]

    def invoices_from(self, index: str, start: int) -> Iterator[Invoice]:
        """Invoices whose `created` or `updated` index is at least `start`, ascending."""
        if index == "created":
            for position in range(bisect_left(self.invoices_created, start), 1 << 62):
                if position >= len(self.invoices_created):
                    return
                yield self.invoices[self.invoices_created[position]]
        else:
            for position in range(bisect_left(self.invoices_updated, (start, 0)), 1 << 62):
                if position >= len(self.invoices_updated):
                    return
                yield self.invoices[self.invoices_updated[position][1]]

    def parts_from(self, index: str, start: int) -> Iterator[Part]:
        if index == "created":
            keys = self.parts_created[bisect_left(self.parts_created, start) :]
        else:
            found = bisect_left(self.parts_updated, (start, 0))
            keys = [created for _, created in self.parts_updated[found:]]
        return (self.parts[key] for key in keys)

    def in_flight_msat(self) -> int:
        return sum(p.amount_sent_msat for p in self.parts_pending.values() if not p.to_self)

    def close(self) -> None:
        self._journal.close()

    # --- loading ---------------------------------------------------------------------------

    def _load(self) -> None:
        for record in self._journal.replay():
            if "delete" in record:
                self._forget(self.invoices[record["delete"]])
                continue
            if "delete_parts" in record:
                self._forget_parts(record["delete_parts"])
                continue
            for name, values in record["put"]:
                self._index(_CLASSES[name](**values))
        self._journal.compact({"put": [_as_record(entity)]} for entity in self._everything())

    def _everything(self) -> Iterator[Entity]:
        yield from (self.seed, self.counters, self.channel)
        yield from (self.invoices[index] for index in self.invoices_created)
        for collection in (self.outside, self.parts, self.receipts, self.offers):
            yield from collection.values()

    # --- indices ---------------------------------------------------------------------------

    def _index(self, entity: Entity) -> None:
        match entity:
            case Invoice():
                self._index_invoice(entity)
            case Part():
                self._index_part(entity)
            case OutsideInvoice():
                self.outside[entity.payment_hash] = entity
            case Receipt():
                self.receipts[entity.payment_hash] = entity
            case Offer():
                self.offers[entity.offer_id] = entity
            case Channel():
                self.channel = entity
            case Counters():
                self.counters = entity
            case Seed():
                self.seed = entity

    def _index_invoice(self, invoice: Invoice) -> None:
        key = invoice.created_index
        if key not in self.invoices:
            insort(self.invoices_created, key)
            heapq.heappush(self.expiring, (invoice.expires_at, key))
        self.invoices[key] = invoice
        self.invoice_by_label[invoice.label] = invoice
        self.invoice_by_hash[invoice.payment_hash] = invoice
        _insert_once(self.invoices_updated, invoice.updated_index, key)
        _insert_once(self.invoices_paid, invoice.pay_index, key)

    def _forget(self, invoice: Invoice) -> None:
        key = invoice.created_index
        del self.invoices[key]
        del self.invoice_by_label[invoice.label]
        del self.invoice_by_hash[invoice.payment_hash]
        del self.invoices_created[bisect_left(self.invoices_created, key)]
        for order, index in (
            (self.invoices_updated, invoice.updated_index),
            (self.invoices_paid, invoice.pay_index),
        ):
            if index is not None:
                del order[bisect_left(order, (index, key))]

    def _forget_parts(self, keys: Iterable[int]) -> None:
        for key in keys:
            part = self.parts.pop(key)
            siblings = self.parts_by_hash[part.payment_hash]
            siblings.remove(part)
            if not siblings:
                del self.parts_by_hash[part.payment_hash]
            del self.parts_created[bisect_left(self.parts_created, key)]
            if part.updated_index is not None:
                del self.parts_updated[bisect_left(self.parts_updated, (part.updated_index, key))]
            self.parts_pending.pop(key, None)

    def _index_part(self, part: Part) -> None:
        key = part.created_index
        if key not in self.parts:
            insort(self.parts_created, key)
            self.parts_by_hash[part.payment_hash].append(part)
        elif self.parts[key] is not part:
            siblings = self.parts_by_hash[part.payment_hash]
            siblings[siblings.index(self.parts[key])] = part
        self.parts[key] = part
        _insert_once(self.parts_updated, part.updated_index, key)
        if part.status == "pending":
            self.parts_pending[key] = part
        else:
            self.parts_pending.pop(key, None)


def _as_record(entity: Entity) -> list[Any]:
    return [type(entity).__name__, vars(entity)]


def _insert_once(order: list[tuple[int, int]], index: int | None, key: int) -> None:
    if index is None:
        return
    position = bisect_left(order, (index, key))
    if position == len(order) or order[position] != (index, key):
        order.insert(position, (index, key))
