"""How our node pays: `xpay`, from the call to the last HTLC.

A payment is a group of parts; a part is a row of `listsendpays` and an HTLC. The call and the
HTLCs are two things: the call may answer before, without or against what the HTLCs do, its client
may hang up, the node may be killed; the HTLCs go on and end as the receiver decides.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from coinos.simnet.faults import PAYMENT_KINDS, Fault, Faults
from coinos.simnet.network import CURRENCY, Network, Node, Request, read_request
from coinos.simnet.records import Entity, Part
from coinos.simnet.rpc import INVALID_PARAMS, RpcError

MPP_PARTS = 3
RESERVE_MSAT = 160_000_000
COMMITMENT_FEE_MSAT = 4_306_000
CLTV_DELTA = 10


@dataclass(frozen=True)
class Paid:
    """What a successful `xpay` answers; `payment_hash` and `destination` are for `pay`."""

    payment_hash: str
    destination: str
    preimage: str
    amount_msat: int
    amount_sent_msat: int
    successful_parts: int
    failed_parts: int
    created_at: float


class Payments:
    """The outgoing payments of our node."""

    def __init__(self, network: Network, faults: Faults) -> None:
        self.network = network
        self.store = network.store
        self.faults = faults
        self.live_groups: set[int] = set()  # xpay still has an attempt object for these
        self.removing: dict[int, Part] = {}  # settled, but still standing in the channel
        self._resolved: dict[int, asyncio.Event] = {}  # by group: some part has ended
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def start(self) -> None:
        """Take up the HTLCs that were in flight when the process ended."""
        for part in list(self.store.parts_pending.values()):
            self._schedule(part)

    def forget_attempts(self) -> None:
        """A node restart: xpay's own memory goes, rows and HTLCs stay."""
        self.live_groups.clear()

    # --- xpay --------------------------------------------------------------------------------

    async def xpay(
        self,
        invstring: str,
        *,
        method: str = "xpay",
        amount_msat: int | None = None,
        maxfee_msat: int | None = None,
        label: str | None = None,
    ) -> Paid:
        """Pay, and answer as xpay does. Raises RpcError, with xpay's own codes.

        `retry_for` has no effect here, as it stops nothing that is in flight.
        """
        started = time.time()
        request = self._parse(invstring)
        amount = _amount(request, amount_msat)
        late = time.time() - request.expires_at
        if late >= 0:
            raise RpcError(207, f"Invoice expired {int(late)} seconds ago")
        self._refuse_if_paid(request)
        fee = self._route_fee(request, amount)
        if fee > (max(5000, amount // 100) if maxfee_msat is None else maxfee_msat):
            raise RpcError(206, "Failed: Could not find route without excessive cost")
        self._refuse_beyond_capacity(request, amount + fee)
        await asyncio.sleep(self.network.timing.route)

        self._refuse_if_busy(request)
        self._refuse_if_paid(request)
        self._refuse_beyond_capacity(request, amount + fee)
        fault = self.faults.draw(method, PAYMENT_KINDS)
        group = self._inject(request, amount, label, fault)
        try:
            await self._attempt(request, group, fault)
        except BaseException:
            self._linger(group)
            raise
        finally:
            del self._resolved[group]
        self.live_groups.discard(group)
        return self._paid(request, group, amount, started)

    def _parse(self, invstring: str) -> Request:
        try:
            request = read_request(invstring)
        except ValueError as error:
            kind = "bolt12" if invstring.lower().startswith("lni") else "bolt11"
            raise RpcError(INVALID_PARAMS, f"Invalid {kind} invoice: {error}") from None
        if request.currency != CURRENCY:
            raise RpcError(INVALID_PARAMS, "Invalid bolt11 invoice: Invoice is not for regtest")
        return request

    def _refuse_if_paid(self, request: Request) -> None:
        parts = self.store.parts_by_hash.get(request.payment_hash, ())
        if any(part.status == "complete" for part in parts):
            raise RpcError(219, "Already paid this invoice successfully")

    def _refuse_if_busy(self, request: Request) -> None:
        for part in self.store.parts_by_hash.get(request.payment_hash, ()):
            if part.status == "pending":
                text = (
                    f"Payment with groupid={part.groupid} still in progress, "
                    "cannot retry before that completes."
                )
                nested = json.dumps({"code": 200, "message": text}, separators=(",", ":"))
                raise RpcError(-3, f"Unexpected injectpaymentonion error 200: {nested}")

    def _route_fee(self, request: Request, amount: int) -> int:
        if request.payee == self.network.ours.id:
            return 0
        payee = self.network.by_id.get(request.payee)
        if payee is None:
            raise RpcError(
                205, f"Failed: Unknown destination {request.payee}: there is no such node in simnet"
            )
        return payee.fee_msat(amount)

    def spendable_msat(self) -> int:
        if self.store.channel.closing:
            return 0
        free = self.store.channel.to_us_msat - self.store.in_flight_msat()
        return max(0, free - RESERVE_MSAT - COMMITMENT_FEE_MSAT)

    def _refuse_beyond_capacity(self, request: Request, amount: int) -> None:
        if request.payee != self.network.ours.id and amount > self.spendable_msat():
            raise RpcError(
                205,
                "Failed: We could not find a usable set of paths. Total source capacity is only "
                f"{self.store.channel.total_msat}msat (in 1 channels).",
            )

    # --- parts -------------------------------------------------------------------------------

    def _inject(self, request: Request, amount: int, label: str | None, fault: Fault | None) -> int:
        """Write the first rows: from here on the money is in flight. Returns the groupid."""
        group = random.randrange(2**53, 2**63)
        self.live_groups.add(group)
        self._resolved[group] = asyncio.Event()
        split = _splits(fault) and request.payee != self.network.ours.id
        amounts = _split(amount, MPP_PARTS if split else 1)
        parts = [
            self._part(request, group, partid, part_amount, label)
            for partid, part_amount in enumerate(amounts, start=1)
        ]
        if fault is not None and fault.kind == "hold":
            parts[0].resolve_at = None
        elif split and fault is not None:
            self._disturb(parts, fault.how)
        self._launch(*parts)
        return group

    def _part(
        self, request: Request, group: int, partid: int, amount: int, label: str | None
    ) -> Part:
        payee = self.network.by_id.get(request.payee)
        part = Part(
            created_index=self.store.next_index("sendpay_created"),
            groupid=group,
            partid=partid,
            payment_hash=request.payment_hash,
            destination=request.payee,
            invstring=request.invstring,
            amount_msat=amount,
            amount_sent_msat=amount + (payee.fee_msat(amount) if payee else 0),
            created_at=int(time.time()),
            expiry_height=self.network.height() + CLTV_DELTA,
            to_self=payee is None,
            label=label,
            resolve_at=time.time(),
        )
        if payee is not None:
            self._decide(part, payee)
        return part

    def _decide(self, part: Part, payee: Node) -> None:
        """What the receiver will do with this HTLC, and when."""
        timing = self.network.timing
        invoice = self.store.outside.get(part.payment_hash)
        delay = {"hold": timing.hold, "slow": timing.slow}.get(payee.name, timing.hop)
        part.resolve_at = time.time() + delay
        if invoice is None or invoice.paid_msat is not None or payee.name == "fail":
            part.will_settle = False
        elif invoice.held:
            part.resolve_at = None

    def _disturb(self, parts: list[Part], how: str) -> None:
        """partial_mpp: change what becomes of the parts. See faults.py."""
        timing = self.network.timing
        if how == "fail":
            # The receiver keeps an incomplete set and gives it back if the rest never comes.
            for part in parts[:-1]:
                part.will_settle, part.fail_code = False, 209
                part.resolve_at = time.time() + timing.incomplete_set
            parts[-1].will_settle, parts[-1].fail_code = False, 209
        elif how == "pending":
            parts[-1].resolve_at = None
        elif how == "in_flight":
            for part in parts:
                part.resolve_at = None

    def _launch(self, *parts: Part, waiting: Sequence[Part] = ()) -> None:
        """Write new parts, and what changed for those waiting, as one event."""
        channel = self.store.channel
        for part in parts:
            if not part.to_self:
                channel.out_payments_offered += 1
                channel.out_offered_msat += part.amount_sent_msat
        self.store.put(*parts, *waiting, channel, self.store.counters)
        for part in (*parts, *waiting):
            self._schedule(part)
        self.network.notify()

    def _schedule(self, part: Part) -> None:
        if (timer := self._timers.pop(part.created_index, None)) is not None:
            timer.cancel()
        if part.resolve_at is not None:
            delay = max(0.0, part.resolve_at - time.time())
            loop = asyncio.get_running_loop()
            self._timers[part.created_index] = loop.call_later(delay, self._resolve, part)

    def _resolve(self, part: Part) -> None:
        """The HTLC ends: the payee's preimage comes back, or a refusal."""
        self._timers.pop(part.created_index, None)
        changed: list[Entity] = [part, self.store.counters]
        preimage = self._claim(part, changed) if part.will_settle else None
        part.updated_index = self.store.next_index("sendpay_updated")
        part.completed_at = int(time.time())
        part.status = "failed" if preimage is None else "complete"
        part.preimage = preimage
        if preimage is not None and not part.to_self:
            channel = self.store.channel
            channel.to_us_msat -= part.amount_sent_msat
            channel.out_payments_fulfilled += 1
            channel.out_fulfilled_msat += part.amount_sent_msat
            changed.append(channel)
            self._remove_later(part)
        self.store.put(*changed)
        if part.groupid in self._resolved:
            self._resolved[part.groupid].set()
        self.network.notify()

    def _claim(self, part: Part, changed: list[Entity]) -> str | None:
        """The payee's side of a settlement: its preimage, or None if it no longer wants it."""
        if part.to_self:
            invoice = self.store.invoice_by_hash.get(part.payment_hash)
            fixed = invoice.amount_msat if invoice else None
            if (
                invoice is None
                or invoice.status != "unpaid"
                or fixed not in (None, part.amount_msat)
            ):
                return None
            changed += self.network.mark_paid(invoice, part.amount_msat, "ours")
            return invoice.preimage
        outside = self.store.outside.get(part.payment_hash)
        if outside is None:
            return None
        outside.paid_msat = (outside.paid_msat or 0) + part.amount_msat
        changed.append(outside)
        return outside.preimage

    def _remove_later(self, part: Part) -> None:
        self.removing[part.created_index] = part
        asyncio.get_running_loop().call_later(
            self.network.timing.removal, self.removing.pop, part.created_index, None
        )

    # --- the attempt -------------------------------------------------------------------------

    async def _attempt(self, request: Request, group: int, fault: Fault | None) -> None:
        """Wait as xpay waits. Raises RpcError when xpay would give up."""
        how = fault.how if fault is not None and _splits(fault) else ""
        if how == "in_flight":
            raise _gave_up(self._parts(request, group))
        sent_again = False
        while True:
            parts = self._parts(request, group)
            pending = [part for part in parts if part.status == "pending"]
            failed = [part for part in parts if part.status == "failed"]
            if how == "fail" and failed and pending and not sent_again:
                self._send_again(request, failed[0], pending)
                sent_again = True
            elif not pending or (how == "pending" and len(pending) < len(parts)):
                break
            self._resolved[group].clear()
            await self._resolved[group].wait()
        if how == "lost":
            raise _gave_up(parts)
        if not any(part.status == "complete" for part in parts):
            raise _refused() if failed[0].fail_code == 203 else _gave_up(failed)

    def _send_again(self, request: Request, failed: Part, waiting: list[Part]) -> None:
        """Replace a failed part; with it the receiver's set is whole and all of it settles."""
        group, partid = failed.groupid, len(waiting) + 2
        again = self._part(request, group, partid, failed.amount_msat, failed.label)
        for part in waiting:
            part.will_settle, part.resolve_at = again.will_settle, again.resolve_at
        self._launch(again, waiting=waiting)

    def _paid(self, request: Request, group: int, amount: int, started: float) -> Paid:
        parts = self._parts(request, group)
        complete = [part for part in parts if part.status == "complete"]
        return Paid(
            payment_hash=request.payment_hash,
            destination=request.payee,
            preimage=complete[0].preimage or "",
            amount_msat=amount,
            amount_sent_msat=sum(p.amount_sent_msat for p in parts if p.status != "failed"),
            successful_parts=len(complete),
            failed_parts=sum(part.status == "failed" for part in parts),
            created_at=started,
        )

    def _parts(self, request: Request, group: int) -> list[Part]:
        parts = self.store.parts_by_hash[request.payment_hash]
        return [part for part in parts if part.groupid == group]

    def _linger(self, group: int) -> None:
        """xpay has answered, but its attempt object lives on until its clean-up is done."""
        asyncio.get_running_loop().call_later(
            self.network.timing.attempt_linger, self.live_groups.discard, group
        )

    # --- hold and release --------------------------------------------------------------------

    def hold(self, payment_hash: str) -> None:
        """The receiver keeps the HTLCs of this payment, present and future, until `release`."""
        if (invoice := self.store.outside.get(payment_hash)) is not None:
            invoice.held = True
            self.store.put(invoice)
        for part in self._pending(payment_hash):
            part.resolve_at = None
            self.store.put(part)
            self._schedule(part)

    def release(self, payment_hash: str, *, settle: bool) -> int:
        """End every pending part of this payment now; returns how many there were.

        Once one part has settled the payee has claimed them all, so the rest settle too.
        """
        if (invoice := self.store.outside.get(payment_hash)) is not None and invoice.held:
            invoice.held = False
            self.store.put(invoice)
        parts = self._pending(payment_hash)
        siblings = self.store.parts_by_hash.get(payment_hash, ())
        claimed = any(part.status == "complete" for part in siblings)
        for part in parts:
            part.will_settle, part.fail_code = settle or claimed, 209
            if (timer := self._timers.pop(part.created_index, None)) is not None:
                timer.cancel()
            self._resolve(part)
        return len(parts)

    def _pending(self, payment_hash: str) -> list[Part]:
        parts = self.store.parts_by_hash.get(payment_hash, ())
        return [part for part in parts if part.status == "pending"]


def _amount(request: Request, amount_msat: int | None) -> int:
    if request.amount_msat is None and amount_msat is None:
        raise RpcError(INVALID_PARAMS, "amount_msat required")
    if request.amount_msat is not None and amount_msat is not None:
        raise RpcError(INVALID_PARAMS, "amount_msat unnecessary")
    return request.amount_msat or amount_msat or 0


def _split(amount_msat: int, count: int) -> list[int]:
    """`count` parts of about the same size, none of them zero."""
    count = min(count, amount_msat)
    share = amount_msat // count
    return [share] * (count - 1) + [amount_msat - share * (count - 1)]


def _splits(fault: Fault | None) -> bool:
    return fault is not None and fault.kind == "partial_mpp"


def _refused() -> RpcError:
    return RpcError(
        203,
        "Destination said it doesn't know invoice: incorrect_or_unknown_payment_details",
    )


def _gave_up(parts: list[Part]) -> RpcError:
    return RpcError(
        209,
        f"Failed after {len(parts)} attempts. Unexpected error (temporary_node_failure) from "
        "final node: disabling 128x1x0/0 for this payment. Then routing failed: We could not "
        "find a usable set of paths. All 1 channels to the source are disabled.",
    )
