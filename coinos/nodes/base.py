"""What the wallet asks of a Lightning node and of a Bitcoin node, in our words and units.

Two narrow interfaces; `cln.py` and `bitcoind.py` are the only files that know RPC words. Results
are frozen dataclasses; amounts carry their unit in the name. A payment ends as `Settled`,
`Failed` (certain) or `Unknown`: a timeout, a dropped connection, an unreadable or unlisted answer
is always `Unknown`, and only the node's own record of a payment may say `Failed`.

Every method raises `NodeUnavailable` when the node gives no usable answer, `NodeRefused` when it
answered that it will not. No call is made while a transaction or a row lock is held.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from django.utils.translation import gettext_noop as _

from coinos.errors import CoinosError


class NodeRefused(CoinosError):
    """Raised when the node understood and refused: the reason is in the message, nothing was done.

    `code` tells apart what callers act on: `insufficient_funds`, `amount_too_small`,
    `invalid_address`, `not_relayed`, `block_unknown`, `fee_rate_too_low`; `node_refused` is
    everything else.
    """

    code = "node_refused"
    title = _("Refused by the node")
    message = _("The node refused this")

    def __init__(self, message: str | None = None, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.code


# --- Lightning ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class LightningInfo:
    """`blockheight` in blocks; `synced` is false while the node catches up with the chain."""

    id: str
    alias: str
    color: str
    network: str
    version: str
    blockheight: int
    synced: bool
    num_peers: int
    num_active_channels: int
    num_inactive_channels: int
    num_pending_channels: int
    fees_collected_msat: int
    addresses: tuple[dict[str, object], ...] = ()
    features: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CreatedInvoice:
    bolt11: str
    payment_hash: str
    expires_at_s: int


@dataclass(frozen=True)
class NodeInvoice:
    """An invoice as our node knows it; `label` is ours (a uuid) for every invoice we made."""

    label: str
    payment_hash: str
    status: str  # unpaid | paid | expired
    bolt11: str | None
    description: str | None
    expires_at_s: int
    amount_msat: int | None
    received_msat: int | None
    paid_at_s: int | None
    preimage: str | None
    pay_index: int | None
    created_index: int
    updated_index: int | None
    offer_id: str | None = None


@dataclass(frozen=True)
class Receipt:
    """A paid invoice of our node. `pay_index` is the cursor after this receipt.

    For a paid offer the label is the node's own and `offer_id` says which offer it was.
    """

    label: str
    payment_hash: str
    received_msat: int
    preimage: str
    paid_at_s: int
    pay_index: int
    offer_id: str | None = None


@dataclass(frozen=True)
class Decoded:
    """A payment request that somebody gave us. `raw` is the node's answer, for `GET /decode`.

    `created_at_s + expiry_s` is when it expires, at most the year 9999, which is also what an
    offer without an end says (an offer has no creation time: 0).
    """

    kind: str  # bolt11 invoice | bolt12 offer | bolt12 invoice
    payment_hash: str | None  # None for offers
    payee: str | None
    amount_msat: int | None  # None: the payer chooses
    description: str | None
    description_hash: str | None
    created_at_s: int
    expiry_s: int
    currency: str  # bc | tb | tbs | bcrt
    raw: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Settled:
    """The payee has the money. `fee_final` is false while any part is still pending.

    `delivered_msat` is what the payee took: less than the amount when it claims only some parts.
    """

    fee_msat: int
    preimage: str
    fee_final: bool = True
    delivered_msat: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Failed:
    """Certain: no part of the payment is, or will be, in flight."""

    reason: str


@dataclass(frozen=True)
class Unknown:
    """Not decided yet, or not known. The hold stays."""

    why: str


Outcome = Settled | Failed | Unknown


@dataclass(frozen=True)
class PaymentRecord:
    """What the node's own books say of every part sent for one payment hash (`listsendpays`).

    `in_progress` is the node's summary: an attempt object still lives, so parts may follow.
    """

    complete: int
    pending: int
    failed: int
    sent_msat: int  # over complete parts, fees included
    delivered_msat: int  # over complete parts
    preimage: str | None
    in_progress: bool
    last_part: int = 0
    """The highest number that one of these parts has in the node's books; 0 without any."""

    @property
    def parts(self) -> int:
        return self.complete + self.pending + self.failed


@dataclass(frozen=True)
class SentPart:
    """A part of an outgoing payment, by its number in the node's books."""

    number: int
    payment_hash: str


@dataclass(frozen=True)
class NodeCounters:
    """How many of each the node has written into its books in all its life. They never go back,
    and what is deleted keeps its number: a node that counts less has lost records."""

    invoices_created: int
    invoices_updated: int
    parts_created: int


@dataclass(frozen=True)
class PayReply:
    """What `pay` answered. Advice only: `outcome` of the release rule decides.

    `returned` is true when the answer says that this call sends no more parts: a success, or an
    error that xpay gives on purpose. It is false when the connection broke, our deadline passed
    first, or the answer is unreadable or unlisted.
    `never_sent` is true when the answer proves that this call sent nothing.
    `reason` is a sentence for the user, never the node's own text.
    """

    returned: bool
    never_sent: bool
    preimage: str | None
    reason: str | None


@dataclass(frozen=True)
class LightningBalance:
    """What of the node's money is ours, each place by itself and nothing twice.

    `channels_msat` is in channels that are open, or that we are opening. `closing_msat` is in those
    that are closing: less the fee of the close if it is ours to pay, and less what has reached the
    node's own wallet already. `wallet_msat` is there, confirmed and reserved for nothing.

    A channel counts an outgoing HTLC as ours until both sides have removed it, even after the
    payment has settled: `outgoing_msat` has those by payment hash, to be subtracted when settled.
    It counts an incoming one only when both sides have removed it, which the peer may delay for
    hours after the receipt: `incoming_msat` has those that the node answered, by a preimage or a
    refusal, to be added when the receipt was booked.

    `spendable_msat` and `receivable_msat` are of the channels that can route now.
    """

    channels_msat: int
    closing_msat: int
    wallet_msat: int
    spendable_msat: int
    receivable_msat: int
    outgoing_msat: dict[str, int] = field(default_factory=dict)
    incoming_msat: dict[str, int] = field(default_factory=dict)

    @property
    def ours_msat(self) -> int:
        return self.channels_msat + self.closing_msat + self.wallet_msat


class LightningNode(Protocol):
    def info(self) -> LightningInfo: ...

    def create_invoice(
        self,
        *,
        label: str,
        amount_msat: int | None,
        description: str,
        expiry_s: int,
        description_is_hashed: bool = False,
    ) -> CreatedInvoice:
        """Make an invoice under our label. A label that exists already returns that invoice,
        so a call whose answer was lost may be repeated with the same arguments."""

    def invoice_by_label(self, label: str) -> NodeInvoice | None: ...

    def delete_unpaid_invoice(self, label: str) -> bool:
        """Withdraw an unpaid invoice. False when it was paid or gone meanwhile (905, 906)."""

    def next_receipt(self, *, after_pay_index: int, timeout_s: int) -> Receipt | None:
        """The receipt with the lowest pay index above `after_pay_index`; None after
        `timeout_s` without one."""

    def invoices_updated_since(self, *, updated_index: int, limit: int) -> list[NodeInvoice]:
        """Invoices whose updated index is >= `updated_index`, in that order, at most `limit`."""

    def invoices_created_since(self, *, created_index: int, limit: int) -> list[NodeInvoice]:
        """Invoices whose created index is >= `created_index`, in that order, at most `limit`."""

    def decode(self, payment_request: str) -> Decoded:
        """Read a BOLT11 or BOLT12 string. Raises `NodeRefused` when it is not valid."""

    def pay(
        self,
        *,
        payment_request: str,
        amount_msat: int | None,
        max_fee_msat: int,
        retry_for_s: int,
        label: str,
    ) -> PayReply:
        """Try to pay, once. `amount_msat` only for requests without one. Blocks until the node
        answers or `retry_for_s` plus a margin has passed; never raises for a lost answer."""

    def payment_record(self, payment_hash: str) -> PaymentRecord:
        """The node's books for one outgoing payment hash."""

    def counters(self) -> NodeCounters: ...

    def parts_created(self) -> int:
        """`counters().parts_created`, in one call."""

    def parts_since(self, *, number: int, limit: int) -> list[SentPart]:
        """Parts of outgoing payments numbered `number` and above, in that order, at most `limit`.
        A number that is missing has been deleted."""

    def deletes_after_s(self) -> dict[str, int]:
        """What the node deletes by itself of what we may ask for later: the age at which, by the
        node's own name of the option."""

    def routes_within_s(self) -> int | None:
        """When the node gives up a search for a route; None when it does not say."""

    def fetch_invoice(self, *, offer: str, amount_msat: int | None) -> str:
        """A BOLT12 invoice from an offer; nothing is paid. `NodeRefused` when none came."""

    def create_offer(self, *, amount_msat: int | None, description: str, label: str) -> str: ...

    def balance(self) -> LightningBalance: ...


# --- Bitcoin -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class BitcoinInfo:
    """`synced`: not in initial download, headers no more than 2 ahead, wallet at the tip."""

    network: str  # bitcoin | testnet4 | signet | regtest
    blocks: int
    tip_hash: str
    synced: bool
    version: int


@dataclass(frozen=True)
class Output:
    """One output that pays our wallet, keyed by its outpoint `txid:vout`."""

    txid: str
    vout: int
    address: str
    amount_sat: int
    confirmations: int
    block_hash: str | None
    block_height: int | None


@dataclass(frozen=True)
class Receipts:
    """Outputs since a block, and where to ask from next. `removed_txids` are hints to look
    again, never an instruction to debit."""

    outputs: tuple[Output, ...]
    removed_txids: tuple[str, ...]
    next_block_hash: str


@dataclass(frozen=True)
class WalletTransaction:
    """`confirmations` < 0 means a conflicting transaction confirmed at that depth."""

    txid: str
    confirmations: int
    block_hash: str | None
    block_height: int | None
    hex: str
    conflicts: tuple[str, ...]  # wallet and mempool rivals
    in_mempool: bool
    outputs: tuple[Output, ...]  # those that pay our wallet


@dataclass(frozen=True)
class SignedTransaction:
    """Signed, not broadcast. `inputs` are outpoints (txid, vout)."""

    txid: str
    hex: str
    inputs: tuple[tuple[str, int], ...]
    fee_sat: int
    vsize: int


@dataclass(frozen=True)
class Coin:
    """An output that our wallet can spend now; with 0 confirmations it is change of its own."""

    txid: str
    vout: int
    amount_sat: int
    confirmations: int


@dataclass(frozen=True)
class SentTransaction:
    """A transaction that spends our coins, as the wallet remembers it. `confirmations` as in
    `WalletTransaction`; `paid` are its outputs, change among them."""

    signed: SignedTransaction
    confirmations: int
    in_mempool: bool
    paid: tuple[tuple[str, int], ...]  # (address, sats)


@dataclass(frozen=True)
class SentOutput:
    """An output that our wallet has paid to somebody, as it lists them; no change."""

    txid: str
    address: str
    amount_sat: int


@dataclass(frozen=True)
class Broadcast:
    """What became of a broadcast: `accepted` (in mempool or chain), `refused` for policy
    (the same hex may be accepted later), or ambiguous: ask `transaction` for every txid."""

    state: str  # accepted | refused | ambiguous
    reason: str = ""


@dataclass(frozen=True)
class FeeRates:
    """sat per virtual byte, at least the relay floor."""

    fastest: int
    half_hour: int
    hour: int
    economy: int
    minimum: int
    estimated: bool = True
    """False: the node has no estimate for some of them, and nobody knows how long those take."""


@dataclass(frozen=True)
class BitcoinBalance:
    trusted_sat: int
    pending_sat: int


class BitcoinNode(Protocol):
    def info(self) -> BitcoinInfo: ...

    def new_address(self, *, label: str, address_type: str) -> str: ...

    def receipts_since(self, block_hash: str | None, *, confirmations: int) -> Receipts:
        """Outputs received since `block_hash` (None: from the start), unconfirmed ones always
        included, those with fewer than `confirmations` shown again next time. Raises
        `NodeRefused` with code `block_unknown` when the node does not know the block."""

    def transaction(self, txid: str) -> WalletTransaction | None: ...

    def block_is_active(self, block_hash: str) -> bool:
        """Is this block part of the best chain? Raises `NodeRefused` with code `block_unknown`
        when the node has never seen it: another data directory, not a reorganisation."""

    def block_height(self, block_hash: str) -> int:
        """The height of a block, of the best chain or not. Raises `NodeRefused` with code
        `block_unknown`."""

    def prepare(
        self,
        *,
        address: str,
        amount_sat: int,
        fee_rate_sat_vb: int,
        subtract_fee: bool,
        lock_inputs: bool,
    ) -> SignedTransaction:
        """Build and sign a payment without broadcasting it, with confirmed coins as far as there
        are any, else with own change that waits for a block. With `lock_inputs` false it is a
        quote and leaves no trace. `NodeRefused` (code `insufficient_funds`) when the wallet
        cannot cover it."""

    def bump(
        self, txid: str, *, address: str, amount_sat: int, fee_rate_sat_vb: int
    ) -> SignedTransaction:
        """Sign a replacement of a payment that waits in the mempool, without broadcasting it: it
        spends the same coins and perhaps more, and pays the same. `NodeRefused` when it cannot be
        replaced: it is in a block, something is built upon it, or (`fee_rate_too_low`) the rate is
        not high enough above its own."""

    def coins(self) -> tuple[Coin, ...]:
        """The coins that `prepare` can choose from: neither locked nor unconfirmed of others."""

    def split(self, coin: Coin, *, pieces: int, fee_rate_sat_vb: int) -> bool:
        """Pay a coin to ourselves in equal pieces, less the fee, and broadcast that. False when it
        is locked or the network does not take it. An answer that is lost may mean either: look at
        `coins` again."""

    def sent(self, txid: str) -> SentTransaction | None:
        """A transaction that spends coins of our wallet; None when the wallet has no such one."""

    def sent_to(self, address: str, *, since_s: int) -> tuple[str, ...]:
        """The txids with which our wallet has paid an address, as far as it has known them since
        `since_s`; the newest first, with what was replaced, refused or abandoned, since that may
        confirm. A wallet keeps no note of ours, so address, amount and time name a withdrawal."""

    def sends_since(self, since_s: int) -> tuple[SentOutput, ...]:
        """All that our wallet has paid to anybody, as `sent_to`."""

    def coin_is_there(self, txid: str, vout: int) -> bool:
        """Whether the chain has this output unspent, whatever the mempool wants to do with it."""

    def inputs_of(self, hex: str) -> tuple[tuple[str, int], ...]: ...

    def unlock(self, inputs: tuple[tuple[str, int], ...]) -> None: ...

    def lock(self, inputs: tuple[tuple[str, int], ...]) -> None:
        """Reserve inputs again after a restart; those already locked or spent are passed over."""

    def broadcast(self, hex: str) -> Broadcast:
        """Hand a signed transaction to the network. The same hex may be given for ever.
        Raises `NodeUnavailable` when the answer is lost: unknown, give the same hex again."""

    def address_is_valid(self, address: str) -> bool:
        """True only for an address of our own network."""

    def address_is_ours(self, address: str) -> bool: ...

    def fee_rates(self) -> FeeRates: ...

    def balance(self) -> BitcoinBalance: ...
