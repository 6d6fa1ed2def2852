"""kill -9 at each line between two effects: nothing is lost, nothing is doubled (A04, M14)."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Transfer, User
from coinos.models import Lease
from coinos.nodes import lightning
from coinos.simnet.control import Control
from invoices import services, webhooks
from invoices.models import Cursor, Deposit, Invoice, LightningRequest, WebhookDelivery
from tests.cast import available_sat, make_user
from tests.database import ROOT, Database
from tests.invoices.helpers import credits_of, new_invoice, receive, seen, statement_of
from tests.invoices.receiver import receiver
from tests.invoices.test_lightning_receipts import start_at_the_end


@pytest.fixture
def alice(simnet_nodes: Control, cloned_db: Database, redis: Any) -> User:
    """In a database with real commits, which other processes see."""
    return make_user("alice")


def run_until_killed(work: str, failpoint: str, *, simnet: Control, database: Database) -> None:
    """Run `work` in a process of its own that dies at `failpoint`; it must get there. What it was
    alone to do is free again, as it is some seconds later."""
    environment = database.environment | {
        "COINOS_FAILPOINT": failpoint,
        "LIGHTNING_RPC": simnet.lightning_rpc,
        "BITCOIN_RPC_URL": simnet.bitcoin_rpc_url,
        "ALLOW_PRIVATE_URLS": "127.0.0.0/8",
    }
    code = f"import django; django.setup(); from invoices import services, webhooks; {work}"
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, timeout=60, capture_output=True
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()[-2000:]
    Lease.objects.update(until=timezone.now())


@pytest.mark.parametrize(
    "failpoint", ["recv.after_wait", "recv.before_commit", "recv.after_commit"]
)
def test_a_watcher_that_is_killed_credits_once(
    alice: User, simnet_nodes: Control, cloned_db: Database, failpoint: str
) -> None:
    start_at_the_end()
    before = int(Cursor.objects.get(name="lightning").value)
    invoice = new_invoice(alice, amount=1000)
    simnet_nodes.pay(invoice["hash"])
    run_until_killed(
        "services.watch_lightning(seconds=10)",
        failpoint,
        simnet=simnet_nodes,
        database=cloned_db,
    )
    committed = failpoint == "recv.after_commit"
    assert available_sat(alice) == (1000 if committed else 0)
    assert int(Cursor.objects.get(name="lightning").value) == before + committed
    services.watch_lightning(seconds=10, stopped=lambda: available_sat(alice) == 1000)
    receive()
    assert available_sat(alice) == 1000
    assert len(credits_of(alice)) == len(statement_of(alice)) == 1
    assert seen(invoice)["received"] == 1000


@pytest.mark.parametrize("failpoint", ["recv.before_commit", "recv.after_commit"])
def test_a_watcher_that_is_killed_credits_all_of_a_batch_or_nothing(
    alice: User, simnet_nodes: Control, cloned_db: Database, failpoint: str
) -> None:
    bob = make_user("bob")
    start_at_the_end()
    before = int(Cursor.objects.get(name="lightning").value)
    for payee in (alice, bob, alice, bob):
        simnet_nodes.pay(new_invoice(payee, amount=1000)["hash"])
    run_until_killed(
        "services.watch_lightning(seconds=10)",
        failpoint,
        simnet=simnet_nodes,
        database=cloned_db,
    )
    committed = failpoint == "recv.after_commit"
    assert available_sat(alice) == available_sat(bob) == (2000 if committed else 0)
    assert int(Cursor.objects.get(name="lightning").value) == before + 4 * committed
    services.watch_lightning(seconds=10, stopped=lambda: available_sat(alice) == 2000)
    receive()
    assert available_sat(alice) == available_sat(bob) == 2000
    assert len(credits_of(alice)) == len(statement_of(alice)) == 2


@pytest.mark.parametrize("failpoint", ["dep.after_list", "dep.before_credit", "dep.after_credit"])
def test_a_scan_that_is_killed_credits_once(
    alice: User, simnet_nodes: Control, cloned_db: Database, failpoint: str
) -> None:
    invoice = new_invoice(alice, type="bitcoin")
    simnet_nodes.mine()
    services.scan_bitcoin()
    simnet_nodes.deposit(invoice["hash"], 70_000)
    simnet_nodes.mine()
    run_until_killed("services.scan_bitcoin()", failpoint, simnet=simnet_nodes, database=cloned_db)
    assert available_sat(alice) == (70_000 if failpoint == "dep.after_credit" else 0)
    services.scan_bitcoin()
    services.scan_bitcoin()
    assert available_sat(alice) == 70_000
    assert len(credits_of(alice)) == len(statement_of(alice)) == 1
    assert (seen(invoice)["received"], seen(invoice)["pending"]) == (70_000, 0)


def test_a_reversal_that_is_killed_happens_once(
    alice: User, simnet_nodes: Control, cloned_db: Database
) -> None:
    invoice = new_invoice(alice, type="bitcoin")
    simnet_nodes.deposit(invoice["hash"], 70_000)
    simnet_nodes.mine()
    services.scan_bitcoin()
    simnet_nodes.call("reorg", depth=1, remine=False)
    run_until_killed(
        "services.scan_bitcoin()", "dep.before_reversal", simnet=simnet_nodes, database=cloned_db
    )
    services.scan_bitcoin()
    services.scan_bitcoin()
    assert available_sat(alice) == 0
    assert Transfer.objects.filter(kind="reverse.onchain").count() == 1
    assert Deposit.objects.get().state == Deposit.State.REVERSED


@pytest.mark.parametrize("failpoint", ["invoice.row_written", "invoice.after_node"])
def test_an_invoice_whose_making_was_killed_is_seen_by_nobody_and_cleared(
    alice: User, simnet_nodes: Control, cloned_db: Database, failpoint: str
) -> None:
    run_until_killed(
        "from accounts.models import User;"
        "draft = services.InvoiceDraft(amount_sat=5);"
        "services.create_invoice(User.objects.get(), draft, own=True)",
        failpoint,
        simnet=simnet_nodes,
        database=cloned_db,
    )
    request = LightningRequest.objects.get()
    made = lightning().invoice_by_label(str(request.id))
    assert bool(made) == (failpoint == "invoice.after_node")
    assert services.clear_unfinished() == 0  # it might still be in the making
    from datetime import timedelta

    LightningRequest.objects.update(created=request.created - timedelta(hours=2))
    assert services.clear_unfinished() == 1
    assert lightning().invoice_by_label(str(request.id)) is None
    assert not Invoice.objects.exists()


@pytest.mark.parametrize("failpoint", ["hook.claimed", "hook.sent"])
def test_a_webhook_whose_sender_was_killed_is_delivered(
    alice: User, simnet_nodes: Control, cloned_db: Database, failpoint: str
) -> None:
    from datetime import timedelta

    from django.utils import timezone

    with receiver() as shop:
        invoice = new_invoice(alice, amount=1000, webhook=shop.url)
        simnet_nodes.pay(invoice["hash"])
        receive()
        run_until_killed(
            "webhooks.deliver_due()", failpoint, simnet=simnet_nodes, database=cloned_db
        )
        assert webhooks.deliver_due() == 0  # leased by the dead
        WebhookDelivery.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
        assert webhooks.deliver_due() == 1
    assert WebhookDelivery.objects.get().state == WebhookDelivery.State.DELIVERED
    assert len(shop.heard) == (2 if failpoint == "hook.sent" else 1)
    assert len({call.headers["webhook-id"] for call in shop.heard}) == 1
