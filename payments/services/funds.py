"""Spending from a fund. Each spend is what it is anywhere else, asked for with a credential that
names fund and person: the gate then looks at both, and at the role (`payments/gate.py`)."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from accounts import funds
from accounts.audit import audit
from accounts.credentials import Credential
from accounts.models import User
from payments.gate import open_gate
from payments.idempotency import Named, Spent
from payments.models import Gift
from payments.services import gifts
from payments.services.internal import pay_user


def take_out(
    *,
    credential: Credential,
    fund: User,
    amount_sat: int,
    memo: str = "",
    pin: object = None,
    named: Named | None = None,
) -> Spent:
    """Move an amount from the fund to whoever asks. Raises `FundNotFound`, `FundFrozen`,
    `InsufficientFunds` and what the gate raises."""
    return pay_user(
        credential=funds.to_spend_from(fund, credential),
        find_recipient=lambda: credential.user,
        amount_sat=amount_sat,
        memo=memo,
        pin=pin,
        named=named,
    )


def make_gift_of_fund(
    *,
    credential: Credential,
    fund: User,
    amount_sat: int,
    days: int,
    memo: str = "",
    pin: object = None,
    named: Named | None = None,
) -> tuple[Gift, str] | None:
    """Hand out a gift: as `make_gift`, and as `take_out` raises."""
    return gifts.make_gift(
        credential=funds.to_spend_from(fund, credential),
        amount_sat=amount_sat,
        days=days,
        memo=memo,
        pin=pin,
        named=named,
    )


def replace_link_of_fund(
    *, credential: Credential, fund: User, gift_id: UUID, pin: object = None
) -> tuple[Gift, str]:
    """A new link for an open gift of the fund. Whoever gets it could take the gift, so this passes
    the gate as a spend does. Raises `GiftNotFound`, `GiftGone` and what `take_out` raises."""
    spender = funds.to_spend_from(fund, credential)
    open_gate(spender, pin=pin, external=False)
    with transaction.atomic():
        funds.require_may_spend(spender)
        replaced = gifts.new_secret(fund, gift_id)
        audit(
            fund,
            "fund.gift_link_replaced",
            actor=f"user {credential.user.username}",
            object=str(gift_id),
        )
        return replaced


def take_back_gift_of_fund(person: User, fund: User, gift_id: UUID) -> Gift:
    """Return an open gift to the fund. Raises `FundNotFound`, `GiftNotFound`, `GiftGone`."""
    return gifts.take_back(funds.fund_for(person, fund.username), gift_id)
