"""Blocks are full for hours, and one user withdraws as little and as cheaply as he may (H2, H3).

Everybody else withdraws all the same: with the coins that are left, or with the change of
withdrawals that wait themselves.
"""

from __future__ import annotations

from collections import Counter

from tests.proof.harness import Client, Stage, come_to_rest, wait_until
from tests.proof.load import people
from tests.proof.scale import size
from tests.proof.t10.bells import ring
from tests.proof.t10.found import Found

OTHERS = size(2, 6)
TRIES = size(40, 120)
LEAST_SAT = 600


def run(stage: Stage) -> Found:
    from payments.models import Payment

    assert stage.zygote
    control, broken = stage.control, []
    web, worker = stage.zygote.fork("web"), stage.zygote.fork("worker")
    greedy, *others = people("mempool", 1 + OTHERS, 500_000)
    control.stuck(True)
    answers: Counter[int] = Counter()
    for _ in range(TRIES):
        status, _answer = Client(web.port, greedy.token).post(
            "/bitcoin/send", {"address": control.address(), "amount": LEAST_SAT, "feeRate": 1}
        )
        answers[status] += 1
        if status != 200:
            break
    if answers[503]:
        broken.append(f"H2: {answers[200]} small withdrawals of one user have used up the wallet")
    for person in others:
        status, answer = Client(web.port, person.token).post(
            "/bitcoin/send", {"address": control.address(), "amount": 20_000}
        )
        if status != 200:
            broken.append(f"H2: somebody else cannot withdraw: {status} {answer}")
    waiting = Payment.objects.filter(user_id__in=[person.id for person in others])
    left = waiting.filter(state=Payment.State.BROADCAST)
    wait_until(
        lambda: ring() or left.count() == waiting.count(), seconds=60, what="their broadcast"
    )
    control.stuck(False)
    control.mine(1)
    come_to_rest(control, ring=ring)
    web.kill()
    worker.kill()
    return Found(
        f"{answers[200]} withdrawals of {LEAST_SAT} sats by one user while no block takes any,"
        f" then {OTHERS} by others",
        broken,
        {"transfers": answers[200] + OTHERS, "kills": 2},
    )
