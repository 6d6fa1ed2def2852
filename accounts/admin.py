"""Accounts, sign-ins, books, statements and the audit log, as an operator sees them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import action, display

from accounts import authenticators, services
from accounts.models import (
    Activity,
    ApiKey,
    AuditEvent,
    Connection,
    FundManager,
    IdempotencyKey,
    LedgerAccount,
    Session,
    Transfer,
    User,
)
from coinos.admin import LookOnlyAdmin

# --- Users and their doors ------------------------------------------------------------------------


@admin.register(User)
class UserAdmin(LookOnlyAdmin):
    list_display = ["username", "owner", "display", "currency", "created", "state"]
    list_filter = [
        *["is_active", "is_staff", ("frozen_at", admin.EmptyFieldListFilter)],
        ("owner", admin.EmptyFieldListFilter),  # not empty: funds
    ]
    list_select_related = ["owner"]
    search_fields = ["username", "id", "pubkey", "email", "username__startswith"]
    ordering = ["-created"]
    fields = [
        *["username", "id", "owner", "display", "about"],
        *["email", "pubkey", "created", "last_login"],
        *["currency", "currencies", "language", "has_pin", "second_factor_at"],
        *["balance_sat", "held_sat"],
        *["autowithdraw", "threshold_sat", "reserve_sat", "destination"],
        *["webhook", "webhook_disabled_at"],
        *["frozen_at", "is_active", "is_staff", "is_superuser"],
        "what_was_done",
    ]
    readonly_fields = ["has_pin", "balance_sat", "held_sat", "what_was_done"]
    actions = ["freeze", "unfreeze", "evict", "readmit", "remove_second_factor", "remove_pin"]

    @display(label={"open": "success", "frozen": "warning", "evicted": "danger"})
    def state(self, user: User) -> str:
        if not user.is_active:
            return "evicted"
        return "frozen" if user.frozen_at else "open"

    @admin.display(boolean=True, description="PIN")
    def has_pin(self, user: User) -> bool:
        return user.has_pin

    @admin.display(description="Posted sats")
    def balance_sat(self, user: User) -> int:
        return user.ledger_account.posted_msat // 1000

    @admin.display(description="Held sats")
    def held_sat(self, user: User) -> int:
        return user.ledger_account.held_msat // 1000

    @admin.display(description="Audit log")
    def what_was_done(self, user: User) -> str:
        url = reverse("admin:accounts_auditevent_changelist", query={"user": user.id})
        return format_html('<a class="underline" href="{}">Sign-ins, changes, operators</a>', url)

    @action(description="Freeze: may receive, may not spend", permissions=["act"])
    def freeze(self, request: HttpRequest, users: QuerySet[User]) -> None:
        self._for_a_reason(request, users, services.freeze, "frozen")

    @action(description="Unfreeze", permissions=["act"])
    def unfreeze(self, request: HttpRequest, users: QuerySet[User]) -> None:
        self._for_a_reason(request, users, services.unfreeze, "open for spending again")

    @action(description="Evict: no password, token or key works", permissions=["act"])
    def evict(self, request: HttpRequest, users: QuerySet[User]) -> None:
        self._for_a_reason(request, users, services.evict, "evicted")

    @action(description="Readmit: the password works again", permissions=["act"])
    def readmit(self, request: HttpRequest, users: QuerySet[User]) -> None:
        self._for_a_reason(request, users, services.readmit, "open again")

    @action(description="Remove the second factor and end all sign-ins", permissions=["act"])
    def remove_second_factor(self, request: HttpRequest, users: QuerySet[User]) -> None:
        remove = authenticators.remove_second_factor_as_operator
        self._for_a_reason(request, users, remove, "second factor removed, signed out everywhere")

    @action(description="Remove the PIN", permissions=["act"])
    def remove_pin(self, request: HttpRequest, users: QuerySet[User]) -> None:
        remove = authenticators.remove_pin_as_operator
        self._for_a_reason(request, users, remove, "PIN removed")


@admin.register(FundManager)
class FundManagerAdmin(LookOnlyAdmin):
    list_display = ["fund", "user", "created"]
    fields = list_display
    search_fields = ["fund__username", "user__username"]
    list_select_related = ["fund", "user"]
    ordering = ["-created"]


@admin.register(Session)
class SessionAdmin(LookOnlyAdmin):
    list_display = ["user", "kind", "address", "last_used", "expires", "revoked_at"]
    fields = ["user", "kind", "address", "user_agent", "created", *list_display[3:]]
    list_filter = ["kind"]
    search_fields = ["user__username", "address"]
    list_select_related = ["user"]
    ordering = ["-last_used"]
    actions = ["revoke"]

    @action(description="Revoke: the next request is refused", permissions=["act"])
    def revoke(self, request: HttpRequest, sessions: QuerySet[Session]) -> None:
        self._for_a_reason(request, sessions, services.revoke_as_operator, "ended")


@admin.register(ApiKey)
class ApiKeyAdmin(LookOnlyAdmin):
    list_display = ["name", "hint", "user", "scope", "last_used", "expires", "revoked_at"]
    fields = [*list_display, "created", "budget_sat", "spent_day", "spent_sat"]
    list_filter = ["scope"]
    search_fields = ["user__username", "hint", "name"]
    list_select_related = ["user"]
    ordering = ["-created"]
    actions = ["revoke"]

    @action(description="Revoke", permissions=["act"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        self._for_a_reason(request, keys, services.revoke_as_operator, "ended")


@admin.register(Connection)
class ConnectionAdmin(LookOnlyAdmin):
    list_display = ["name", "user", "pubkey", "max_amount_sat", "budget_renewal", "created"]
    fields = [*list_display, "max_fee_sat", "notify"]
    search_fields = ["user__username", "pubkey"]
    list_select_related = ["user"]
    ordering = ["-created"]


# --- The books ------------------------------------------------------------------------------------


class OfClosedAccounts(admin.SimpleListFilter):
    """Invoices that are paid after their account was closed are credited all the same."""

    title = "money of closed accounts"
    parameter_name = "closed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "That nobody can take out")]

    def queryset(
        self, request: HttpRequest, accounts: QuerySet[LedgerAccount]
    ) -> QuerySet[LedgerAccount]:
        if not self.value():
            return accounts
        return accounts.filter(user__is_active=False).exclude(posted_msat=0)


@admin.register(LedgerAccount)
class LedgerAccountAdmin(LookOnlyAdmin):
    list_display = ["id", "owner", "posted", "held_msat", "owed_msat"]
    list_filter = [OfClosedAccounts]
    fields = list_display
    readonly_fields = ["owner", "posted"]
    search_fields = ["user__username", "name", "id"]
    list_select_related = ["user"]
    ordering = ["id"]

    @admin.display(description="Whose")
    def owner(self, account: LedgerAccount) -> str:
        return account.user.username if account.user else f"the house: {account.name}"

    @admin.display(description="Posted msat")
    def posted(self, account: LedgerAccount) -> int | None:
        """The house's accounts keep no balance: theirs are the sums of their transfers."""
        return account.posted_msat if account.user else None


@admin.register(Transfer)
class TransferAdmin(LookOnlyAdmin):
    list_display = ["id", "created", "kind", "phase", "amount_msat", "debit_id", "credit_id"]
    fields = [
        *["id", "created", "kind", "external_id", "phase", "amount_msat", "debit", "credit"],
        *["pending", "pending_amount_msat", "cause_kind", "cause_id"],
    ]
    list_filter = ["phase"]
    search_fields = ["id", "cause_id", "debit__user__username", "credit__user__username"]
    ordering = ["-id"]


# --- Statements and what was done -----------------------------------------------------------------


@admin.register(Activity)
class ActivityAdmin(LookOnlyAdmin):
    list_display = ["created", "user", "type", "amount_sat", "fee_sat", "status"]
    fields = [
        *list_display,
        *["id", "tip_sat", "platform_fee_sat", "hash", "payment_hash", "invoice_id"],
        *["counterparty", "memo", "reason", "rate", "currency", "settled_at"],
    ]
    list_filter = ["type", "status"]
    search_fields = ["user__username", "id", "payment_hash", "hash", "invoice_id"]
    list_select_related = ["user"]
    ordering = ["-created"]


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(LookOnlyAdmin):
    list_display = ["created", "user", "key", "made_id", "answered_at"]
    fields = list_display
    search_fields = ["user__username", "key", "made_id"]
    list_select_related = ["user"]
    ordering = ["-id"]


class OfUser(admin.SimpleListFilter):
    """Where the page of a user leads: what happened to that account."""

    title = "user"
    parameter_name = "user"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        user_id = self._id()
        user = User.objects.filter(id=user_id).first() if user_id else None
        return [(str(user.id), user.username)] if user else []

    def queryset(self, request: HttpRequest, events: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        return events.filter(user=self._id()) if self.value() else events

    def _id(self) -> UUID | None:
        try:
            return UUID(self.value() or "")
        except ValueError:
            return None


@admin.register(AuditEvent)
class AuditEventAdmin(LookOnlyAdmin):
    list_display = ["created", "action", "user", "actor", "door", "address", "user_agent"]
    fields = [*list_display, "object", "detail"]
    list_filter = [OfUser]
    search_fields = ["user__username", "actor", "action", "address"]
    list_select_related = ["user"]
    ordering = ["-id"]
