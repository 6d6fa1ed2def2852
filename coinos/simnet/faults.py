"""Faults: what can go wrong between a wallet and its node, on purpose and repeatable by seed.

Both servers ask here once per RPC call. A rule says what goes wrong (`kind`), for which method,
and when: at the nth call, with a probability, at most so many times.

    {"kind": "exec_then_drop", "method": "xpay", "probability": 0.3}
    {"kind": "drop_before", "method": "*", "nth": 4}
    {"kind": "wrong_type", "method": "listsendpays", "field": "amount_sent_msat", "how": "nan"}

Kinds on the wire, for both nodes:

* drop_before      the connection closes, nothing was executed
* exec_then_drop   executed, then the connection closes without an answer
* exec_then_error  executed, but an error with `code` is reported (a text instead of a number
                   is sent as the whole error, as a dying lightningd does)
* delay            executed, answered `seconds` late
* duplicate_reply  executed, answered twice
* garbage          `how`: text (not JSON), truncated, empty: executed, unreadable answer;
                   http_401, http_503 (bitcoin only): not executed
* wrong_type       executed; `field`, wherever it stands in the result, is spoilt as `how`
                   says: missing, string, float, nan, negative

Kinds inside an outgoing Lightning payment (method `xpay` or `pay`):

* hold             the receiver keeps the HTLC until the control socket releases it
* partial_mpp      sent in three parts, and `how`:
                   fail: one part fails and is sent again; answered as paid, `failed_parts` 1
                   pending: the payee has all, one part stays pending here; answered as paid
                   lost: every part completes, yet the answer is error 209
                   in_flight: error 209 while every part is still pending, until released
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Reply = dict[str, Any]

WIRE_KINDS = frozenset(
    {
        "drop_before",
        "exec_then_drop",
        "exec_then_error",
        "delay",
        "duplicate_reply",
        "garbage",
        "wrong_type",
    }
)
PAYMENT_KINDS = frozenset({"hold", "partial_mpp"})
HOW = {
    "garbage": ("text", "truncated", "empty", "http_401", "http_503"),
    "wrong_type": ("missing", "string", "float", "nan", "negative"),
    "partial_mpp": ("fail", "pending", "lost", "in_flight"),
}


@dataclass
class Fault:
    """One rule. `nth` counts the matching calls from 1; `times` limits how often it strikes."""

    kind: str
    method: str = "*"
    nth: int | None = None
    probability: float = 1.0
    times: int | None = None
    code: int | str = -1
    seconds: float = 0.0
    field: str = ""
    how: str = ""
    calls: int = dataclasses.field(default=0, init=False)
    strikes: int = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in WIRE_KINDS | PAYMENT_KINDS:
            raise ValueError(f"unknown kind of fault: {self.kind!r}")
        choices = HOW.get(self.kind)
        if choices:
            self.how = self.how or choices[0]
            if self.how not in choices:
                raise ValueError(f"{self.kind}: how must be one of {', '.join(choices)}")
        if self.kind == "wrong_type" and not self.field:
            raise ValueError("wrong_type needs a field")

    @classmethod
    def from_dict(cls, rule: dict[str, Any]) -> Fault:
        """Build a rule from JSON. Raises ValueError for a kind or key that does not exist."""
        known = {f.name for f in dataclasses.fields(cls) if f.init}
        if unknown := set(rule) - known:
            raise ValueError(f"unknown keys in fault: {', '.join(sorted(unknown))}")
        return cls(**rule)

    def strikes_now(self, method: str, rng: random.Random) -> bool:
        """Count this call and say whether the fault happens in it."""
        if self.method not in ("*", method):
            return False
        self.calls += 1
        if self.nth is not None and self.calls != self.nth:
            return False
        if self.times is not None and self.strikes >= self.times:
            return False
        if self.probability < 1.0 and rng.random() >= self.probability:
            return False
        self.strikes += 1
        return True


@dataclass(frozen=True)
class Answer:
    """What the transport sends. `body` None: close the connection without a word.

    `copies` says how often to send it, `complete` False that no terminator follows and the
    connection closes after it, `status` replaces the usual HTTP status.
    """

    body: bytes | None
    copies: int = 1
    complete: bool = True
    status: int | None = None


def encode_json(reply: Reply) -> bytes:
    """JSON without needless spaces; NaN is written as `NaN`, which no strict parser accepts."""
    return json.dumps(reply, separators=(",", ":")).encode()


class Faults:
    """The faults in force. Empty at the start of the process."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self.counts: Counter[str] = Counter()
        self._rng = random.Random(0)

    def set(self, rules: Iterable[dict[str, Any]], seed: int = 0) -> None:
        """Replace all rules. Raises ValueError, and changes nothing, if one is not valid."""
        self.rules = [Fault.from_dict(rule) for rule in rules]
        self._rng = random.Random(seed)

    def clear(self) -> None:
        self.rules = []

    def draw(self, method: str, kinds: frozenset[str]) -> Fault | None:
        """The fault that strikes this call, if any: the first rule that does."""
        for fault in self.rules:
            if fault.kind in kinds and fault.strikes_now(method, self._rng):
                self.counts[fault.kind] += 1
                return fault
        return None

    async def answer(
        self,
        method: str,
        execute: Callable[[], Awaitable[Reply]],
        encode: Callable[[Reply], bytes] = encode_json,
    ) -> Answer:
        """Run one RPC call and say what to send.

        `execute` runs the method and returns the whole reply object, `{"result": …}` or
        `{"error": …}` with whatever else the protocol wants in it; it must not raise.
        """
        fault = self.draw(method, WIRE_KINDS)
        if fault is None:
            return Answer(encode(await execute()))
        if fault.kind == "drop_before":
            return Answer(None)
        if fault.kind == "garbage" and fault.how.startswith("http_"):
            # The empty 401 and the plain-text 503 of bitcoind.
            status = int(fault.how.removeprefix("http_"))
            return Answer(b"" if status == 401 else b"Work queue depth exceeded", status=status)
        reply = await execute()
        if fault.kind == "exec_then_drop":
            return Answer(None)
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        elif fault.kind == "duplicate_reply":
            return Answer(encode(reply), copies=2)
        elif fault.kind == "exec_then_error":
            reply = _as_error(reply, fault.code)
        elif fault.kind == "wrong_type":
            reply = spoil(reply, fault.field, fault.how)
        elif fault.how == "text":
            return Answer(b"<html>this is not JSON</html>")
        elif fault.how == "empty":
            return Answer(b"")
        elif fault.how == "truncated":
            body = encode(reply)
            return Answer(body[: len(body) // 2], complete=False)
        return Answer(encode(reply))


def _as_error(reply: Reply, code: int | str) -> Reply:
    error: Any = code
    if isinstance(code, int):
        error = {"code": code, "message": "simnet: executed, but reported as an error"}
    return {k: v for k, v in reply.items() if k not in ("result", "error")} | {"error": error}


def spoil(value: Any, name: str, how: str) -> Any:
    """A copy of `value` in which every field called `name` is missing or of a wrong type."""
    if isinstance(value, list):
        return [spoil(item, name, how) for item in value]
    if isinstance(value, dict):
        return dict(_spoil_items(value, name, how))
    return value


def _spoil_items(value: dict[str, Any], name: str, how: str) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if key != name:
            yield key, spoil(item, name, how)
        elif how != "missing":
            yield key, _wrong(item, how)


def _wrong(item: Any, how: str) -> Any:
    if how == "string":
        return f"{item}x"
    if how == "nan":
        return float("nan")
    if how == "float":
        return float(item) + 0.5 if isinstance(item, int | float) else 0.5
    return -1 if isinstance(item, bool) or not isinstance(item, int) else -item - 1
