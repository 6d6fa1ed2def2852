"""The night shift of docs/operating.md: every command in it is run, against a real database and
the simulated nodes, in the order in which it stands there."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import transaction
from django.test import Client, override_settings
from django.utils import timezone

from accounts import ledger, services
from accounts.books import check_books
from accounts.models import Transfer
from coinos import alarms, nodes
from coinos.simnet.control import Control
from invoices.services.lightning import sweep_lightning
from payments import operations
from payments.models import Payment
from tests import causes
from tests.cast import PASSWORD, api_of, fund, make_user
from tests.payments.conftest import Person, alice, bob, charlie, network
from tests.payments.operators import by, make_operator
from tests.payments.test_lightning import pay
from tests.payments.withdrawing import next_round, refill, signed_only, sweep, wallet, withdraw

__all__ = ["alice", "bob", "charlie", "network"]

ROOT = Path(__file__).resolve().parent.parent.parent
OPERATING = (ROOT / "docs/operating.md").read_text()
SECTION = re.search(r"^## The night shift\n(.*?)^## ", OPERATING, re.M | re.S)
NEW_PASSWORD = "another good one"
# With the embedded database, which these tests do not have: tests/runtime/test_backup.py.
ELSEWHERE = {"backup", "restore"}


def questions() -> dict[str, list[str]]:
    """The commands below each heading, one a line."""
    assert SECTION
    found: dict[str, list[str]] = {}
    for part in re.split(r"^### ", SECTION[1], flags=re.M):
        title = part.partition("\n")[0] if part[0].isdigit() else "0. First of all"
        blocks = re.findall(r"^```sh\n(.*?)^```$", part, re.M | re.S)
        found[title] = [line for block in blocks for line in block.splitlines()]
    return found


QUESTIONS = questions()


def test_there_is_an_answer_to_each_question_and_nothing_is_run_unseen() -> None:
    assert len(QUESTIONS) > 20
    assert all(QUESTIONS.values())
    assert SECTION
    assert SECTION[1].count("```") == 2 * SECTION[1].count("```sh\n")
    run_there = (ROOT / "tests/runtime/test_backup.py").read_text()
    for command in ELSEWHERE:
        assert f'"{command}", str(copy)' in run_there


def test_the_document_has_a_row_for_every_verb() -> None:
    """With all that it has to be told."""
    rows = dict(re.findall(r"^\| `([a-z-]+) ([^`]*)` \|", OPERATING, re.M))
    assert rows.keys() == operations.VERBS.keys()
    for name, told in rows.items():
        words = [one for one in operations.VERBS[name].parameters if not one.is_flag]
        assert len(re.findall(r"<[^>]*>|\[[^]]*\]", told)) == len(words), name


class Night:
    """What there is to be put right, and the words of the document that stand for it. Each is made
    when a command names it."""

    def __init__(self, alice: Person, bob: Person, charlie: Person, network: Control) -> None:
        self.alice, self.charlie, self.network = alice, charlie, network
        self.olga, oscar = make_operator("olga"), make_operator("oscar")
        fund(bob.user, 50_000)
        network.mine(1)
        sweep_lightning()
        self.values: dict[str, Callable[[], str]] = {
            "NAME": lambda: self.olga.username,
            "OTHER": lambda: oscar.username,
            "USER": lambda: "bob",
            "CLOSED": self._closed,
            "DEBTOR": self._debtor,
            "PAYMENT": lambda: str(self._lost(alice).id),
            "STUCK": self._stuck,
            "WAITING": self._waiting,
            "SLOW": self._slow,
            "GONE": self._gone,
            "DOUBTFUL": self._doubtful,
            "TXID": lambda: self.twice[-1],
            "ITEM": self._item,
            "REF": self._paid_by_hand,
            "ALARM": lambda: str(alarms.note("test", "something is wrong").id),
            "NODE": lambda: nodes.lightning().info().id,
            "ACT": self._act,
        }

    def fill(self, command: str) -> str:
        """The command with its words in capitals replaced. What that takes had happened before
        anybody stopped sends."""
        with override_settings(STOP_FILE=django_settings.STOP_FILE.with_name("before")):
            return re.sub(r"\b[A-Z]{3,}\b", self._value, command)

    def _value(self, word: re.Match[str]) -> str:
        value = self.values.get(word[0])
        return value() if value else word[0]

    def _act(self) -> str:
        """The newest act that waits."""
        if not operations.open_acts():
            stuck = {"payment": self._stuck(), "paid_nothing": True}
            operations.ask("release", stuck, by=by(self.olga), reason="x")
        return str(operations.open_acts().reverse()[0].id)

    def _closed(self) -> str:
        closed = make_user("carla")
        fund(closed, 900)
        services.evict(closed, actor="test", reason="x")
        return closed.username

    def _stuck(self) -> str:
        """The node that was asked is another one than ours."""
        stuck = self._lost(self.charlie)
        Payment.objects.filter(id=stuck.id).update(node_id="02" + "cd" * 32)
        return str(stuck.id)

    def _lost(self, person: Person) -> Payment:
        """Its call never reached the node, long ago."""
        self.network.set_faults([{"kind": "drop_before", "method": "xpay"}])
        sent = pay(person, self.network.invoice(1_000_000)).body["id"]
        self.network.clear_faults()
        an_hour_ago = timezone.now() - timedelta(hours=1)
        Payment.objects.filter(id=sent).update(deadline=an_hour_ago)
        return Payment.objects.get(id=sent)

    def _waiting(self) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("payments.services.onchain.advance", lambda payment_id: None)
            wish = {"address": self.network.address(), "amount": 5000}
            return str(self.alice.api.post("/bitcoin/send", wish).body["id"])

    def _slow(self) -> str:
        wish = {"address": self.network.address(), "amount": 5000, "feeRate": 2}
        return str(self.alice.api.post("/bitcoin/send", wish).body["id"])

    def _gone(self) -> str:
        """Its broadcast was lost, and its coin was spent by hand six blocks ago."""
        self.network.mine(1)
        gone = signed_only(self.alice, self.network, self.network.address())
        sweep(self.network)
        self.network.mine(1)
        next_round()
        self.network.mine(5)
        refill(self.network)
        return str(gone.id)

    def _doubtful(self) -> str:
        """The wallet has paid that address that amount twice."""
        address = self.network.address()
        self.network.set_faults([{"kind": "drop_before", "method": "send", "nth": 2}])
        doubtful = withdraw(self.alice, address)
        self.network.clear_faults()
        self.twice = [wallet(self.network).sendtoaddress(address, "0.00005000") for _ in range(2)]
        return str(doubtful.id)

    def _debtor(self) -> str:
        """Spent a deposit that was undone then."""
        debtor = make_user("dan")
        make_user("erin")
        with transaction.atomic():
            ledger.receive_onchain([causes.deposit(debtor, "ab:0", 700)])
        sent = api_of(debtor).post("/send", {"username": "erin", "amount": 700})
        assert sent.status_code == 200
        with transaction.atomic():
            ledger.reverse_onchain(
                user_id=debtor.id,
                outpoint="ab:0",
                amount_msat=700_000,
                cause=causes.reversed_deposit("ab:0"),
            )
        return debtor.username

    def _item(self) -> str:
        made = nodes.lightning().create_invoice(
            label=f"by hand {uuid.uuid4()}", amount_msat=5_000, description="x", expiry_s=3600
        )
        self.network.pay(made.bolt11)
        sweep_lightning()
        return str(Transfer.objects.get(external_id=f"lightning:{made.payment_hash}").id)

    def _paid_by_hand(self) -> str:
        bolt11 = self.network.invoice(2_000_000)
        nodes.lightning().pay(
            payment_request=bolt11,
            amount_msat=None,
            max_fee_msat=100_000,
            retry_for_s=10,
            label="by hand",
        )
        return nodes.lightning().decode(bolt11).payment_hash or ""


def test_every_command_does_what_it_is_there_for(
    alice: Person,
    bob: Person,
    charlie: Person,
    network: Control,
    settings: Any,
    tmp_path: Path,
    redis: Any,
) -> None:
    """money-M10"""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    for folder in ("secrets", "logs"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    (tmp_path / "data/secrets/JWT_SIGNING_KEY").touch()
    settings.STOP_FILE = tmp_path / "data/stop-sends"
    night = Night(alice, bob, charlie, network)
    for title, commands in QUESTIONS.items():
        settings.STOP_FILE.unlink(missing_ok=True)
        if any(command.startswith(("rm ", "cat ")) for command in commands):
            settings.STOP_FILE.touch()  # the server has stopped sends
        for command in map(night.fill, commands):
            print(title, "|", command)
            run(command, tmp_path)
    assert [found for found in check_books() if found.differences] == []


def run(command: str, folder: Path) -> None:
    """Run one line as it stands there, on this test's data dir."""
    words = shlex.split(command)
    if words[:1] == ["curl"]:
        answer = Client().get(words[1].removeprefix("http://127.0.0.1:8000"))
        assert answer.status_code in (200, 503)  # no worker runs here
        assert answer.json()
    elif words[:1] == ["manage.py"]:
        if words[1] not in ELSEWHERE:
            manage(words[1:])
    else:
        done = subprocess.run(["bash", "-ec", command], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def manage(words: list[str]) -> None:
    said, before = io.StringIO(), sys.stdin
    typed = NEW_PASSWORD if words[0] == "changepassword" else PASSWORD
    sys.stdin = io.StringIO(f"{typed}\n")
    try:
        call_command(*words, stdout=said)
    except SystemExit:
        assert words == ["doctor"], said.getvalue()  # it finds that no server runs here
    finally:
        sys.stdin = before
    assert said.getvalue().strip()
