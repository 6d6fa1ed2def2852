"""Our one channel, to bob, as lightningd shows it in three ways.

`to_us_msat` still contains an outgoing HTLC for a moment after its payment has completed, while
bookkeeping has deducted it already; the recordings show the same.
"""

from __future__ import annotations

import hashlib
from typing import Any

from coinos.simnet.network import CHANNEL_ID, FEE_PPM, Network
from coinos.simnet.payments import RESERVE_MSAT, Payments
from coinos.simnet.records import Part

Json = dict[str, Any]


class ChannelViews:
    """`listpeerchannels`, `listfunds`, `bkpr-listbalances`."""

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

    async def listfunds(self, spent: bool = False) -> Json:
        return {
            "outputs": [],
            "channels": [
                {
                    "peer_id": self.peer_id,
                    "connected": True,
                    "state": "CHANNELD_NORMAL",
                    "channel_id": self.channel_id,
                    "short_channel_id": CHANNEL_ID,
                    "our_amount_msat": self.to_us_msat(),
                    "amount_msat": self.store.channel.total_msat,
                    "funding_txid": self.funding_txid,
                    "funding_output": 0,
                }
            ],
        }

    async def listbalances(self) -> Json:
        balance = {"balance_msat": self.store.channel.to_us_msat, "coin_type": "bcrt"}
        channel = {
            "account": self.channel_id,
            "peer_id": self.peer_id,
            "we_opened": True,
            "account_closed": False,
            "account_resolved": False,
            "balances": [balance],
        }
        wallet = {"account": "wallet", "balances": [{"balance_msat": 0, "coin_type": "bcrt"}]}
        return {"accounts": [channel, wallet]}

    async def listpeerchannels(
        self, id: str | None = None, short_channel_id: str | None = None
    ) -> Json:
        if id not in (None, self.peer_id) or short_channel_id not in (None, CHANNEL_ID):
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
            "state": "CHANNELD_NORMAL",
            "scratch_txid": self._derived("scratch_txid"),
            "last_tx_fee_msat": 1_411_000,
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
            "receivable_msat": max(0, channel.total_msat - to_us - RESERVE_MSAT),
            "minimum_htlc_in_msat": 0,
            "minimum_htlc_out_msat": 0,
            "maximum_htlc_out_msat": channel.total_msat - RESERVE_MSAT,
            "their_to_self_delay": 6,
            "our_to_self_delay": 6,
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
            "status": ["CHANNELD_NORMAL:Channel ready for use."],
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
        return [_htlc(part, "SENT_ADD_ACK_REVOCATION") for part in pending] + [
            _htlc(part, "SENT_REMOVE_ACK_COMMIT") for part in self.payments.removing.values()
        ]


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
