"""Our node as lightningd's RPC shows it: the methods, and the shape of every answer.

Fields, their order, their types and the error codes are those recorded from Core Lightning
v26.06.6; the contract test replays the recordings.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from coinos.simnet import bolt11, bolt12
from coinos.simnet.channels import ChannelViews
from coinos.simnet.network import CURRENCY, Network
from coinos.simnet.parameters import index_name, msat, parse_msat, preimage_bytes, unsigned
from coinos.simnet.payments import Paid, Payments
from coinos.simnet.records import Invoice, Offer, Part
from coinos.simnet.rows import decoded_bolt11, invoice_row, pay_row, sendpay_row
from coinos.simnet.rpc import INVALID_PARAMS, METHOD_NOT_FOUND, Method, RpcError, bad_token

VERSION = "v26.06.6"
DEFAULT_EXPIRY_S = 604_800
Json = dict[str, Any]


class Lightning:
    """lightningd's commands. `methods` maps their names to coroutines."""

    def __init__(self, network: Network, payments: Payments, directory: str) -> None:
        self.network = network
        self.payments = payments
        self.store = network.store
        self.directory = directory
        self.options_s: dict[str, int] = {}
        views = ChannelViews(network, payments)
        self.methods: dict[str, Method] = {
            "getinfo": self.getinfo,
            "invoice": self.invoice,
            "listinvoices": self.listinvoices,
            "delinvoice": self.delinvoice,
            "waitanyinvoice": self.waitanyinvoice,
            "waitinvoice": self.waitinvoice,
            "wait": self.wait,
            "decode": self.decode,
            "xpay": self.xpay,
            "pay": self.pay,
            "keysend": self.keysend,
            "listsendpays": self.listsendpays,
            "listpays": self.listpays,
            "delpay": self.delpay,
            "listconfigs": self.listconfigs,
            "offer": self.offer,
            "fetchinvoice": self.fetchinvoice,
            "listpeerchannels": views.listpeerchannels,
            "listfunds": views.listfunds,
            "listchainmoves": views.listchainmoves,
            "bkpr-listbalances": views.listbalances,
            "notifications": self.notifications,
        }

    async def getinfo(self) -> Json:
        node_id = self.network.ours.id
        info = {
            "id": node_id,
            "alias": "simnet",
            "color": node_id[:6],
            "num_peers": 1,
            "num_pending_channels": 0,
            "num_active_channels": 0 if self.store.channel.closing else 1,
            "num_inactive_channels": 0,
            "address": [],
            "binding": [],
            "version": VERSION,
            "blockheight": self.network.height(),
            "network": "regtest",
            "fees_collected_msat": 0,
            "lightning-dir": self.directory,
            "our_features": {
                "init": "800898880a8a59a1",
                "node": "808898880a8a59a1",
                "channel": "",
                "invoice": "02000002024100",
            },
        }
        if self.network.is_syncing:
            info["warning_lightningd_sync"] = "Still loading latest blocks from bitcoind."
        return info

    async def notifications(self, enable: bool) -> Json:
        return {}  # pyln asks before it listens for progress messages; we send none

    # --- invoices ----------------------------------------------------------------------------

    async def invoice(
        self,
        amount_msat: Any,
        label: str | int,
        description: str,
        expiry: int | None = None,
        fallbacks: list[str] | None = None,
        preimage: str | None = None,
        exposeprivatechannels: Any = None,
        cltv: int | None = None,
        deschashonly: bool = False,
    ) -> Json:
        amount = None if amount_msat == "any" else parse_msat(amount_msat)
        if amount_msat != "any" and not amount:
            raise bad_token("amount_msat", "should be positive msat or 'any'", amount_msat)
        label = str(label)
        seconds = unsigned("expiry", DEFAULT_EXPIRY_S if expiry is None else expiry)
        if label in self.store.invoice_by_label:
            raise RpcError(900, f"Duplicate label '{label}'")
        raw_preimage = secrets.token_bytes(32) if preimage is None else preimage_bytes(preimage)
        payment_hash = hashlib.sha256(raw_preimage).hexdigest()
        if payment_hash in self.store.invoice_by_hash:
            raise RpcError(901, "preimage already used")
        if not deschashonly and len(description.encode()) > 639:
            raise RpcError(INVALID_PARAMS, "Descriptions greater than 639 bytes can't be encoded")
        now = int(time.time())
        secret = secrets.token_hex(32)
        digest = hashlib.sha256(description.encode()).hexdigest()
        invstring = bolt11.encode(
            secret_key=self.network.ours.secret_key,
            currency=CURRENCY,
            payment_hash=payment_hash,
            payment_secret=secret,
            created_at=now,
            expiry=seconds,
            amount_msat=amount,
            description=None if deschashonly else description,
            description_hash=digest if deschashonly else None,
            routes=self.network.hints(self.network.ours),
        )
        invoice = Invoice(
            created_index=self.store.next_index("invoice_created"),
            label=label,
            payment_hash=payment_hash,
            preimage=raw_preimage.hex(),
            payment_secret=secret,
            invstring=invstring,
            amount_msat=amount,
            description=description,
            expires_at=now + seconds,
        )
        self.store.put(invoice, self.store.counters)
        self.network.notify()
        return {
            "payment_hash": payment_hash,
            "expires_at": invoice.expires_at,
            "bolt11": invstring,
            "payment_secret": secret,
            "created_index": invoice.created_index,
        }

    async def listinvoices(
        self,
        label: str | int | None = None,
        invstring: str | None = None,
        payment_hash: str | None = None,
        offer_id: str | None = None,
        index: str | None = None,
        start: int | None = None,
        limit: int | None = None,
    ) -> Json:
        found: Iterable[Invoice | None]
        if label is not None:
            found = [self.store.invoice_by_label.get(str(label))]
        elif payment_hash is not None:
            found = [self.store.invoice_by_hash.get(payment_hash)]
        elif invstring is not None:
            found = [self.store.invoice_by_hash.get(self._hash_of("invstring", invstring))]
        else:
            found = self.store.invoices_from(index_name(index), start or 0)
            if offer_id is not None:
                found = (i for i in found if i is not None and i.local_offer_id == offer_id)
        return {"invoices": [invoice_row(i) for i in islice(found, limit) if i is not None]}

    async def delinvoice(self, label: str | int, status: str, desconly: bool = False) -> Json:
        invoice = self.store.invoice_by_label.get(str(label))
        if invoice is None:
            raise RpcError(905, "Unknown invoice")
        if invoice.status != status:
            raise RpcError(
                906,
                f"Invoice status is {invoice.status} not {status}",
                {"current_status": invoice.status, "expected_status": status},
            )
        self.store.delete(invoice)
        return invoice_row(invoice)

    async def waitanyinvoice(
        self, lastpay_index: int | None = None, timeout: int | None = None
    ) -> Json:
        after = lastpay_index or 0
        paid = await self.network.until(lambda: self.store.first_paid_after(after), timeout)
        if paid is None:
            raise RpcError(904, "Timed out while waiting for invoice to be paid")
        return invoice_row(paid)

    async def waitinvoice(self, label: str | int) -> Json:
        def ended() -> Invoice | None:
            found = self.store.invoice_by_label.get(str(label))
            if found is None:
                raise RpcError(-1, "Label not found")
            return found if found.status != "unpaid" else None

        invoice = await self.network.until(ended, None)
        assert invoice is not None
        if invoice.status == "expired":
            raise RpcError(903, "invoice expired during wait", invoice_row(invoice))
        return invoice_row(invoice)

    async def wait(self, subsystem: str, indexname: str, nextvalue: int) -> Json:
        names = {"invoices": "invoice", "sendpays": "sendpay"}
        if subsystem not in names:
            raise bad_token("subsystem", "should be one of invoices, sendpays", subsystem)
        if indexname not in ("created", "updated"):
            raise bad_token("indexname", "should be created or updated", indexname)
        counter = f"{names[subsystem]}_{indexname}"

        def reached() -> int | None:
            value = int(getattr(self.store.counters, counter))
            return value if value >= nextvalue else None

        return {"subsystem": subsystem, indexname: await self.network.until(reached, None)}

    # --- decode ------------------------------------------------------------------------------

    async def decode(self, string: str) -> Json:
        try:
            if string.lower().startswith(("lno", "lni")):
                return bolt12.decode(string)
            if not string.lower().startswith("ln"):
                raise ValueError("Unparsable string")
            return decoded_bolt11(bolt11.decode(string))
        except ValueError as error:
            raise bad_token("string", str(error), string) from None

    # --- paying ------------------------------------------------------------------------------

    async def xpay(
        self,
        invstring: str,
        amount_msat: Any = None,
        maxfee: Any = None,
        layers: list[str] | None = None,
        retry_for: int | None = None,
        partial_msat: Any = None,
        maxdelay: int | None = None,
        payer_note: str | None = None,
        label: str | None = None,
        localinvreqid: str | None = None,
        dev_use_shadow: bool | None = None,
    ) -> Json:
        paid = await self._pay("xpay", invstring, amount_msat, maxfee, label)
        return {
            "payment_preimage": paid.preimage,
            "amount_msat": paid.amount_msat,
            "amount_sent_msat": paid.amount_sent_msat,
            "failed_parts": paid.failed_parts,
            "successful_parts": paid.successful_parts,
        }

    async def pay(
        self,
        bolt11: str,
        amount_msat: Any = None,
        label: str | None = None,
        riskfactor: float | None = None,
        maxfeepercent: float | None = None,
        retry_for: int | None = None,
        maxdelay: int | None = None,
        exemptfee: Any = None,
        localinvreqid: str | None = None,
        exclude: list[str] | None = None,
        maxfee: Any = None,
        description: str | None = None,
        partial_msat: Any = None,
    ) -> Json:
        try:
            paid = await self._pay("pay", bolt11, amount_msat, maxfee, label)
        except RpcError as error:
            if error.code != 219:
                raise
            return self._paid_before(self._hash_of("bolt11", bolt11))
        return {
            "payment_preimage": paid.preimage,
            "amount_msat": paid.amount_msat,
            "amount_sent_msat": paid.amount_sent_msat,
            "parts": paid.successful_parts,
            "destination": paid.destination,
            "payment_hash": paid.payment_hash,
            "status": "complete",
            "created_at": paid.created_at,
        }

    async def _pay(
        self, method: str, invstring: str, amount_msat: Any, maxfee: Any, label: str | None
    ) -> Paid:
        return await self.payments.xpay(
            invstring,
            method=method,
            amount_msat=msat("amount_msat", amount_msat),
            maxfee_msat=msat("maxfee", maxfee),
            label=label,
        )

    def _paid_before(self, payment_hash: str) -> Json:
        parts = [p for p in self.store.parts_by_hash[payment_hash] if p.status == "complete"]
        return {
            "payment_preimage": parts[0].preimage,
            "status": "complete",
            "amount_msat": sum(part.amount_msat for part in parts),
            "amount_sent_msat": sum(part.amount_sent_msat for part in parts),
            "destination": parts[0].destination,
            "payment_hash": payment_hash,
            "created_at": parts[0].created_at,
            "parts": len(parts),
        }

    async def keysend(self, destination: str, amount_msat: Any, label: str | None = None) -> Json:
        raise RpcError(METHOD_NOT_FOUND, 'Command "keysend" is deprecated')

    async def listsendpays(
        self,
        bolt11: str | None = None,
        payment_hash: str | None = None,
        status: str | None = None,
        index: str | None = None,
        start: int | None = None,
        limit: int | None = None,
    ) -> Json:
        parts = self._parts(bolt11, payment_hash, index, start)
        wanted = (part for part in parts if status in (None, part.status))
        return {"payments": [sendpay_row(part) for part in islice(wanted, limit)]}

    async def listpays(
        self,
        bolt11: str | None = None,
        payment_hash: str | None = None,
        status: str | None = None,
        index: str | None = None,
        start: int | None = None,
        limit: int | None = None,
    ) -> Json:
        groups: dict[tuple[str, int], list[Part]] = defaultdict(list)
        for part in self._parts(bolt11, payment_hash, index, start):
            groups[part.payment_hash, part.groupid].append(part)
        rows = (pay_row(parts, self.payments.live_groups) for parts in groups.values())
        return {"pays": list(islice((r for r in rows if status in (None, r["status"])), limit))}

    async def delpay(
        self,
        payment_hash: str,
        status: str,
        partid: int | None = None,
        groupid: int | None = None,
    ) -> Json:
        """Delete the rows of a payment, as an operator or lightningd's autoclean does."""
        parts = [
            part
            for part in self.store.parts_by_hash.get(payment_hash, ())
            if partid in (None, part.partid) and groupid in (None, part.groupid)
        ]
        if not parts:
            raise RpcError(208, f"Unknown payment with payment_hash: {payment_hash}")
        if status not in ("complete", "failed") or any(part.status != status for part in parts):
            raise RpcError(211, f"Payment with hash {payment_hash} has not the status {status}")
        self.store.delete_parts(parts)
        return {"payments": [sendpay_row(part) for part in parts]}

    async def listconfigs(self, config: str | None = None) -> Json:
        """Only what is asked here: which rows lightningd deletes, and how long it seeks a route."""
        options = {"askrene-timeout": 10} | self.options_s
        return {
            "configs": {
                name: {"value_int": seconds, "source": "cmdline", "plugin": "", "dynamic": True}
                for name, seconds in options.items()
                if config in (None, name)
            }
        }

    def _parts(
        self, invstring: str | None, payment_hash: str | None, index: str | None, start: int | None
    ) -> Iterator[Part]:
        if invstring is not None:
            payment_hash = self._hash_of("bolt11", invstring)
        if payment_hash is not None:
            return iter(self.store.parts_by_hash.get(payment_hash, ()))
        return self.store.parts_from(index_name(index), start or 0)

    def _hash_of(self, parameter: str, invstring: str) -> str:
        try:
            if invstring.lower().startswith("lni"):
                return str(bolt12.decode(invstring)["invoice_payment_hash"])
            return bolt11.decode(invstring).payment_hash
        except ValueError:
            raise bad_token(parameter, "should be a bolt11 or bolt12 invoice", invstring) from None

    # --- BOLT 12 -----------------------------------------------------------------------------

    async def offer(
        self,
        amount: Any,
        description: str | None = None,
        issuer: str | None = None,
        label: str | None = None,
        quantity_max: int | None = None,
        absolute_expiry: int | None = None,
        recurrence: str | None = None,
        recurrence_base: str | None = None,
        recurrence_paywindow: str | None = None,
        recurrence_limit: int | None = None,
        single_use: bool = False,
    ) -> Json:
        amount_msat = None if amount == "any" else msat("amount", amount)
        if amount_msat == 0:
            raise bad_token("amount", "should be positive msat or 'any'", amount)
        bolt12_offer, offer_id = bolt12.encode_offer(
            secret_key=self.network.ours.secret_key,
            amount_msat=amount_msat,
            description=description or "",
            issuer=issuer,
        )
        self.store.put(
            Offer(offer_id, "ours", bolt12_offer, amount_msat, description or "", label, single_use)
        )
        row: Json = {
            "offer_id": offer_id,
            "active": True,
            "single_use": single_use,
            "bolt12": bolt12_offer,
            "force_paths": False,
            "used": False,
        }
        return row | ({"label": label} if label is not None else {}) | {"created": True}

    async def fetchinvoice(
        self,
        offer: str,
        amount_msat: Any = None,
        quantity: int | None = None,
        recurrence_counter: int | None = None,
        recurrence_start: int | None = None,
        recurrence_label: str | None = None,
        timeout: int | None = None,
        payer_note: str | None = None,
        payer_metadata: str | None = None,
        bip353: str | None = None,
        dev_path_use_scidd: Any = None,
        dev_reply_path: Any = None,
    ) -> Json:
        try:
            fields = bolt12.decode(offer)
            if fields["type"] != "bolt12 offer":
                raise bolt12.Bolt12Error("not an offer")
        except ValueError as error:
            raise bad_token("offer", str(error), offer) from None
        amount = msat("amount_msat", amount_msat)
        fixed: int | None = fields.get("offer_amount_msat")
        if fixed is None and amount is None:
            raise RpcError(INVALID_PARAMS, "amount_msat parameter required")
        if fixed is not None and amount is not None and amount < fixed:
            raise RpcError(INVALID_PARAMS, f"amount must be at least {fixed}")
        invoice = self.network.invoice_for_offer(fields, amount or fixed or 0, payer_note)
        if invoice is None:
            raise RpcError(1003, "Timeout waiting for response")
        return {"invoice": invoice, "changes": {}}
