"""What a settled payment cost in the end: the books follow the network, the user pays no more."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import pytest
from django.db import transaction

from accounts import ledger
from accounts.errors import HoldExceeded
from accounts.ledger import House
from accounts.models import User
from payments.models import Payment, WithdrawalTransaction
from tests import causes
from tests.cast import available_sat, fund

TXID = "aa" * 32


@dataclass
class Withdrawal:
    """Of 5,000 sats: 200 were held for the network's fee, and it took 100."""

    user: User
    hold_id: int
    payment_id: uuid.UUID

    def correct(self, fee_sat: int) -> int:
        """A version with this fee counts now."""
        WithdrawalTransaction.objects.filter(txid=TXID).update(fee_sat=max(0, fee_sat))
        with transaction.atomic():
            spent_msat = (5000 + fee_sat) * 1000
            return ledger.correct_payment(hold_id=self.hold_id, spent_msat=spent_msat)

    @property
    def went_out_sat(self) -> int:
        return ledger.house_balance_msat(House.ONCHAIN) // 1000

    @property
    def house_bore_sat(self) -> int:
        return -ledger.house_balance_msat(House.EQUITY) // 1000 - 10_000


@pytest.fixture
def withdrawal(alice: User) -> Withdrawal:
    fund(alice, 10_000)
    payment_id = uuid.uuid4()
    with transaction.atomic():
        hold_id = ledger.hold_for_payment(
            user_id=alice.id, through=House.ONCHAIN, amount_msat=5_250_000, payment_id=payment_id
        )
        causes.payment(alice, payment_id, hold_id, 5250, House.ONCHAIN)
        ledger.settle_payment(
            hold_id=hold_id,
            spent_msat=5_100_000,
            platform_fee_msat=50_000,
            payment_id=payment_id,
        )
    Payment.objects.filter(id=payment_id).update(
        amount_sat=5000, max_fee_sat=200, platform_fee_sat=50, txid=TXID
    )
    WithdrawalTransaction.objects.create(
        txid=TXID, payment_id=payment_id, hex="00", fee_sat=100, fee_rate_sat_vb=1
    )
    return Withdrawal(alice, hold_id, payment_id)


def test_what_the_network_took_more_is_paid_by_the_house(
    alice: User, withdrawal: Withdrawal
) -> None:
    assert withdrawal.correct(fee_sat=700) == 0
    assert withdrawal.went_out_sat == 5700
    assert withdrawal.house_bore_sat == 600
    assert available_sat(alice) == 10_000 - 5150


def test_of_what_it_took_less_the_house_has_back_first_what_it_bore_and_the_user_the_rest(
    alice: User, withdrawal: Withdrawal
) -> None:
    withdrawal.correct(fee_sat=700)
    assert withdrawal.correct(fee_sat=300) == 0
    assert withdrawal.house_bore_sat == 200
    assert withdrawal.correct(fee_sat=80) == 20_000
    assert withdrawal.house_bore_sat == 0
    assert withdrawal.went_out_sat == 5080
    assert available_sat(alice) == 10_000 - 5130


def test_a_chain_that_changes_its_mind_is_followed_to_and_fro(
    alice: User, withdrawal: Withdrawal
) -> None:
    for _ in range(3):
        withdrawal.correct(fee_sat=700)
        withdrawal.correct(fee_sat=100)
    assert (withdrawal.went_out_sat, withdrawal.house_bore_sat) == (5100, 0)
    assert available_sat(alice) == 10_000 - 5150
    assert ledger.differences() == []


def test_the_same_again_changes_nothing(withdrawal: Withdrawal) -> None:
    assert withdrawal.correct(fee_sat=100) == 0
    assert (withdrawal.went_out_sat, withdrawal.house_bore_sat) == (5100, 0)


def test_what_is_not_settled_or_was_returned_is_not_corrected(
    alice: User, withdrawal: Withdrawal
) -> None:
    with pytest.raises(HoldExceeded):
        withdrawal.correct(fee_sat=-5000)
    with transaction.atomic():
        ledger.return_withdrawal(
            user_id=alice.id,
            spent_msat=5_100_000,
            platform_fee_msat=50_000,
            payment_id=withdrawal.payment_id,
        )
    with pytest.raises(HoldExceeded):
        withdrawal.correct(fee_sat=700)
    payment_id = uuid.uuid4()
    with transaction.atomic():
        open_hold = ledger.hold_for_payment(
            user_id=alice.id,
            through=House.ONCHAIN,
            amount_msat=1_000_000,
            payment_id=payment_id,
        )
        causes.payment(alice, payment_id, open_hold, 1000, House.ONCHAIN)
    with pytest.raises(HoldExceeded), transaction.atomic():
        ledger.correct_payment(hold_id=open_hold, spent_msat=1_000_000)
