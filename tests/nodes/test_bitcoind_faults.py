"""What a broken Bitcoin Core may say, and that none of it is believed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from coinos.errors import NodeUnavailable
from coinos.nodes.base import NodeRefused
from coinos.nodes.bitcoind import BitcoinCore
from tests.nodes.replay import (
    SPOILS,
    Error,
    Late,
    Raw,
    Result,
    answer_of,
    fields_of,
    recorded,
    spoiled,
)


def trace(scenario: str) -> dict[str, Any]:
    return recorded("bitcoin", scenario)


BROKEN = {
    "closed without a word": Raw(None),
    "empty": Raw(b""),
    "not JSON": Raw(b"<html>no</html>"),
    "half JSON": Raw(b'{"result": {"chain": "reg'),
    "not UTF-8": Raw(b'{"result": "\xff"}'),
    "a list": Raw(b"[1]"),
    "a deep nest": Raw(b"[" * 100_000),
    "no result": Raw(b'{"id": 1}'),
    "401, wrong password": Raw(b"", status=401, content_type=""),
    "503, work queue full": Raw(b"Work queue depth exceeded", status=503, content_type="text/html"),
    "500, not JSON": Raw(b"oops", status=500),
    "warming up": Error({"code": -28, "message": "Loading block index…"}),
    "an error nobody expects": Error({"code": -1, "message": "?"}),
    "error a text": Error("oops"),
    "error a text about a message": Error("message"),
    "error without code": Error({"message": "?"}),
    "error code a text": Error({"code": "-5", "message": "?"}),
    "error code null": Error({"code": None, "message": None}),
    "result null": Result(None),
    "result a text": Result("ok"),
    "result a list": Result([{}]),
    "an empty result": Result({}),
    "too late": Late(1.0, answer_of(trace("getbalances"))),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_makes_the_node_unavailable(bitcoin, bitcoind, broken):
    bitcoind.will(getbalances=broken, gettransaction=broken, listsinceblock=broken)

    for read in (
        bitcoin.balance,
        lambda: bitcoin.transaction("11" * 32),
        lambda: bitcoin.receipts_since(None, confirmations=1),
    ):
        with pytest.raises(NodeUnavailable):
            read()


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_to_a_broadcast_is_unknown_and_asked_once(bitcoin, bitcoind, broken):
    bitcoind.will(sendrawtransaction=broken)

    with pytest.raises(NodeUnavailable):
        bitcoin.broadcast("0200")
    assert len(bitcoind.calls) == 1


def test_a_lost_answer_to_a_preparation_is_not_asked_again(bitcoin, bitcoind):
    bitcoind.will(send=Raw(None))

    with pytest.raises(NodeUnavailable):
        bitcoin.prepare(
            address="bcrt1q",
            amount_sat=1_000,
            fee_rate_sat_vb=1,
            subtract_fee=False,
            lock_inputs=True,
        )
    assert len(bitcoind.calls) == 1


def test_a_node_that_is_down_is_unavailable(bitcoin, bitcoind):
    bitcoind.close()

    with pytest.raises(NodeUnavailable):
        bitcoin.balance()


def test_after_a_lost_answer_the_next_call_works(bitcoin, bitcoind):
    """A dead connection of python-bitcoinrpc stays dead; ours is new for each call."""
    bitcoind.will(getbalances=[Raw(None), answer_of(trace("getbalances"))])

    with pytest.raises(NodeUnavailable):
        bitcoin.balance()
    assert bitcoin.balance().trusted_sat == 301_300_000


def test_threads_share_an_adapter(bitcoin, bitcoind):
    """Four threads on one proxy of python-bitcoinrpc lost three calls in four."""
    bitcoind.will(getbalances=answer_of(trace("getbalances")))

    with ThreadPoolExecutor(4) as threads:
        balances = list(threads.map(lambda _: bitcoin.balance().trusted_sat, range(80)))

    assert set(balances) == {301_300_000}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:18443",
        "http://alice@127.0.0.1:18443",
        "http://alice:secret@127.0.0.1",
        "http://alice:p%40ss@127.0.0.1:18443",
    ],
)
def test_a_url_that_the_library_would_misread_is_refused_at_the_start(url):
    with pytest.raises(ValueError, match="Bitcoin RPC") as refusal:
        BitcoinCore(url, wallet="coinos")
    assert "secret" not in str(refusal.value)


def test_a_wallet_name_is_escaped_in_the_path(bitcoind):
    bitcoind.will(getbalances=answer_of(trace("getbalances")))

    BitcoinCore(bitcoind.url, wallet="../our wallet").balance()

    assert bitcoind.paths == ["/wallet/..%2Four%20wallet"]


def test_the_log_never_holds_a_payload(bitcoin, bitcoind, caplog):
    caplog.set_level(logging.DEBUG)
    entry = trace("gettransaction: conflicted")
    bitcoind.will(gettransaction=answer_of(entry), getbalances=Error("secret-text"))

    bitcoin.transaction(entry["params"][0])
    with pytest.raises(NodeUnavailable):
        bitcoin.balance()

    assert "bitcoin gettransaction ok" in caplog.text
    for secret in (entry["params"][0], entry["result"]["hex"], "secret", "alice"):
        assert secret not in caplog.text


def test_only_listed_methods_are_called(bitcoin, bitcoind):
    with pytest.raises(ValueError, match="sendtoaddress"):
        bitcoin._call("sendtoaddress", "bcrt1q", 1)

    assert bitcoind.calls == []


# --- every field, spoilt in every way (F11) --------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """A call, the replies it needs, the one whose fields are spoilt, and what it reads there."""

    ask: Callable[[BitcoinCore], Any]
    replies: dict[str, Any]
    method: str
    needed: str
    sound: str = ""  # "how:field" that is no fault at all


def prepare(node: BitcoinCore) -> Any:
    return node.prepare(
        address="bcrt1qf4rzmzwygv6pjaxjec4cz5g95g5ueyzps9nxm3",
        amount_sat=500_000,
        fee_rate_sat_vb=2,
        subtract_fee=False,
        lock_inputs=False,
    )


PREPARATION = {
    "send": trace("send: not broadcast, fee_rate 2 sat/vB")["result"],
    "decoderawtransaction": trace("decoderawtransaction")["result"],
    "testmempoolaccept": trace("testmempoolaccept")["result"],
}
READINGS = {
    "receipts_since": Reading(
        lambda node: node.receipts_since(None, confirmations=1),
        {"listsinceblock": trace("listsinceblock: one confirmation")["result"]},
        "listsinceblock",
        needed="transactions removed lastblock transactions.category transactions.txid "
        "transactions.vout transactions.amount transactions.confirmations transactions.blockhash",
        sound="missing:transactions.blockheight negative:transactions.confirmations "
        "string:transactions.address",
    ),
    "transaction": Reading(
        lambda node: node.transaction("11" * 32),
        {
            "gettransaction": trace("gettransaction: unconfirmed")["result"],
            "getmempoolentry": {},
        },
        "gettransaction",
        needed="txid confirmations hex walletconflicts mempoolconflicts details details.category "
        "details.vout details.amount",
        sound="negative:confirmations string:details.address",
    ),
    "sent": Reading(
        lambda node: node.sent("11" * 32),
        {
            "gettransaction": trace("gettransaction: outgoing, unconfirmed")["result"]
            | {"decoded": trace("decoderawtransaction")["result"]},
            "getmempoolentry": {},
        },
        "gettransaction",
        needed="txid confirmations hex decoded decoded.vin decoded.vin.txid decoded.vin.vout"
        " decoded.vsize decoded.vout decoded.vout.value decoded.vout.scriptPubKey",
        sound="negative:confirmations negative:fee missing:fee"
        " missing:decoded.vout.scriptPubKey.address string:decoded.vout.scriptPubKey.address",
    ),
    "balance": Reading(
        lambda node: node.balance(),
        {"getbalances": trace("getbalances")["result"]},
        "getbalances",
        needed="mine mine.trusted mine.untrusted_pending",
    ),
    "prepare, send": Reading(prepare, PREPARATION, "send", needed="txid hex complete"),
    "prepare, decoderawtransaction": Reading(
        prepare,
        PREPARATION,
        "decoderawtransaction",
        needed="vin vin.txid vin.vout vout vsize",
    ),
    "prepare, testmempoolaccept": Reading(
        prepare, PREPARATION, "testmempoolaccept", needed="txid allowed fees fees.base"
    ),
    "fee_rates": Reading(
        lambda node: node.fee_rates(),
        {
            "getmempoolinfo": trace("getmempoolinfo")["result"],
            "estimatesmartfee": {"feerate": 0.00002, "blocks": 2},
        },
        "estimatesmartfee",
        needed="feerate",
        sound="missing:feerate float:feerate",
    ),
    "info": Reading(
        lambda node: node.info(),
        {
            "getblockchaininfo": trace("getblockchaininfo")["result"],
            "getnetworkinfo": trace("getnetworkinfo")["result"],
            "getwalletinfo": trace("getwalletinfo")["result"],
        },
        "getblockchaininfo",
        needed="chain blocks headers bestblockhash initialblockdownload",
    ),
}


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
@pytest.mark.parametrize("how", SPOILS)
def test_a_spoilt_field_makes_an_answer_unusable_or_does_not_matter(
    bitcoin, bitcoind, reading, how
):
    """F11: whatever the node gets wrong, the result is the true one or none."""
    good = reading.replies[reading.method]
    bitcoind.will(**{method: Result(reply) for method, reply in reading.replies.items()})
    truth = reading.ask(bitcoin)
    seen = set()

    for path, _ in fields_of(good):
        name = ".".join(key for key in path if isinstance(key, str))
        seen.add(name)
        if f"{how}:{name}" in reading.sound.split():
            continue
        bitcoind.will(**{reading.method: Result(spoiled(good, path, how))})
        if name in reading.needed.split():
            with pytest.raises((NodeUnavailable, NodeRefused)):
                pytest.fail(f"{name} was believed: {reading.ask(bitcoin)}")
        else:
            with suppress(NodeUnavailable, NodeRefused):
                assert reading.ask(bitcoin) == truth, name

    assert seen >= set(reading.needed.split())
