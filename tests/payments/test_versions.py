"""A withdrawal is a set of transactions, its versions, of which at most one can ever confirm."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.db import IntegrityError, transaction

from coinos.nodes.base import SignedTransaction
from coinos.simnet.control import Control
from payments.models import Payment, WithdrawalTransaction
from payments.services.withdrawals import add_version
from tests.payments.conftest import Person


@pytest.fixture
def withdrawal(alice: Person, network: Control) -> Payment:
    network.mine(1)
    sent = alice.api.post("/bitcoin/send", {"address": network.address(), "amount": 5000})
    assert sent.status_code == 200, sent.body
    return alice.payment()


def another(payment: Payment, *more: tuple[str, int]) -> SignedTransaction:
    """A replacement that spends the coins of the first version, and `more`."""
    inputs = tuple(payment.inputs.values_list("txid", "vout"))
    return SignedTransaction(
        txid="b" * 64, hex="beef", inputs=inputs + more, fee_sat=900, vsize=100
    )


def test_a_withdrawal_begins_with_one_version_which_is_what_was_sent(
    withdrawal: Payment, network: Control
) -> None:
    [version] = withdrawal.versions.all()
    assert (version.txid, version.state) == (withdrawal.txid, "live")
    assert version.fee_sat == withdrawal.fee_sat
    assert version.fee_rate_sat_vb == withdrawal.fee_rate_sat_vb
    assert version.hex


@transaction.atomic
def test_the_newest_version_counts_and_the_one_before_is_remembered(withdrawal: Payment) -> None:
    first, coin = withdrawal.txid, ("c" * 64, 1)
    add_version(withdrawal, another(withdrawal, coin), fee_rate_sat_vb=9)
    withdrawal.refresh_from_db()
    assert withdrawal.txid == "b" * 64
    assert dict(withdrawal.versions.values_list("txid", "state")) == {
        first: "replaced",
        "b" * 64: "live",
    }
    assert coin in withdrawal.inputs.values_list("txid", "vout")


def test_a_version_spends_every_coin_of_those_before_it(withdrawal: Payment) -> None:
    """Two that share no coin could both confirm: the recipient would be paid twice."""
    signed = replace(another(withdrawal), inputs=(("c" * 64, 1),))
    with pytest.raises(ValueError, match="spares a coin"), transaction.atomic():
        add_version(withdrawal, signed, fee_rate_sat_vb=9)


def test_a_version_never_spends_a_coin_of_another_withdrawal(
    withdrawal: Payment, charlie: Person, network: Control
) -> None:
    """A06"""
    charlie.api.post("/bitcoin/send", {"address": network.address(), "amount": 5000})
    taken = charlie.payment().inputs.values_list("txid", "vout")[0]
    with pytest.raises(IntegrityError, match="one_withdrawal_per_input"), transaction.atomic():
        add_version(withdrawal, another(withdrawal, taken), fee_rate_sat_vb=9)


def test_the_database_refuses_two_versions_that_count(withdrawal: Payment) -> None:
    """With Python bypassed."""
    with pytest.raises(IntegrityError, match="one_live_version"), transaction.atomic():
        WithdrawalTransaction.objects.create(
            txid="b" * 64, payment=withdrawal, hex="beef", fee_sat=1, fee_rate_sat_vb=1
        )
