"""The JSON-RPC of Bitcoin Core: how a call is found, its parameters checked, its values read.

The methods are in `bitcoin_chain_rpc.py` (chain, mempool, raw transactions),
`bitcoin_wallet_rpc.py`, `bitcoin_history_rpc.py` and `bitcoin_spend_rpc.py`.

Names, types, codes and sentences are those of the recorded replies (`tests/nodes/traces/`) and,
where nothing was recorded, of Core's source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from coinos.simnet.bitcoin_node import BitcoinNode
from coinos.simnet.transactions import SAT_PER_BTC
from coinos.simnet.wallet import Wallet

MISC_ERROR = -1
TYPE_ERROR = -3
WALLET_ERROR = -4
INVALID_ADDRESS = -5
INSUFFICIENT_FUNDS = -6
INVALID_PARAMETER = -8
UNENCRYPTED_WALLET = -15
WALLET_NOT_FOUND = -18
WALLET_NOT_SPECIFIED = -19
DESERIALIZATION_ERROR = -22
VERIFY_ERROR = -25
ALREADY_IN_UTXO_SET = -27
WALLET_ALREADY_LOADED = -35
METHOD_NOT_FOUND = -32601


class RpcError(Exception):
    """What the caller gets as `error`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Parameter:
    name: str
    kind: str  # string | number | bool | array | object | any
    required: bool


@dataclass(frozen=True)
class Method:
    name: str
    handler: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    needs_wallet: bool

    def arguments(self, params: Any) -> list[Any]:
        """Params, by position or by name, as one value for each parameter. Raises RpcError."""
        if isinstance(params, dict):
            names = [parameter.name for parameter in self.parameters]
            for name in params:
                if name not in names:
                    raise RpcError(INVALID_PARAMETER, f"Unknown named parameter {name}")
            values = [params.get(name) for name in names]
        else:
            values = list(params)
        required = sum(parameter.required for parameter in self.parameters)
        if len(values) > len(self.parameters) or len(values) < required:
            raise RpcError(MISC_ERROR, self.usage())
        values += [None] * (len(self.parameters) - len(values))
        wrong = []
        for position, (value, parameter) in enumerate(zip(values, self.parameters, strict=True), 1):
            if value is None and not parameter.required:
                continue
            if parameter.kind not in ("any", kind := json_kind(value)):
                wrong.append(
                    f'    "Position {position} ({parameter.name})": "JSON value of type {kind} '
                    f'is not of expected type {parameter.kind}"'
                )
        if wrong:
            raise RpcError(TYPE_ERROR, "Wrong type passed:\n{\n" + ",\n".join(wrong) + "\n}")
        return values

    def usage(self) -> str:
        words = [p.name if p.required else f"( {p.name} )" for p in self.parameters]
        return " ".join([self.name, *words])


METHODS: dict[str, Method] = {}


def rpc(parameters: str = "", *, wallet: bool = False) -> Callable[..., Any]:
    """Make a function an RPC method. `parameters` reads `name:kind`, with `?` when optional."""
    parsed = []
    for word in parameters.split():
        name, kind = word.removesuffix("?").split(":")
        parsed.append(Parameter(name, kind, not word.endswith("?")))

    def register(handler: Callable[..., Any]) -> Callable[..., Any]:
        METHODS[handler.__name__] = Method(handler.__name__, handler, tuple(parsed), wallet)
        return handler

    return register


def call(node: BitcoinNode, wallet_name: str | None, method_name: str, params: Any) -> Any:
    """Run one call and return its result. Raises RpcError.

    `wallet_name` comes from the URL; None is the plain path, which means the only wallet.
    """
    method = METHODS.get(method_name)
    if method is None:
        raise RpcError(METHOD_NOT_FOUND, "Method not found")
    if not method.needs_wallet:
        return method.handler(node, *method.arguments(params))
    wallet = _find_wallet(node, wallet_name)
    return method.handler(node, wallet, *method.arguments(params))


def loaded_wallets(node: BitcoinNode) -> list[Wallet]:
    return [w for w in node.wallets.values() if w.loaded and w is not node.outside]


def _find_wallet(node: BitcoinNode, name: str | None) -> Wallet:
    loaded = loaded_wallets(node)
    if name is not None:
        for wallet in loaded:
            if wallet.name == name:
                return wallet
        raise RpcError(WALLET_NOT_FOUND, "Requested wallet does not exist or is not loaded")
    if len(loaded) == 1:
        return loaded[0]
    if loaded:
        raise RpcError(
            WALLET_NOT_SPECIFIED,
            "Multiple wallets are loaded. Please select which wallet to use by requesting the RPC "
            "through the /wallet/<walletname> URI path.",
        )
    raise RpcError(
        WALLET_NOT_FOUND,
        "No wallet is loaded. Load a wallet using loadwallet or create a new one with "
        "createwallet. (Note: A default wallet is no longer automatically created)",
    )


# --- values --------------------------------------------------------------------------------------

AMOUNT_MARK = "\ue000"


def btc(amount_sat: int) -> str:
    """An amount for a reply. It is marked, and `bitcoin.py` writes it as a JSON number with
    eight decimals, which Python's encoder cannot."""
    sign = "-" if amount_sat < 0 else ""
    whole, rest = divmod(abs(amount_sat), SAT_PER_BTC)
    return f"{AMOUNT_MARK}{sign}{whole}.{rest:08d}"


def amount_sat(value: Any, decimals: int = 8) -> int:
    """An amount from a request: number or string, at most `decimals` decimals, not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise RpcError(TYPE_ERROR, "Amount is not a number or string")
    try:
        scaled = Decimal(str(value)).scaleb(decimals)
        if not scaled.is_finite() or scaled != scaled.to_integral_value():
            raise RpcError(TYPE_ERROR, "Invalid amount")
    except InvalidOperation:
        raise RpcError(TYPE_ERROR, "Invalid amount") from None
    if not 0 <= scaled <= 21_000_000 * SAT_PER_BTC:
        raise RpcError(TYPE_ERROR, "Amount out of range")
    return int(scaled)


def json_kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list) else "number"


def hash_argument(value: str, name: str) -> str:
    if len(value) != 64:
        raise RpcError(
            INVALID_PARAMETER, f"{name} must be of length 64 (not {len(value)}, for '{value}')"
        )
    if set(value.lower()) - set("0123456789abcdef"):
        raise RpcError(INVALID_PARAMETER, f"{name} must be hexadecimal string (not '{value}')")
    return value.lower()


def last_processed_block(node: BitcoinNode) -> dict[str, Any]:
    return {"hash": node.chain.tip.hash, "height": node.chain.height}
