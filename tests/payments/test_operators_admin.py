"""What operators can do by command they can do in the admin: each verb of the table has a form."""

from __future__ import annotations

import re
import uuid
from argparse import ArgumentParser
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management.base import CommandParser
from django.test import Client

from accounts.models import User
from coinos import nodes
from coinos.simnet.control import Control
from payments.management.commands.operator import Command
from payments.models import OperatorAct, Payment
from payments.operations import VERBS
from payments.operations.verb import Verb
from tests.cast import make_user, office_of
from tests.payments.conftest import Person
from tests.payments.operators import make_operator
from tests.payments.withdrawing import next_round, refill, signed_only, sweep, withdraw

ASK = "/admin/payments/operatoract/ask/"


@pytest.fixture
def olga(db: None, settings: Any) -> User:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return make_operator("olga")


@pytest.fixture
def office(olga: User) -> Client:
    return office_of(olga)


def ask(office: Client, verb: str, **told: str) -> str:
    """Fill in a verb's form; returns the page that the operator sees then."""
    answer = office.post(f"{ASK}{verb}/", {"reason": "ticket 7"} | told, follow=True)
    assert answer.status_code == 200
    return str(answer.content.decode())


# --- Every verb, both ways ------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: verb.name)
def test_every_verb_can_be_asked_for_by_command_and_in_the_admin(
    office: Client, verb: Verb
) -> None:
    """With all that it has to be told."""
    by_command = words_of(verb.name)
    assert {one.name for one in verb.parameters} | {"reason"} <= by_command
    assert f'href="{ASK}{verb.name}/"' in office.get(ASK).content.decode()
    form = office.get(f"{ASK}{verb.name}/").content.decode()
    asked = set(re.findall(r'<input[^>]* name="(\w+)"', form))
    assert {one.name for one in verb.parameters} | {"reason"} <= asked


def words_of(verb: str) -> set[str]:
    """What `manage.py operator <verb>` takes."""
    parser = CommandParser()
    Command().add_arguments(parser)
    [verbs] = [one for one in parser._actions if isinstance(one.choices, dict)]
    own = dict(verbs.choices or {})[verb]
    assert isinstance(own, ArgumentParser)
    return {one.dest for one in own._actions}


def test_there_is_no_form_for_what_is_no_verb(office: Client) -> None:
    assert office.get(f"{ASK}steal/").status_code == 404


def test_without_a_reason_or_a_word_nothing_is_asked_for(office: Client) -> None:
    payment = str(uuid.uuid4())
    assert "This field is required" in ask(office, "abandon", payment=payment, reason=" ")
    assert "This field is required" in ask(office, "abandon")
    assert "write the id of a withdrawal" in ask(office, "abandon", payment="x")
    assert "There is no such withdrawal" in ask(office, "abandon", payment=payment)
    assert not OperatorAct.objects.exists()


def test_staff_who_may_only_look_cannot_ask(bob: Person) -> None:
    colleague = make_user("carla", is_staff=True)
    colleague.user_permissions.add(Permission.objects.get(codename="view_operatoract"))
    theirs = office_of(colleague)
    assert theirs.get("/admin/payments/operatoract/").status_code == 200
    correct = {"username": "bob", "sats": "5", "reason": "x"}
    assert theirs.post(f"{ASK}correct/", correct).status_code == 403
    assert not OperatorAct.objects.exists()


# --- What has no list to choose a row from --------------------------------------------------------


@pytest.fixture
def treasury(network: Control) -> Any:
    network.mine(1)
    yield
    network.clear_faults()
    network.mine(1)
    refill(network)


def test_a_payments_page_leads_to_the_forms_of_its_verbs(
    alice: Person, network: Control, treasury: None, office: Client
) -> None:
    payment = withdraw(alice, network.address(), feeRate=2)
    page = office.get(f"/admin/payments/payment/{payment.id}/change/").content.decode()
    links = re.findall(rf'href="{ASK}([a-z-]+)/\?payment={payment.id}"', page)
    assert links == ["release", "cancel", "abandon", "match", "bump"]
    form = office.get(f"{ASK}bump/?payment={payment.id}").content.decode()
    assert f'value="{payment.id}"' in form
    first = payment.txid
    page = ask(office, "bump", payment=str(payment.id), fee_rate="20")
    payment.refresh_from_db()
    assert f"it is {payment.txid} from now on" in page
    assert payment.txid != first


def test_a_withdrawal_is_abandoned_in_the_admin(
    alice: Person, network: Control, treasury: None, office: Client, settings: Any, tmp_path: Any
) -> None:
    settings.STOP_FILE = tmp_path / "stop"
    payment = signed_only(alice, network, network.address())
    sweep(network)
    network.mine(1)
    next_round()
    assert "may still confirm" in ask(office, "abandon", payment=str(payment.id))
    network.mine(5)
    assert "its sats are back" in ask(office, "abandon", payment=str(payment.id))
    assert alice.payment().state == Payment.State.FAILED
    assert alice.available_sat == 100_000


def test_a_transaction_that_cannot_be_it_is_not_matched_in_the_admin(
    alice: Person, network: Control, treasury: None, office: Client
) -> None:
    network.set_faults([{"kind": "drop_before", "method": "send", "nth": 2}])
    payment = withdraw(alice, network.address())
    network.clear_faults()
    page = ask(office, "match", payment=str(payment.id), transaction="ab" * 32)
    assert "cannot be this withdrawal" in page
    assert "write the id of a transaction" in ask(
        office, "match", payment=str(payment.id), transaction="x"
    )
    assert alice.payment().state == Payment.State.CREATED


def test_a_payment_made_by_hand_is_charged_in_the_admin(
    alice: Person, network: Control, office: Client
) -> None:
    bolt11 = network.invoice(2_000_000)
    node = nodes.lightning()
    node.pay(
        payment_request=bolt11,
        amount_msat=None,
        max_fee_msat=100_000,
        retry_for_s=10,
        label="by hand",
    )
    ref = node.decode(bolt11).payment_hash or ""
    assert "of alice now, settled" in ask(office, "charge", ref=ref, username="alice")
    assert alice.available_sat <= 98_000


def test_a_node_is_adopted_in_the_admin(network: Control, office: Client) -> None:
    assert "The Lightning node that answers is" in ask(office, "adopt", node="02" + "00" * 32)
    page = ask(office, "adopt", node=nodes.lightning().info().id)
    assert "compared with the books from the beginning" in page


def test_what_is_above_the_limit_waits_in_the_admin_too(
    bob: Person, office: Client, settings: Any
) -> None:
    settings.OPERATOR_APPROVAL_SAT = 10
    page = ask(office, "correct", username="bob", sats="11")
    assert "another operator has to approve" in page
    assert OperatorAct.objects.get().state == "waits for approval"
    assert bob.available_sat == 0
