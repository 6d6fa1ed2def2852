"""Money going out, as an operator sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from accounts.models import User
from coinos.admin import LookOnlyAdmin, WithReason, operator
from coinos.errors import CoinosError, NotTheOwner
from coinos.models import Alarm
from coinos.web import said
from payments import operations
from payments.models import (
    AutoWithdraw,
    AutoWithdrawRun,
    BookAccount,
    Gift,
    OperatorAct,
    Payment,
    SendBudget,
    SuspenseItem,
    WithdrawalInput,
    WithdrawalTransaction,
)
from payments.operations import VERBS, books
from payments.operations.verb import Verb

ASK_FOR = "admin:payments_operatoract_ask_for"


class ActingAdmin(LookOnlyAdmin):
    """Lists rows on which operators act by the verbs of `payments.operations`."""

    acts_on: str | None = None
    """The parameter that is a row's id, of the verbs whose forms the row's page links."""

    @admin.display(description="What operators can do")
    def verbs(self, row: Any) -> SafeString:
        links = (
            (reverse(ASK_FOR, args=[verb.name]), urlencode({self.acts_on: row.pk}), verb.name)
            for verb in VERBS.values()
            if self.acts_on in {parameter.name for parameter in verb.parameters}
        )
        return format_html_join(" · ", '<a class="underline" href="{}?{}">{}</a>', links)

    def has_act_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("payments.change_operatoract"))

    def _ask(
        self,
        request: HttpRequest,
        rows: QuerySet[Any],
        verb: str,
        arguments: Callable[[Any], dict[str, Any]],
    ) -> None:
        """Ask for this act of each of the rows, with the operator and the reason given."""

        def ask(row: Any, reason: str) -> OperatorAct:
            return operations.ask(verb, arguments(row), by=_by(request), reason=reason)

        self._act(request, rows, ask)

    def _act(
        self,
        request: HttpRequest,
        rows: QuerySet[Any],
        act: Callable[[Any, str], OperatorAct],
    ) -> None:
        reason = said(request, "reason").strip()
        if not reason:
            messages.error(request, "Nothing was done: write a reason for the audit log.")
            return
        for row in rows:
            try:
                done = act(row, reason)
            except NotTheOwner:  # of an act that was asked for before
                row.refresh_from_db()
                _tell(request, row)
            except CoinosError as error:
                messages.error(request, f"{row}: {error.message}")
            else:
                _tell(request, done)


def _short(placeholder: str, size: int) -> forms.TextInput:
    return forms.TextInput(attrs={"placeholder": placeholder, "size": size})


class WithAmountAndName(WithReason):
    """What an act needs besides its row: an amount, or another account. Short fields, or the button
    beside them is off the page."""

    reason = forms.CharField(required=False, max_length=200, widget=_short("For the log", 12))
    sats = forms.CharField(required=False, max_length=20, widget=_short("1,000", 7))
    username = forms.CharField(required=False, max_length=40, widget=_short("User name", 9))


def _by(request: HttpRequest) -> operations.By:
    assert isinstance(request.user, User)
    return operations.By(operator(request), request.user)


def _tell(request: HttpRequest, act: OperatorAct) -> None:
    if act.state == "carried out":
        messages.success(request, f"{act.about}: {act.outcome}.")
    elif act.state == "dropped":
        messages.success(request, f"{act.about}: dropped.")
    elif act.state == "ready":
        messages.warning(
            request,
            f"{act.about}: this process may not do it. On the server:"
            f" manage.py operator carry-out {act.id}",
        )
    else:
        messages.info(
            request,
            f"{act.about}: another operator has to approve this, under “Operator acts”.",
        )


class ActForm(forms.Form):
    """Asks for what a verb has to be told, and for the reason."""

    def __init__(self, verb: Verb, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        for one in verb.parameters:
            if one.is_flag:
                self.fields[one.name] = forms.BooleanField(
                    help_text=one.help, required=False, widget=UnfoldBooleanWidget
                )
            else:
                self.fields[one.name] = _text(one.help, required=not one.is_optional)
        self.fields["reason"] = _text("for the audit log", max_length=200)


def _text(help_text: str, **more: Any) -> forms.CharField:
    return forms.CharField(help_text=help_text, widget=UnfoldAdminTextInputWidget, **more)


@admin.register(OperatorAct)
class OperatorActAdmin(ActingAdmin):
    list_before_template = "admin/ask_link.html"
    list_display = ["created", "standing", "about", "reason", "asked_as", "approved_by"]
    fields = [
        *["id", "verb", "arguments", "about", "user", "amount_sat", "reason"],
        *["asked_as", "created", "needs_approval", "approved_by", "approved_at"],
        *["standing", "problem", "carried_out_at", "outcome", "dropped_at", "dropped_as"],
    ]
    readonly_fields = ["standing"]
    search_fields = ["id", "user__username", "verb"]
    list_select_related = ["asked_by", "approved_by", "user"]
    ordering = ["-created"]
    actions = ["approve", "carry_out", "drop"]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("ask/", view(self.ask), name="payments_operatoract_ask"),
            path("ask/<str:verb>/", view(self.ask_for), name="payments_operatoract_ask_for"),
            *super().get_urls(),
        ]

    def ask(self, request: HttpRequest) -> HttpResponse:
        """What operators can do, each with a link to its form."""
        return self._page(request, "Ask for an act", "ask", verbs=VERBS.values())

    def ask_for(self, request: HttpRequest, verb: str) -> HttpResponse:
        """The form of a verb, made of its parameters. A verb of the table needs nothing else."""
        wanted = VERBS.get(verb)
        if wanted is None:
            raise Http404
        if not self.has_act_permission(request):
            raise PermissionDenied
        form = ActForm(wanted, request.POST or None, initial=request.GET.dict())
        if form.is_valid():
            given = dict(form.cleaned_data)
            reason = given.pop("reason")
            try:
                act = operations.ask(verb, given, by=_by(request), reason=reason)
            except CoinosError as error:
                form.add_error(None, error.message)
            else:
                _tell(request, act)
                return HttpResponseRedirect(reverse("admin:payments_operatoract_changelist"))
        return self._page(request, f"Ask for: {verb}", "ask_for", verb=wanted, form=form)

    def _page(self, request: HttpRequest, title: str, page: str, **more: Any) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": title}
        return TemplateResponse(request, f"admin/{page}.html", context | more)

    @display(
        description="State",
        label={
            "waits for approval": "warning",
            "ready": "info",
            "carried out": "success",
            "dropped": "danger",
        },
    )
    def standing(self, act: OperatorAct) -> str:
        return act.state

    @action(description="Approve, and carry out", permissions=["act"])
    def approve(self, request: HttpRequest, acts: QuerySet[OperatorAct]) -> None:
        def approve_it(act: OperatorAct, reason: str) -> OperatorAct:
            operations.approve(act.id, by=_by(request), reason=reason)
            return operations.carry_out(act.id, by=_by(request))

        self._act(request, acts, approve_it)

    @action(description="Carry out what was approved", permissions=["act"])
    def carry_out(self, request: HttpRequest, acts: QuerySet[OperatorAct]) -> None:
        def carry_it_out(act: OperatorAct, reason: str) -> OperatorAct:
            return operations.carry_out(act.id, by=_by(request))

        self._act(request, acts, carry_it_out)

    @action(description="Drop: it is never carried out", permissions=["act"])
    def drop(self, request: HttpRequest, acts: QuerySet[OperatorAct]) -> None:
        def drop_it(act: OperatorAct, reason: str) -> OperatorAct:
            return operations.drop(act.id, by=_by(request), reason=reason)

        self._act(request, acts, drop_it)


@admin.register(SuspenseItem)
class SuspenseItemAdmin(ActingAdmin):
    list_display = ["id", "created", "amount_msat", "open_sat", "arrived_as", "cause"]
    acts_on = "item"
    fields = ["id", "created", "amount_msat", "open_sat", "external_id", "cause", "kind", "verbs"]
    readonly_fields = ["open_sat", "cause", "verbs"]
    search_fields = ["id", "external_id"]
    ordering = ["-id"]
    action_form = WithAmountAndName
    actions = ["credit"]

    @admin.display(description="Open sats")
    def open_sat(self, item: SuspenseItem) -> int:
        return books.open_sat_of(item)

    @admin.display(description="Arrived as")
    def arrived_as(self, item: SuspenseItem) -> str:
        return Truncator(item.external_id).chars(24)

    @admin.display(description="Cause")
    def cause(self, item: SuspenseItem) -> str:
        return f"{item.cause_kind} {item.cause_id}"

    @action(description="Credit to this user (all that is open)", permissions=["act"])
    def credit(self, request: HttpRequest, items: QuerySet[SuspenseItem]) -> None:
        more = {name: said(request, name) or None for name in ("username", "sats")}
        self._ask(request, items, "credit", lambda item: {"item": item.id, **more})


@admin.register(BookAccount)
class BookAccountAdmin(ActingAdmin):
    list_display = ["id", "owner", "posted", "held_msat", "owed_msat"]
    fields = list_display
    readonly_fields = ["owner", "posted"]
    search_fields = ["user__username", "name", "id"]
    list_select_related = ["user"]
    ordering = ["id"]
    action_form = WithAmountAndName
    actions = ["correct", "forgive", "write_off", "pay_out"]

    @admin.display(description="Whose")
    def owner(self, account: BookAccount) -> str:
        return account.user.username if account.user else f"the house: {account.name}"

    @admin.display(description="Posted msat")
    def posted(self, account: BookAccount) -> int | None:
        """The house's accounts keep no balance: theirs are the sums of their transfers."""
        return account.posted_msat if account.user else None

    @action(description="Give this user sats of the operator's own", permissions=["act"])
    def correct(self, request: HttpRequest, accounts: QuerySet[BookAccount]) -> None:
        sats = request.POST.get("sats")
        self._ask(request, accounts, "correct", lambda one: {"username": one.user, "sats": sats})

    @action(description="Forgive this user sats of debt", permissions=["act"])
    def forgive(self, request: HttpRequest, accounts: QuerySet[BookAccount]) -> None:
        sats = request.POST.get("sats")
        self._ask(request, accounts, "forgive", lambda one: {"username": one.user, "sats": sats})

    @action(description="Write off sats that this node has lost", permissions=["act"])
    def write_off(self, request: HttpRequest, accounts: QuerySet[BookAccount]) -> None:
        sats = request.POST.get("sats")
        self._ask(request, accounts, "write-off", lambda one: {"place": one.name, "sats": sats})

    @action(description="Pay this closed account out to that user", permissions=["act"])
    def pay_out(self, request: HttpRequest, accounts: QuerySet[BookAccount]) -> None:
        to = said(request, "username") or None
        self._ask(request, accounts, "pay-out", lambda one: {"username": one.user, "to": to})


@admin.register(Payment)
class PaymentAdmin(ActingAdmin):
    acts_on = "payment"
    list_display = ["created", "user", "type", "amount_sat", "fee_sat", "state", "resolved_at"]
    fields = [
        *["id", *list_display, "destination", "max_fee_sat", "platform_fee_sat", "failure"],
        *["hold_id", "api_key", "payment_hash", "attempted_at", "deadline", "call_returned"],
        *["node_id", "fee_final", "next_look_at", "txid", "fee_rate_sat_vb", "subtract_fee"],
        *["broadcast_attempted_at", "confirmations", "verbs"],
    ]
    readonly_fields = ["verbs"]
    list_filter = ["state", "type"]
    search_fields = ["user__username", "id", "payment_hash", "txid", "destination"]
    list_select_related = ["user"]
    ordering = ["-created"]
    actions = ["cancel", "release", "release_unproved"]

    @action(description="Cancel: it has not left yet", permissions=["act"])
    def cancel(self, request: HttpRequest, payments: QuerySet[Payment]) -> None:
        self._ask(request, payments, "cancel", lambda payment: {"payment": payment.id})

    @action(
        description="Release the hold, if the node proves nothing was paid", permissions=["act"]
    )
    def release(self, request: HttpRequest, payments: QuerySet[Payment]) -> None:
        self._ask(request, payments, "release", lambda payment: {"payment": payment.id})

    @action(description="Release the hold on two operators' word", permissions=["act"])
    def release_unproved(self, request: HttpRequest, payments: QuerySet[Payment]) -> None:
        self._ask(
            request,
            payments,
            "release",
            lambda payment: {"payment": payment.id, "paid_nothing": True},
        )


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


@admin.register(Alarm)
class AlarmAdmin(ActingAdmin):
    acts_on = "alarm"
    list_display = ["sentence", "first_seen", "last_seen", "stopped_at", "acknowledged_at"]
    fields = [
        *["sentence", "cause", "amount_msat", "first_seen", "last_seen", "stopped_at"],
        *["holds_sends", "acknowledged_at", "acknowledged_by", "acknowledged_msat", "reason"],
        *["ended_at", "verbs"],
    ]
    readonly_fields = ["verbs"]
    list_filter = [("ended_at", admin.EmptyFieldListFilter)]
    search_fields = ["cause"]
    ordering = ["-last_seen"]
    actions = ["acknowledge"]

    @action(description="Acknowledge: the same cause stops sends no more", permissions=["act"])
    def acknowledge(self, request: HttpRequest, rows: QuerySet[Alarm]) -> None:
        self._ask(request, rows, "acknowledge", lambda alarm: {"alarm": alarm.id})
