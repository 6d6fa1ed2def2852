"""The audit log: who changed what about security, or about another's account."""

from __future__ import annotations

import json
import logging
from typing import Any

from django.db import transaction

from accounts.attempts import count
from accounts.models import AuditEvent, User
from coinos import limits
from coinos.caller import caller

logger = logging.getLogger("coinos.audit")


def audit(
    user: User | None,
    action: str,
    *,
    actor: str = "user",
    object: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    """Append to the audit log, in the transaction of what is logged: what was done to whose
    account, by whom, and from where as `coinos.caller` knows it. Once that is committed, the same
    is a line of JSON in the server's log."""
    who = caller()
    event = AuditEvent(
        user=user,
        actor=actor[:60],
        action=action,
        object=object[:100],
        door=who.door,
        address=who.address,
        user_agent=who.user_agent,
        detail=detail or {},
    )
    event.save(force_insert=True)
    transaction.on_commit(lambda: logger.info(_line(event)), robust=True)


def audit_some(user: User | None, action: str, **more: Any) -> None:
    """The same for what somebody can do any number of times, like a wrong password: the first ones
    of an hour are rows of their own, then the 100th, the 1,000th and so on, which say how many it
    were. `user` is None for an account that does not exist.

    Not inside a transaction that is rolled back: it would not have been counted."""
    counted = count(limits.AUDITED, f"{action}:{user.id if user else 'nobody'}")
    if counted > limits.AUDITED.at_most:
        if counted < 100 or str(counted).strip("0") != "1":
            return
        more["detail"] = (more.get("detail") or {}) | {"times_this_hour": counted}
    audit(user, action, **more)


def _line(event: AuditEvent) -> str:
    """One object with the members that have a value."""
    members = {
        "action": event.action,
        "user": str(event.user_id or ""),
        "actor": event.actor,
        "object": event.object,
        "door": event.door,
        "address": event.address,
        "user_agent": event.user_agent,
        "detail": event.detail,
    }
    return json.dumps({name: value for name, value in members.items() if value})
