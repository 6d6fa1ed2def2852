"""T5: killed at every line between two effects, and then at random under load (M14, A10, A11).

The crash matrix arms one failpoint in one process, makes that process pass it, and sees it die by
SIGKILL there. Several die, then others finish what they left; the node's truth decides whether
anything was lost, doubled or stuck. Then the real web server, workers and simnet are killed at
random moments while people use them.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.proof import oracle, table
from tests.proof.harness import (
    ROOT,
    Client,
    Lost,
    Stage,
    Victim,
    come_to_rest,
    let_leases_run_out,
    require,
    require_unbroken,
)
from tests.proof.load import (
    Load,
    Person,
    Told,
    lost_and_doubled,
    people,
    replays_that_differ,
)
from tests.proof.scale import FULL, SEED, random_for, size

RANDOM_KILLS = size(6, 62)
CELLS_IN_QUICK = 8
BALANCE_SAT = 5_000_000
MATRIX_SAT = 2_000_000  # two people a cell: simnet's nodes must hold what all are owed
DIES_WITHIN_S = 12

BELLS = [
    "payments.tasks.dispatch",
    "payments.tasks.resolve",
    "payments.tasks.advance_withdrawals",
    "payments.tasks.auto_withdraw",
    "invoices.tasks.watch_lightning",
    "invoices.tasks.sweep_lightning",
    "invoices.tasks.scan_bitcoin",
    "invoices.tasks.withdraw_node_invoices",
    "invoices.tasks.deliver_webhooks",
]
DISPATCH, RESOLVE, ADVANCE, AUTO, WATCH, SWEEP, SCAN, WITHDRAW, DELIVER = BELLS

# Which process can pass which failpoint, and what makes it pass. `web` serves HTTP, `worker` runs
# every task but the resolver's, `resolver` that one.
SENDING = ["ln.claimed", "ln.before_call", "ln.after_call"]
SETTLING = ["ln.before_settle", "ln.before_late_fee", "ln.settled"]
WITHDRAWING = ["btc.prepared", "btc.signed", "btc.attempted", "btc.broadcast"]
WEB = {
    "pay": ["ln.accepted", "ln.held", *SENDING, *SETTLING],
    "make_invoice": ["invoice.row_written", "invoice.after_node"],
    "withdraw": ["btc.held", *WITHDRAWING],
    "bump": ["btc.replaced", "btc.bumped", "btc.bump_broadcast"],
}
WORKER = {
    "dispatch": [*SENDING, *SETTLING],
    "receive": ["recv.after_wait", "recv.before_commit", "recv.after_commit"],
    "sweep": ["recv.before_commit"],
    "take_off": ["recv.before_commit"],
    "deposit": ["dep.after_list", "dep.before_credit", "dep.after_credit"],
    "reorg": ["dep.before_reversal"],
    "advance": WITHDRAWING,
    "tell": ["hook.claimed", "hook.sent", "task.before_commit"],
    "auto_withdraw": ["auto.begun", "auto.resolved", "ln.accepted", "ln.held", "auto.paid"],
    "auto_withdraw_onchain": ["btc.held"],
}
RESOLVER = {
    "resolve": SETTLING,
    "late_fee": SETTLING,
}
FAILPOINTS = {
    name
    for app in ("accounts", "coinos", "invoices", "payments")
    for source in (ROOT / app).rglob("*.py")
    for name in re.findall(r'failpoint\("([a-z_.]+)"\)', source.read_text())
}


@dataclass(frozen=True)
class Cell:
    """One failpoint in one process, and the action that leads there."""

    failpoint: str
    process: str
    action: str

    def __str__(self) -> str:
        return f"{self.failpoint} in {self.process} ({self.action})"


def all_cells() -> list[Cell]:
    return [
        Cell(failpoint, process, action)
        for process, actions in (("web", WEB), ("worker", WORKER), ("resolver", RESOLVER))
        for action, failpoints in actions.items()
        for failpoint in failpoints
    ]


def run(stage: Stage) -> None:
    from tests.invoices.receiver import receiver
    from tests.payments.lnurl_service import serving

    with receiver() as shop, serving(stage.control) as till:
        matrix = Matrix(stage, shop.url, till.lnurl)
        matrix.visit(_cells_of_this_run())
        at_random = KilledAtRandom(stage, shop.url)
        at_random.run()
        broken = oracle.check(stage.control) + _webhooks_heard(shop.url, shop.heard)
    missed = f"; NOT REACHED: {', '.join(map(str, matrix.not_reached))}" * bool(matrix.not_reached)
    never = FAILPOINTS - {cell.failpoint for cell in matrix.reached}
    if FULL and never:
        broken.append(f"no process ever passed {', '.join(sorted(never))}")
    table.record(
        test="T5",
        tried=f"{len(matrix.reached)} deaths at failpoints, {at_random.kills} at random under load"
        + missed,
        found=len(broken),
        seed=SEED,
        kills=matrix.kills + at_random.kills,
        failpoints_reached=len({cell.failpoint for cell in matrix.reached}),
        failpoints_in_the_code=len(FAILPOINTS),
        reorgs=matrix.reorgs,
        recoveries=matrix.recoveries,
        slowest_recovery_s=round(max(matrix.recovery_s), 1),
        spends_under_load=at_random.spends,
        transfers=at_random.answered,
        served_again_p95_s=at_random.served_again_p95_s,
        double_credits=oracle.count(broken, "I5"),
        wrongful_refunds=oracle.count(broken, "I7"),
    )
    require_unbroken(broken)


def _cells_of_this_run() -> list[Cell]:
    """All of them, or a sample by seed."""
    cells = all_cells()
    return cells if FULL else random_for("T5").sample(cells, CELLS_IN_QUICK)


# --- The crash matrix ----------------------------------------------------------------------------


@dataclass
class Matrix:
    stage: Stage
    shop_url: str
    lnurl: str
    reached: list[Cell] = field(default_factory=list)
    not_reached: list[Cell] = field(default_factory=list)
    kills: int = 0
    reorgs: int = 0
    recoveries: int = 0
    recovery_s: list[float] = field(default_factory=list)

    def visit(self, cells: list[Cell]) -> None:
        """Web first, then the workers on what is new and on what was left, then the resolver."""
        self.rng = random_for("T5", "matrix")
        self.asked: list[Told] = []
        for process in ("web", "worker", "resolver"):
            of_process = [cell for cell in cells if cell.process == process]
            first = [cell for cell in of_process if cell.action != "reorg"]
            for cell in first:
                self._die(cell)
            if first:
                self._recover()
            for cell in of_process:
                if cell.action == "reorg":
                    self._die(cell)
                    self._recover()
        self._ask_again()

    def _die(self, cell: Cell) -> None:
        """Lead a process to the failpoint and see it die there."""
        self.alice, self.bob = people("matrix", 2, MATRIX_SAT)
        died = getattr(self, f"_{cell.action}")(cell)
        (self.reached if died else self.not_reached).append(cell)

    def _fork(self, role: str, failpoint: str = "", visit: int = 1) -> Victim:
        assert self.stage.zygote
        return self.stage.zygote.fork(role, failpoint=failpoint, visit=visit)

    def _ends(self, victim: Victim) -> bool:
        """Whether the failpoint has killed it; otherwise it ends now, uncounted."""
        if victim.died_by_sigkill(DIES_WITHIN_S):
            self.kills += 1
            return True
        victim.kill()
        return False

    # --- Web ---------------------------------------------------------------------------------

    def _ask(self, failpoint: str, path: str, body: dict[str, Any]) -> bool:
        """Ask a web process that dies at the failpoint; the same is asked again at the end."""
        key = f"T5:{self.rng.getrandbits(64):x}"
        victim = self._fork("web", failpoint)
        try:
            Client(victim.port, self.alice.token).post(path, body, key)
        except Lost:
            pass
        self.asked.append(Told(self.alice, path, body, key, ""))
        return self._ends(victim)

    def _pay(self, cell: Cell) -> bool:
        bolt11 = self.stage.control.invoice(self.rng.randint(1_000, 900_000), node="carol")
        return self._ask(cell.failpoint, "/payments", {"payreq": bolt11})

    def _make_invoice(self, cell: Cell) -> bool:
        return self._ask(
            cell.failpoint, "/invoice", {"invoice": {"type": "lightning", "amount": 9}}
        )

    def _withdraw(self, cell: Cell) -> bool:
        address = self.stage.control.address()
        self.stage.control.mine()
        body = {"address": address, "amount": self.rng.randint(1_000, 9_000), "feeRate": 2}
        return self._ask(cell.failpoint, "/bitcoin/send", body)

    def _bump(self, cell: Cell) -> bool:
        """She asks for a higher fee once: to ask again would be another bump."""
        address = self.stage.control.address()
        self.stage.control.mine()
        self._recover()  # which version of the bump before is in the block decides what is free
        web = self._fork("web")
        alice = Client(web.port, self.alice.token)
        body = {"address": address, "amount": self.rng.randint(1_000, 9_000), "feeRate": 2}
        status, sent = alice.post("/bitcoin/send", body)
        web.kill()
        require(status == 200, f"no withdrawal: {status} {sent}")
        victim = self._fork("web", cell.failpoint)
        with contextlib.suppress(Lost):
            Client(victim.port, self.alice.token).post(
                f"/payments/{sent['id']}/bump", {"feeRate": 9}
            )
        return self._ends(victim)

    # --- Worker ------------------------------------------------------------------------------

    def _rung(self, failpoint: str, *bells: str) -> bool:
        """Ring a worker that dies at the failpoint, as often as beat would: whoever died before at
        the same work keeps its lease for some seconds."""
        from coinos import bell

        victim = self._fork("worker", failpoint)
        for _ in range(DIES_WITHIN_S):
            for task in bells:
                bell.ring(task)
            if victim.died_by_sigkill(1):
                self.kills += 1
                return True
        victim.kill()
        return False

    def _dispatch(self, cell: Cell) -> bool:
        from payments.models import Payment

        self._pay(Cell("ln.held", "web", "pay"))
        self._age(Payment.objects.filter(user_id=self.alice.id), "created", seconds=10)
        return self._rung(cell.failpoint, DISPATCH)

    def _receive(self, cell: Cell) -> bool:
        self._paid_invoice()
        return self._rung(cell.failpoint, WATCH)

    def _sweep(self, cell: Cell) -> bool:
        self._paid_invoice()
        return self._rung(cell.failpoint, SWEEP)

    def _take_off(self, cell: Cell) -> bool:
        """A bolt11 to be deleted, because it was paid by another user, was paid from outside."""
        bolt11 = self._invoice({"type": "lightning", "amount": 11})["hash"]
        web = self._fork("web")
        Client(web.port, self.alice.token).post("/payments", {"payreq": bolt11})
        web.kill()
        self.stage.control.pay(bolt11)
        return self._rung(cell.failpoint, WITHDRAW)

    def _tell(self, cell: Cell) -> bool:
        self._paid_invoice(webhook=f"{self.shop_url}/matrix")
        let_leases_run_out()  # one that died before leaves the shop reserved
        return self._rung(cell.failpoint, WATCH, DELIVER)

    def _deposit(self, cell: Cell) -> bool:
        self._deposited()
        return self._rung(cell.failpoint, SCAN)

    def _reorg(self, cell: Cell) -> bool:
        self._deposited()
        self._recover()
        self.stage.control.reorg(1, remine=False)
        self.reorgs += 1
        died = self._rung(cell.failpoint, SCAN)
        self._recover()
        self.stage.control.mine(2)
        return died

    def _advance(self, cell: Cell) -> bool:
        from payments.models import Payment

        self._withdraw(Cell("btc.held", "web", "withdraw"))
        self._age(Payment.objects.filter(user_id=self.alice.id), "created", seconds=10)
        return self._rung(cell.failpoint, ADVANCE)

    def _auto_withdraw(self, cell: Cell) -> bool:
        self._switch_on(self.lnurl)
        return self._rung(cell.failpoint, AUTO)

    def _auto_withdraw_onchain(self, cell: Cell) -> bool:
        self.stage.control.mine()
        self._switch_on(self.stage.control.address())
        return self._rung(cell.failpoint, AUTO)

    def _switch_on(self, destination: str) -> None:
        """Alice wants what is above a reserve to leave by itself; there is more than that."""
        from accounts.models import User
        from payments.services.autowithdraw import check_auto_withdraw, save_auto_withdraw

        alice = User.objects.get(id=self.alice.id)
        above_sat = self.rng.randint(20_000, 900_000)
        wanted = {
            "autowithdraw": True,
            "threshold_sat": MATRIX_SAT - above_sat,
            "reserve_sat": MATRIX_SAT - above_sat,
            "destination": destination,
        }
        save_auto_withdraw(alice, check_auto_withdraw(alice, wanted, password=None, pin=None))

    # --- Resolver ----------------------------------------------------------------------------

    def _resolve(self, cell: Cell) -> bool:
        from payments.models import Payment

        self._pay(Cell("ln.after_call", "web", "pay"))
        self._age(Payment.objects.filter(user_id=self.alice.id), "next_look_at", seconds=10)
        return self._rung(cell.failpoint, RESOLVE)

    def _late_fee(self, cell: Cell) -> bool:
        """The payee has the money while a part is still on its way: the fee comes later."""
        from payments.models import Payment

        fault = {"kind": "partial_mpp", "method": "xpay", "how": "pending", "times": 1}
        self.stage.control.set_faults([fault])
        web = self._fork("web")
        bolt11 = self.stage.control.invoice(700_000, node="carol")
        Client(web.port, self.alice.token).post("/payments", {"payreq": bolt11})
        web.kill()
        self.stage.control.clear_faults()
        for payment_hash in self.stage.control.truth()["pending"]:
            self.stage.control.release(payment_hash, settle=False)
        self._age(Payment.objects.filter(user_id=self.alice.id), "next_look_at", seconds=10)
        return self._rung(cell.failpoint, RESOLVE)

    # --- Helpers -----------------------------------------------------------------------------

    def _invoice(self, wanted: dict[str, Any]) -> dict[str, Any]:
        web = self._fork("web")
        status, invoice = Client(web.port, self.bob.token).post("/invoice", {"invoice": wanted})
        web.kill()
        require(status == 200, f"no invoice: {status} {invoice}")
        return invoice

    def _paid_invoice(self, webhook: str = "") -> None:
        wanted = {"type": "lightning", "amount": self.rng.randint(1, 500)}
        invoice = self._invoice(wanted | ({"webhook": webhook} if webhook else {}))
        self.stage.control.pay(invoice["hash"])

    def _deposited(self) -> None:
        invoice = self._invoice({"type": "bitcoin", "amount": 0})
        self.stage.control.deposit(invoice["hash"], self.rng.randint(1_000, 9_000))
        self.stage.control.mine()

    def _age(self, rows: Any, name: str, *, seconds: int) -> None:
        """The seconds pass at once that a periodic task leaves a row to others."""
        from django.utils import timezone

        rows.update(**{name: timezone.now() - timedelta(seconds=seconds)})

    def _recover(self) -> None:
        """A healthy worker finishes what the dead have left; then the oracle looks."""
        from coinos import bell

        worker = self._fork("worker")
        ring = _now_and_then(lambda: [*map(bell.ring, BELLS)], seconds=1)
        self.recovery_s.append(come_to_rest(self.stage.control, ring=ring))
        self.recoveries += 1
        worker.kill()
        require_unbroken(oracle.check(self.stage.control))

    def _ask_again(self) -> None:
        """Each client repeats its request with its key: at most one payment may come of both."""
        from accounts.models import IdempotencyKey

        self._age(IdempotencyKey.objects.filter(answered_at=None), "created", seconds=61)
        web = self._fork("web")
        for told in self.asked:
            status, answer = Client(web.port, told.person.token).post(
                told.path, told.body, told.key
            )
            refused = status == 400 and answer.get("code") == "payment_failed"
            require(status == 200 or refused, f"asked again: {status} {answer} for {told}")
        web.kill()
        self._recover()


def _now_and_then(act: Callable[[], Any], *, seconds: float) -> Callable[[], None]:
    last = 0.0

    def run() -> None:
        nonlocal last
        if time.monotonic() - last > seconds:
            last = time.monotonic()
            act()

    return run


# --- Killed at random ----------------------------------------------------------------------------


class KilledAtRandom:
    """The real processes die at random moments while people use them."""

    def __init__(self, stage: Stage, shop_url: str) -> None:
        self.stage, self.shop_url = stage, shop_url
        self.kills = self.spends = self.answered = 0
        self.served_again_s: list[float] = []

    def run(self) -> None:
        cast: list[Person] = people("crash", 12, BALANCE_SAT)
        rng = random_for("T5", "kills")
        stage = self.stage
        with stage.serving():
            load = Load(
                *("T5", stage.port, stage.control, cast),
                threads=8,
                webhook=self.shop_url,
                onchain=True,
            )
            with load:
                for _ in range(RANDOM_KILLS):
                    time.sleep(rng.uniform(0.3, 1.5))
                    self._kill_something(rng)
                time.sleep(1)
            self.spends, self.answered = load.counts["spends"], len(load.told)
            stage.control.mine()
            come_to_rest(stage.control, seconds=100)
            wrong = lost_and_doubled(load.told)
            again = rng.sample(load.told, min(len(load.told), 40))
            wrong += replays_that_differ(again, stage.port)
        require(self.answered > 0, f"nothing worked under load: {dict(load.counts)}")
        require_unbroken(wrong)

    def _kill_something(self, rng: random.Random) -> None:
        what = rng.choices(
            ["web process", "web", "worker", "watch", "webhooks", "simnet"], [4, 2, 4, 3, 2, 1]
        )[0]
        started = time.monotonic()
        if what == "web process":
            self.stage.kill_one_web_process(rng.choice)
        else:
            self.stage.kill(what)
        self.kills += 1
        if what == "simnet":
            self.stage.restart("simnet")
        if what == "web":
            self.stage.wait_for("web")
            self.served_again_s.append(time.monotonic() - started)

    @property
    def served_again_p95_s(self) -> float:
        times = sorted(self.served_again_s)
        return round(times[int(len(times) * 0.95)], 1) if times else 0.0


def _webhooks_heard(url: str, heard: list[Any]) -> list[str]:
    """I12: what counts as delivered was heard, by its own id and by no other."""
    from invoices.models import WebhookDelivery

    ids = {call.headers["webhook-id"] for call in heard}
    told = WebhookDelivery.objects.filter(url__startswith=url)
    rows = dict(told.values_list("message_id", "state"))
    wrong = [f"I12: {id} was heard and is unknown" for id in ids - set(rows)]
    delivered = {id for id, state in rows.items() if state == WebhookDelivery.State.DELIVERED}
    return wrong + [f"I12: {id} counts as delivered and was not heard" for id in delivered - ids]
