"""What people type to send money. Rules live in the services; forms only read."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, time
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.forms import pin_input
from accounts.models import Activity, User
from accounts.selectors import StatementFilter
from accounts.statement import MEMO_MAX_CHARACTERS
from coinos import rates
from coinos.money import MAX_SAT, fiat_to_sat
from invoices.forms import AmountForm
from payments.services.pasted import Target

PASTED_MAX_CHARACTERS = 8000


class SendForm(forms.Form):
    text = forms.CharField(
        max_length=PASTED_MAX_CHARACTERS,
        label=_("To"),
        help_text=_("An invoice, a bitcoin address, a username, a Lightning Address or an LNURL."),
        widget=forms.Textarea(
            attrs={
                "rows": 4,
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
                "placeholder": _("Paste anything"),
            }
        ),
    )


class SendAmountForm(AmountForm):
    """How much, for destinations that leave it to the payer; on-chain also how fast."""

    text = forms.CharField(max_length=PASTED_MAX_CHARACTERS, widget=forms.HiddenInput)
    fee_rate = forms.TypedChoiceField(
        label=_("Speed"), coerce=int, empty_value=None, required=False, widget=forms.RadioSelect
    )
    all = forms.BooleanField(required=False, label=_("Send all"))

    def __init__(self, *args: Any, owner: User, target: Target, **kwargs: Any) -> None:
        super().__init__(*args, owner=owner, **kwargs)
        self.fields["memo"].label = _("Note")
        self.fields["memo"].help_text = (
            _("The other side reads it too.") if target.is_internal else _("Only you see it.")
        )
        self.fields["amount"].required = False
        if target.fees:
            fees = target.fees
            speeds = {
                fees.hour: _("In about an hour, %(rate)s sat/vB") % {"rate": fees.hour},
                fees.half_hour: _("In about half an hour, %(rate)s sat/vB")
                % {"rate": fees.half_hour},
                fees.fastest: _("As soon as possible, %(rate)s sat/vB") % {"rate": fees.fastest},
            }
            self.fields["fee_rate"].choices = list(speeds.items())  # type: ignore[attr-defined]
            self.fields["fee_rate"].initial = fees.half_hour

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("fiat") is not None:
            rate = rates.rate(self.owner.currency)
            cleaned["amount_sat"] = fiat_to_sat(cleaned["fiat"], rate)
        if not cleaned.get("amount_sat") and not cleaned.get("all") and not self.errors:
            self.add_error("amount", _("How much shall arrive?"))
        return cleaned


class HistoryForm(forms.Form):
    """Which payments to list. Days are whole days, UTC."""

    SHOW = {
        "all": StatementFilter(status="all"),
        "in": StatementFilter(status="all", incoming=True),
        "out": StatementFilter(status="all", incoming=False),
        "pending": StatementFilter(status=Activity.Status.PENDING),
        "failed": StatementFilter(status=Activity.Status.FAILED),
    }

    show = forms.CharField(required=False, max_length=10, widget=forms.HiddenInput)
    q = forms.CharField(
        required=False,
        max_length=200,
        label=_("Search"),
        widget=forms.TextInput(
            attrs={"type": "search", "placeholder": _("Note, name or hash"), "autocomplete": "off"}
        ),
    )
    start = forms.DateField(
        required=False, label=_("From"), widget=forms.DateInput({"type": "date"}, "%Y-%m-%d")
    )
    end = forms.DateField(
        required=False, label=_("Until"), widget=forms.DateInput({"type": "date"}, "%Y-%m-%d")
    )

    def clean_show(self) -> str:
        show: str = self.cleaned_data["show"]
        return show if show in self.SHOW else "all"

    def wanted(self) -> StatementFilter:
        """The filter without the search; a day that cannot be read does not narrow it."""
        start, end = self.cleaned_data.get("start"), self.cleaned_data.get("end")
        return replace(
            self.SHOW[self.cleaned_data.get("show", "all")],
            start=datetime.combine(start, time.min, UTC) if start else None,
            end=datetime.combine(end, time.max, UTC) if end else None,
        )

    def query(self, **more: str) -> str:
        """The query string of the same list, changed by `more`."""
        given = {name: self.data.get(name, "") for name in self.fields} | more
        return urlencode({name: value for name, value in given.items() if value})


class ConfirmForm(forms.Form):
    """What the confirmation page showed, word for word; the key makes it one payment."""

    text = forms.CharField(max_length=PASTED_MAX_CHARACTERS, widget=forms.HiddenInput)
    amount_sat = forms.IntegerField(min_value=1, max_value=MAX_SAT, widget=forms.HiddenInput)
    max_fee_sat = forms.IntegerField(
        min_value=0, max_value=MAX_SAT, required=False, widget=forms.HiddenInput
    )
    fee_rate = forms.IntegerField(
        min_value=1, max_value=100_000, required=False, widget=forms.HiddenInput
    )
    subtract = forms.BooleanField(required=False, widget=forms.HiddenInput)
    memo = forms.CharField(max_length=MEMO_MAX_CHARACTERS, required=False, widget=forms.HiddenInput)
    key = forms.CharField(max_length=64, widget=forms.HiddenInput)
    pin = forms.CharField(required=False, label="PIN", widget=pin_input())

    @staticmethod
    def new_key() -> str:
        """A fresh idempotency key, made when the form is rendered."""
        return f"page-{uuid.uuid4()}"
