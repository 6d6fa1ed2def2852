"""People who use the server while it is being killed, and remember what it told them.

Each spend has a key of its own and is asked again with the same key until an answer comes. What
was answered with success must be there afterwards, once: `lost_and_doubled` looks.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coinos.simnet.control import Control, ControlError
from tests.proof.harness import Client, Lost
from tests.proof.scale import random_for

ANSWERED_WITHIN_S = 90


@dataclass(frozen=True)
class Person:
    id: Any
    name: str
    token: str


def people(name: str, count: int, sats: int = 0) -> list[Person]:
    """Registered users, each with `sats` of the operator's."""
    from tests.cast import fund, make_user, token_of

    made = []
    for n in range(count):
        user = make_user(f"{name}{n}x{uuid.uuid4().hex[:6]}")
        if sats:
            fund(user, sats)
        made.append(Person(user.id, user.username, token_of(user)))
    return made


@dataclass(frozen=True)
class Told:
    """A success that the server has reported."""

    person: Person
    path: str
    body: dict[str, Any]
    key: str
    activity_id: str


class Load:
    """Threads that send, receive and withdraw until they are stopped."""

    def __init__(
        self,
        name: str,
        port: int,
        control: Control,
        cast: list[Person],
        *,
        threads: int,
        webhook: str = "",
        onchain: bool = False,
    ) -> None:
        self.port, self.control, self.cast, self.webhook = port, control, cast, webhook
        self.onchain = onchain
        self.told: list[Told] = []
        self.counts: Counter[str] = Counter()
        self.errors: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=[random_for(name, n)], daemon=True)
            for n in range(threads)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self.errors and exc[0] is None:
            raise self.errors[0]

    def _run(self, rng: random.Random) -> None:
        actions: dict[Callable[[random.Random], None], int] = {
            self._send: 5,
            self._pay: 4,
            self._receive: 4,
            self._pay_invoice_of_another: 1,
        }
        if self.onchain:
            actions |= {self._withdraw: 1, self._deposit: 1}
        try:
            while not self._stop.is_set():
                rng.choices(list(actions), list(actions.values()))[0](rng)
        except BaseException as error:  # shown when the load ends
            self.errors.append(error)

    # --- What they do ------------------------------------------------------------------------

    def _send(self, rng: random.Random) -> None:
        payer, payee = rng.sample(self.cast, 2)
        self._spend(payer, "/send", {"username": payee.name, "amount": rng.randint(1, 500)}, rng)

    def _pay(self, rng: random.Random) -> None:
        node = rng.choices(["bob", "carol", "fail"], [5, 4, 1])[0]
        bolt11 = self._outside(lambda: self.control.invoice(rng.randint(1, 500_000), node=node))
        if bolt11:
            self._spend(rng.choice(self.cast), "/payments", {"payreq": bolt11}, rng)

    def _receive(self, rng: random.Random) -> None:
        invoice = self._invoice(rng, "lightning")
        if invoice:
            amount_msat = None if invoice["amount"] else rng.randint(1, 900_000)
            if self._outside(lambda: self.control.pay(invoice["hash"], amount_msat)):
                self.counts["paid from outside"] += 1

    def _pay_invoice_of_another(self, rng: random.Random) -> None:
        invoice = self._invoice(rng, "lightning")
        if invoice:
            body = {"payreq": invoice["hash"], "amount": invoice["amount"] or 7}
            self._spend(rng.choice(self.cast), "/payments", body, rng)

    def _withdraw(self, rng: random.Random) -> None:
        address = self._outside(self.control.address)
        if address:
            body = {"address": address, "amount": rng.randint(1_000, 5_000), "feeRate": 2}
            self._spend(rng.choice(self.cast), "/bitcoin/send", body, rng)

    def _deposit(self, rng: random.Random) -> None:
        invoice = self._invoice(rng, "bitcoin")
        if invoice:
            amount_sat = rng.randint(1_000, 9_000)
            if self._outside(lambda: self.control.deposit(invoice["hash"], amount_sat)):
                self.counts["deposited"] += 1
        self._outside(self.control.mine)

    def _invoice(self, rng: random.Random, type: str) -> dict[str, Any] | None:
        owner = rng.choice(self.cast)
        amount = rng.choice([0, rng.randint(300, 900)])
        wanted = {"type": type, "amount": amount}
        if self.webhook and rng.random() < 0.5:
            wanted["webhook"] = f"{self.webhook}/{owner.name}"
        try:
            status, body = Client(self.port, owner.token).post("/invoice", {"invoice": wanted})
        except Lost:
            self.counts["lost answers"] += 1
            time.sleep(0.2)
            return None
        self.counts[f"status {status}"] += 1
        return body if status == 200 else None

    def _outside(self, act: Callable[[], Any]) -> Any:
        """The outside world acts; None when simnet has just been killed or says no."""
        try:
            return act()
        except (OSError, ControlError, ValueError):
            return None

    def _spend(self, person: Person, path: str, body: dict[str, Any], rng: random.Random) -> None:
        """Ask until there is an answer that decides, always with the same key."""
        key = uuid.UUID(int=rng.getrandbits(128), version=4).hex
        client = Client(self.port, person.token)
        deadline = time.monotonic() + ANSWERED_WITHIN_S
        self.counts["spends"] += 1
        while time.monotonic() < deadline:
            try:
                status, answer = client.post(path, body, key)
            except Lost:
                self.counts["lost answers"] += 1
                time.sleep(0.2)
                continue
            self.counts[f"status {status}"] += 1
            if status == 200:
                self.told.append(Told(person, path, body, key, answer["id"]))
                return
            if status < 500:
                return  # refused, or the first request still runs in a dead process
            time.sleep(0.2)


def lost_and_doubled(told: list[Told]) -> list[str]:
    """What the server reported and does not know, or did twice."""
    from accounts.models import Activity, IdempotencyKey

    known = {str(id) for id in Activity.objects.values_list("id", flat=True)}
    by_key = {(row.user_id, row.key): str(row.made_id) for row in IdempotencyKey.objects.all()}
    wrong = [f"lost: {t.path} {t.body} of {t.key}" for t in told if t.activity_id not in known]
    wrong += [
        f"doubled: key {t.key} is {by_key.get((t.person.id, t.key))}, told was {t.activity_id}"
        for t in told
        if by_key.get((t.person.id, t.key)) != t.activity_id
    ]
    return wrong


def replays_that_differ(told: list[Told], port: int) -> list[str]:
    """Ask again with the same keys: the same payments must be shown."""
    wrong = []
    for t in told:
        status, answer = Client(port, t.person.token).post(t.path, t.body, t.key)
        # A payment that failed after it was accepted is refused by the same id.
        if status == 200 and answer["id"] != t.activity_id:
            wrong.append(f"key {t.key} made {t.activity_id} and then {answer['id']}")
    return wrong
