"""The Lightning node comes back from an old copy of its books, payments in flight (K5, H6).

It has its key and knows nothing of them: that proves nothing, and nothing is given back. Two
operators look, adopt it, and say that the payments came to nothing.
"""

from __future__ import annotations

import time
from typing import Any

from tests.proof.harness import Client, Stage, come_to_rest, require, wait_until
from tests.proof.load import people
from tests.proof.scale import size
from tests.proof.t10.bells import ring
from tests.proof.t10.found import Found

PAYMENTS = size(2, 4)
LOOKED_AT_FOR_S = size(12, 20)  # a payment that nobody knows would be given back after 5
REASON = "the proof restored an old copy"


def run(stage: Stage) -> Found:
    from invoices.models import KnownNode
    from payments.models import Payment

    assert stage.zygote
    control, broken = stage.control, []
    journal = stage.data_dir / "simnet" / "lightning.jsonl"
    stop_file = stage.data_dir / "stop-sends"
    web, worker = stage.zygote.fork("web"), stage.zygote.fork("worker")
    wait_until(
        lambda: ring() or KnownNode.objects.exists(), seconds=60, what="getting to know the node"
    )
    cast = people("restored", PAYMENTS, 1_000_000)
    old_copy = journal.read_bytes()
    for person in cast:
        bolt11 = control.invoice(20_000_000, node="bob")
        control.hold(_payment_hash(bolt11))
        status, answer = Client(web.port, person.token).post("/payments", {"payreq": bolt11})
        require(status == 200, f"a payment that is held was refused: {status} {answer}")
    web.kill()
    payments = Payment.objects.filter(user_id__in=[person.id for person in cast])
    in_flight = payments.filter(state=Payment.State.SENDING)
    require(in_flight.count() == PAYMENTS, "the payments are not in flight")

    stage.kill("simnet")
    journal.write_bytes(old_copy)
    stage.restart("simnet")
    until = time.monotonic() + LOOKED_AT_FOR_S
    while time.monotonic() < until:
        ring()
        time.sleep(0.3)
    if in_flight.count() != PAYMENTS:
        broken.append("K5: a payment was given back though the node had lost its records")
    if not stop_file.exists() or "lost records" not in stop_file.read_text():
        broken.append("K5: nobody was told that the node has lost records")
    worker.kill()

    _adopt_and_release([str(payment.id) for payment in payments])
    stop_file.unlink(missing_ok=True)
    worker = stage.zygote.fork("worker")
    come_to_rest(control, ring=ring)
    if stop_file.exists():
        broken.append(f"H7: the alarm is back after it was ended: {stop_file.read_text()}")
    worker.kill()
    return Found(
        f"{PAYMENTS} payments in flight while the node lost its records",
        broken,
        {"transfers": PAYMENTS, "kills": stage.kills["simnet"] + 3},
    )


def _payment_hash(bolt11: str) -> str:
    from coinos import nodes

    return str(nodes.lightning().decode(bolt11).payment_hash)


def _adopt_and_release(payment_ids: list[str]) -> None:
    from accounts.models import User
    from coinos import nodes
    from payments import operations
    from payments.operations import By

    first, second = (User.objects.get(id=person.id) for person in people("operator", 2))
    User.objects.filter(id__in=[first.id, second.id]).update(is_staff=True)
    one, other = By(first.username, first), By(second.username, second)

    def act(verb: str, **arguments: Any) -> None:
        asked = operations.ask(verb, arguments, by=one, reason=REASON)
        if asked.needs_approval:
            operations.approve(asked.id, by=other, reason=REASON)
            operations.carry_out(asked.id, by=other)

    wait_until(
        lambda: _is_done(lambda: act("adopt", node=nodes.lightning().info().id)),
        seconds=60,
        what="the end of a dead worker's leases",
    )
    for payment_id in payment_ids:
        act("release", payment=payment_id, paid_nothing=True)


def _is_done(do: Any) -> bool:
    from coinos.errors import Busy

    try:
        do()
    except Busy:
        return False
    return True
