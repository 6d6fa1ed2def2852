"""A standby takes over that never got the last commits: nothing is paid twice (K3).

Withdrawals and payments are held, invoices are open; then a copy of the database is made. All of
it goes on, out over the nodes and in, until it rests. Then the copy is put in place, which knows
of nothing that has left or come since, and everything has to be found again.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from typing import Any

from tests.proof import oracle
from tests.proof.harness import Client, Stage, Victim, come_to_rest, require
from tests.proof.load import people
from tests.proof.scale import size
from tests.proof.t10.bells import ring
from tests.proof.t10.found import Found

OF_EACH = size(2, 6)


def run(stage: Stage) -> Found:
    if "PostgreSQL" not in stage.children:
        return Found("NOT RUN: the database is not ours to stop")
    assert stage.zygote
    control = stage.control
    cast = people("failover", 2 * OF_EACH, 1_000_000)
    addresses = [control.address() for _ in range(OF_EACH)]
    died = [
        _dies(stage, "btc.held", person.token, "/bitcoin/send", address=address, amount=5_000)
        for person, address in zip(cast, addresses, strict=False)
    ]
    died += [
        _dies(stage, "ln.held", person.token, "/payments", payreq=control.invoice(9_000_000))
        for person in cast[OF_EACH:]
    ]
    require(all(died), "a web process did not die where it holds the money")
    web = stage.zygote.fork("web")
    wanted = [
        _invoice(web, person.token, type)
        for person in cast[:OF_EACH]
        for type in ("lightning", "bitcoin")
    ]
    web.kill()

    _stop_postgres(stage)
    live, copy = stage.data_dir / "postgres", stage.data_dir / "postgres.standby"
    subprocess.run(["cp", "--archive", live, copy], check=True)
    stage.restart("PostgreSQL")
    for invoice in wanted:
        if invoice["type"] == "bitcoin":
            control.deposit(invoice["hash"], 3_000)
        else:
            control.pay(invoice["hash"])
    control.mine(1)
    _work_until_it_rests(stage)
    broken = oracle.check(control)

    _stop_postgres(stage)
    shutil.rmtree(live)
    copy.rename(live)
    stage.restart("PostgreSQL")
    oracle.forget_history()
    _work_until_it_rests(stage)
    outputs = [output for sent in control.chain_truth()["sent"] for output in sent["outputs"]]
    sent = [output["address"] for output in outputs]
    for address in addresses:
        if sent.count(address) != 1:
            broken.append(f"K3: {sent.count(address)} transactions pay {address}")
    return Found(
        f"{OF_EACH} withdrawals, {OF_EACH} payments, {len(wanted)} receipts that a failover lost",
        broken,
        {"transfers": 2 * OF_EACH + len(wanted), "kills": len(died) + 1},
    )


def _dies(stage: Stage, failpoint: str, token: str, path: str, **body: Any) -> bool:
    """Whether the process that was asked died with the money held and nothing sent."""
    from tests.proof.harness import Lost

    assert stage.zygote
    victim = stage.zygote.fork("web", failpoint=failpoint)
    try:
        Client(victim.port, token).post(path, body)
    except Lost:
        pass
    return victim.died_by_sigkill(20)


def _invoice(web: Victim, token: str, type: str) -> dict[str, Any]:
    status, invoice = Client(web.port, token).post(
        "/invoice", {"invoice": {"type": type, "amount": 3_000}}
    )
    require(status == 200, f"no invoice: {status} {invoice}")
    return invoice


def _work_until_it_rests(stage: Stage) -> None:
    assert stage.zygote
    worker = stage.zygote.fork("worker")
    come_to_rest(stage.control, seconds=120, ring=ring)
    worker.kill()


def _stop_postgres(stage: Stage) -> None:
    from django.db import connection

    connection.close()
    child = stage.children["PostgreSQL"]
    child.process.send_signal(signal.SIGINT)
    child.process.wait()
