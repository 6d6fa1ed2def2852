"""A stranger fails a payment, is paid again and takes his time: nobody else is stopped (H1).

He has an invoice of his own node. The auditor looks just between his claim and the moment at
which the server hears of it, when the books say "given back" and the node says "paid".
"""

from __future__ import annotations

from tests.proof.harness import Client, Stage, come_to_rest, require, wait_until
from tests.proof.load import Person, people
from tests.proof.scale import size
from tests.proof.t10.bells import ring
from tests.proof.t10.found import Found

INVOICES = size(2, 6)


def run(stage: Stage) -> Found:
    from payments import reconciliation
    from payments.models import Payment

    assert stage.zygote
    control, broken = stage.control, []
    web, worker = stage.zygote.fork("web"), stage.zygote.fork("worker")
    stranger, other = people("patient", 2, 2_000_000)
    held = [control.invoice(1_000_000, node="bob") for _ in range(INVOICES)]
    for bolt11 in held:
        payment_hash = _pay_and_hold(control, web.port, stranger, bolt11)
        control.release(payment_hash, settle=False)
        wait_until(
            lambda payment_hash=payment_hash: Payment.objects.filter(
                payment_hash=payment_hash, state=Payment.State.FAILED
            ).exists(),
            seconds=60,
            what="the end of a payment that its payee refused",
        )
    again = [_pay_and_hold(control, web.port, stranger, bolt11) for bolt11 in held]
    worker.kill()  # so that nobody hears of the claims before the auditor looks
    web.kill()
    for payment_hash in again:
        control.release(payment_hash, settle=True)
        reconciliation.reconcile()
    if (stage.data_dir / "stop-sends").exists():
        broken.append("H1: a stranger has stopped all payments out")
    web, worker = stage.zygote.fork("web"), stage.zygote.fork("worker")
    status, answer = Client(web.port, other.token).post(
        "/payments", {"payreq": control.invoice(5_000, node="bob")}
    )
    if status != 200:
        broken.append(f"H1: somebody else cannot pay: {status} {answer}")
    come_to_rest(control, ring=ring)
    reconciliation.reconcile()
    web.kill()
    worker.kill()
    return Found(
        f"{INVOICES} payments refused, tried again, held and claimed",
        broken,
        {"transfers": 2 * INVOICES + 1, "kills": 4},
    )


def _pay_and_hold(control: object, port: int, payer: Person, bolt11: str) -> str:
    from coinos import nodes

    payment_hash = str(nodes.lightning().decode(bolt11).payment_hash)
    control.hold(payment_hash)  # type: ignore[attr-defined]
    status, answer = Client(port, payer.token).post("/payments", {"payreq": bolt11})
    require(status == 200, f"a payment that is held was refused: {status} {answer}")
    return payment_hash
