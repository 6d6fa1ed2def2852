"""The operator's window: every table to look at, none to write by hand.

Money moves only through the ledger and accounts change only through their services, so all pages
of the admin are read-only; what an operator may do are actions that call a service. Secrets,
hashes and preimages are on no page. Nothing here counts a table: they may have millions of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import ActionForm
from unfold.paginator import InfinitePaginator

from coinos.errors import CoinosError
from coinos.models import Heartbeat, Rate
from coinos.web import said


class WithReason(ActionForm):
    reason = forms.CharField(
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"placeholder": "Reason, for the audit log"}),
    )


def operator(request: HttpRequest) -> str:
    """How the audit log names who is signed in to the admin."""
    return f"operator {request.user.get_username()}"


class LookOnlyAdmin(ModelAdmin):
    """Lists `list_display`, shows `fields`, changes nothing. Every action needs a reason.

    The search tries each of `search_fields` (lookups) by itself and shows the first that knows
    the term: several at once, joined by OR, would use no index.
    """

    show_full_result_count = False
    paginator = InfinitePaginator
    list_per_page = 50
    action_form = WithReason
    actions_on_top = True

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Who may run the actions: those who might change the rows if anybody might."""
        name = f"{self.opts.app_label}.change_{self.opts.model_name}"
        return bool(request.user.has_perm(name))

    def _for_a_reason(
        self,
        request: HttpRequest,
        rows: QuerySet[Any],
        act: Callable[..., None],
        done: str,
    ) -> None:
        """Do this to each of the rows, with the operator and the reason for the audit log."""
        reason = said(request, "reason").strip()
        if not reason:
            messages.error(request, "Nothing was done: write a reason for the audit log.")
            return
        count = 0
        for row in rows:
            try:
                act(row, actor=operator(request), reason=reason)
            except CoinosError as error:
                messages.error(request, f"{row}: {error.message}")
            else:
                count += 1
        if count:
            what = self.opts.verbose_name if count == 1 else self.opts.verbose_name_plural
            messages.success(request, f"{count} {what}: {done}.")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only what `list_filter` offers: any other field could be read letter by letter."""
        return lookup in _lookups_of(self.list_filter)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        for lookup in self.search_fields:
            try:
                found = queryset.filter(**{lookup: term})
                if found.exists():
                    return found, False
            except (ValueError, ValidationError):
                pass  # not a value of that field
        return queryset.none(), False


def _lookups_of(filters: Iterable[Any]) -> set[str]:
    """The query parameters that these filters put into a list's address."""
    lookups: set[str] = set()
    for wanted in filters:
        if isinstance(wanted, type) and issubclass(wanted, admin.SimpleListFilter):
            lookups.add(str(wanted.parameter_name))
        else:
            name = wanted[0] if isinstance(wanted, tuple) else wanted
            lookups |= {name, f"{name}__exact", f"{name}__isempty", f"{name}__isnull"}
    return lookups


@admin.register(Heartbeat)
class HeartbeatAdmin(LookOnlyAdmin):
    list_display = ["job", "succeeded_at", "worked_at", "silence_max_s", "failures", "reason"]
    fields = list_display
    ordering = ["job"]


@admin.register(Rate)
class RateAdmin(LookOnlyAdmin):
    list_display = ["minute", "usd"]
    fields = ["minute", "rates"]
    ordering = ["-minute"]

    @admin.display(description="USD per BTC")
    def usd(self, row: Rate) -> str:
        return str(row.rates.get("USD", "–"))
