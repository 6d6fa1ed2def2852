"""The one gate that every spend passes, whatever the door: API, page, or a protocol later.

`open_gate` looks at who and whether: frozen account, PIN, kill switch. `reserve` runs inside the
transaction that moves or holds the money and counts what is limited, under row locks (M02, P08).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts import funds
from accounts.credentials import Credential
from accounts.errors import BudgetExceeded, InsufficientFunds
from accounts.ledger import balance_of
from accounts.models import ApiKey, User
from accounts.services import require_may_spend, require_pin
from coinos import killswitch, limits
from coinos.db import Query
from coinos.heartbeat import AUDITOR, is_silent
from payments.errors import LimitExceeded, TooManyInFlight, TooManyUnconfirmed, WithdrawalsPaused
from payments.models import Payment, SendBudget

SITE_WINDOW = timedelta(hours=1)
USER_WINDOW = timedelta(days=1)

PAYER_MAY_SPEND: dict[str, Any] = {
    "user__in": User.objects.filter(is_active=True, frozen_at=None),
}
"""Of payments: what is asked once more at the moment of sending.

Not by `user__is_active`: with a JOIN the whole condition of an UPDATE, the payment's own state too,
moves into a subquery, which is not asked again after the row's lock was waited for. It would send
what was cancelled meanwhile."""


def open_gate(credential: Credential, *, pin: object, external: bool) -> None:
    """Raise unless this caller may spend now. Checks the PIN, so it comes last before the money,
    outside any transaction: hashing is slow.

    Whoever spends from a fund passes with the own credential and PIN; then the fund itself does."""
    if credential.by:
        open_gate(credential.by, pin=pin, external=external)
        pin = None
    credential.require("spend")
    require_may_spend(credential.user)
    if external:
        require_sends_allowed()
    if credential.asks_pin or (pin and credential.api_key is None):
        require_pin(credential.user, pin)
        credential.note_pin()


def require_still_open(credential: Credential) -> None:
    """Raise unless the gate, which was opened for this payment out a moment ago, is still open. The
    PIN was right then; what an operator can shut is looked at again."""
    if credential.by:
        require_still_open(credential.by)
    credential.user.refresh_from_db(fields=["frozen_at"])
    require_may_spend(credential.user)
    require_sends_allowed()


def require_sends_allowed() -> None:
    """Raise `WithdrawalsPaused` while the kill switch is on, and while nobody compares the books
    with the nodes: a guard must not fail unseen."""
    if killswitch.is_stopped() or is_silent(AUDITOR):
        raise WithdrawalsPaused()


def reserve(credential: Credential, *, debit_sat: int, external: bool) -> None:
    """Count `debit_sat` (fees included) against the key's budget and the limits on payments out;
    none may be larger than `MAX_PAYMENT_SAT`.

    Inside the transaction of the debit, before the ledger call: role in a fund, key, site, user,
    then accounts.
    """
    if debit_sat > settings.MAX_PAYMENT_SAT:
        raise LimitExceeded(
            _("One payment may be at most %(sats)s sats"),
            values={"sats": settings.MAX_PAYMENT_SAT},
        )
    if credential.by:
        funds.require_may_spend(credential)
    if credential.api_key and credential.api_key.budget_sat is not None:
        _spend_key_budget(credential.api_key, debit_sat)
    if external:
        _spend_limit("site", debit_sat, settings.SEND_LIMIT_SITE_SAT, SITE_WINDOW)
        user_scope = f"user:{credential.user.id}"
        _spend_limit(user_scope, debit_sat, settings.SEND_LIMIT_USER_SAT, USER_WINDOW)


def require_left(credential: Credential) -> None:
    """Raise `InsufficientFunds` when a standing order would take what it has to leave. After the
    debit or hold, whose lock makes the balance exact."""
    if credential.keep_sat is None:
        return
    available_sat = balance_of(credential.user.id).available_sat
    if available_sat < credential.keep_sat:
        raise InsufficientFunds(available_sat, credential.keep_sat)


def under_way_of(payment: Payment) -> Query:
    """How many payments of its user nobody knows the outcome of; and for a withdrawal, how many
    withdrawals no block has yet."""
    is_withdrawal = payment.type == Payment.Type.BITCOIN
    return Query(_UNDER_WAY_WITHDRAWALS if is_withdrawal else _UNDER_WAY, [payment.user_id])


_UNDER_WAY = """
    SELECT count(*), 0 FROM payments_payment
    WHERE user_id = %s AND state IN ('created', 'sending')
"""
_UNDER_WAY_WITHDRAWALS = """
    SELECT count(*) FILTER (WHERE state IN ('created', 'sending')),
        count(*) FILTER (WHERE type = 'bitcoin' AND confirmations < 1)
    FROM payments_payment
    WHERE user_id = %s AND state IN ('created', 'sending', 'signed', 'broadcast')
"""


def require_room_under_way(undecided: int, unconfirmed: int) -> None:
    """Cap a user's undecided payments (A01) and unconfirmed withdrawals, the new one counted: each
    of these keeps a coin of the one wallet that all withdraw from."""
    if undecided > settings.MAX_IN_FLIGHT:
        raise TooManyInFlight()
    if unconfirmed > limits.UNCONFIRMED_WITHDRAWALS.at_most:
        raise TooManyUnconfirmed()


def give_back(payment: Payment, *, debit_sat: int) -> None:
    """A payment failed: its sats no longer count against the key's budget and the limits."""
    if payment.api_key_id:
        ApiKey.objects.filter(
            id=payment.api_key_id, spent_day=payment.created.date(), spent_sat__gte=debit_sat
        ).update(spent_sat=F("spent_sat") - debit_sat)
    SendBudget.objects.filter(
        scope__in=["site", f"user:{payment.user_id}"],
        window_start__lte=payment.created,
        spent_sat__gte=debit_sat,
    ).update(spent_sat=F("spent_sat") - debit_sat)


def _spend_key_budget(key: ApiKey, debit_sat: int) -> None:
    today = timezone.now().date()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE accounts_apikey SET spent_day = %(today)s, spent_sat = %(debit)s
                + CASE WHEN spent_day = %(today)s THEN spent_sat ELSE 0 END
            WHERE id = %(id)s AND budget_sat >= %(debit)s
                + CASE WHEN spent_day = %(today)s THEN spent_sat ELSE 0 END
            """,
            {"today": today, "debit": debit_sat, "id": key.id},
        )
        if cursor.rowcount == 0:
            raise BudgetExceeded()


def _spend_limit(scope: str, debit_sat: int, limit_sat: int, window: timedelta) -> None:
    """Count against one window's limit; 0 means no limit, and then there is no row to lock."""
    if not limit_sat:
        return
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO payments_sendbudget AS budget (scope, window_start, spent_sat)
            VALUES (%(scope)s, %(now)s, %(debit)s)
            ON CONFLICT (scope) DO UPDATE SET
                spent_sat = %(debit)s
                    + CASE WHEN budget.window_start < %(oldest)s THEN 0 ELSE budget.spent_sat END,
                window_start = CASE WHEN budget.window_start < %(oldest)s
                    THEN %(now)s ELSE budget.window_start END
            RETURNING spent_sat
            """,
            {"scope": scope, "now": now, "debit": debit_sat, "oldest": now - window},
        )
        if cursor.fetchone()[0] > limit_sat:
            raise LimitExceeded()
