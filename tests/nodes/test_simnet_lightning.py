"""The contract: simnet's Lightning node answers as a recorded Core Lightning did.

`traces/lightning*.jsonl` are recordings of a real node. Each recorded call is made again, in the
recorded order, on a fresh simnet, with the invoices of then replaced by ones of the same kind
made now; each scenario is then compared: same fields, same JSON types, same codes and words,
and, where chance plays no part, the same numbers.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pyln.client import LightningRpc, RpcError

from coinos.simnet import bolt11
from coinos.simnet.control import ControlError
from tests.simnet_fixtures import SimnetProcess

TRACES = Path(__file__).parent / "traces"
Json = dict[str, Any]

UNSUPPORTED = {
    "bkpr-listincome": "the wallet does not read the node's own bookkeeping of single payments",
    "newaddr": "on-chain money of the Lightning node is treasury, which simnet does not have",
    "feerates": "the wallet takes its fee rates from the bitcoin node",
    "xpay: right after our only peer dropped": "simnet's only peer is always connected",
    "listpays after the dropped peer": "as above",
}
# Closing and funding of the channel on chain, which simnet's channel never does.
NOT_SHOWN = {"close_to", "close_to_addr", "psbt", "last_stable_connection"}
# Lists that are empty here.
EMPTY = {
    "getinfo.binding": "no peer can connect to it",
    "listfunds.outputs": "treasury, as above",
}
# Words that must be the same, and numbers that no clock and no chance decides.
SAME_WORDS = {
    "status",
    "type",
    "currency",
    "valid",
    "subsystem",
    "network",
    "version",
    "state",
}
SAME_NUMBERS = {
    "amount_msat",
    "amount_sent_msat",
    "amount_received_msat",
    "created_index",
    "updated_index",
    "pay_index",
    "failed_parts",
    "successful_parts",
    "parts",
    "expiry",
    "created",
}


def recorded(name: str) -> list[Json]:
    return [json.loads(line) for line in (TRACES / name).read_text().splitlines()]


CALLS = recorded("lightning.jsonl")
PENDING_CALLS = recorded("lightning-pending.jsonl")


def supported(calls: list[Json]) -> list[str]:
    return [call["scenario"] for call in calls if call["scenario"] not in UNSUPPORTED]


# --- making the recorded calls again ---------------------------------------------------------


class Replay:
    """Makes recorded calls on a live simnet, with each recorded invoice replaced by a new one."""

    def __init__(self, process: SimnetProcess) -> None:
        self.process = process
        self.world = process.control
        self.now: dict[str, str] = {}  # recorded invoice, offer or hash -> ours
        self.answers: dict[str, Json] = {}
        self.offered_msat = 0
        self.node_id = str(next(c for c in CALLS if c["method"] == "getinfo")["result"]["id"])
        self.bob_id = "03c673ef4872936fa1d65650a915734f1636b188aeb54585e40b43e846afc0bce0"

    def rpc(self) -> LightningRpc:
        return LightningRpc(self.world.lightning_rpc)

    def make(self, call: Json) -> None:
        self.answers[call["scenario"]] = self.answer(call)

    def answer(self, call: Json) -> Json:
        params = {name: self.translate(call, value) for name, value in call["params"].items()}
        if call["node"] != "alice":
            return self.from_outside(params)
        try:
            result = self.rpc().call(call["method"], params)
        except RpcError as error:
            return {"error": error.error}
        except OSError as error:
            return {"exception": error}
        self.remember(call.get("result", {}), result)
        return {"result": result}

    def from_outside(self, params: Json) -> Json:
        """What bob and carol did with their own nodes, the outside wallet does."""
        if "offer" in params:  # the outside wallet fetches the invoice when it pays the offer
            self.offered_msat = params["amount_msat"]
            return {}
        amount_msat = params.get("amount_msat")
        if params["invstring"].startswith("lno"):
            amount_msat = self.offered_msat
        try:
            return {"result": self.world.pay(params["invstring"], amount_msat)}
        except ControlError as error:
            return {"refused": error.code}

    def remember(self, then: Json, result: Json) -> None:
        for name in ("bolt11", "bolt12", "invoice", "payment_hash"):
            if isinstance(then.get(name), str) and name in result:
                self.now[then[name]] = result[name]

    def translate(self, call: Json, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value in self.now:
            return self.now[value]
        if value.lower() in self.now:
            return self.now[value.lower()].upper()
        if call["scenario"] == "decode: corrupted bolt11":
            return next(iter(self.now.values()))[:-3] + "qqq"
        if value.startswith("lno"):
            self.now[value] = self.world.offer(description="carol offer")
        elif value.startswith("lni") and call["node"] != "alice":
            self.now[value] = self.answers["offer: any amount"]["result"]["bolt12"]
        elif value.startswith("lnbcrt") and "nonsense" not in value:
            self.now[value] = self.invoice_like(call["scenario"], value)
        return self.now.get(value, value)

    def invoice_like(self, scenario: str, recorded_invoice: str) -> str:
        then = bolt11.decode(recorded_invoice)
        if then.payee == self.node_id:
            made = self.rpc().invoice(then.amount_msat, f"{scenario} own", then.description)
            return str(made["bolt11"])
        node = "bob" if then.payee == self.bob_id else "carol"
        if "does not know the hash" in scenario:
            node = "fail"
        expiry = 1 if "expired" in scenario else then.expiry
        invoice = self.world.invoice(then.amount_msat, then.description or "", expiry, node)
        if expiry == 1:
            self.wait_for_expiry(bolt11.decode(invoice).expires_at)
        return invoice

    def wait_for_expiry(self, expires_at: int) -> None:
        time.sleep(max(0.0, expires_at - time.time()) + 0.1)

    def hash_of(self, call: Json) -> str:
        invoice = call["params"].get("invstring") or call["params"]["bolt11"]
        return bolt11.decode(self.translate(call, invoice)).payment_hash

    def held(self, call: Json) -> Thread:
        """Start this payment and return when its receiver holds it."""
        payment_hash = self.hash_of(call)
        self.world.hold(payment_hash)
        payment = Thread(target=self.make, args=(call,))
        payment.start()
        while self.world.payment(payment_hash)["status"] != "pending":
            time.sleep(0.01)
        return payment


@pytest.fixture(scope="module")
def live(own_simnet: SimnetProcess) -> Json:
    """The answers to all recorded calls, by scenario."""
    replay = Replay(own_simnet)
    replay_plain(replay)
    replay_pending(replay)
    return replay.answers


def replay_plain(replay: Replay) -> None:
    calls = {call["scenario"]: call for call in CALLS}
    for call in CALLS:
        scenario = call["scenario"]
        if scenario in UNSUPPORTED:
            continue
        if scenario.endswith("two at once (2)"):
            first = calls[scenario.replace("(2)", "(1)")]
            payment = replay.held(first)
            replay.make(call)
            replay.world.release(replay.hash_of(first))
            payment.join()
        elif not scenario.endswith("two at once (1)"):
            replay.make(call)
        if scenario == "invoice: expires in 1 s":
            replay.wait_for_expiry(replay.answers[scenario]["result"]["expires_at"] + 1)


def replay_pending(replay: Replay) -> None:
    calls = {call["scenario"]: call for call in PENDING_CALLS}
    while replay.rpc().listpeerchannels()["channels"][0]["htlcs"]:
        time.sleep(0.01)  # what settled a moment ago still stands in the channel
    settled = calls["xpay: receiver holds 12 s, retry_for 3"]
    payment = replay.held(settled)
    for scenario in (
        "listpays while held (after retry_for passed)",
        "listsendpays while held",
        "listpeerchannels while held (htlcs)",
        "xpay again while held",
    ):
        replay.make(calls[scenario])
    replay.world.release(replay.hash_of(settled), settle=True)
    payment.join()
    replay.make(calls["listpays after settled"])

    rejected = calls["xpay: receiver holds 6 s then rejects"]
    payment = replay.held(rejected)
    replay.world.release(replay.hash_of(rejected), settle=False)
    payment.join()
    replay.make(calls["listpays after rejection"])

    killed = calls["xpay: own lightningd is killed while held"]
    payment = replay.held(killed)
    replay.process.kill()
    payment.join()
    replay.make(calls["call while lightningd is down"])
    replay.process.start()
    replay.make(calls["listpays right after restart, still held"])
    replay.make(calls["xpay again right after restart"])
    replay.world.release(replay.hash_of(killed), settle=True)
    replay.make(calls["listpays when it settled after the restart"])
    replay.make(calls["listsendpays when it settled after the restart"])


# --- comparing -------------------------------------------------------------------------------


def differences(then: Any, now: Any, path: str, *, numbers: bool) -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in sorted(set(then) ^ set(now) - NOT_SHOWN):
            if name not in NOT_SHOWN:
                yield f"{path}.{name}: {'missing' if name in then else 'not recorded'}"
        for name in set(then) & set(now):
            yield from differences(then[name], now[name], f"{path}.{name}", numbers=numbers)
    elif isinstance(then, list) and isinstance(now, list):
        if path in EMPTY and not now:
            return
        if bool(then) != bool(now):
            yield f"{path}: {len(then)} recorded, {len(now)} now"
        for before, after in zip(then, now, strict=False):
            yield from differences(before, after, f"{path}[]", numbers=numbers)
    elif type(then) is not type(now):
        yield f"{path}: {type(then).__name__} recorded, {type(now).__name__} now"
    else:
        name = path.rsplit(".", 1)[-1]
        same = SAME_WORDS | SAME_NUMBERS if numbers else SAME_WORDS
        if name in same and then != now:
            yield f"{path}: {then!r} recorded, {now!r} now"


def words(message: str) -> str:
    """An error message without what differs from run to run."""
    return re.sub(r"\d+", "N", re.sub(r"lnbcrt\w+", "INVOICE", message))


def assert_same_error(then: Any, now: Any) -> None:
    if isinstance(then, str):
        assert now == then
        return
    assert set(now) == set(then)
    assert now["code"] == then["code"]
    assert words(now["message"]) == words(then["message"])


def assert_same(call: Json, answer: Json, *, numbers: bool) -> None:
    if call["node"] != "alice":
        codes = {219: "already_paid", 207: "expired"}
        expected = codes.get(call.get("error", {}).get("code"))
        assert answer.get("refused") == expected
    elif "error" in call:
        assert_same_error(call["error"], answer.get("error"))
    elif "exception" in call:
        # A reset while it dies, a refusal once it is dead: which one is a race.
        assert isinstance(answer.get("exception"), ConnectionError)
    else:
        assert "result" in answer, answer
        found = list(differences(call["result"], answer["result"], call["method"], numbers=numbers))
        assert found == []


@pytest.mark.parametrize("scenario", supported(CALLS))
def test_simnet_answers_as_the_recorded_node(live: Json, scenario: str) -> None:
    call = next(call for call in CALLS if call["scenario"] == scenario)
    chance = ("listpeerchannels", "listfunds", "bkpr-listbalances")
    assert_same(call, live[scenario], numbers=call["method"] not in chance)


@pytest.mark.parametrize("scenario", supported(PENDING_CALLS))
def test_simnet_answers_as_the_recorded_node_while_payments_hang(live: Json, scenario: str) -> None:
    call = next(call for call in PENDING_CALLS if call["scenario"] == scenario)
    assert_same(call, live[scenario], numbers=False)


def test_every_unsupported_scenario_is_a_recorded_one() -> None:
    assert set(UNSUPPORTED) <= {call["scenario"] for call in CALLS + PENDING_CALLS}
