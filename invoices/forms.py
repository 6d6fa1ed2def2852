"""What people type to ask for money. Rules live in the services; forms only read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.statement import MEMO_MAX_CHARACTERS
from coinos import amounts, languages, rates
from coinos.money import parse_decimal, parse_sat
from invoices.models import Invoice
from invoices.services import InvoiceDraft

SATS = "sats"
ANY = "any"  # one code with a bolt11 and an address
USUAL_TIPS = (10, 15, 20)  # percent


class AmountForm(forms.Form):
    """An amount in sats or in the owner's currency, and a memo."""

    is_away = False
    """Whether the node could not be reached when it was asked for the invoice."""

    amount = forms.CharField(
        max_length=30,
        label=_("Amount"),
        widget=forms.TextInput(
            attrs={"inputmode": "decimal", "autocomplete": "off", "placeholder": "0"}
        ),
    )
    unit = forms.ChoiceField(label=_("Unit"), required=False)
    memo = forms.CharField(
        max_length=MEMO_MAX_CHARACTERS,
        required=False,
        label=_("What it is for"),
        widget=forms.TextInput(attrs={"autocomplete": "off", "maxlength": MEMO_MAX_CHARACTERS}),
    )

    def __init__(self, *args: Any, owner: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.owner = owner
        units = [(SATS, "sats")]
        rate = rates.rate_or_none(owner.currency)
        self.rate = f"{rate:f}" if rate else ""  # for the script that swaps the units
        if rate:
            units.append((owner.currency, owner.currency))
        self.fields["unit"].choices = units  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Leaves `amount_sat` or `fiat`, whichever was meant."""
        cleaned = super().clean() or {}
        text = cleaned.get("amount", "")
        cleaned["amount_sat"], cleaned["fiat"] = 0, None
        if not text or self.errors:
            return cleaned
        locale, is_sats = languages.locale(), cleaned.get("unit") in ("", SATS)
        try:
            if is_sats:
                cleaned["amount_sat"] = read_sats(text)
            else:
                fiat = amounts.read(text, self.owner.currency, locale)
                cleaned["fiat"] = parse_decimal(f"{fiat:f}")
        except ValueError:
            example = amounts.money(Decimal("1234.5"), self.owner.currency, locale)
            self.add_error(
                "amount",
                _("Enter a whole number of sats, in digits only")
                if is_sats
                else _("Enter an amount such as %(example)s") % {"example": example},
            )
        return cleaned

    def draft(self) -> InvoiceDraft:
        """What to make; visitors are asked for a tip when the owner wishes it."""
        cleaned = self.cleaned_data
        fiat: Decimal | None = cleaned["fiat"]
        how = cleaned.get("type", Invoice.Type.LIGHTNING)
        return InvoiceDraft(
            type=Invoice.Type.LIGHTNING if how == ANY else how,
            with_address=how == ANY,
            amount_sat=cleaned["amount_sat"],
            fiat=fiat,
            currency=self.owner.currency,
            memo=cleaned["memo"],
            prompt=cleaned.get("prompt", self.owner.prompt),
        )


class ReceiveForm(AmountForm):
    """An invoice of one's own; without an amount the payer chooses."""

    type = forms.ChoiceField(
        label=_("Payment method"),
        choices=[
            (ANY, _("Any wallet")),
            (Invoice.Type.LIGHTNING, _("Lightning only")),
            (Invoice.Type.BITCOIN, _("On-chain only")),
        ],
        initial=ANY,
        widget=forms.RadioSelect,
    )

    prompt = forms.BooleanField(required=False, label=_("Ask the payer for a tip"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["prompt"].initial = self.owner.prompt
        self.fields["amount"].required = False
        self.fields["amount"].help_text = _("Leave empty to let the payer choose.")


class TipForm(forms.Form):
    """A tip: so many percent of the amount, or so many sats."""

    percent = forms.IntegerField(required=False, min_value=0, max_value=1000)
    tip = forms.CharField(
        required=False,
        max_length=16,
        label=_("Another tip, in sats"),
        widget=forms.TextInput(
            attrs={"inputmode": "numeric", "autocomplete": "off", "placeholder": "0"}
        ),
    )

    def __init__(self, *args: Any, invoice: Invoice, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.invoice = invoice

    def clean(self) -> dict[str, Any]:
        """Leaves `tip_sat`."""
        cleaned = super().clean() or {}
        if cleaned.get("percent") is not None:
            cleaned["tip_sat"] = tip_of(self.invoice.amount_sat, cleaned["percent"])
            return cleaned
        try:
            cleaned["tip_sat"] = read_sats(cleaned.get("tip", ""), minimum=0)
        except ValueError:
            self.add_error("tip", _("Enter a whole number of sats, in digits only"))
        return cleaned

    def suggestions(self) -> list[tuple[int, int]]:
        """What to offer: percent and sats, the owner's own percentage among the usual ones."""
        own = {self.invoice.user.tip} if self.invoice.user.tip else set()
        return [
            (percent, tip_of(self.invoice.amount_sat, percent))
            for percent in sorted({*USUAL_TIPS, *own})
        ]


def read_sats(text: str, *, minimum: int = 1) -> int:
    """Whole sats as they are typed, or as the language of the page writes them. `ValueError`."""
    typed = text.lower().removesuffix("sats").strip()
    return parse_sat(int(amounts.read(typed, "", languages.locale())), minimum=minimum)


def tip_of(amount_sat: int, percent: int) -> int:
    """So many percent of an amount in whole sats, rounded half up."""
    return (amount_sat * percent + 50) // 100


class AccountWebhookForm(forms.Form):
    prefix = "account"  # the page has other forms

    url = forms.CharField(
        max_length=2000,
        required=False,
        label=_("URL to call"),
        help_text=_("Leave empty to switch this webhook off."),
        widget=forms.URLInput(attrs={"placeholder": "https://", "autocomplete": "off"}),
    )
    secret = forms.CharField(
        max_length=2000,
        required=False,
        label=_("Secret in the body of every call"),
        help_text=_("Optional, and not shown here again. To verify a call, check its signature."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, data: Any = None, *, owner: User) -> None:
        super().__init__(data, initial={"url": owner.webhook})
        if owner.webhook_sealed_secret:
            self.fields["secret"].help_text = _(
                "A secret is set. Leave empty to keep it. It is not kept when you change the URL."
            )


class TryWebhookForm(forms.Form):
    prefix = "try"  # the page has other forms

    url = forms.CharField(
        max_length=2000,
        label=_("URL to call"),
        widget=forms.URLInput(attrs={"placeholder": "https://", "autocomplete": "off"}),
    )


class CheckSignatureForm(forms.Form):
    """The headers and the body of a call, as they arrived."""

    prefix = "check"

    message_id = forms.CharField(max_length=100, label="webhook-id")
    timestamp = forms.CharField(
        max_length=12,
        label="webhook-timestamp",
        widget=forms.TextInput(attrs={"inputmode": "numeric"}),
    )
    signature = forms.CharField(max_length=500, label="webhook-signature")
    body = forms.CharField(
        max_length=20_000,
        label=_("Body, exactly as it arrived"),
        widget=forms.Textarea(attrs={"rows": 3, "class": "short", "spellcheck": "false"}),
    )
