"""What simnet's Lightning side promises, told with Alice's node (ours), Bob and Carol outside."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pyln.client import LightningRpc, RpcError
from pyln.proto.invoice import Invoice

from coinos.simnet import bolt11
from coinos.simnet.control import Control, ControlError
from coinos.simnet.journal import Journal
from tests.nodes.asking import eventually
from tests.simnet_fixtures import PROJECT, SimnetProcess

Json = dict[str, Any]


@pytest.fixture
def alice(simnet: Control) -> LightningRpc:
    return LightningRpc(simnet.lightning_rpc)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def rpc(control: Control) -> LightningRpc:
    return LightningRpc(control.lightning_rpc)


def invoice_of_alice(control: Control, amount_msat: int | str = 21_000, **options: Any) -> Json:
    made: Json = rpc(control).invoice(amount_msat, str(uuid4()), "coffee", **options)
    return made


def hash_of(invoice: str) -> str:
    return bolt11.decode(invoice).payment_hash


def code_of(call: Callable[[], Any]) -> int:
    with pytest.raises(RpcError) as caught:
        call()
    return int(caught.value.error["code"])


def refusal_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ControlError) as caught:
        call()
    return caught.value.code


# --- invoices --------------------------------------------------------------------------------


def test_an_invoice_is_real_bolt11_that_another_library_reads(simnet: Control) -> None:
    made = invoice_of_alice(simnet, 1_500, expiry=120)
    read = Invoice.decode(made["bolt11"])
    assert read.currency == "bcrt"
    assert read.amount * 10**11 == 1_500
    assert read.hexpaymenthash == made["payment_hash"]
    assert read.hexpubkey == rpc(simnet).getinfo()["id"]
    assert dict(read.tags) == {"d": "coffee", "x": 120}


def test_an_invoice_changed_by_one_letter_does_not_decode(alice: LightningRpc) -> None:
    made = alice.invoice(1_000, str(uuid4()), "coffee")["bolt11"]
    changed = made[:40] + ("q" if made[40] != "q" else "p") + made[41:]
    assert code_of(lambda: alice.decode(changed)) == -32602


def test_receipts_come_in_the_order_of_payment_and_a_deleted_one_leaves_a_gap(
    simnet: Control, alice: LightningRpc
) -> None:
    start = alice.call("wait", {"subsystem": "invoices", "indexname": "updated", "nextvalue": 0})
    first, second, third = (invoice_of_alice(simnet) for _ in range(3))
    for made in (second, first, third):
        simnet.pay(made["bolt11"])
    rows = alice.listinvoices(index="updated", start=start["updated"] + 1)["invoices"]
    paid = [second["payment_hash"], first["payment_hash"], third["payment_hash"]]
    assert [row["payment_hash"] for row in rows] == paid
    before = rows[0]["pay_index"] - 1
    assert alice.waitanyinvoice(before, 0)["payment_hash"] == second["payment_hash"]
    alice.delinvoice(rows[0]["label"], "paid")
    assert alice.waitanyinvoice(before, 0)["payment_hash"] == first["payment_hash"]
    assert simnet.truth()["received"][second["payment_hash"]] == 21_000


def test_whoever_waits_is_woken_by_the_payment(
    simnet: Control, alice: LightningRpc, pool: ThreadPoolExecutor
) -> None:
    last = last_pay_index(alice)
    made = invoice_of_alice(simnet, "any")
    waiting = pool.submit(rpc(simnet).waitanyinvoice, last, 10)
    simnet.pay(made["bolt11"], 1_234_567, payer="carol")
    assert waiting.result()["amount_received_msat"] == 1_234_567


def last_pay_index(alice: LightningRpc) -> int:
    index = 0
    while True:
        try:
            index = alice.waitanyinvoice(index, 0)["pay_index"]
        except RpcError:
            return index


def test_the_outside_world_is_refused_as_a_real_payer_would_be(
    simnet: Control, alice: LightningRpc
) -> None:
    fixed, open_amount = invoice_of_alice(simnet), invoice_of_alice(simnet, "any")
    assert refusal_of(lambda: simnet.pay(fixed["bolt11"], 20_999)) == "wrong_amount"
    assert refusal_of(lambda: simnet.pay(fixed["bolt11"], 42_001)) == "wrong_amount"
    assert refusal_of(lambda: simnet.pay(open_amount["bolt11"])) == "amount_required"
    assert refusal_of(lambda: simnet.pay(simnet.invoice(1_000))) == "unknown"
    assert refusal_of(lambda: simnet.pay("lnbcrt1nonsense")) == "invalid"
    simnet.pay(fixed["bolt11"], 42_000)  # up to twice is accepted
    assert refusal_of(lambda: simnet.pay(fixed["bolt11"])) == "already_paid"
    row = alice.listinvoices(payment_hash=fixed["payment_hash"])["invoices"][0]
    assert row["amount_received_msat"] == 42_000


def test_the_nodes_timer_expires_an_invoice_and_nothing_pays_it_then(
    simnet: Control, alice: LightningRpc
) -> None:
    made = invoice_of_alice(simnet, expiry=1)
    eventually(
        lambda: (
            alice.listinvoices(payment_hash=made["payment_hash"])["invoices"][0]["status"]
            == "expired"
        )
    )
    assert refusal_of(lambda: simnet.pay(made["bolt11"])) == "expired"
    assert simnet.payment(made["payment_hash"])["status"] == "expired"


def test_a_withdrawn_invoice_cannot_be_paid_and_a_paid_one_cannot_be_withdrawn(
    simnet: Control, alice: LightningRpc
) -> None:
    label = str(uuid4())
    made = alice.invoice(1_000, label, "coffee")
    alice.delinvoice(label, "unpaid")
    assert refusal_of(lambda: simnet.pay(made["bolt11"])) == "unknown"
    assert code_of(lambda: alice.delinvoice(label, "unpaid")) == 905
    paid = alice.invoice(1_000, label, "coffee")
    simnet.pay(paid["bolt11"])
    assert code_of(lambda: alice.delinvoice(label, "unpaid")) == 906


# --- paying ----------------------------------------------------------------------------------


def test_a_hop_costs_a_fee_and_bob_is_paid_without_one(
    simnet: Control, alice: LightningRpc
) -> None:
    for node, fee_msat in (("bob", 0), ("carol", 100)):
        invoice = simnet.invoice(1_000_000, node=node)
        before = simnet.truth()["channel_msat"]
        assert alice.xpay(invoice)["amount_sent_msat"] == 1_000_000 + fee_msat
        truth = simnet.payment(hash_of(invoice))
        assert (truth["status"], truth["fee_msat"]) == ("settled", fee_msat)
        assert before - simnet.truth()["channel_msat"] == 1_000_000 + fee_msat


def test_a_payment_outlives_the_client_that_hung_up(simnet: Control) -> None:
    invoice = simnet.invoice(5_000)
    simnet.hold(hash_of(invoice))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(simnet.lightning_rpc)
        call = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "xpay",
            "params": {"invstring": invoice},
        }
        client.sendall(json.dumps(call).encode())
        eventually(lambda: simnet.payment(hash_of(invoice))["status"] == "pending")
    simnet.release(hash_of(invoice))
    assert simnet.payment(hash_of(invoice))["status"] == "settled"


def test_retry_for_does_not_end_a_payment_that_is_held(
    simnet: Control, alice: LightningRpc, pool: ThreadPoolExecutor
) -> None:
    invoice = simnet.invoice(5_000)
    simnet.hold(hash_of(invoice))
    call = pool.submit(alice.xpay, invoice, retry_for=1)
    eventually(lambda: simnet.payment(hash_of(invoice))["status"] == "pending")
    time.sleep(1.2)
    assert not call.done()
    assert rpc(simnet).listpays(invoice)["pays"][0]["status"] == "pending"
    assert code_of(lambda: rpc(simnet).xpay(invoice)) == -3
    simnet.release(hash_of(invoice))
    assert call.result()["successful_parts"] == 1


def test_a_held_htlc_shows_in_the_channel_and_lowers_what_is_spendable(
    simnet: Control, alice: LightningRpc, pool: ThreadPoolExecutor
) -> None:
    invoice = simnet.invoice(5_000, node="hold")
    spendable = alice.listpeerchannels()["channels"][0]["spendable_msat"]
    call = pool.submit(alice.xpay, invoice)
    eventually(lambda: simnet.payment(hash_of(invoice))["status"] == "pending")
    channel = rpc(simnet).listpeerchannels()["channels"][0]
    assert hash_of(invoice) in [htlc["payment_hash"] for htlc in channel["htlcs"]]
    assert spendable - channel["spendable_msat"] == 5_000
    assert simnet.release(hash_of(invoice), settle=False) == 1
    with pytest.raises(RpcError):
        call.result()


def test_after_a_refusal_listpays_says_pending_and_then_failed(
    simnet: Control, alice: LightningRpc
) -> None:
    invoice = simnet.invoice(5_000, node="fail")
    assert code_of(lambda: alice.xpay(invoice)) == 203
    assert alice.listpays(invoice)["pays"][0]["status"] == "pending"
    assert alice.listsendpays(invoice)["payments"][0]["status"] == "failed"
    eventually(lambda: alice.listpays(invoice)["pays"][0]["status"] == "failed")


def test_an_invoice_of_nobody_in_this_world_has_no_route(
    simnet: Control, alice: LightningRpc
) -> None:
    stranger = bolt11.encode(
        secret_key=b"\x07" * 32,
        currency="bcrt",
        payment_hash="11" * 32,
        payment_secret="22" * 32,
        created_at=int(time.time()),
        expiry=600,
        amount_msat=1_000,
        description="who?",
    )
    assert code_of(lambda: alice.xpay(stranger)) == 205
    assert alice.listsendpays(stranger)["payments"] == []


@pytest.mark.parametrize(
    ("how", "code", "statuses", "truth"),
    [
        ("fail", None, ["complete", "complete", "failed", "complete"], "settled"),
        ("pending", None, ["complete", "complete", "pending"], "settled"),
        ("lost", 209, ["complete"] * 3, "settled"),
        ("in_flight", 209, ["pending"] * 3, "pending"),
    ],
)
def test_what_a_payment_in_parts_answers_and_what_becomes_of_its_parts_differ(
    simnet: Control,
    alice: LightningRpc,
    how: str,
    code: int | None,
    statuses: list[str],
    truth: str,
) -> None:
    simnet.set_faults([{"kind": "partial_mpp", "method": "xpay", "how": how}])
    invoice = simnet.invoice(1_000_000)
    if code is None:
        alice.xpay(invoice)
    else:
        assert code_of(lambda: alice.xpay(invoice)) == code
    parts = alice.listsendpays(invoice)["payments"]
    assert [part["status"] for part in parts] == statuses
    assert simnet.payment(hash_of(invoice))["status"] == truth
    simnet.release(hash_of(invoice))
    settled = simnet.payment(hash_of(invoice))
    assert (settled["status"], settled["amount_msat"]) == ("settled", 1_000_000)
    assert settled["fee_msat"] <= 100


def test_an_offer_is_paid_from_outside_and_a_foreign_offer_by_us(
    simnet: Control, alice: LightningRpc
) -> None:
    last = last_pay_index(alice)
    offer = alice.call("offer", {"amount": "any", "description": "tips"})
    simnet.pay(offer["bolt12"], 64_000)
    receipt = alice.waitanyinvoice(last, 1)
    assert receipt["local_offer_id"] == offer["offer_id"]
    fetched = alice.call("fetchinvoice", {"offer": simnet.offer(), "amount_msat": "55000msat"})
    assert alice.xpay(fetched["invoice"])["amount_sent_msat"] == 55_005


# --- faults on the wire ----------------------------------------------------------------------


def test_a_call_dropped_before_it_ran_did_nothing(simnet: Control, alice: LightningRpc) -> None:
    invoice = simnet.invoice(5_000)
    simnet.set_faults([{"kind": "drop_before", "method": "xpay"}])
    with pytest.raises(RpcError, match="Connection to RPC server lost"):
        alice.xpay(invoice)
    assert simnet.payment(hash_of(invoice))["status"] == "unknown"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "exec_then_drop"},
        {"kind": "exec_then_error", "code": 209},
        {"kind": "garbage", "how": "text"},
        {"kind": "garbage", "how": "truncated"},
        {"kind": "garbage", "how": "empty"},
        {"kind": "wrong_type", "field": "payment_preimage", "how": "missing"},
        {"kind": "wrong_type", "field": "amount_sent_msat", "how": "nan"},
        {"kind": "duplicate_reply"},
        {"kind": "delay", "seconds": 0.1},
    ],
    ids=str,
)
def test_a_payment_settles_whatever_became_of_its_answer(
    simnet: Control, alice: LightningRpc, fault: Json
) -> None:
    invoice = simnet.invoice(5_000)
    simnet.set_faults([fault | {"method": "xpay"}])
    try:
        answer = alice.xpay(invoice)
    except (RpcError, ValueError):
        answer = None
    assert simnet.payment(hash_of(invoice))["status"] == "settled"
    assert simnet.fault_counts()[fault["kind"]] >= 1
    if fault["kind"] in ("duplicate_reply", "delay"):
        assert answer["amount_msat"] == 5_000


def test_faults_strike_the_nth_call_or_by_a_probability_that_a_seed_repeats(
    simnet: Control, alice: LightningRpc
) -> None:
    def drops() -> list[bool]:
        found = []
        for _ in range(20):
            try:
                alice.getinfo()
                found.append(False)
            except RpcError:
                found.append(True)
        return found

    simnet.set_faults([{"kind": "drop_before", "method": "getinfo", "nth": 3}])
    assert [n for n, dropped in enumerate(drops(), start=1) if dropped] == [3]
    rule = {"kind": "drop_before", "method": "getinfo", "probability": 0.5}
    simnet.set_faults([rule], seed=7)
    first = drops()
    simnet.set_faults([rule], seed=7)
    assert drops() == first
    assert 0 < sum(first) < 20


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("invoice", {"amount_msat": 1, "label": [], "description": {}}),
        ("invoice", {"amount_msat": 1.5, "label": "a", "description": "b"}),
        ("invoice", {"amount_msat": "-1msat", "label": "a", "description": "b"}),
        ("invoice", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("xpay", {"invstring": 7}),
        ("xpay", {"invstring": "lnbcrt1", "nonsense": 1}),
        ("listinvoices", {"payment_hash": {}}),
        ("listsendpays", {"index": "sideways"}),
        ("decode", "a string"),
    ],
)
def test_nonsense_parameters_get_an_error_reply(
    alice: LightningRpc, method: str, params: Any
) -> None:
    assert code_of(lambda: alice.call(method, params)) == -32602


def test_a_fault_that_does_not_exist_is_refused(simnet: Control) -> None:
    assert refusal_of(lambda: simnet.set_faults([{"kind": "gremlins"}])) == "bad_request"


# --- death and restart -----------------------------------------------------------------------


def test_after_kill_9_invoices_receipts_and_held_payments_are_there(
    own_simnet: SimnetProcess, pool: ThreadPoolExecutor
) -> None:
    world = own_simnet.control
    node_id = rpc(world).getinfo()["id"]
    unpaid, paid, deleted = (invoice_of_alice(world) for _ in range(3))
    for made in (paid, deleted):
        world.pay(made["bolt11"])
    row = rpc(world).listinvoices(payment_hash=deleted["payment_hash"])["invoices"][0]
    rpc(world).delinvoice(row["label"], "paid")
    held = world.invoice(5_000)
    world.hold(hash_of(held))
    call = pool.submit(rpc(world).xpay, held)
    eventually(lambda: world.payment(hash_of(held))["status"] == "pending")
    truth = world.truth()

    own_simnet.kill()
    with pytest.raises(RpcError):
        call.result()
    own_simnet.start()

    assert world.truth() == truth
    assert rpc(world).getinfo()["id"] == node_id
    assert rpc(world).waitanyinvoice(0, 0)["payment_hash"] == paid["payment_hash"]
    again = invoice_of_alice(world)
    world.pay(again["bolt11"])
    world.pay(unpaid["bolt11"])
    receipt = rpc(world).waitanyinvoice(row["pay_index"], 0)
    assert receipt["payment_hash"] == again["payment_hash"]
    assert receipt["pay_index"] == row["pay_index"] + 1
    world.release(hash_of(held))
    assert rpc(world).listpays(held)["pays"][0]["status"] == "complete"


def test_a_payment_cut_off_by_a_restart_ends_by_itself(
    own_simnet: SimnetProcess, pool: ThreadPoolExecutor
) -> None:
    world = own_simnet.control
    invoice = world.invoice(5_000, node="slow")
    call = pool.submit(rpc(world).xpay, invoice)
    eventually(lambda: world.payment(hash_of(invoice))["status"] == "pending")
    world.restart(0.1)
    with pytest.raises(RpcError):
        call.result()
    own_simnet.kill()
    own_simnet.start()
    eventually(lambda: world.payment(hash_of(invoice))["status"] == "settled")


def test_a_frozen_node_answers_when_it_thaws(
    own_simnet: SimnetProcess, pool: ThreadPoolExecutor
) -> None:
    own_simnet.freeze()
    call = pool.submit(rpc(own_simnet.control).getinfo)
    time.sleep(0.2)
    assert not call.done()
    own_simnet.thaw()
    assert call.result()["network"] == "regtest"


def test_simnet_runs_without_django_set_up() -> None:
    look = "import sys, coinos.simnet.server; sys.exit('django.db' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], cwd=PROJECT, check=False).returncode == 0


def test_two_processes_do_not_share_a_directory(own_simnet: SimnetProcess) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "coinos.simnet", "--dir", str(own_simnet.directory)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert "another simnet process" in second.stderr


def test_the_journal_forgets_only_a_torn_last_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"n": 1})
    journal.close()
    with journal.path.open("ab") as file:
        file.write(b'{"n": 2')
    survivor = Journal(journal.path)
    survivor.append({"n": 3})
    assert list(survivor.replay()) == [{"n": 1}, {"n": 3}]
    survivor.compact([{"n": 3}])
    survivor.append({"n": 4})
    assert list(survivor.replay()) == [{"n": 3}, {"n": 4}]


# --- the command line ------------------------------------------------------------------------


def test_the_command_prints_just_its_result(tmp_path: Path, own_simnet: SimnetProcess) -> None:
    world = own_simnet.control
    (tmp_path / "simnet").symlink_to(own_simnet.directory)

    def command(*words: str) -> str:
        environment = os.environ | {"COINOS_DATA_DIR": str(tmp_path)}
        for name in ("LIGHTNING_RPC", "BITCOIN_RPC_URL"):
            environment.pop(name, None)
        done = subprocess.run(
            [sys.executable, "manage.py", "simnet", *words],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.strip()

    invoice = command("invoice", "7", "--node", "bob")
    assert bolt11.decode(invoice).amount_msat == 7_000
    made = invoice_of_alice(world)
    preimage = command("pay", made["bolt11"])
    assert world.payment(made["payment_hash"])["preimage"] == preimage
    assert len(command("mine", "2").split()) == 2
    assert command("address").startswith("bcrt1")


def test_at_a_pace_the_node_answers_no_faster_than_it_was_told(simnet: Control) -> None:
    node = LightningRpc(simnet.lightning_rpc)
    simnet.set_pace({"getinfo": {"per_second": 100}, "xpay": {"latency_s": 0.3}})
    try:
        began = time.monotonic()
        for _ in range(20):
            node.getinfo()
        assert time.monotonic() - began > 0.18
        invoice = simnet.invoice(1000, node="bob")
        began = time.monotonic()
        node.call("xpay", {"invstring": invoice})
        assert time.monotonic() - began > 0.3
        assert refusal_of(lambda: simnet.set_pace({"xpay": {"hurry": 1}})) == "bad_request"
    finally:
        simnet.set_pace({})
