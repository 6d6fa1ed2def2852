"""The Lightning network around our node: who is there, who owes whom, and what really happened.

    ours ── channel ── bob ── carol, fail, hold, slow       (one hop further, for a fee)

Outside nodes make invoices for us to pay and pay ours. Three of them misbehave on purpose, for
people who test an integration:

* fail  knows nothing of its own invoices: every payment to it is refused (203)
* hold  keeps each payment for 60 s, then takes it (or what the control socket says earlier)
* slow  takes each payment after 5 s

`Network` also keeps the truth: what settled, whatever our node's RPC said about it.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import coincurve

from coinos.simnet import bolt11, bolt12
from coinos.simnet.records import Entity, Invoice, Offer, OutsideInvoice, Part, Receipt, Store

T = TypeVar("T")

CURRENCY = "bcrt"
CHANNEL_ID = "128x1x0"
FEE_PPM = 100  # what bob takes for forwarding; no base fee
OUTSIDE = ("bob", "carol", "fail", "hold", "slow")


class WorldError(Exception):
    """The outside world could not do it. `code` is a word: expired, already_paid, unknown, …"""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Timing:
    """How long things take, in seconds. Real nodes differ; the order of events does not."""

    route: float = 0.005  # from the call of xpay to the first row in sendpays
    hop: float = 0.02  # until the payee has answered
    removal: float = 0.2  # a settled HTLC still stands in the channel
    attempt_linger: float = 0.3  # listpays says pending after xpay has failed
    incomplete_set: float = 60.0  # a receiver waits for the missing parts
    hold: float = 60.0
    slow: float = 5.0
    expiry_tick: float = 0.25


@dataclass(frozen=True)
class Node:
    name: str
    secret_key: bytes
    id: str
    fee_ppm: int

    def fee_msat(self, amount_msat: int) -> int:
        """The routing fee for delivering `amount_msat` to this node."""
        return amount_msat * self.fee_ppm // 1_000_000


@dataclass(frozen=True)
class Request:
    """What a payment needs to know of a BOLT 11 or BOLT 12 invoice."""

    invstring: str
    payment_hash: str
    payee: str
    amount_msat: int | None
    expires_at: int
    currency: str


def read_request(invstring: str) -> Request:
    """Decode something payable. Raises bolt11.Bolt11Error or bolt12.Bolt12Error."""
    if invstring.lower().startswith("lni"):
        invoice = bolt12.decode(invstring)
        return Request(
            invstring=invstring,
            payment_hash=invoice["invoice_payment_hash"],
            payee=invoice["invoice_node_id"],
            amount_msat=invoice["invoice_amount_msat"],
            expires_at=invoice["invoice_created_at"] + invoice["invoice_relative_expiry"],
            currency=CURRENCY,
        )
    decoded = bolt11.decode(invstring)
    return Request(
        invstring=invstring,
        payment_hash=decoded.payment_hash,
        payee=decoded.payee,
        amount_msat=decoded.amount_msat,
        expires_at=decoded.expires_at,
        currency=decoded.currency,
    )


class Network:
    """Nodes, invoices on both sides, receipts. Outgoing payments are in `payments.py`."""

    def __init__(
        self, store: Store, *, timing: Timing | None = None, height: Callable[[], int] = lambda: 150
    ) -> None:
        self.store = store
        self.timing = timing or Timing()
        self.height = height
        self.is_syncing = False
        if not store.invoices and not store.counters.invoice_created:
            store.put(store.seed, store.channel, store.counters)
        self.ours = self._node("ours", 0)
        self.nodes = {name: self._node(name, 0 if name == "bob" else FEE_PPM) for name in OUTSIDE}
        self.by_id = {node.id: node for node in self.nodes.values()}
        self._changed = asyncio.Event()

    def _node(self, name: str, fee_ppm: int) -> Node:
        secret_key = hashlib.sha256(f"{self.store.seed.hex}/{name}".encode()).digest()
        node_id = coincurve.PrivateKey(secret_key).public_key.format().hex()
        return Node(name, secret_key, node_id, fee_ppm)

    # --- waiting -----------------------------------------------------------------------------

    def notify(self) -> None:
        """Wake everybody who waits for something to change."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def until(self, look: Callable[[], T | None], timeout: float | None) -> T | None:
        """The first thing `look` finds, now or after a change; None when time is up."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (found := look()) is None:
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return None
            try:
                await asyncio.wait_for(self._changed.wait(), remaining)
            except TimeoutError:
                return None
        return found

    async def expire_invoices(self) -> None:
        """The node's timer: the only thing that ever makes an invoice expired."""
        while True:
            await asyncio.sleep(self.timing.expiry_tick)
            while self.store.expiring and self.store.expiring[0][0] <= time.time():
                _, created_index = heapq.heappop(self.store.expiring)
                invoice = self.store.invoices.get(created_index)
                if invoice is not None and invoice.status == "unpaid":
                    invoice.status = "expired"
                    invoice.updated_index = self.store.next_index("invoice_updated")
                    self.store.put(invoice, self.store.counters)
                    self.notify()

    # --- our invoices ------------------------------------------------------------------------

    def hints(self, last_hop: Node) -> tuple[bolt11.RouteHint, ...]:
        """Our channel and those of the outside nodes are not announced, except bob's."""
        if last_hop.name == "bob":
            return ()
        hint = bolt11.RouteHint(self.nodes["bob"].id, CHANNEL_ID, 0, FEE_PPM, 6)
        return (hint,)

    def mark_paid(self, invoice: Invoice, amount_msat: int, payer: str) -> list[Entity]:
        """Our invoice has been paid. The caller puts what comes back, in one record."""
        store = self.store
        invoice.status = "paid"
        invoice.pay_index = store.next_index("pay_index")
        invoice.updated_index = store.next_index("invoice_updated")
        invoice.amount_received_msat = amount_msat
        invoice.paid_at = int(time.time())
        receipt = Receipt(invoice.payment_hash, amount_msat, payer, invoice.paid_at)
        changed: list[Entity] = [invoice, receipt, store.counters]
        if offer := store.offers.get(invoice.local_offer_id or ""):
            offer.used = True
            changed.append(offer)
        return changed

    def invoice_for_offer(
        self, offer: dict[str, Any], amount_msat: int, payer_note: str | None
    ) -> str | None:
        """The issuer's BOLT 12 invoice for a decoded offer; None when it does not answer.

        The issuer may be an outside node, or ours (asked by an outside payer, or by ourselves).
        """
        known = self.store.offers.get(offer["offer_id"])
        if known is None or (known.single_use and known.used):
            return None
        issuer = self.ours if known.node == "ours" else self.nodes[known.node]
        preimage = secrets.token_bytes(32)
        payment_hash = hashlib.sha256(preimage).hexdigest()
        now = int(time.time())
        invstring = bolt12.encode_invoice(
            secret_key=issuer.secret_key,
            offer=offer,
            amount_msat=amount_msat,
            payment_hash=payment_hash,
            created_at=now,
            payer_note=payer_note,
        )
        expires_at = now + bolt12.RELATIVE_EXPIRY_S
        if issuer is not self.ours:
            self.store.put(
                OutsideInvoice(
                    payment_hash, preimage.hex(), known.node, invstring, amount_msat, expires_at
                )
            )
            return invstring
        created_index = self.store.next_index("invoice_created")
        invoice = Invoice(
            created_index=created_index,
            label=f"{known.offer_id}-{payment_hash}-{created_index}",
            payment_hash=payment_hash,
            preimage=preimage.hex(),
            payment_secret=secrets.token_hex(32),
            invstring=invstring,
            amount_msat=amount_msat,
            description=known.description,
            expires_at=expires_at,
            local_offer_id=known.offer_id,
            payer_note=payer_note,
        )
        self.store.put(invoice, self.store.counters)
        self.notify()
        return invstring

    # --- the outside wallet ------------------------------------------------------------------

    def outside_invoice(
        self,
        *,
        amount_msat: int | None,
        description: str,
        expiry: int,
        node: str,
        hashed: bool = False,
        preimage: str | None = None,
    ) -> str:
        """An outside node's invoice for us to pay. Control.invoice says what there is to choose."""
        payee = self._outside_node(node)
        if amount_msat is not None and amount_msat <= 0:
            raise WorldError("bad_amount", "the amount must be positive")
        secret = bytes.fromhex(preimage) if preimage else secrets.token_bytes(32)
        payment_hash = hashlib.sha256(secret).hexdigest()
        now = int(time.time())
        invstring = bolt11.encode(
            secret_key=payee.secret_key,
            currency=CURRENCY,
            payment_hash=payment_hash,
            payment_secret=secrets.token_hex(32),
            created_at=now,
            expiry=expiry,
            amount_msat=amount_msat,
            description=None if hashed else description,
            description_hash=hashlib.sha256(description.encode()).hexdigest() if hashed else None,
            routes=self.hints(payee),
        )
        self.store.put(
            OutsideInvoice(payment_hash, secret.hex(), node, invstring, amount_msat, now + expiry)
        )
        return invstring

    def outside_offer(self, *, amount_msat: int | None, description: str, node: str) -> str:
        """An outside node's BOLT 12 offer for us to fetch an invoice from."""
        issuer = self._outside_node(node)
        bolt12_offer, offer_id = bolt12.encode_offer(
            secret_key=issuer.secret_key, amount_msat=amount_msat, description=description
        )
        self.store.put(Offer(offer_id, node, bolt12_offer, amount_msat, description, None))
        return bolt12_offer

    def pay_from_outside(
        self, invstring: str, amount_msat: int | None = None, payer: str = "bob"
    ) -> dict[str, Any]:
        """The outside wallet pays an invoice of ours. Raises WorldError as the world would.

        A fixed amount may be overpaid, up to twice, as Core Lightning accepts it. An offer of
        ours is paid by fetching an invoice from it first.
        """
        self._outside_node(payer)
        if invstring.lower().startswith("lno"):
            invstring, amount_msat = self._fetch_from_us(invstring, amount_msat), None
        try:
            request = read_request(invstring)
        except ValueError as error:
            raise WorldError("invalid", str(error)) from None
        invoice = self.store.invoice_by_hash.get(request.payment_hash)
        if request.payee != self.ours.id or invoice is None:
            raise WorldError("unknown", "our node does not know this invoice")
        if invoice.status == "paid":
            raise WorldError("already_paid", "this invoice has been paid already")
        if invoice.status == "expired" or request.expires_at <= time.time():
            raise WorldError("expired", "this invoice has expired")
        amount = self._amount_to_pay(invoice, amount_msat)
        channel = self.store.channel
        if channel.closing or amount > channel.total_msat - channel.to_us_msat:
            raise WorldError("no_route", "our node cannot receive that much")
        channel.in_payments_offered += 1
        channel.in_offered_msat += amount
        channel.withheld[invoice.payment_hash] = amount
        if not channel.withholding:
            self._commit()
        self.store.put(*self.mark_paid(invoice, amount, payer), channel)
        self.notify()
        return {
            "payment_hash": invoice.payment_hash,
            "preimage": invoice.preimage,
            "amount_msat": amount,
        }

    def _commit(self) -> None:
        """Both sides have removed the HTLCs of what we were paid."""
        channel = self.store.channel
        for amount in channel.withheld.values():
            channel.to_us_msat += amount
            channel.in_payments_fulfilled += 1
            channel.in_fulfilled_msat += amount
        channel.withheld.clear()

    def _fetch_from_us(self, offer: str, amount_msat: int | None) -> str:
        try:
            fields = bolt12.decode(offer)
        except ValueError as error:
            raise WorldError("invalid", str(error)) from None
        amount = amount_msat or fields.get("offer_amount_msat")
        if amount is None:
            raise WorldError("amount_required", "this offer has no amount: say how much")
        invoice = self.invoice_for_offer(fields, amount, None)
        if invoice is None:
            raise WorldError("unknown", "our node does not answer for this offer")
        return invoice

    @staticmethod
    def _amount_to_pay(invoice: Invoice, amount_msat: int | None) -> int:
        amount = invoice.amount_msat if amount_msat is None else amount_msat
        if amount is None:
            raise WorldError("amount_required", "this invoice has no amount: say how much")
        if amount <= 0:
            raise WorldError("bad_amount", "the amount must be positive")
        fixed = invoice.amount_msat
        if fixed is not None and not fixed <= amount <= 2 * fixed:
            raise WorldError("wrong_amount", "our node refuses that amount for this invoice")
        return amount

    def _outside_node(self, name: str) -> Node:
        if name not in self.nodes:
            raise WorldError("no_such_node", f"there is no node {name!r}: {', '.join(OUTSIDE)}")
        return self.nodes[name]

    # --- the channel -------------------------------------------------------------------------

    def withhold(self, on: bool) -> None:
        """Bob pays, takes the preimage and sends no commitment any more; or goes on."""
        self.store.channel.withholding = on
        if not on:
            self._commit()
        self.store.put(self.store.channel)

    def close_channel(self, how: str) -> None:
        """Close it by a mutual or our own unilateral transaction, which the next block has."""
        if how not in ("mutual", "unilateral"):
            raise WorldError("bad_close", "a channel is closed mutual or unilateral")
        if self.store.channel.closing or self.store.parts_pending:
            raise WorldError("busy", "the channel is closing or has payments in flight")
        self.store.channel.closing = how
        self.store.channel.closed_at_height = self.height()
        self.store.put(self.store.channel)

    def open_channel(self) -> None:
        """Open the channel again with what came of the last one, at once."""
        self.store.channel.closing = ""
        self.store.put(self.store.channel)

    # --- truth -------------------------------------------------------------------------------

    def payment(self, payment_hash: str) -> dict[str, Any]:
        """What really became of a payment, sent or received.

        `status`: settled, pending, failed, unpaid, expired or unknown. A settled payment whose
        `pending_parts` is not 0 may still grow its fee.
        """
        if parts := self.store.parts_by_hash.get(payment_hash):
            return {"payment_hash": payment_hash, "direction": "out"} | sent_truth(parts)
        receipt = self.store.receipts.get(payment_hash)
        invoice = self.store.invoice_by_hash.get(payment_hash)
        status = "settled" if receipt else invoice.status if invoice else "unknown"
        return {
            "payment_hash": payment_hash,
            "direction": "in" if receipt or invoice else None,
            "status": status,
            "amount_msat": receipt.amount_msat if receipt else None,
            "fee_msat": 0,
            "preimage": invoice.preimage if invoice else None,
            "pending_parts": 0,
        }

    def truth(self) -> dict[str, Any]:
        """Everything that settled. `received` and `sent` are keyed by payment_hash; a payment of
        our node to itself is in both."""
        sent = {
            payment_hash: {"amount_msat": truth["amount_msat"], "fee_msat": truth["fee_msat"]}
            for payment_hash, parts in self.store.parts_by_hash.items()
            if (truth := sent_truth(parts))["status"] == "settled"
        }
        received = {r.payment_hash: r.amount_msat for r in self.store.receipts.values()}
        return {
            "sent": sent,
            "sent_msat": sum(payment["amount_msat"] for payment in sent.values()),
            "fee_msat": sum(payment["fee_msat"] for payment in sent.values()),
            "received": received,
            "received_msat": sum(received.values()),
            "pending": sorted({p.payment_hash for p in self.store.parts_pending.values()}),
            "channel_msat": self.store.channel.to_us_msat,
        }


def sent_truth(parts: list[Part]) -> dict[str, Any]:
    complete = [part for part in parts if part.status == "complete"]
    pending = [part for part in parts if part.status == "pending"]
    counted = complete or pending
    return {
        "status": "settled" if complete else "pending" if pending else "failed",
        "amount_msat": sum(part.amount_msat for part in counted),
        "fee_msat": sum(part.amount_sent_msat - part.amount_msat for part in counted),
        "preimage": complete[0].preimage if complete else None,
        "pending_parts": len(pending),
    }
