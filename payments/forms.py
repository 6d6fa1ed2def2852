"""What people type to send money. Rules live in the services; forms only read."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any, Self
from urllib.parse import urlencode

from django import forms
from django.core.validators import MaxLengthValidator
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.errors import InvalidPin
from accounts.forms import pin_input
from accounts.models import Activity, User
from accounts.selectors import StatementFilter
from accounts.statement import MEMO_MAX_CHARACTERS
from coinos import rates
from coinos.errors import CoinosError
from coinos.money import MAX_SAT, fiat_to_sat
from coinos.nodes.base import FeeRates
from coinos.web import add_error, sentence
from invoices.forms import AmountForm
from payments.destinations import PASTED_MAX_CHARACTERS
from payments.fees import FEE_RATE_MAX_SAT_VB, USUAL_SIZE_VB
from payments.services.lnurl import PayerDataRequired
from payments.services.pasted import Target


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


class SendAgainForm(SendForm):
    """What was pasted, with what was chosen before: to change it, or to try again."""

    amount_sat = forms.IntegerField(
        min_value=0, max_value=MAX_SAT, required=False, widget=forms.HiddenInput
    )
    fee_rate = forms.IntegerField(
        min_value=0, max_value=100_000, required=False, widget=forms.HiddenInput
    )
    memo = forms.CharField(max_length=MEMO_MAX_CHARACTERS, required=False, widget=forms.HiddenInput)


@dataclass(frozen=True)
class Speed:
    """A choice of how soon a transaction confirms; the fee is a first estimate."""

    name: str
    words: Any
    rate_sat_vb: int
    fee_sat: int


class SendAmountForm(AmountForm):
    """How much, for destinations that leave it to the payer; on-chain also how fast.

    A speed is chosen by name, so that a page that stood open while the fees moved still works:
    what it costs is shown before anything is sent."""

    OWN_RATE = "own"

    text = forms.CharField(max_length=PASTED_MAX_CHARACTERS, widget=forms.HiddenInput)
    speed = forms.ChoiceField(label=_("Speed"), required=False, widget=forms.RadioSelect)
    fee_rate = forms.IntegerField(
        label=_("Your own fee rate, sat/vB"),
        required=False,
        min_value=1,
        max_value=FEE_RATE_MAX_SAT_VB,
        widget=forms.NumberInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
    )
    all = forms.BooleanField(required=False, label=_("Send all"))
    tell = forms.MultipleChoiceField(
        required=False,
        label=_("They ask who pays"),
        help_text=_("Only what you tick is sent to them."),
        widget=forms.CheckboxSelectMultiple,
    )

    def __init__(
        self, *args: Any, owner: User, target: Target, size_vb: int = USUAL_SIZE_VB, **kwargs: Any
    ) -> None:
        super().__init__(*args, owner=owner, **kwargs)
        self.fields["memo"].label = _("Note")
        self.fields["memo"].help_text = who_reads_the_note(target)
        if target.comment_max:
            self._shorten_the_note(target.comment_max)
        self._ask(target)
        self.fields["amount"].required = False
        if owner.fiat and self.rate and not self.initial.get("amount"):
            self.initial["unit"] = owner.currency
        self.speeds: list[Speed] = []
        self.rates: dict[str, int] = {}
        if target.fees:
            self._offer_speeds(target.fees, size_vb)

    def _shorten_the_note(self, most: int) -> None:
        note = self.fields["memo"]
        most = min(most, MEMO_MAX_CHARACTERS)
        note.widget.attrs["maxlength"] = most
        note.validators.append(MaxLengthValidator(most))

    def _ask(self, target: Target) -> None:
        """What the recipient wants to know about the payer, to be ticked; nothing is by itself."""
        self.kinds = {
            "name": _("Name"),
            "identifier": _("Lightning Address"),
            "email": _("E-mail address"),
        }
        self.fields["tell"].choices = [  # type: ignore[attr-defined]
            (
                asked.kind,
                _("%(kind)s: %(told)s") % {"kind": self.kinds[asked.kind], "told": asked.text},
            )
            for asked in target.asked
        ]
        self.insisted = [asked.kind for asked in target.asked if asked.insists]
        self.recipient = target.recipient

    def _offer_speeds(self, fees: FeeRates, size_vb: int) -> None:
        """The slowest first; of two that cost the same, the quicker."""
        of_rate = {
            fees.hour: ("hour", _("In about an hour")),
            fees.half_hour: ("half_hour", _("In about half an hour")),
            fees.fastest: ("fastest", _("As soon as possible")),
        }
        if not fees.estimated:
            unknown = _("How long it takes is not known at the moment")
            of_rate = {rate: (name, unknown) for rate, (name, _promised) in of_rate.items()}
        self.speeds = [
            Speed(name, words, rate, rate * size_vb) for rate, (name, words) in of_rate.items()
        ]
        self.fields["speed"].choices = [  # type: ignore[attr-defined]
            ("hour", ""),
            ("half_hour", ""),
            ("fastest", ""),
            (self.OWN_RATE, ""),
        ]
        self.rates = {name: getattr(fees, name) for name in ("hour", "half_hour", "fastest")}
        chosen = self.initial.get("fee_rate")
        if chosen and chosen not in of_rate:
            self.initial["speed"] = self.OWN_RATE
        else:
            self.initial["speed"] = of_rate[chosen or fees.half_hour][0]
            self.initial["fee_rate"] = None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("fiat") is not None:
            rate = rates.rate(self.owner.currency)
            cleaned["amount_sat"] = fiat_to_sat(cleaned["fiat"], rate)
        if not cleaned.get("amount_sat") and not cleaned.get("all") and not self.errors:
            self.add_error("amount", _("How much should arrive?"))
        missing = [kind for kind in self.insisted if kind not in cleaned.get("tell", ())]
        if missing and "tell" not in self.errors:
            words = [str(self.kinds[kind]) for kind in missing]
            self.add_error("tell", sentence(PayerDataRequired(self.recipient, words)))
        speed = cleaned.get("speed")
        if speed in self.rates:
            cleaned["fee_rate"] = self.rates[speed]
        elif speed and not cleaned.get("fee_rate") and "fee_rate" not in self.errors:
            self.add_error("fee_rate", _("Enter a whole number of sats per virtual byte"))
        return cleaned


def who_reads_the_note(target: Target) -> Any:
    if target.is_internal:
        return _("The recipient sees it too.")
    return _("The recipient may see it too.") if target.comment_max else _("Only you see it.")


def _in_every_zone(day: date | None) -> date | None:
    """A day whose beginning and end have a time in UTC, wherever the reader is: those at the edges
    of the calendar become a day before or after all payments."""
    return min(max(day, date(1970, 1, 2)), date(9999, 12, 30)) if day else None


class HistoryForm(forms.Form):
    """Which payments to list. Days are whole days where the reader is."""

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
        start, end = map(_in_every_zone, map(self.cleaned_data.get, ("start", "end")))
        zone = timezone.get_current_timezone()
        return replace(
            self.SHOW[self.cleaned_data.get("show", "all")],
            start=datetime.combine(start, time.min, zone) if start else None,
            end=datetime.combine(end, time.max, zone) if end else None,
        )

    def ranges(self, today: date) -> list[tuple[str, Any, bool]]:
        """The ranges that one press chooses: query string, words, whether it is shown now."""
        choices = [
            (_("All time"), "", ""),
            (_("Today"), today.isoformat(), today.isoformat()),
            (_("7 days"), (today - timedelta(days=6)).isoformat(), today.isoformat()),
            (_("30 days"), (today - timedelta(days=29)).isoformat(), today.isoformat()),
        ]
        shown = (self.data.get("start", ""), self.data.get("end", ""))
        return [
            (self.query(start=start, end=end), words, shown == (start, end))
            for words, start, end in choices
        ]

    def query(self, **more: str) -> str:
        """The query string of the same list, changed by `more`."""
        given = {name: self.data.get(name, "") for name in self.fields} | more
        return urlencode({name: value for name, value in given.items() if value})


class SpendForm(AmountForm):
    """An amount to spend at once; the key makes it one spend, however often the form is sent."""

    HOW_MUCH: Any = ""
    key = forms.CharField(max_length=64, widget=forms.HiddenInput)
    pin = forms.CharField(required=False, label="PIN", widget=pin_input())

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("fiat") is not None:
            cleaned["amount_sat"] = fiat_to_sat(cleaned["fiat"], rates.rate(self.owner.currency))
        if not cleaned.get("amount_sat") and not self.errors:
            self.add_error("amount", self.HOW_MUCH)
        return cleaned

    def again(self, error: CoinosError) -> Self:
        """The form as it was sent, with what was wrong; but for a mistyped PIN, sending it again is
        another spend."""
        same = isinstance(error, InvalidPin)
        key = self.cleaned_data["key"] if same else ConfirmForm.new_key()
        data = {name: self.data[name] for name in self.data}  # {**…} of a QueryDict has its lists
        form = type(self)(data | {"key": key}, owner=self.owner)
        form.is_valid()
        add_error(form, error)
        return form


class GiftForm(SpendForm):
    """What is set aside, for whom it is said, and how long."""

    HOW_MUCH = _("How much should the gift be?")
    days = forms.TypedChoiceField(
        label=_("Comes back after"),
        coerce=int,
        initial=30,
        choices=[(1, _("A day")), (7, _("A week")), (30, _("30 days")), (90, _("90 days"))],
    )

    def __init__(self, *args: Any, owner: User, **kwargs: Any) -> None:
        super().__init__(*args, owner=owner, **kwargs)
        self.fields["memo"].label = _("Note")
        self.fields["memo"].help_text = _("Whoever opens the link can read it.")


class TakeOutForm(SpendForm):
    """What goes from a fund to whoever asks."""

    HOW_MUCH = _("How much do you want to take out?")

    def __init__(self, *args: Any, owner: User, **kwargs: Any) -> None:
        super().__init__(*args, owner=owner, **kwargs)
        self.fields["memo"].label = _("Note")
        self.fields["memo"].help_text = _("All who manage this fund can read it.")


class PinOnlyForm(forms.Form):
    pin = forms.CharField(label="PIN", widget=pin_input())


class BumpForm(forms.Form):
    fee_rate = forms.IntegerField(
        label=_("Fee rate, sat/vB"),
        min_value=1,
        max_value=FEE_RATE_MAX_SAT_VB,
        widget=forms.NumberInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
    )
    pin = forms.CharField(required=False, label="PIN", widget=pin_input())


class AutoWithdrawForm(forms.Form):
    """The names of the fields are those of the API."""

    autowithdraw = forms.BooleanField(required=False, label=_("Switched on"))
    threshold = forms.IntegerField(
        min_value=0,
        max_value=MAX_SAT,
        required=False,
        label=_("When more than this many sats are spendable"),
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )
    reserve = forms.IntegerField(
        min_value=0,
        max_value=MAX_SAT,
        required=False,
        label=_("Keep this many sats"),
        help_text=_("The fees come out of what is sent, never out of this."),
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )
    destination = forms.CharField(
        max_length=500,
        required=False,
        label=_("To"),
        help_text=_("A Lightning Address, a bitcoin address or a username."),
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )
    pin = forms.CharField(required=False, label="PIN", widget=pin_input())

    def wanted(self) -> dict[str, Any]:
        """The settings as `User` names them; an empty amount is nothing."""
        return {
            "autowithdraw": self.cleaned_data["autowithdraw"],
            "threshold_sat": self.cleaned_data["threshold"],
            "reserve_sat": self.cleaned_data["reserve"],
            "destination": self.cleaned_data["destination"],
        }


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
    any_description = forms.BooleanField(required=False, widget=forms.HiddenInput)
    tell = forms.CharField(max_length=100, required=False, widget=forms.HiddenInput)
    key = forms.CharField(max_length=64, widget=forms.HiddenInput)
    pin = forms.CharField(required=False, label="PIN", widget=pin_input())

    def __init__(self, *args: Any, target: Target | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if target and target.fixed_sat is not None:  # no page before this has asked for a note
            note = self.fields["memo"]
            note.label, note.help_text = _("Note"), who_reads_the_note(target)
            note.widget = forms.TextInput(
                attrs={"autocomplete": "off", "maxlength": MEMO_MAX_CHARACTERS}
            )

    @staticmethod
    def new_key() -> str:
        """A fresh idempotency key, made when the form is rendered."""
        return f"page-{uuid.uuid4()}"
