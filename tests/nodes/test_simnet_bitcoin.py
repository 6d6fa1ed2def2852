"""The contract: simnet's bitcoin node answers as a recorded Bitcoin Core did.

`traces/bitcoin.jsonl` is a recording of a real node. Each recorded call is made again over HTTP,
in the recorded order, after the same events outside, with the addresses, hashes and transactions
of then replaced by those of now. Then each scenario is compared: same status, same fields, same
JSON types, and the same values except where keys, clocks or chance decide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nodes.running_bitcoin import HttpAnswer, RunningBitcoin

TRACES = Path(__file__).parent / "traces"
Json = dict[str, Any]

CALLS: list[Json] = [
    json.loads(line) for line in (TRACES / "bitcoin.jsonl").read_text().splitlines()
]
UNSUPPORTED = {
    "fundrawtransaction: subtract fee": "the wallet prepares with `send`; `send` subtracts too",
}
NOT_HTTP = {"nothing listens on the port"}  # has a test of its own

# Decided by keys, by the clock, by how long the chain is, or by which coins a payment spends.
VARIES = {
    *(
        "address",
        "desc",
        "parent_desc",
        "parent_descs",
        "pubkey",
        "scriptPubKey",
        "asm",
    ),
    *(
        "witness_program",
        "hdmasterfingerprint",
        "labels",
        "hash",
        "bestblockhash",
        "blockhash",
    ),
    *(
        "lastblock",
        "txid",
        "wtxid",
        "walletconflicts",
        "mempoolconflicts",
        "replaced_by_txid",
    ),
    *(
        "replaces_txid",
        "hex",
        "psbt",
        "txinwitness",
        "effective-includes",
        "vout",
        "changepos",
    ),
    *(
        "time",
        "mediantime",
        "timereceived",
        "blocktime",
        "birthtime",
        "timestamp",
        "blocks",
    ),
    *(
        "headers",
        "height",
        "blockheight",
        "chainwork",
        "size_on_disk",
        "warnings",
        "subversion",
    ),
    *(
        "fee",
        "origfee",
        "base",
        "size",
        "vsize",
        "weight",
        "locktime",
        "value",
        "keypoolsize",
    ),
}
# Scenarios whose whole result is such a value.
RESULT_VARIES = re.compile("getnewaddress|getbestblockhash|sendrawtransaction|signmessage|uptime")
# The recorded wallet chose two coins; which and how many is the wallet's affair.
LENGTH_VARIES = {"vin", "warnings"}
BROKEN_HEX = (
    "f41c2caff5b4fe47c2ed5c914f0fb9a8081b86af8e4fb690630dd6bbcf6e8a5a0100000000000000000140"
)


class Replay:
    """Makes the recorded calls on a live simnet, translating what was of then into what is now."""

    def __init__(self, bitcoin: RunningBitcoin) -> None:
        self.bitcoin = bitcoin
        self.now: dict[str, str] = {}
        self.answers: dict[str, HttpAnswer] = {}
        self.deposit = self.replaced = self.replaced_hex = ""

    def run(self) -> None:
        for call in CALLS:
            scenario = call["scenario"]
            if scenario in UNSUPPORTED or scenario in NOT_HTTP:
                continue
            self.prepare(scenario)
            password = "wrong" if scenario == "wrong password" else "simnet"
            params = self.translate(call["params"])
            answer = self.bitcoin.http(call["method"], params, call["path"], password=password)
            self.answers[scenario] = answer
            if answer.status == 200:
                self.learn(call["result"], answer.json["result"])

    def prepare(self, scenario: str) -> None:
        """What the recording did outside just before this call."""
        world = self.bitcoin.world
        match scenario:
            case "listsinceblock: one unconfirmed deposit":
                self.deposit = self.pay("invoice bech32", 1_000_000)
            case "listsinceblock: one confirmation":
                world("mine")
            case "listsinceblock: after the block was disconnected, from the lost block":
                world("reorg", depth=1, blocks=0)
            case _ if scenario.startswith("listsinceblock: reorg, the tx unconfirmed again"):
                world("stuck", on=True)
                world("mine", n=2)
            case "listsinceblock: confirmed again":
                world("stuck", on=False)
                world("mine", n=2)
            case "listsinceblock: replaceable deposit seen":
                self.replaced = self.pay("invoice bech32m", 2_000_000)
            case "listsinceblock: deposit replaced by a conflict in the mempool":
                world("replace", txid=self.replaced)
            case "listsinceblock: conflict confirmed (confirmations negative)":
                world("mine")
            case "listsinceblock: one transaction, two of our addresses":
                two = {
                    self.new_address(label): sat for label, sat in (("y", 200_000), ("x", 100_000))
                }
                world("deposit", outputs=two)
                world("mine")
            case "getbalances":
                world("deposit", address=self.new_address("fund"), amount_sat=300_000_000)
                world("mine")
            case "estimatesmartfee: no data on regtest":
                world("fee_estimates", sat_vb=None)
            case "getmempoolinfo":  # from here on the recorded node had a fallback fee
                world("fee_estimates", sat_vb={"1": 2})
            case "sendrawtransaction: again after confirmation":
                world("mine")

    def pay(self, label: str, amount_sat: int) -> str:
        recorded = next(c for c in CALLS if c["params"][:1] == [label])["result"]
        txid = self.bitcoin.world("deposit", address=self.now[recorded], amount_sat=amount_sat)
        return str(txid)

    def new_address(self, label: str) -> str:
        return str(self.bitcoin.rpc("getnewaddress", label))

    def translate(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.translate(item) for item in value]
        if isinstance(value, dict):
            return {self.translate(name): self.translate(item) for name, item in value.items()}
        if not isinstance(value, str):
            return value
        if BROKEN_HEX in value:
            # Inputs long spent: here, those of the deposit that was replaced.
            return self.bitcoin.rpc("gettransaction", self.replaced)["hex"]
        if value.startswith("bcrt1") and value not in self.now:
            self.now[value] = self.bitcoin.world("address")
        return self.now.get(value, value)

    def learn(self, then: Any, now: Any) -> None:
        """Pair what the two nodes said, so that later parameters can be translated."""
        if isinstance(then, dict) and isinstance(now, dict):
            for name in then.keys() & now.keys():
                self.learn(then[name], now[name])
        elif isinstance(then, list) and isinstance(now, list):
            for item, other in zip(then, now, strict=False):
                self.learn(item, other)
        elif isinstance(then, str) and isinstance(now, str) and len(then) > 30:
            self.now.setdefault(then, now)


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    bitcoin = RunningBitcoin(tmp_path_factory.mktemp("simnet"))
    replay = Replay(bitcoin)
    replay.run()
    yield replay
    bitcoin.close()


SUPPORTED = [c for c in CALLS if c["scenario"] not in UNSUPPORTED.keys() | NOT_HTTP]


def test_every_scenario_is_compared_or_excused() -> None:
    assert {c["scenario"] for c in CALLS} >= UNSUPPORTED.keys() | NOT_HTTP
    assert len(SUPPORTED) == len(CALLS) - 2


@pytest.mark.parametrize("call", SUPPORTED, ids=lambda call: call["scenario"])
def test_simnet_answers_as_bitcoin_core_did(call: Json, replay: Replay) -> None:
    answer = replay.answers[call["scenario"]]
    assert answer.status == call["http_status"], answer.body
    if "body" in call:
        assert answer.body.decode() == call["body"]
        return
    assert answer.json.keys() == {"result", "error", "id"}
    assert answer.json["id"] == 7
    assert answer.json["error"] == call["error"]
    if RESULT_VARIES.match(call["scenario"]):
        assert kind(answer.json["result"]) == kind(call["result"])
    else:
        assert differences(call["result"], answer.json["result"]) == []


def differences(then: Any, now: Any, path: str = "result") -> list[str]:
    """Where two replies differ although nothing that may vary explains it."""
    name = path.rsplit(".", 1)[-1].split("[")[0]
    if kind(then) != kind(now):
        return [f"{path}: was {kind(then)}, is {kind(now)}"]
    if isinstance(then, dict):
        found = [f"{path}: only one has {key}" for key in then.keys() ^ now.keys()]
        for key in then.keys() & now.keys():
            found += differences(then[key], now[key], f"{path}.{key}")
        return found
    if isinstance(then, list):
        if len(then) != len(now) and name not in LENGTH_VARIES:
            return [f"{path}: had {len(then)} items, has {len(now)}"]
        pairs = enumerate(zip(then, now, strict=False))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{path}[{i}]")]
    if then != now and name not in VARIES:
        return [f"{path}: was {then!r}, is {now!r}"]
    return []


def kind(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch("([0-9a-f]{2}){32,}", value):
        return "32 bytes of hex" if len(value) == 64 else "hex"
    return type(value).__name__
