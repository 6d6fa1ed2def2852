"""The acts of operators: asked for with a reason, approved by a second one, carried out once.

The row is the act's idempotency key. The database keeps what was asked for as it was asked, refuses
an approval by whoever asked, and refuses any change once the act has been carried out or dropped
(`payments/sql/0001_operator_acts.sql`). Every step is in the audit log.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet, Sum
from django.utils import timezone

from accounts import ledger
from accounts.audit import audit
from accounts.models import User
from coinos.db import as_operator
from coinos.errors import CoinosError, NotTheOwner
from payments.models import OperatorAct
from payments.operations.verb import ActRefused, Arguments, Claim
from payments.operations.verbs import VERBS

LIMIT_WINDOW = timedelta(days=1)


@dataclass(frozen=True)
class By:
    """Who acts, for the audit log; `operator` when that person has signed in."""

    name: str
    operator: User | None = None


def ask(verb: str, given: Arguments, *, by: By, reason: str) -> OperatorAct:
    """Ask for an act, and carry it out unless a second operator has to approve it first, or this
    process may not touch the operator's money: then it waits.

    Raises what stands in its way; then nothing was done, and the row says so."""
    act = _propose(verb, given, by=by, reason=reason)
    if act.needs_approval:
        return act
    try:
        return carry_out(act.id, by=by)
    except NotTheOwner:
        act.refresh_from_db()
        return act  # a process that has the owner's address carries it out
    except CoinosError as error:
        drop(act.id, by=by, reason=f"refused: {error.message}")
        raise


def approve(act_id: UUID, *, by: By, reason: str) -> OperatorAct:
    """A second operator agrees; the act may be carried out."""
    if by.operator is None:
        raise ActRefused("Only an operator who has signed in can approve an act")
    _require_reason(reason)
    with transaction.atomic():
        act = _locked(act_id)
        if not act.needs_approval or act.approved_by_id:
            raise ActRefused("This act waits for no approval")
        if act.asked_by_id == by.operator.id:
            raise ActRefused("Another operator than the one who asked has to approve this")
        act.approved_by = by.operator
        act.approved_at = timezone.now()
        act.save(update_fields=["approved_by", "approved_at"])
        _audit(act, "operator.approved", by, reason)
    return act


def carry_out(act_id: UUID, *, by: By) -> OperatorAct:
    """Do it: what the nodes are asked outside any transaction, what is booked in one with the note
    that it was. Raises when it cannot be done now; the row then says why, and stays open."""
    act = OperatorAct.objects.get(id=act_id)
    _require_ready(act)
    verb = VERBS[act.verb]
    try:
        with as_operator() if verb.of_the_owner else nullcontext():
            return _finish(act_id, verb.begin(act), by)
    except CoinosError as error:
        still_open = OperatorAct.objects.filter(id=act_id, carried_out_at=None, dropped_at=None)
        still_open.update(problem=error.message)
        raise


def drop(act_id: UUID, *, by: By, reason: str) -> OperatorAct:
    """Nobody wants it any more: it can never be carried out."""
    _require_reason(reason)
    with transaction.atomic():
        act = _locked(act_id)
        act.dropped_as = by.name[:60]
        act.dropped_at = timezone.now()
        act.save(update_fields=["dropped_as", "dropped_at"])
        _audit(act, "operator.dropped", by, reason)
    return act


def open_acts() -> QuerySet[OperatorAct]:
    """What waits for an approval or to be carried out, the oldest first."""
    waiting = OperatorAct.objects.filter(carried_out_at=None, dropped_at=None)
    return waiting.select_related("asked_by", "approved_by").order_by("created")


def _propose(verb: str, given: Arguments, *, by: By, reason: str) -> OperatorAct:
    _require_reason(reason)
    arguments = VERBS[verb].read(given)
    claim = VERBS[verb].look(arguments)
    with transaction.atomic():
        needs_approval = claim.needs_two or _is_above_limit(claim, by)
        if needs_approval and by.operator is None:
            raise ActRefused(
                "A second operator has to approve this, so say which operator asks: --operator NAME"
            )
        act = OperatorAct(
            verb=verb,
            arguments=arguments,
            about=claim.about,
            user=claim.user,
            amount_sat=claim.amount_sat,
            reason=reason.strip(),
            needs_approval=needs_approval,
            asked_by=by.operator,
            asked_as=by.name[:60],
        )
        act.save(force_insert=True)
        _audit(act, "operator.asked", by, act.reason)
    return act


def _is_above_limit(claim: Claim, by: By) -> bool:
    """Whether this operator would move more in a day than one may alone. Counted one after the
    other, or two at once would both fit."""
    if not claim.amount_sat:
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('operator acts'))")
    lately = OperatorAct.objects.filter(
        asked_by=by.operator,
        needs_approval=False,
        dropped_at=None,
        created__gt=timezone.now() - LIMIT_WINDOW,
    )
    moved_sat = lately.aggregate(sats=Sum("amount_sat"))["sats"] or 0
    return bool(moved_sat + claim.amount_sat > settings.OPERATOR_APPROVAL_SAT)


@ledger.atomic
def _finish(act_id: UUID, do: Callable[[], str], by: By) -> OperatorAct:
    act = _locked(act_id)
    _require_ready(act)
    act.outcome = do()
    act.carried_out_at = timezone.now()
    act.problem = ""
    act.save(update_fields=["outcome", "carried_out_at", "problem"])
    _audit(act, "operator.carried_out", by, act.reason, outcome=act.outcome)
    return act


def _locked(act_id: UUID) -> OperatorAct:
    """The act, open still and ours until the transaction ends."""
    act = OperatorAct.objects.select_for_update(of=("self",)).select_related("user").get(id=act_id)
    _require_open(act)
    return act


def _require_open(act: OperatorAct) -> None:
    if act.carried_out_at:
        raise ActRefused("This act was carried out already")
    if act.dropped_at:
        raise ActRefused("This act was dropped")


def _require_ready(act: OperatorAct) -> None:
    _require_open(act)
    if act.needs_approval and not act.approved_by_id:
        raise ActRefused("This act waits for a second operator's approval")


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise ActRefused("Write a reason for the audit log")


def _audit(act: OperatorAct, action: str, by: By, reason: str, **more: Any) -> None:
    detail = {"verb": act.verb, "arguments": act.arguments, "reason": reason.strip(), **more}
    audit(act.user, action, actor=by.name, object=f"act {act.id}", detail=detail)
