"""Money coming in and the webhooks that tell of it, as an operator sees them."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import action

from coinos.admin import LookOnlyAdmin
from invoices import webhooks
from invoices.models import (
    Address,
    Cursor,
    Deposit,
    Invoice,
    KnownNode,
    LightningRequest,
    WebhookAttempt,
    WebhookDelivery,
)


@admin.register(Invoice)
class InvoiceAdmin(LookOnlyAdmin):
    list_display = ["created", "user", "type", "amount_sat", "received_sat", "status"]
    fields = [
        *["id", *list_display, "tip_sat", "pending_sat", "rate", "currency", "hash"],
        *["payment_hash", "memo", "items", "request_id", "address_type", "own"],
        *["webhook", "webhook_disabled_at", "expiry_s", "settled_at"],
    ]
    readonly_fields = ["status"]
    list_filter = ["type"]
    search_fields = ["user__username", "id", "payment_hash", "hash", "addresses__address"]
    list_select_related = ["user"]
    ordering = ["-created"]


@admin.register(LightningRequest)
class LightningRequestAdmin(LookOnlyAdmin):
    list_display = ["created", "invoice_id", "state", "amount_msat", "received_msat"]
    fields = [*["id", "created", "invoice", "state"], "payment_hash", "bolt11", "comment"]
    list_filter = ["state"]
    search_fields = ["payment_hash", "id", "bolt11", "invoice__id"]
    ordering = ["-created"]


@admin.register(Address)
class AddressAdmin(LookOnlyAdmin):
    list_display = ["address", "invoice_id", "created"]
    fields = ["address", "invoice", "created"]
    search_fields = ["address", "invoice__id"]
    ordering = ["-created"]


@admin.register(Deposit)
class DepositAdmin(LookOnlyAdmin):
    list_display = ["created", "outpoint", "address_id", "amount_sat", "state", "confirmations"]
    fields = [
        *["id", "created", "outpoint", "address", "amount_sat", "state", "sequence"],
        *["confirmations", "confirmations_required", "block_height", "block_hash"],
        *["activity_id", "credited_at"],
    ]
    readonly_fields = ["outpoint"]
    list_filter = ["state"]
    search_fields = ["txid", "address", "id"]
    ordering = ["-created"]


@admin.register(Cursor)
class CursorAdmin(LookOnlyAdmin):
    list_display = ["name", "value", "payment_hash", "updated"]
    fields = list_display
    ordering = ["name"]


@admin.register(KnownNode)
class KnownNodeAdmin(LookOnlyAdmin):
    list_display = ["name", "node_id", "network", "refusal", "adopted_at"]
    fields = [
        *["name", "node_id", "network", "invoices_created", "invoices_updated", "parts_created"],
        *["last_part_hash", "refusal", "adopted_at"],
    ]
    ordering = ["name"]


class AttemptInline(TabularInline):
    model = WebhookAttempt
    fields = ["created", "status", "error", "response", "duration_ms"]
    readonly_fields = fields
    ordering = ["-id"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(LookOnlyAdmin):
    list_display = ["created", "endpoint", "state", "attempts_count", "next_attempt_at"]
    fields = ["message_id", "invoice", "url", *list_display[2:], "leased_until", "created"]
    list_filter = ["state"]
    search_fields = ["message_id", "invoice__id", "endpoint", "id"]
    inlines = [AttemptInline]
    ordering = ["-created"]
    actions = ["redeliver"]

    @action(description="Deliver again", permissions=["act"])
    def redeliver(self, request: HttpRequest, deliveries: QuerySet[WebhookDelivery]) -> None:
        self._for_a_reason(request, deliveries, webhooks.redeliver_as_operator, "called again now")
