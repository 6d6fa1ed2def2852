"""Our one channel, to bob, as lightningd shows it in three ways.

`to_us_msat` still contains an outgoing HTLC for a moment after its payment has completed, while
bookkeeping has deducted it already; the recordings show the same. When it is closed its coins go
to the node's own wallet, after `TO_SELF_DELAY` blocks more when we closed it alone; it stays in the
list, with what it once held, for 100 blocks after that.
"""

from __future__ import annotations

import hashlib
from typing import Any

from coinos.simnet.network import CHANNEL_ID, FEE_PPM, Network
from coinos.simnet.payments import RESERVE_MSAT, Payments
from coinos.simnet.records import Part

Json = dict[str, Any]

TO_SELF_DELAY = 6
FORGOTTEN_AFTER = 100
RESCAN_BLOCKS = 15  # that lightningd takes back at its start, and reads again
CLOSE_FEE_MSAT = 1_411_000
OUR_ADDRESS = "bcrt1pgy76clvc9fukerj64fz2ckfy45lx96ga8hknxnwfdw9y7ljl5v3snvrqqd"
OUR_SCRIPT = "5120413dac7d982a796c8e5aaa44ac5924ad3e62e91d3ded334dc96b8a4f7e5fa323"
UNCLOSED = {"mutual": "CLOSINGD_COMPLETE", "unilateral": "AWAITING_UNILATERAL"}


class ChannelViews:
    """`listpeerchannels`, `listfunds`, `listchainmoves`, `bkpr-listbalances`."""

    def __init__(self, network: Network, payments: Payments) -> None:
        self.network = network
        self.payments = payments
        self.store = network.store
        self.peer_id = network.nodes["bob"].id
        self.channel_id = self._derived("channel_id")
        self.funding_txid = self._derived("funding_txid")

    def _derived(self, name: str) -> str:
        return hashlib.sha256(f"{self.store.seed.hex}/{name}".encode()).hexdigest()

    def to_us_msat(self) -> int:
        removing = self.payments.removing.values()
        return self.store.channel.to_us_msat + sum(part.amount_sent_msat for part in removing)

    # --- closing -----------------------------------------------------------------------------

    def depth(self) -> int:
        """Of the closing transaction, in blocks; 0 while there is none in a block."""
        channel = self.store.channel
        return max(0, self.network.height() - channel.closed_at_height) if channel.closing else 0

    def blocks_to_sweep(self) -> int:
        """Until what was ours is in the wallet."""
        delay = TO_SELF_DELAY + 1 if self.store.channel.closing == "unilateral" else 1
        return max(0, delay - self.depth())

    def is_swept(self) -> bool:
        return bool(self.store.channel.closing) and not self.blocks_to_sweep()

    def is_forgotten(self) -> bool:
        return self.depth() > FORGOTTEN_AFTER + TO_SELF_DELAY

    def state(self) -> str:
        closing = self.store.channel.closing
        return "ONCHAIN" if self.depth() else UNCLOSED.get(closing, "CHANNELD_NORMAL")

    def _status(self) -> list[str]:
        if not self.depth():
            return [f"{self.state()}:Channel ready for use."]
        how = "mutual close transaction"
        if self.store.channel.closing == "unilateral":
            how = "our own unilateral close"
        wait = "All outputs resolved: waiting 100 more blocks before forgetting channel"
        if not self.is_swept():
            wait = (
                f"1 outputs unresolved: in {self.blocks_to_sweep()} blocks will spend "
                f"DELAYED_OUTPUT_TO_US ({self._derived('closing_txid')}:0) using "
                "OUR_DELAYED_RETURN_TO_WALLET"
            )
        return [f"ONCHAIN:Tracking {how}", f"ONCHAIN:{wait}"]

    def _came_of_it(self) -> tuple[str, int, int]:
        """The wallet's output: its txid, msat and height."""
        channel = self.store.channel
        is_mutual = channel.closing == "mutual"
        delay = 1 if is_mutual else TO_SELF_DELAY + 1
        amount_msat = (channel.to_us_msat - CLOSE_FEE_MSAT) // 1000 * 1000
        txid = self._derived("closing_txid" if is_mutual else "sweep_txid")
        return txid, amount_msat, channel.closed_at_height + delay

    def _outputs(self) -> list[Json]:
        if not self.is_swept():
            return []
        txid, amount_msat, height = self._came_of_it()
        is_taken_back = self.network.is_syncing and height > self.network.height() - RESCAN_BLOCKS
        seen = {"status": "confirmed", "blockheight": height}
        return [
            {
                "txid": txid,
                "output": 0,
                "amount_msat": amount_msat,
                "scriptpubkey": OUR_SCRIPT,
                "address": OUR_ADDRESS,
                **({"status": "unconfirmed"} if is_taken_back else seen),
                "reserved": False,
            }
        ]

    async def listchainmoves(
        self, index: str | None = None, start: int = 0, limit: int | None = None
    ) -> Json:
        moves: list[Json] = []

        def move(account: str, tag: str, utxo: str, **more: Any) -> None:
            fields = {"credit_msat": 0, "debit_msat": 0, "extra_tags": [], "timestamp": 1795403541}
            named = {"account_id": account, "primary_tag": tag, "utxo": utxo, "output_msat": 0}
            height = {"blockheight": self.store.channel.closed_at_height + 1}
            moves.append({"created_index": len(moves) + 1} | named | fields | height | more)

        closing_txid = self._derived("closing_txid")
        if self.depth():
            funding = f"{self.funding_txid}:0"
            move(self.channel_id, "channel_close", funding, spending_txid=closing_txid)
        if self.is_swept():
            txid, amount_msat, height = self._came_of_it()
            if txid != closing_txid:
                delayed = f"{closing_txid}:0"
                move(self.channel_id, "to_wallet", delayed, spending_txid=txid)
            move("wallet", "deposit", f"{txid}:0", credit_msat=amount_msat, blockheight=height)
        return {"chainmoves": [m for m in moves if m["created_index"] >= start][:limit]}

    # --- the lists ---------------------------------------------------------------------------

    async def listfunds(self, spent: bool = False) -> Json:
        channel = {
            "peer_id": self.peer_id,
            "connected": True,
            "state": self.state(),
            "channel_id": self.channel_id,
            "short_channel_id": CHANNEL_ID,
            "our_amount_msat": self.to_us_msat(),
            "amount_msat": self.store.channel.total_msat,
            "funding_txid": self.funding_txid,
            "funding_output": 0,
        }
        return {"outputs": self._outputs(), "channels": [] if self.is_forgotten() else [channel]}

    async def listbalances(self) -> Json:
        in_wallet_msat = sum(output["amount_msat"] for output in self._outputs())
        in_channel_msat = 0 if in_wallet_msat else self.store.channel.to_us_msat
        balance = {"balance_msat": in_channel_msat, "coin_type": "bcrt"}
        channel = {
            "account": self.channel_id,
            "peer_id": self.peer_id,
            "we_opened": True,
            "account_closed": False,
            "account_resolved": False,
            "balances": [balance],
        }
        in_wallet = {"balance_msat": in_wallet_msat, "coin_type": "bcrt"}
        wallet = {"account": "wallet", "balances": [in_wallet]}
        return {"accounts": [channel, wallet]}

    async def listpeerchannels(
        self, id: str | None = None, short_channel_id: str | None = None
    ) -> Json:
        is_asked = id in (None, self.peer_id) and short_channel_id in (None, CHANNEL_ID)
        if not is_asked or self.is_forgotten():
            return {"channels": []}
        return {"channels": [self._identity() | self._amounts() | {"htlcs": self._htlcs()}]}

    def _identity(self) -> Json:
        total = self.store.channel.total_msat
        side = {
            "htlc_minimum_msat": 0,
            "htlc_maximum_msat": total - RESERVE_MSAT,
            "cltv_expiry_delta": 6,
            "fee_base_msat": 0,
            "fee_proportional_millionths": FEE_PPM,
        }
        return {
            "peer_id": self.peer_id,
            "peer_connected": True,
            "reestablished": True,
            "channel_type": {
                "bits": [12, 22],
                "names": ["static_remotekey/even", "anchors/even"],
            },
            "ignore_fee_limits": True,
            "updates": {"local": side, "remote": side},
            "state": self.state(),
            "scratch_txid": self._derived("scratch_txid"),
            "last_tx_fee_msat": CLOSE_FEE_MSAT,
            "lost_state": False,
            "feerate": {"perkw": 1255, "perkb": 5020},
            "owner": "channeld",
            "short_channel_id": CHANNEL_ID,
            "direction": 0,
            "channel_id": self.channel_id,
            "funding_txid": self.funding_txid,
            "funding_outnum": 0,
            "private": False,
            "opener": "local",
            "alias": {"local": "13875555x16340384x60739", "remote": "4814597x1969186x47845"},
            "features": ["option_static_remotekey", "option_anchors"],
            "funding": {
                "local_funds_msat": total,
                "remote_funds_msat": 0,
                "pushed_msat": total - total // 2,
                "withheld": False,
            },
        }

    def _amounts(self) -> Json:
        channel = self.store.channel
        to_us = self.to_us_msat()
        return {
            "to_us_msat": to_us,
            "min_to_us_msat": min(to_us, channel.total_msat // 2),
            "max_to_us_msat": max(to_us, channel.total_msat // 2),
            "total_msat": channel.total_msat,
            "fee_base_msat": 0,
            "fee_proportional_millionths": FEE_PPM,
            "dust_limit_msat": 546_000,
            "their_max_htlc_value_in_flight_msat": 2**64 - 1,
            "our_max_htlc_value_in_flight_msat": 2**64 - 1,
            "their_reserve_msat": RESERVE_MSAT,
            "our_reserve_msat": RESERVE_MSAT,
            "spendable_msat": self.payments.spendable_msat(),
            "receivable_msat": 0
            if channel.closing
            else max(0, channel.total_msat - to_us - RESERVE_MSAT),
            "minimum_htlc_in_msat": 0,
            "minimum_htlc_out_msat": 0,
            "maximum_htlc_out_msat": channel.total_msat - RESERVE_MSAT,
            "their_to_self_delay": TO_SELF_DELAY,
            "our_to_self_delay": TO_SELF_DELAY,
            "max_accepted_htlcs": 483,
            "state_changes": [
                {
                    "timestamp": "2026-11-23T03:11:22.521Z",
                    "old_state": "CHANNELD_AWAITING_LOCKIN",
                    "new_state": "CHANNELD_NORMAL",
                    "cause": "user",
                    "message": "Lockin complete",
                }
            ],
            "status": self._status(),
            "in_payments_offered": channel.in_payments_offered,
            "in_offered_msat": channel.in_offered_msat,
            "in_payments_fulfilled": channel.in_payments_fulfilled,
            "in_fulfilled_msat": channel.in_fulfilled_msat,
            "out_payments_offered": channel.out_payments_offered,
            "out_offered_msat": channel.out_offered_msat,
            "out_payments_fulfilled": channel.out_payments_fulfilled,
            "out_fulfilled_msat": channel.out_fulfilled_msat,
        }

    def _htlcs(self) -> list[Json]:
        pending = (part for part in self.store.parts_pending.values() if not part.to_self)
        withheld = self.store.channel.withheld.items()
        return [
            *(_htlc(part, "SENT_ADD_ACK_REVOCATION") for part in pending),
            *(_htlc(part, "SENT_REMOVE_ACK_COMMIT") for part in self.payments.removing.values()),
            *(self._withheld(number, *htlc) for number, htlc in enumerate(withheld)),
        ]

    def _withheld(self, number: int, payment_hash: str, amount_msat: int) -> Json:
        return {
            "direction": "in",
            "id": number,
            "amount_msat": amount_msat,
            "expiry": self.network.height() + TO_SELF_DELAY,
            "payment_hash": payment_hash,
            "state": "SENT_REMOVE_COMMIT",
        }


def _htlc(part: Part, state: str) -> Json:
    return {
        "direction": "out",
        "id": part.created_index,
        "amount_msat": part.amount_sent_msat,
        "expiry": part.expiry_height,
        "payment_hash": part.payment_hash,
        "state": state,
        "local_trimmed": part.amount_sent_msat < 546_000,
    }
