"""Money going out, as an operator sees it."""

from __future__ import annotations

from django.contrib import admin

from coinos.admin import LookOnlyAdmin
from payments.models import (
    AutoWithdraw,
    AutoWithdrawRun,
    Gift,
    IdempotencyKey,
    Payment,
    SendBudget,
    WithdrawalInput,
    WithdrawalTransaction,
)


@admin.register(Payment)
class PaymentAdmin(LookOnlyAdmin):
    list_display = ["created", "user", "type", "amount_sat", "fee_sat", "state", "resolved_at"]
    fields = [
        *["id", *list_display, "destination", "max_fee_sat", "platform_fee_sat", "failure"],
        *["hold_id", "api_key", "payment_hash", "attempted_at", "deadline", "call_returned"],
        *["node_id", "fee_final", "next_look_at", "txid", "fee_rate_sat_vb", "subtract_fee"],
        *["broadcast_attempted_at", "confirmations"],
    ]
    list_filter = ["state", "type"]
    search_fields = ["user__username", "id", "payment_hash", "txid", "destination"]
    list_select_related = ["user"]
    ordering = ["-created"]


@admin.register(WithdrawalTransaction)
class WithdrawalTransactionAdmin(LookOnlyAdmin):
    list_display = ["created", "txid", "payment_id", "fee_sat", "fee_rate_sat_vb", "state"]
    fields = [*list_display, "payment"]
    list_filter = ["state"]
    search_fields = ["txid", "payment__id"]
    ordering = ["-created"]


@admin.register(WithdrawalInput)
class WithdrawalInputAdmin(LookOnlyAdmin):
    list_display = ["txid", "vout", "payment_id", "live"]
    fields = ["txid", "vout", "payment", "live"]
    list_filter = ["live"]
    search_fields = ["txid", "payment__id"]
    ordering = ["-id"]


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(LookOnlyAdmin):
    list_display = ["created", "user", "key", "activity_id", "answered_at"]
    fields = list_display
    search_fields = ["user__username", "key", "activity_id"]
    list_select_related = ["user"]
    ordering = ["-id"]


@admin.register(SendBudget)
class SendBudgetAdmin(LookOnlyAdmin):
    list_display = ["scope", "window_start", "spent_sat"]
    fields = list_display
    search_fields = ["scope"]
    ordering = ["scope"]


@admin.register(Gift)
class GiftAdmin(LookOnlyAdmin):
    list_display = ["created", "giver", "taker", "amount_sat", "state", "expires", "resolved_at"]
    fields = ["id", *list_display, "made_by", "memo"]
    list_filter = ["state"]
    search_fields = ["giver__username", "taker__username", "id"]
    list_select_related = ["giver", "taker"]
    ordering = ["-created"]


@admin.register(AutoWithdraw)
class AutoWithdrawAdmin(LookOnlyAdmin):
    list_display = ["user", "recipient", "next_at", "failures", "reason"]
    fields = [*list_display, "saved", "seen_transaction"]
    search_fields = ["user__username"]
    list_select_related = ["user", "recipient"]
    ordering = ["-next_at"]


@admin.register(AutoWithdrawRun)
class AutoWithdrawRunAdmin(LookOnlyAdmin):
    list_display = ["created", "user", "event", "state", "attempt", "activity_id"]
    fields = ["id", *list_display, "bolt11", "bolt11_sat"]
    list_filter = ["state"]
    search_fields = ["user__username", "event", "activity_id"]
    list_select_related = ["user"]
    ordering = ["-created"]
