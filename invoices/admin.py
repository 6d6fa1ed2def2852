"""What the operator may look at. Nothing here can be changed: services do that."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from invoices.models import (
    Address,
    Cursor,
    Deposit,
    Invoice,
    LightningRequest,
    WebhookAttempt,
    WebhookDelivery,
)


class ReadOnlyAdmin(ModelAdmin):
    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Invoice)
class InvoiceAdmin(ReadOnlyAdmin):
    list_display = ("id", "user", "type", "amount_sat", "received_sat", "pending_sat", "created")
    list_filter = ("type",)
    search_fields = ("=id", "=user__username", "=payment_hash")
    exclude = ("secret",)


@admin.register(LightningRequest)
class LightningRequestAdmin(ReadOnlyAdmin):
    list_display = ("id", "invoice", "state", "amount_msat", "received_msat", "created")
    list_filter = ("state",)
    search_fields = ("=id", "=payment_hash")


@admin.register(Address)
class AddressAdmin(ReadOnlyAdmin):
    list_display = ("address", "invoice", "created")
    search_fields = ("=address",)


@admin.register(Deposit)
class DepositAdmin(ReadOnlyAdmin):
    list_display = ("outpoint", "address", "amount_sat", "state", "confirmations", "created")
    list_filter = ("state",)
    search_fields = ("=txid", "=address__address")


@admin.register(Cursor)
class CursorAdmin(ReadOnlyAdmin):
    list_display = ("name", "value", "node_id", "updated")


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    list_display = ("message_id", "endpoint", "state", "attempts_count", "next_attempt_at")
    list_filter = ("state",)
    search_fields = ("=message_id", "=invoice__id")
    exclude = ("body",)


@admin.register(WebhookAttempt)
class WebhookAttemptAdmin(ReadOnlyAdmin):
    list_display = ("delivery", "status", "error", "duration_ms", "created")
