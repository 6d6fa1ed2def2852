"""Core Lightning, through pyln-client: the only file that knows lightningd's RPC words.

pyln-client has no timeouts, accepts any method and puts payloads (preimages, secrets) into logs
and exceptions. So every call goes through `_call`: a listed method, one new socket, one deadline
for all of it, amounts as "<n>msat", a checked reply, and a log line of method, time and code.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal, NoReturn, get_args

from django.utils.translation import gettext_noop as _

from coinos.db import let_go_of_connection
from coinos.errors import NodeUnavailable
from coinos.nodes.base import (
    CreatedInvoice,
    Decoded,
    LightningBalance,
    LightningInfo,
    NodeCounters,
    NodeInvoice,
    NodeRefused,
    PaymentRecord,
    PayReply,
    Receipt,
    SentPart,
)
from coinos.nodes.replies import MAX_INDEX, MAX_MSAT, MAX_TIME_S, Reply, RpcError, unreadable
from coinos.nodes.unix_rpc import DeadlineRpc

logger = logging.getLogger(__name__)

Method = Literal[
    "getinfo",
    "invoice",
    "listinvoices",
    "delinvoice",
    "waitanyinvoice",
    "decode",
    "xpay",
    "listpays",
    "listsendpays",
    "fetchinvoice",
    "offer",
    "listpeerchannels",
    "listfunds",
    "listchainmoves",
    "listconfigs",
    "wait",
]

CALL_TIMEOUT_S = 30
# How much longer than lightningd's own timeout we wait for the answer of a call that has one.
MARGIN_S = 15
FETCH_INVOICE_TIMEOUT_S = 15

# At most a week of blocks of possible lock-up in one payment; lightningd's default is two.
MAX_DELAY_BLOCKS = 1008
MAX_EXPIRY_S = 31_536_000
MAX_REQUEST_CHARS = 8_192

BAD_PARAMETERS = -32602
LABEL_EXISTS = 900
WAIT_TIMED_OUT = 904
LABEL_UNKNOWN = 905
STATUS_DIFFERS = 906
NO_INVOICE_FETCHED = (1002, 1003, 1004, 1005)

# What xpay's own errors mean for the payer. A code that is not here is unknown.
PAY_ERRORS = {
    BAD_PARAMETERS: _("The invoice cannot be paid as it is"),
    203: _("The recipient refused the payment"),
    205: _("No route to the recipient for this amount"),
    206: _("No route to the recipient within the fee limit"),
    207: _("The invoice has expired"),
    209: _("The payment failed on the way"),
    210: _("The payment failed on the way, after several attempts"),
}
NEVER_SENT = {BAD_PARAMETERS, 207}

# What becomes of a channel (lightningd/channel_state.h). Ours is what `to_us_msat` says while it is
# open, and while its close is not in a block; from then on less what has reached the wallet.
SPENDABLE_STATES = {"CHANNELD_NORMAL", "CHANNELD_AWAITING_SPLICE"}
OPENING_STATES = {"CHANNELD_AWAITING_LOCKIN", "DUALOPEND_AWAITING_LOCKIN"}
CLOSING_STATES = {
    *("CHANNELD_SHUTTING_DOWN", "CLOSINGD_SIGEXCHANGE", "CLOSINGD_COMPLETE"),
    "AWAITING_UNILATERAL",
}
SPENT_STATES = {"FUNDING_SPEND_SEEN", "ONCHAIN"}

# What onchaind says (`status`) when nothing of a channel is still on its way to the wallet. After a
# mutual close it is where the close sent it.
NOTHING_ON_ITS_WAY = ("ONCHAIN:Tracking mutual close", "ONCHAIN:All outputs resolved")

OUTPUT_STATES = ("unconfirmed", "confirmed", "immature", "spent")

# Of an incoming HTLC that our node has answered, by its preimage or a refusal; the peer removes it.
ANSWERED_STATES = {
    *("SENT_REMOVE_HTLC", "SENT_REMOVE_COMMIT"),
    *("RCVD_REMOVE_REVOCATION", "RCVD_REMOVE_ACK_COMMIT"),
}

# The option of lightningd that ends a search for a route.
ROUTE_TIMEOUT = "askrene-timeout"
# Options of lightningd that delete what we have to find again, once it is so many seconds old.
DELETIONS = (
    "autoclean-paidinvoices-age",
    "autoclean-succeededpays-age",
    "autoclean-failedpays-age",
)

# BOLT12 names its network by genesis block (in wire order), BOLT11 by the prefix we use for both.
BITCOIN_CHAIN = "6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000"
CURRENCY_OF_CHAIN = {
    BITCOIN_CHAIN: "bc",
    "43f08bdab050e35b567c864b91f47f50ae725ae2de53bcfbbaf284da00000000": "tb",
    "f61eee3b63a380a477a063af32b2bbc97c9ff9f01f2c4225e973988108000000": "tbs",
    "06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f": "bcrt",
}


class CoreLightning:
    """A `LightningNode` at the `lightning-rpc` socket of lightningd. Safe to share by threads."""

    def __init__(
        self,
        rpc_path: str | os.PathLike[str],
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        margin_s: float = MARGIN_S,
    ) -> None:
        self._path = os.fspath(rpc_path)
        self._timeout_s = timeout_s
        self._margin_s = margin_s

    def info(self) -> LightningInfo:
        reply = Reply(self._read("getinfo", {}), "getinfo")
        behind = reply.raw.keys() & {"warning_bitcoind_sync", "warning_lightningd_sync"}
        features = reply.optional(reply.nested, "our_features")
        return LightningInfo(
            id=reply.text("id"),
            alias=reply.optional(reply.text, "alias") or "",
            color=reply.text("color"),
            network=reply.text("network"),
            version=reply.text("version"),
            blockheight=reply.integer("blockheight"),
            synced=not behind,
            num_peers=reply.integer("num_peers"),
            num_active_channels=reply.integer("num_active_channels"),
            num_inactive_channels=reply.integer("num_inactive_channels"),
            num_pending_channels=reply.integer("num_pending_channels"),
            fees_collected_msat=reply.msat("fees_collected_msat"),
            addresses=tuple(address.raw for address in reply.nested_list("address")),
            features={key: features.text(key) for key in features.raw} if features else {},
        )

    # --- receiving -----------------------------------------------------------------------------

    def create_invoice(
        self,
        *,
        label: str,
        amount_msat: int | None,
        description: str,
        expiry_s: int,
        description_is_hashed: bool = False,
    ) -> CreatedInvoice:
        # lightningd aborts on an expiry of 2^63 (F20)
        if not 1 <= expiry_s <= MAX_EXPIRY_S:
            raise ValueError(f"expiry_s out of range: {expiry_s}")
        params: dict[str, object] = {
            "amount_msat": "any" if amount_msat is None else _msat(amount_msat),
            "label": label,
            "description": description,
            "expiry": expiry_s,
        }
        if description_is_hashed:
            params["deschashonly"] = True
        try:
            reply = Reply(self._call("invoice", params), "invoice")
        except RpcError as error:
            if error.code == LABEL_EXISTS:
                return self._created_before(label, amount_msat)
            raise _refused(error) from None
        return CreatedInvoice(
            bolt11=reply.text("bolt11"),
            payment_hash=reply.hash32("payment_hash"),
            expires_at_s=reply.time_s("expires_at"),
        )

    def _created_before(self, label: str, amount_msat: int | None) -> CreatedInvoice:
        invoice = self.invoice_by_label(label)
        if invoice is None or invoice.bolt11 is None or invoice.amount_msat != amount_msat:
            raise NodeRefused("Another invoice has this label")
        return CreatedInvoice(invoice.bolt11, invoice.payment_hash, invoice.expires_at_s)

    def invoice_by_label(self, label: str) -> NodeInvoice | None:
        reply = Reply(self._read("listinvoices", {"label": label}), "listinvoices")
        invoices = [_node_invoice(invoice) for invoice in reply.nested_list("invoices")]
        if len(invoices) > 1 or any(invoice.label != label for invoice in invoices):
            raise unreadable("listinvoices by label")
        return invoices[0] if invoices else None

    def delete_unpaid_invoice(self, label: str) -> bool:
        try:
            self._call("delinvoice", {"label": label, "status": "unpaid"})
        except RpcError as error:
            if error.code in (LABEL_UNKNOWN, STATUS_DIFFERS):
                return False
            raise _refused(error) from None
        return True

    def next_receipt(self, *, after_pay_index: int, timeout_s: int) -> Receipt | None:
        params = {"lastpay_index": _index(after_pay_index), "timeout": timeout_s}
        try:
            # lightningd's own timeout ends the wait; ours is for a socket that died silently (A03)
            answer = self._call("waitanyinvoice", params, timeout_s=timeout_s + self._margin_s)
        except RpcError as error:
            if error.code == WAIT_TIMED_OUT:
                return None
            raise _refused(error) from None
        reply = Reply(answer, "waitanyinvoice")
        reply.one_of("status", "paid")
        return Receipt(
            label=reply.text("label"),
            payment_hash=reply.hash32("payment_hash"),
            received_msat=reply.positive_msat("amount_received_msat"),
            preimage=_preimage(reply, "payment_preimage"),
            paid_at_s=reply.time_s("paid_at"),
            pay_index=reply.integer("pay_index", minimum=after_pay_index + 1),
            offer_id=reply.optional(reply.hash32, "local_offer_id"),
        )

    def invoices_updated_since(self, *, updated_index: int, limit: int) -> list[NodeInvoice]:
        params = {"index": "updated", "start": _index(updated_index), "limit": limit}
        reply = Reply(self._read("listinvoices", params), "listinvoices")
        return [_node_invoice(invoice) for invoice in reply.nested_list("invoices")]

    def invoices_created_since(self, *, created_index: int, limit: int) -> list[NodeInvoice]:
        params = {"index": "created", "start": _index(created_index), "limit": limit}
        reply = Reply(self._read("listinvoices", params), "listinvoices")
        return [_node_invoice(invoice) for invoice in reply.nested_list("invoices")]

    def create_offer(self, *, amount_msat: int | None, description: str, label: str) -> str:
        """A BOLT12 offer. Not idempotent: the same arguments make another offer."""
        amount = "any" if amount_msat is None else _msat(amount_msat)
        params = {"amount": amount, "description": description, "label": label}
        return Reply(self._ask("offer", params), "offer").text("bolt12")

    # --- paying --------------------------------------------------------------------------------

    def decode(self, payment_request: str) -> Decoded:
        if len(payment_request) > MAX_REQUEST_CHARS or not payment_request.isascii():
            raise NodeRefused("This is not a Lightning invoice or offer")
        try:
            reply = Signed(self._ask("decode", {"string": payment_request}), "decode")
        except NodeRefused:
            raise NodeRefused("This is not a Lightning invoice or offer") from None
        if not reply.boolean("valid"):
            raise NodeRefused("This Lightning invoice or offer is not valid")
        match reply.text("type"):
            case "bolt11 invoice":
                return _decoded_bolt11(reply)
            case "bolt12 offer":
                return _decoded_offer(reply)
            case "bolt12 invoice":
                return _decoded_bolt12_invoice(reply)
        raise NodeRefused("This is not a Lightning invoice or offer")

    def fetch_invoice(self, *, offer: str, amount_msat: int | None) -> str:
        params: dict[str, object] = {"offer": offer, "timeout": FETCH_INVOICE_TIMEOUT_S}
        if amount_msat is not None:
            params["amount_msat"] = _msat(amount_msat)
        reply = Reply(self._ask("fetchinvoice", params), "fetchinvoice")
        changes = reply.optional(reply.nested, "changes")
        if changes is not None and "amount_msat" in changes.raw:
            raise NodeRefused("The recipient asks for another amount than the offer says")
        return reply.text("invoice")

    def pay(
        self,
        *,
        payment_request: str,
        amount_msat: int | None,
        max_fee_msat: int,
        retry_for_s: int,
        label: str,
    ) -> PayReply:
        params: dict[str, object] = {
            "invstring": payment_request,
            "maxfee": _msat(max_fee_msat),
            "retry_for": retry_for_s,
            "maxdelay": MAX_DELAY_BLOCKS,
            "label": label,
        }
        if amount_msat is not None:
            params["amount_msat"] = _msat(amount_msat)
        try:
            reply = Reply(
                self._call("xpay", params, timeout_s=retry_for_s + self._margin_s), "xpay"
            )
            preimage = reply.hash32("payment_preimage")
        except RpcError as error:
            return PayReply(
                returned=error.code in PAY_ERRORS,
                never_sent=error.code in NEVER_SENT,
                preimage=None,
                reason=PAY_ERRORS.get(error.code),
            )
        except NodeUnavailable:
            return PayReply(returned=False, never_sent=False, preimage=None, reason=None)
        return PayReply(returned=True, never_sent=False, preimage=preimage, reason=None)

    def payment_record(self, payment_hash: str) -> PaymentRecord:
        # A part that is complete or pending decides by itself what became of the payment.
        params = {"payment_hash": payment_hash}
        parts = _rows(self._read("listsendpays", params), "listsendpays", "payments", payment_hash)
        if any(part.text("status") != "failed" for part in parts):
            is_pending = any(part.text("status") == "pending" for part in parts)
            return _record(parts, in_progress=is_pending)
        # Else it matters whether more can follow. The summary first: it says "pending" while an
        # attempt may still send parts, so parts read after one that does not are all of them.
        pays = _rows(self._read("listpays", params), "listpays", "pays", payment_hash)
        parts = _rows(self._read("listsendpays", params), "listsendpays", "payments", payment_hash)
        is_pending = any(pay.text("status") == "pending" for pay in pays)
        return _record(parts, in_progress=is_pending or bool(pays) != bool(parts))

    def counters(self) -> NodeCounters:
        return NodeCounters(
            invoices_created=self._count("invoices", "created"),
            invoices_updated=self._count("invoices", "updated"),
            parts_created=self.parts_created(),
        )

    def parts_created(self) -> int:
        return self._count("sendpays", "created")

    def _count(self, subsystem: str, name: str) -> int:
        # Waiting for an index that has passed answers at once, with the one of now.
        params = {"subsystem": subsystem, "indexname": name, "nextvalue": 0}
        return Reply(self._read("wait", params), "wait").integer(name)

    def parts_since(self, *, number: int, limit: int) -> list[SentPart]:
        params = {"index": "created", "start": _index(number), "limit": limit}
        reply = Reply(self._read("listsendpays", params), "listsendpays")
        return [
            SentPart(part.integer("created_index", minimum=number), part.hash32("payment_hash"))
            for part in reply.nested_list("payments")
        ]

    def deletes_after_s(self) -> dict[str, int]:
        ages_s = {name: self._option_s(name) for name in DELETIONS}
        return {name: age_s for name, age_s in ages_s.items() if age_s}

    def routes_within_s(self) -> int | None:
        return self._option_s(ROUTE_TIMEOUT)

    def _option_s(self, name: str) -> int | None:
        configs = Reply(self._read("listconfigs", {}), "listconfigs").nested("configs")
        option = configs.optional(configs.nested, name)
        return option.optional(option.integer, "value_int") if option else None

    def balance(self) -> LightningBalance:
        wallet_msat = self._in_wallet_msat()
        reply = Reply(self._read("listpeerchannels", {}), "listpeerchannels")
        channels = list(reply.nested_list("channels"))
        arrived_msat = self._arrived_msat(channels)
        found = _Found()
        for channel in channels:
            found.count(channel, arrived_msat)
        return LightningBalance(
            channels_msat=found.channels_msat,
            closing_msat=found.closing_msat,
            wallet_msat=wallet_msat,
            spendable_msat=found.spendable_msat,
            receivable_msat=found.receivable_msat,
            outgoing_msat=dict(found.outgoing_msat),
            incoming_msat=dict(found.incoming_msat),
        )

    def _in_wallet_msat(self) -> int:
        """What lightningd's own wallet has, confirmed and reserved for no transaction."""
        reply = Reply(self._read("listfunds", {}), "listfunds")
        return sum(
            output.msat("amount_msat")
            for output in reply.nested_list("outputs")
            if output.one_of("status", *OUTPUT_STATES) == "confirmed"
            and not output.boolean("reserved")
        )

    def _arrived_msat(self, channels: Iterable[Reply]) -> Mapping[str, int]:
        """By channel id: what has reached the wallet of channels whose close is in a block.

        It came by the closing transaction or one that spends an output of it: lightningd's list of
        moves names both (`spending_txid`) for the channel, and what they paid to the wallet."""
        if not any(_is_on_its_way(channel) for channel in channels):
            return {}
        reply = Reply(self._read("listchainmoves", {}), "listchainmoves")
        channel_of: dict[str, str] = {}
        deposits: list[tuple[str, int]] = []
        for move in reply.nested_list("chainmoves"):
            account, txid = move.text("account_id"), move.optional(move.hash32, "spending_txid")
            if account == "wallet" and move.text("primary_tag") == "deposit":
                deposits.append((move.text("utxo").partition(":")[0], move.msat("credit_msat")))
            elif account != "wallet" and txid:
                channel_of[txid] = account
        arrived_msat: dict[str, int] = defaultdict(int)
        for txid, amount_msat in deposits:
            if txid in channel_of:
                arrived_msat[channel_of[txid]] += amount_msat
        return arrived_msat

    # --- calling -------------------------------------------------------------------------------

    def _read(self, method: Method, params: Mapping[str, object]) -> object:
        """A call that asks what is: an error reply tells us nothing."""
        try:
            return self._call(method, params)
        except RpcError:
            raise NodeUnavailable() from None

    def _ask(self, method: Method, params: Mapping[str, object]) -> object:
        """A call that may be refused."""
        try:
            return self._call(method, params)
        except RpcError as error:
            raise _refused(error) from None

    def _call(
        self,
        method: Method,
        params: Mapping[str, object] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> object:
        """The result of one call. Raises `RpcError` for lightningd's own errors and
        `NodeUnavailable` for anything that is not an answer. Never tries twice."""
        if method not in get_args(Method):
            raise ValueError(f"not a method that we use: {method}")
        let_go_of_connection()
        started = time.monotonic()
        code: int | str = "ok"
        try:
            rpc = DeadlineRpc(self._path, caller_name="coinos")
            return rpc.ask(method, params or {}, timeout_s or self._timeout_s)
        except RpcError as error:
            code = error.code
            raise
        except Exception as error:
            # Sockets and parsers fail in many ways, and their texts may hold the payload.
            code = type(error).__name__
            raise NodeUnavailable() from None
        finally:
            logger.debug("lightning %s %s %.3f s", method, code, time.monotonic() - started)


class Signed(Reply):
    """What somebody else signed, as our node reads it. Whoever signed it chose every number: an odd
    one makes the string invalid, and is no fault of our node."""

    def _out_of_range(self, key: str) -> NoReturn:
        raise NodeRefused("This Lightning invoice or offer asks for what cannot be paid")


class _Found:
    """The sums over channels."""

    def __init__(self) -> None:
        self.channels_msat = self.closing_msat = 0
        self.spendable_msat = self.receivable_msat = 0
        self.outgoing_msat: dict[str, int] = defaultdict(int)
        self.incoming_msat: dict[str, int] = defaultdict(int)

    def count(self, channel: Reply, arrived_msat: Mapping[str, int]) -> None:
        state = channel.text("state")
        arrived_more_msat = 0
        if state in SPENDABLE_STATES:
            self.channels_msat += channel.msat("to_us_msat")
            self.spendable_msat += channel.msat("spendable_msat")
            self.receivable_msat += channel.msat("receivable_msat")
        elif state in OPENING_STATES:
            # Theirs is not in a block yet, and what they push may never come.
            self.channels_msat += min(
                channel.msat("to_us_msat"), channel.nested("funding").msat("local_funds_msat")
            )
        elif state in CLOSING_STATES or (state in SPENT_STATES and _is_on_its_way(channel)):
            left_msat = _after_close_msat(channel)
            if state in SPENT_STATES:
                left_msat -= arrived_msat.get(channel.text("channel_id"), 0)
            self.closing_msat += max(0, left_msat)
            arrived_more_msat = max(0, -left_msat)
        else:
            return
        self._count_htlcs(channel, arrived_more_msat)

    def _count_htlcs(self, channel: Reply, arrived_more_msat: int) -> None:
        """`arrived_more_msat`: what reached the wallet beyond `to_us_msat`, of incoming HTLCs."""
        for htlc in channel.nested_list("htlcs"):
            payment_hash, amount_msat = htlc.hash32("payment_hash"), htlc.msat("amount_msat")
            if htlc.one_of("direction", "in", "out") == "out":
                self.outgoing_msat[payment_hash] += amount_msat
            elif htlc.text("state") in ANSWERED_STATES:
                in_wallet_msat = min(amount_msat, arrived_more_msat)
                arrived_more_msat -= in_wallet_msat
                self.incoming_msat[payment_hash] += amount_msat - in_wallet_msat


def _is_on_its_way(channel: Reply) -> bool:
    """Whether something of a channel whose close is in a block may not have arrived yet."""
    if channel.text("state") not in SPENT_STATES:
        return False
    said = [text for text in channel.values("status") if isinstance(text, str)]
    return not any(text.startswith(NOTHING_ON_ITS_WAY) for text in said)


def _after_close_msat(channel: Reply) -> int:
    """What a close leaves to us: less its fee, which whoever opened the channel pays. Nothing that
    we know of, when the peer has a newer state than we."""
    if channel.boolean("lost_state"):
        return 0
    fee_msat = channel.optional(channel.msat, "last_tx_fee_msat") or 0
    is_ours = channel.one_of("opener", "local", "remote") == "local"
    return max(0, channel.msat("to_us_msat") - (fee_msat if is_ours else 0))


def _msat(amount_msat: int) -> str:
    """An amount as lightningd takes it without doubt about the unit (F07)."""
    if isinstance(amount_msat, bool) or not isinstance(amount_msat, int):
        raise TypeError("an amount is an integer of msat")
    if not 0 <= amount_msat <= MAX_MSAT:
        raise ValueError(f"amount_msat out of range: {amount_msat}")
    return f"{amount_msat}msat"


def _index(value: int) -> int:
    if not 0 <= value <= MAX_INDEX:
        raise ValueError(f"index out of range: {value}")
    return value


def _refused(error: RpcError) -> NodeRefused | NodeUnavailable:
    """A refusal, when the code says that lightningd understood and did nothing."""
    if error.code in (BAD_PARAMETERS, *NO_INVOICE_FETCHED):
        return NodeRefused(f"The Lightning node refused: {error.message}")
    return NodeUnavailable()


def _preimage(reply: Reply, key: str) -> str:
    """A preimage that proves the payment of the reply's payment hash."""
    preimage = reply.hash32(key)
    if hashlib.sha256(bytes.fromhex(preimage)).hexdigest() != reply.hash32("payment_hash"):
        raise unreadable("a preimage does not match its payment hash")
    return preimage


def _rows(answer: object, where: str, key: str, payment_hash: str) -> list[Reply]:
    rows = list(Reply(answer, where).nested_list(key))
    for row in rows:
        row.one_of("status", "pending", "complete", "failed")
        row.one_of("payment_hash", payment_hash)
    return rows


def _record(parts: list[Reply], *, in_progress: bool) -> PaymentRecord:
    complete = [part for part in parts if part.text("status") == "complete"]
    preimages = {_preimage(part, "payment_preimage") for part in complete}
    return PaymentRecord(
        complete=len(complete),
        pending=sum(part.text("status") == "pending" for part in parts),
        failed=sum(part.text("status") == "failed" for part in parts),
        sent_msat=sum(part.positive_msat("amount_sent_msat") for part in complete),
        delivered_msat=sum(part.positive_msat("amount_msat") for part in complete),
        preimage=min(preimages, default=None),
        in_progress=in_progress,
        last_part=max((part.integer("created_index", minimum=1) for part in parts), default=0),
    )


def _node_invoice(invoice: Reply) -> NodeInvoice:
    status = invoice.one_of("status", "unpaid", "paid", "expired")
    paid = status == "paid"
    return NodeInvoice(
        label=invoice.text("label"),
        payment_hash=invoice.hash32("payment_hash"),
        status=status,
        bolt11=invoice.optional(invoice.text, "bolt11"),
        description=invoice.optional(invoice.words, "description"),
        # An invoice that is not ours may have any, and must not spoil the list that it is in.
        expires_at_s=min(invoice.integer("expires_at"), MAX_TIME_S),
        amount_msat=invoice.optional(invoice.positive_msat, "amount_msat"),
        received_msat=invoice.positive_msat("amount_received_msat") if paid else None,
        paid_at_s=invoice.time_s("paid_at") if paid else None,
        preimage=_preimage(invoice, "payment_preimage") if paid else None,
        pay_index=invoice.integer("pay_index", minimum=1) if paid else None,
        created_index=invoice.integer("created_index", minimum=1),
        updated_index=invoice.optional(invoice.integer, "updated_index"),
        offer_id=invoice.optional(invoice.hash32, "local_offer_id"),
    )


def _decoded_bolt11(reply: Reply) -> Decoded:
    created_at_s = reply.time_s("created_at")
    return Decoded(
        kind="bolt11 invoice",
        payment_hash=reply.hash32("payment_hash"),
        payee=reply.text("payee"),
        amount_msat=reply.optional(reply.positive_msat, "amount_msat"),
        description=reply.optional(reply.words, "description"),
        description_hash=reply.optional(reply.hash32, "description_hash"),
        created_at_s=created_at_s,
        expiry_s=min(reply.integer("expiry"), MAX_TIME_S - created_at_s),
        currency=reply.text("currency"),
        raw=reply.raw,
    )


def _decoded_offer(reply: Reply) -> Decoded:
    if "offer_currency" in reply.raw:
        raise NodeRefused("Offers priced in another currency than bitcoin cannot be paid")
    chains = reply.hashes("offer_chains") if "offer_chains" in reply.raw else (BITCOIN_CHAIN,)
    return Decoded(
        kind="bolt12 offer",
        payment_hash=None,
        payee=reply.optional(reply.text, "offer_issuer_id"),
        amount_msat=reply.optional(reply.positive_msat, "offer_amount_msat"),
        description=reply.optional(reply.words, "offer_description"),
        description_hash=None,
        created_at_s=0,
        expiry_s=reply.optional(reply.time_s, "offer_absolute_expiry") or MAX_TIME_S,
        currency=_currency(chains),
        raw=reply.raw,
    )


def _decoded_bolt12_invoice(reply: Reply) -> Decoded:
    created_at_s = reply.time_s("invoice_created_at")
    expiry_s = reply.optional(reply.integer, "invoice_relative_expiry")
    chain = reply.optional(reply.hash32, "invreq_chain") or BITCOIN_CHAIN
    return Decoded(
        kind="bolt12 invoice",
        payment_hash=reply.hash32("invoice_payment_hash"),
        payee=reply.text("invoice_node_id"),
        amount_msat=reply.positive_msat("invoice_amount_msat"),
        description=reply.optional(reply.words, "offer_description"),
        description_hash=None,
        created_at_s=created_at_s,
        # BOLT12: two hours when the field is absent
        expiry_s=min(7200 if expiry_s is None else expiry_s, MAX_TIME_S - created_at_s),
        currency=_currency((chain,)),
        raw=reply.raw,
    )


def _currency(chains: tuple[str, ...]) -> str:
    known = [CURRENCY_OF_CHAIN[chain] for chain in chains if chain in CURRENCY_OF_CHAIN]
    if not known:
        raise NodeRefused("This offer is for another network")
    return known[0]
