"""Bitcoin Core, through python-bitcoinrpc: the only file that knows bitcoind's RPC words.

python-bitcoinrpc shares one connection between threads, is dead for good after a timeout, accepts
any method, encodes `Decimal` through a float and has exceptions that fail when formatted. So every
call goes through `_call`: a listed method, one new connection that is closed afterwards, amounts
as strings of eight decimals, a checked reply, and a log line of method, time and code.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal
from http.client import HTTPConnection, HTTPSConnection
from typing import Literal, get_args
from urllib.parse import quote, urlsplit

from bitcoinrpc.authproxy import AuthServiceProxy, JSONRPCException
from django.utils.translation import gettext_noop as _

from coinos.db import let_go_of_connection
from coinos.errors import NodeUnavailable
from coinos.money import MAX_SAT, SAT_PER_BTC, sat_to_btc
from coinos.nodes.base import (
    BitcoinBalance,
    BitcoinInfo,
    Broadcast,
    Coin,
    FeeRates,
    NodeRefused,
    Output,
    Receipts,
    SentOutput,
    SentTransaction,
    SignedTransaction,
    WalletTransaction,
)
from coinos.nodes.replies import Reply, RpcError, unreadable

logger = logging.getLogger(__name__)

# At DEBUG it logs whole requests.
logging.getLogger("BitcoinRPC").setLevel(logging.WARNING)

NodeMethod = Literal[
    "getblockchaininfo",
    "getnetworkinfo",
    "getblockheader",
    "getmempoolinfo",
    "getmempoolentry",
    "gettxout",
    "estimatesmartfee",
    "validateaddress",
    "decoderawtransaction",
    "testmempoolaccept",
    "sendrawtransaction",
    "loadwallet",
    "createwallet",
]
WalletMethod = Literal[
    "getwalletinfo",
    "getnewaddress",
    "getaddressinfo",
    "getbalances",
    "listsinceblock",
    "gettransaction",
    "listtransactions",
    "listunspent",
    "getrawchangeaddress",
    "psbtbumpfee",
    "walletprocesspsbt",
    "send",
    "lockunspent",
]

CALL_TIMEOUT_S = 30

# chain as Bitcoin Core says it -> our NETWORK. The old testnet has no place in it.
NETWORKS = {
    "main": "bitcoin",
    "testnet4": "testnet4",
    "signet": "signet",
    "regtest": "regtest",
    "test": "testnet",
}
ADDRESS_TYPES = {"legacy", "p2sh-segwit", "bech32", "bech32m"}

HEADERS_AHEAD_MAX = 2
FEE_RATE_MAX_SAT_VB = 500
# sat/vB in BTC per kvB: what we broadcast at most, above any rate that we choose ourselves
BROADCAST_FEE_RATE_MAX = "0.01000000"
SENT_A_PAGE = 500
PIECES_MAX = 100
MAX_CONFIRMATIONS = 9_999_999
BLOCKS_FASTEST, BLOCKS_HALF_HOUR, BLOCKS_HOUR, BLOCKS_ECONOMY = 2, 3, 6, 144
SAT_VB_PER_BTC_KVB = SAT_PER_BTC // 1000

# bitcoind's error codes (src/rpc/protocol.h)
TYPE_ERROR = -3
WALLET_ERROR = -4
NOT_FOUND = -5
INSUFFICIENT_FUNDS = -6
INVALID_PARAMETER = -8
WALLET_LOCKED = -13
WALLET_NOT_FOUND = -18
MISSING_OR_SPENT = -25
POLICY = -26
ALREADY_IN_CHAIN = -27
WARMING_UP = -28
ALREADY_LOADED = -35
NOT_ENOUGH = ("insufficient funds", "exceeds your balance", "creates a chain of transactions")
NOT_WAITING = ("already spent", "mined", "already bumped")
CATEGORIES = ("receive", "send", "immature", "generate", "orphan")
NOT_JSON = (-342, -343)  # python-bitcoinrpc's own: 401, 503, an empty body


class BitcoinCore:
    """A `BitcoinNode`: bitcoind at `http://user:password@host:port` with one of its wallets.

    Safe to share by threads. Loads the wallet when bitcoind has it and did not load it, and makes
    it on regtest when it does not exist. `fallback_fee_sat_vb` is what Bitcoin Core's own wallet
    calls -fallbackfee: the rate where there is no estimate. No RPC tells the node's.
    """

    def __init__(
        self,
        url: str,
        *,
        wallet: str,
        timeout_s: float = CALL_TIMEOUT_S,
        fallback_fee_sat_vb: int = 1,
    ) -> None:
        parts = urlsplit(url)
        # python-bitcoinrpc decodes no escapes and knows no default port
        if not (parts.hostname and parts.port and parts.username and parts.password):
            raise ValueError("the Bitcoin RPC URL needs user, password, host and port")
        if "%" in parts.username + parts.password:
            raise ValueError("the Bitcoin RPC password may hold no characters that need escapes")
        self._url = url.rstrip("/")
        self._wallet = wallet
        self._timeout_s = timeout_s
        self._fallback_fee_sat_vb = fallback_fee_sat_vb
        self._connection_type = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._port = parts.hostname, parts.port

    # --- the chain -----------------------------------------------------------------------------

    def info(self) -> BitcoinInfo:
        chain = Reply(self._node("getblockchaininfo"), "getblockchaininfo")
        network = Reply(self._node("getnetworkinfo"), "getnetworkinfo")
        wallet = Reply(self._own_wallet("getwalletinfo"), "getwalletinfo")
        blocks = chain.integer("blocks")
        synced = (
            not chain.boolean("initialblockdownload")
            and chain.integer("headers") - blocks <= HEADERS_AHEAD_MAX
            and wallet.raw.get("scanning") is False
            and wallet.nested("lastprocessedblock").integer("height") >= blocks
        )
        return BitcoinInfo(
            network=NETWORKS[chain.one_of("chain", *NETWORKS)],
            blocks=blocks,
            tip_hash=chain.hash32("bestblockhash"),
            synced=synced,
            version=network.integer("version"),
        )

    def block_is_active(self, block_hash: str) -> bool:
        # -1 for a block that is not in the best chain
        return self._header(block_hash).integer("confirmations", minimum=-1) > 0

    def block_height(self, block_hash: str) -> int:
        return self._header(block_hash).integer("height")

    def _header(self, block_hash: str) -> Reply:
        try:
            return Reply(self._call("getblockheader", block_hash), "getblockheader")
        except RpcError as error:
            if error.code == NOT_FOUND:
                raise NodeRefused("The node knows no such block", code="block_unknown") from None
            raise NodeUnavailable() from None

    def fee_rates(self) -> FeeRates:
        mempool = Reply(self._node("getmempoolinfo"), "getmempoolinfo")
        relay_floor = max(mempool.decimal("mempoolminfee"), mempool.decimal("minrelaytxfee"))
        minimum = _sat_vb(relay_floor, at_least=1)
        rates, estimated = [minimum], True
        for blocks in (BLOCKS_ECONOMY, BLOCKS_HOUR, BLOCKS_HALF_HOUR, BLOCKS_FASTEST):
            rate = self._estimate_sat_vb(blocks)
            estimated = estimated and rate is not None
            rates.append(max(rates[-1], self._fallback_fee_sat_vb if rate is None else rate))
        _, economy, hour, half_hour, fastest = rates
        return FeeRates(fastest, half_hour, hour, economy, minimum, estimated)

    def _estimate_sat_vb(self, blocks: int) -> int | None:
        """None: the node has not seen enough, as after a start without the files of the last."""
        estimate = Reply(self._node("estimatesmartfee", blocks), "estimatesmartfee")
        # then the answer has only `errors` and `blocks`
        feerate = estimate.optional(estimate.decimal, "feerate")
        return None if feerate is None else _sat_vb(feerate, at_least=1)

    def address_is_valid(self, address: str) -> bool:
        return Reply(self._node("validateaddress", address), "validateaddress").boolean("isvalid")

    # --- receiving -----------------------------------------------------------------------------

    def new_address(self, *, label: str, address_type: str) -> str:
        if address_type not in ADDRESS_TYPES:
            raise ValueError(f"not an address type: {address_type}")
        address = self._own_wallet("getnewaddress", label, address_type)
        if not isinstance(address, str) or not address:
            raise unreadable("getnewaddress")
        return address

    def address_is_ours(self, address: str) -> bool:
        try:
            reply = Reply(self._call_wallet("getaddressinfo", address), "getaddressinfo")
        except RpcError as error:
            if error.code == NOT_FOUND:
                return False
            raise NodeUnavailable() from None
        return reply.boolean("ismine")

    def receipts_since(self, block_hash: str | None, *, confirmations: int) -> Receipts:
        if not 1 <= confirmations <= 1000:
            raise ValueError(f"confirmations out of range: {confirmations}")
        try:
            answer = self._call_wallet(
                "listsinceblock", block_hash or "", confirmations, False, True
            )
        except RpcError as error:
            if error.code == NOT_FOUND:
                raise NodeRefused("The node knows no such block", code="block_unknown") from None
            raise NodeUnavailable() from None
        reply = Reply(answer, "listsinceblock")
        return Receipts(
            outputs=tuple(
                _output(entry, entry)
                for entry in reply.nested_list("transactions")
                if _is_receipt(entry)
            ),
            removed_txids=tuple(
                dict.fromkeys(entry.hash32("txid") for entry in reply.nested_list("removed"))
            ),
            next_block_hash=reply.hash32("lastblock"),
        )

    def transaction(self, txid: str) -> WalletTransaction | None:
        try:
            reply = Reply(self._call_wallet("gettransaction", txid), "gettransaction")
        except RpcError as error:
            if error.code == NOT_FOUND:
                return None
            raise NodeUnavailable() from None
        confirmations = _confirmations(reply)
        return WalletTransaction(
            txid=reply.hash32("txid"),
            confirmations=confirmations,
            block_hash=reply.optional(reply.hash32, "blockhash"),
            block_height=reply.optional(reply.integer, "blockheight"),
            hex=reply.hex_text("hex"),
            conflicts=reply.hashes("walletconflicts") + reply.hashes("mempoolconflicts"),
            in_mempool=confirmations == 0 and self._is_in_mempool(txid),
            outputs=tuple(
                _output(detail, reply)
                for detail in reply.nested_list("details")
                if _is_receipt(detail)
            ),
        )

    def _is_in_mempool(self, txid: str) -> bool:
        try:
            self._call("getmempoolentry", txid)
        except RpcError as error:
            if error.code == NOT_FOUND:
                return False
            raise NodeUnavailable() from None
        return True

    def balance(self) -> BitcoinBalance:
        mine = Reply(self._own_wallet("getbalances"), "getbalances").nested("mine")
        return BitcoinBalance(mine.btc("trusted"), mine.btc("untrusted_pending"))

    # --- sending -------------------------------------------------------------------------------

    def prepare(
        self,
        *,
        address: str,
        amount_sat: int,
        fee_rate_sat_vb: int,
        subtract_fee: bool,
        lock_inputs: bool,
    ) -> SignedTransaction:
        if not 1 <= amount_sat <= MAX_SAT:
            raise ValueError(f"amount_sat out of range: {amount_sat}")
        if not 1 <= fee_rate_sat_vb <= FEE_RATE_MAX_SAT_VB:
            raise ValueError(f"fee_rate_sat_vb out of range: {fee_rate_sat_vb}")
        options: dict[str, object] = {
            "add_to_wallet": False,  # nothing is broadcast, nothing enters the wallet
            "lock_unspents": lock_inputs,
            # Own change that waits for a block too, but at the end of no chain so long that the
            # network would not take it: the wallet sees to that. Of others', only confirmed coins.
            "minconf": 0,
            "include_unsafe": False,
            "replaceable": True,
        }
        if subtract_fee:
            options["subtract_fee_from_outputs"] = [0]
        outputs = [{address: sat_to_btc(amount_sat)}]
        try:
            answer = self._call_wallet("send", outputs, None, "unset", fee_rate_sat_vb, options)
        except RpcError as error:
            raise _cannot_prepare(error) from None
        reply = Reply(answer, "send")
        if not reply.boolean("complete"):
            raise unreadable("send: not completely signed")
        txid, signed = reply.hash32("txid"), reply.hex_text("hex")

        transaction = Reply(self._node("decoderawtransaction", signed), "decoderawtransaction")
        inputs = _inputs(transaction)
        try:
            fee_sat = self._fee_sat(signed, txid)
            paid_sat = amount_sat - fee_sat if subtract_fee else amount_sat
            if not inputs or (address, paid_sat) not in _paid(transaction):
                raise unreadable("send: the transaction is not the one that was asked for")
        except (NodeRefused, NodeUnavailable):
            if lock_inputs:
                self._unlock_quietly(inputs)
            raise
        return SignedTransaction(
            txid, signed, inputs, fee_sat, transaction.integer("vsize", minimum=1)
        )

    def _fee_sat(self, signed: str, txid: str) -> int:
        """The fee that the mempool would see. Raises `NodeRefused` when it would not take it."""
        answer = self._node("testmempoolaccept", [signed])
        if not isinstance(answer, list) or len(answer) != 1:
            raise unreadable("testmempoolaccept")
        reply = Reply(answer[0], "testmempoolaccept")
        reply.one_of("txid", txid)
        if not reply.boolean("allowed"):
            raise NodeRefused("The network would not relay this transaction", code="not_relayed")
        return reply.nested("fees").btc("base")

    # --- replacing -----------------------------------------------------------------------------

    def bump(
        self, txid: str, *, address: str, amount_sat: int, fee_rate_sat_vb: int
    ) -> SignedTransaction:
        if not 1 <= fee_rate_sat_vb <= FEE_RATE_MAX_SAT_VB:
            raise ValueError(f"fee_rate_sat_vb out of range: {fee_rate_sat_vb}")
        # Not `bumpfee`: that one broadcasts before we could store anything.
        options = {"fee_rate": fee_rate_sat_vb}
        try:
            unsigned = Reply(self._call_wallet("psbtbumpfee", txid, options), "psbtbumpfee")
            answer = self._call_wallet("walletprocesspsbt", unsigned.text("psbt"))
        except RpcError as error:
            raise _cannot_bump(error) from None
        reply = Reply(answer, "walletprocesspsbt")
        if not reply.boolean("complete"):
            raise unreadable("walletprocesspsbt: not completely signed")
        signed = reply.hex_text("hex")
        transaction = Reply(self._node("decoderawtransaction", signed), "decoderawtransaction")
        inputs = _inputs(transaction)
        if not inputs or (address, amount_sat) not in _paid(transaction):
            raise unreadable("psbtbumpfee: the replacement pays something else")
        new_txid = transaction.hash32("txid")
        fee_sat = self._fee_sat(signed, new_txid)
        vsize = transaction.integer("vsize", minimum=1)
        return SignedTransaction(new_txid, signed, inputs, fee_sat, vsize)

    # --- keeping the coins split ---------------------------------------------------------------

    def coins(self) -> tuple[Coin, ...]:
        minconf, maxconf, include_unsafe = 0, MAX_CONFIRMATIONS, False
        answer = self._own_wallet("listunspent", minconf, maxconf, [], include_unsafe)
        return tuple(
            Coin(
                txid=entry.hash32("txid"),
                vout=entry.integer("vout", maximum=0xFFFFFFFF),
                amount_sat=entry.btc("amount"),
                confirmations=entry.integer("confirmations"),
            )
            for entry in Reply({"coins": answer}, "listunspent").nested_list("coins")
        )

    def split(self, coin: Coin, *, pieces: int, fee_rate_sat_vb: int) -> bool:
        if not 2 <= pieces <= PIECES_MAX:
            raise ValueError(f"pieces out of range: {pieces}")
        point = {"txid": coin.txid, "vout": coin.vout}
        try:
            self._call_wallet("lockunspent", False, [point])
        except RpcError:
            return False  # somebody was faster, who is about to spend it
        inputs = ((coin.txid, coin.vout),)
        try:
            signed = self._signed_split(coin, pieces, fee_rate_sat_vb)
            is_sent = self.broadcast(signed).state == "accepted"
        except RpcError as error:
            self._unlock_quietly(inputs)
            raise _cannot_prepare(error) from None
        if not is_sent:
            self._unlock_quietly(inputs)
        return is_sent

    def _signed_split(self, coin: Coin, pieces: int, fee_rate_sat_vb: int) -> str:
        share_sat, odd_sat = divmod(coin.amount_sat, pieces)
        outputs = [
            # Addresses for change: what comes in there is nobody's deposit.
            {str(self._own_wallet("getrawchangeaddress", "bech32")): sat_to_btc(share_sat + more)}
            for more in [odd_sat] + [0] * (pieces - 1)
        ]
        options: dict[str, object] = {
            "add_to_wallet": False,
            "inputs": [{"txid": coin.txid, "vout": coin.vout}],
            "add_inputs": False,
            "subtract_fee_from_outputs": list(range(pieces)),
            "replaceable": True,
        }
        answer = self._call_wallet("send", outputs, None, "unset", fee_rate_sat_vb, options)
        reply = Reply(answer, "send")
        if not reply.boolean("complete"):
            raise unreadable("send: not completely signed")
        return reply.hex_text("hex")

    # --- what was sent -------------------------------------------------------------------------

    def sent(self, txid: str) -> SentTransaction | None:
        include_watchonly, verbose = False, True
        try:
            answer = self._call_wallet("gettransaction", txid, include_watchonly, verbose)
        except RpcError as error:
            if error.code == NOT_FOUND:
                return None
            raise NodeUnavailable() from None
        reply = Reply(answer, "gettransaction")
        fee_sat = reply.optional(reply.btc_out, "fee")
        if fee_sat is None:  # it spends nothing of ours
            return None
        confirmations = _confirmations(reply)
        transaction = reply.nested("decoded")
        return SentTransaction(
            signed=SignedTransaction(
                txid=reply.hash32("txid"),
                hex=reply.hex_text("hex"),
                inputs=_inputs(transaction),
                fee_sat=fee_sat,
                vsize=transaction.integer("vsize", minimum=1),
            ),
            confirmations=confirmations,
            in_mempool=confirmations == 0 and self._is_in_mempool(txid),
            paid=tuple(_paid(transaction)),
        )

    def sent_to(self, address: str, *, since_s: int) -> tuple[str, ...]:
        sends = self._sends(since_s)
        return tuple(dict.fromkeys(one.txid for one in sends if one.address == address))

    def sends_since(self, since_s: int) -> tuple[SentOutput, ...]:
        return tuple(dict.fromkeys(self._sends(since_s)))

    def _sends(self, since_s: int) -> Iterator[SentOutput]:
        # By page, the newest first: a wallet of years has more than one answer can hold. Who looks
        # through them while others are added sees some twice.
        for skip in itertools.count(0, SENT_A_PAGE):
            answer = self._own_wallet("listtransactions", "*", SENT_A_PAGE, skip)
            page = list(Reply({"entries": answer}, "listtransactions").nested_list("entries"))
            for entry in reversed(page):
                is_sent = entry.one_of("category", *CATEGORIES) == "send"
                if is_sent and _known_s(entry) >= since_s:
                    yield SentOutput(
                        entry.hash32("txid"),
                        entry.optional(entry.text, "address") or "",
                        entry.btc_out("amount"),
                    )
            if len(page) < SENT_A_PAGE or all(_known_s(entry) < since_s for entry in page):
                return

    def coin_is_there(self, txid: str, vout: int) -> bool:
        include_mempool = False
        return self._node("gettxout", txid, vout, include_mempool) is not None

    def inputs_of(self, hex: str) -> tuple[tuple[str, int], ...]:
        return _inputs(Reply(self._node("decoderawtransaction", hex), "decoderawtransaction"))

    # --- locks and broadcasts ------------------------------------------------------------------

    def unlock(self, inputs: tuple[tuple[str, int], ...]) -> None:
        self._set_locks(inputs, unlock=True)

    def lock(self, inputs: tuple[tuple[str, int], ...]) -> None:
        self._set_locks(inputs, unlock=False)

    def _set_locks(self, inputs: tuple[tuple[str, int], ...], *, unlock: bool) -> None:
        # One by one, so that one which is spent or locked already does not stop the others; and
        # always named: without a list, bitcoind releases every lock there is.
        for txid, vout in inputs:
            try:
                persistent = [] if unlock else [True]
                self._call_wallet(
                    "lockunspent", unlock, [{"txid": txid, "vout": vout}], *persistent
                )
            except RpcError as error:
                if error.code != INVALID_PARAMETER:
                    raise NodeUnavailable() from None

    def _unlock_quietly(self, inputs: tuple[tuple[str, int], ...]) -> None:
        try:
            self.unlock(inputs)
        except (NodeRefused, NodeUnavailable):
            logger.warning("inputs of an abandoned transaction stay locked until a restart")

    def broadcast(self, hex: str) -> Broadcast:
        try:
            answer = self._call("sendrawtransaction", hex, BROADCAST_FEE_RATE_MAX)
        except RpcError as error:
            if error.code == ALREADY_IN_CHAIN:
                return Broadcast("accepted")
            if error.code == MISSING_OR_SPENT:
                return Broadcast("ambiguous", error.message)
            if error.code == POLICY:
                return Broadcast("refused", error.message)
            raise NodeUnavailable() from None
        Reply({"txid": answer}, "sendrawtransaction").hash32("txid")
        return Broadcast("accepted")

    # --- calling -------------------------------------------------------------------------------

    def _node(self, method: NodeMethod, *params: object) -> object:
        """A call to the node that asks what is: an error reply tells us nothing."""
        try:
            return self._call(method, *params)
        except RpcError:
            raise NodeUnavailable() from None

    def _own_wallet(self, method: WalletMethod, *params: object) -> object:
        """The same of our wallet."""
        try:
            return self._call_wallet(method, *params)
        except RpcError:
            raise NodeUnavailable() from None

    def _call_wallet(self, method: WalletMethod, *params: object) -> object:
        """`_call` on our wallet. -18 says that nothing ran because the wallet is not loaded, so
        this is the one answer after which a call is made again."""
        path = f"/wallet/{quote(self._wallet, safe='')}"
        try:
            return self._call(method, *params, path=path)
        except RpcError as error:
            if error.code != WALLET_NOT_FOUND:
                raise
        self._load_wallet()
        return self._call(method, *params, path=path)

    def _load_wallet(self) -> None:
        load_on_startup = True
        try:
            self._call("loadwallet", self._wallet, load_on_startup)
        except RpcError as error:
            if error.code == ALREADY_LOADED:
                return
            chain = Reply(self._node("getblockchaininfo"), "getblockchaininfo").text("chain")
            if error.code != WALLET_NOT_FOUND or chain != "regtest":
                logger.critical("bitcoind cannot load our wallet: code %d", error.code)
                raise NodeUnavailable() from None
            self._create_wallet(load_on_startup)

    def _create_wallet(self, load_on_startup: bool) -> None:
        disable_private_keys = blank = avoid_reuse = False
        passphrase, descriptors = "", True
        self._node(
            "createwallet",
            self._wallet,
            disable_private_keys,
            blank,
            passphrase,
            avoid_reuse,
            descriptors,
            load_on_startup,
        )

    def _call(self, method: NodeMethod | WalletMethod, *params: object, path: str = "/") -> object:
        """The result of one call. Raises `RpcError` for bitcoind's own errors and
        `NodeUnavailable` for anything that is not an answer."""
        if method not in get_args(NodeMethod) + get_args(WalletMethod):
            raise ValueError(f"not a method that we use: {method}")
        let_go_of_connection()
        connection = self._connection_type(self._host, self._port, timeout=self._timeout_s)
        started = time.monotonic()
        code: int | str = "ok"
        try:
            proxy = AuthServiceProxy(
                self._url + path, method, timeout=self._timeout_s, connection=connection
            )
            return proxy(*params)
        except JSONRPCException as error:
            code = error.code
            if isinstance(code, bool) or not isinstance(code, int):
                code = "unreadable"
            elif code not in (*NOT_JSON, WARMING_UP):
                raise RpcError(code, str(error.message)) from None
            raise NodeUnavailable() from None
        except Exception as error:
            # Sockets and parsers fail in many ways, and their texts may hold the payload.
            code = type(error).__name__
            raise NodeUnavailable() from None
        finally:
            connection.close()
            logger.debug("bitcoin %s %s %.3f s", method, code, time.monotonic() - started)


def _is_receipt(entry: Reply) -> bool:
    """Is this a payment to us? Not one of ours, and not the coins of a block that we mined."""
    return entry.one_of("category", *CATEGORIES) == "receive"


def _output(entry: Reply, transaction: Reply) -> Output:
    """One output; `transaction` is where the confirmations are, beside the entry or above it."""
    return Output(
        txid=transaction.hash32("txid"),
        vout=entry.integer("vout", maximum=0xFFFFFFFF),
        address=entry.text("address"),
        amount_sat=entry.btc("amount"),
        confirmations=_confirmations(transaction),
        block_hash=transaction.optional(transaction.hash32, "blockhash"),
        block_height=transaction.optional(transaction.integer, "blockheight"),
    )


def _confirmations(reply: Reply) -> int:
    """Negative for a conflict of that depth. One with a confirmation must name its block."""
    confirmations = reply.integer("confirmations", minimum=-(2**31), maximum=2**31)
    if confirmations > 0:
        reply.hash32("blockhash")
    return confirmations


def _inputs(transaction: Reply) -> tuple[tuple[str, int], ...]:
    return tuple(
        (entry.hash32("txid"), entry.integer("vout", maximum=0xFFFFFFFF))
        for entry in transaction.nested_list("vin")
    )


def _paid(transaction: Reply) -> Iterator[tuple[str, int]]:
    """Address and sats of each output that has an address."""
    for output in transaction.nested_list("vout"):
        script = output.nested("scriptPubKey")
        if address := script.optional(script.text, "address"):
            yield address, output.btc("value")


def _known_s(entry: Reply) -> int:
    """Since when the wallet knows a transaction; its block may say an earlier time, or a later."""
    return max(entry.time_s("time"), entry.time_s("timereceived"))


def _sat_vb(btc_per_kvb: Decimal, *, at_least: int) -> int:
    """A fee rate in whole sat/vB, rounded up, within what we are ready to pay."""
    rate = int((btc_per_kvb * SAT_VB_PER_BTC_KVB).to_integral_value(ROUND_CEILING))
    return min(max(rate, at_least), FEE_RATE_MAX_SAT_VB)


def _cannot_prepare(error: RpcError) -> NodeRefused | NodeUnavailable:
    """Why `send` could not build a payment. bitcoind uses -4 and -6 for several reasons."""
    text = error.message.lower()
    if error.code in (WALLET_ERROR, INSUFFICIENT_FUNDS):
        if any(words in text for words in NOT_ENOUGH):
            return NodeRefused("Not enough coins to spend now", code="insufficient_funds")
        if "too small" in text or "dust" in text:
            return NodeRefused("The amount is too small", code="amount_too_small")
    if error.code == NOT_FOUND:
        return NodeRefused("This is not an address of our network", code="invalid_address")
    if error.code == WALLET_LOCKED:
        logger.critical("the wallet of bitcoind is locked: withdrawals wait")
        return NodeUnavailable()
    if error.code in (WALLET_ERROR, INSUFFICIENT_FUNDS, TYPE_ERROR, INVALID_PARAMETER):
        return NodeRefused(f"The Bitcoin node refused: {error.message}")
    return NodeUnavailable()


def _cannot_bump(error: RpcError) -> NodeRefused | NodeUnavailable:
    """Why there is no replacement. bitcoind uses -1, -4 and -8 for several reasons; of one that a
    block has it says that its inputs are spent, before it looks at anything else."""
    text = error.message.lower()
    if "insufficient total fee" in text or "lower than the minimum" in text:
        return NodeRefused(
            _("The fee rate must be higher, by 1 sat/vB at least"), code="fee_rate_too_low"
        )
    if "descendants" in text:
        return NodeRefused(_("Another payment of this server is built upon it"))
    if any(words in text for words in NOT_WAITING) or error.code == NOT_FOUND:
        return NodeRefused(_("It is in a block already, or has been replaced"))
    return _cannot_prepare(error)
