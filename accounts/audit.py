"""The audit log: who changed what about security, or about another's account."""

from __future__ import annotations

from typing import Any

from accounts.models import AuditEvent, User


def audit(
    user: User | None,
    action: str,
    *,
    actor: str = "user",
    object: str = "",
    address: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Append to the audit log, in the transaction of what is logged."""
    AuditEvent.objects.create(
        user=user,
        actor=actor[:60],
        action=action,
        object=object[:100],
        address=address if address != "unknown" else None,
        detail=detail or {},
    )
