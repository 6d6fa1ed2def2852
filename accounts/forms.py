"""What people type about their account. Rules live in the services; forms only read."""

from __future__ import annotations

from typing import Any

from babel.numbers import get_currency_name
from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.models import ApiKey, User
from coinos import rates
from coinos.languages import locale

ADVICE_ON_PASSWORDS = _("12 characters or more, or a few words. Keep it in a password manager.")


class SignInForm(forms.Form):
    username = forms.CharField(
        max_length=200,
        label=_("Username"),
        help_text=_("Your Lightning Address works too."),
        widget=forms.TextInput(
            attrs={
                "autocomplete": "username",
                "autocapitalize": "none",
                "spellcheck": "false",
            }
        ),
    )
    password = forms.CharField(
        max_length=4096,
        strip=False,
        label=_("Password"),
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class CodeForm(forms.Form):
    """A code of the second factor, or a recovery code; named as in the API."""

    token = forms.CharField(
        max_length=40,
        label=_("Code from your app"),
        help_text=_("Six digits. A recovery code works too."),
        widget=forms.TextInput(
            attrs={
                "autocomplete": "one-time-code",
                "autocapitalize": "none",
                "spellcheck": "false",
            }
        ),
    )


class ForgotForm(forms.Form):
    account = forms.CharField(
        max_length=254,
        label=_("Username or e-mail address"),
        widget=forms.TextInput(
            attrs={
                "autocomplete": "username",
                "autocapitalize": "none",
                "spellcheck": "false",
            }
        ),
    )


class NewPasswordForm(forms.Form):
    password = forms.CharField(
        max_length=4096,
        strip=False,
        label=_("New password"),
        help_text=ADVICE_ON_PASSWORDS,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    api_keys = forms.BooleanField(required=False, label=_("Revoke my API keys too"))


class EmailForm(forms.Form):
    email = forms.EmailField(
        required=False,
        max_length=254,
        label=_("E-mail address"),
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    notify = forms.BooleanField(required=False, label=_("Tell me when a payment arrives"))


class RegisterForm(forms.Form):
    username = forms.CharField(
        max_length=100,
        label=_("Username"),
        help_text=_("Lowercase letters and digits. This is also your Lightning Address."),
        widget=forms.TextInput(
            attrs={
                "autocomplete": "username",
                "autocapitalize": "none",
                "spellcheck": "false",
            }
        ),
    )
    password = forms.CharField(
        max_length=4096,
        strip=False,
        label=_("Password"),
        help_text=ADVICE_ON_PASSWORDS,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


class ProfileForm(forms.Form):
    username = forms.CharField(max_length=100, label=_("Username"))
    display = forms.CharField(max_length=100, required=False, label=_("Name shown to others"))
    about = forms.CharField(
        max_length=2000,
        required=False,
        label=_("About you"),
        widget=forms.Textarea(attrs={"rows": 3, "class": "short"}),
    )
    hidepay = forms.BooleanField(required=False, label=_("Hide my public page"))


def username_input() -> forms.TextInput:
    return forms.TextInput(
        attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
    )


class FundProfileForm(forms.Form):
    display = forms.CharField(max_length=100, required=False, label=_("Name shown to others"))
    about = forms.CharField(
        max_length=2000,
        required=False,
        label=pgettext_lazy("a fund", "What it is for"),
        help_text=_("Visitors see this on the page of the fund."),
        widget=forms.Textarea(attrs={"rows": 3, "class": "short"}),
    )


class FundForm(FundProfileForm):
    field_order = ["username"]
    username = forms.CharField(
        max_length=100,
        label=_("Username of the fund"),
        help_text=_("Its link and its Lightning Address. It cannot be changed later."),
        widget=username_input(),
    )


class ManagerForm(forms.Form):
    username = forms.CharField(
        max_length=100,
        label=_("Username"),
        help_text=_("Name only people whom you trust with all sats of this fund."),
        widget=username_input(),
    )


def picture_input(size: str) -> forms.FileInput:
    """For a picture that the browser makes that size, in pixels, before it is sent."""
    return forms.FileInput(
        attrs={"accept": "image/jpeg,image/png,image/webp", "data-picture": size}
    )


class PictureForm(forms.Form):
    picture = forms.FileField(
        label=_("Picture"),
        help_text=_("JPEG, PNG or WebP, at most 200 kB."),
        widget=picture_input("256x256"),
    )


class BannerForm(forms.Form):
    banner = forms.FileField(
        label=_("Banner"),
        help_text=_(
            "JPEG, PNG or WebP, at most 200 kB. Shown above your name, cropped to be three times as"
            " wide as high."
        ),
        widget=picture_input("960x320"),
    )


class CloseForm(forms.Form):
    """Typing the name shows that it is meant."""

    prefix = "close"  # the page has other fields of these names

    username = forms.CharField(
        max_length=100,
        label=_("Your username"),
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )
    password = forms.CharField(
        max_length=4096,
        strip=False,
        label=_("Your password"),
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, *args: Any, owner: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.owner = owner

    def clean_username(self) -> str:
        name: str = self.cleaned_data["username"].strip().lower()
        if name != self.owner.username:
            raise forms.ValidationError(_("This is not the name of this account"))
        return name


class PreferencesForm(forms.Form):
    currency = forms.ChoiceField(label=_("Currency"))
    fiat = forms.BooleanField(required=False, label=_("Show the currency first, then sats"))
    language = forms.ChoiceField(
        label=_("Language"),
        choices=settings.LANGUAGES,
    )
    theme = forms.ChoiceField(
        label=_("Theme"),
        choices=[("system", _("System")), ("light", _("Light")), ("dark", _("Dark"))],
        widget=forms.RadioSelect,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chosen = self.initial.get("currency", "USD")
        codes = sorted({*rates.known_currencies(), chosen})
        self.fields["currency"].choices = [  # type: ignore[attr-defined]
            (code, f"{code} · {get_currency_name(code, locale=locale())}") for code in codes
        ]


class NotificationsForm(forms.Form):
    toasts = forms.BooleanField(required=False, label=_("Show a message when money arrives"))
    sound = forms.BooleanField(required=False, label=_("Play a short sound when money arrives"))


class TipsForm(forms.Form):
    prompt = forms.BooleanField(required=False, label=_("Ask payers for a tip"))
    tip = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=1000,
        label=_("Your own suggestion, in percent"),
        help_text=_("Offered next to 10, 15 and 20 percent."),
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )


class PasswordForm(forms.Form):
    current_password = forms.CharField(
        max_length=4096,
        strip=False,
        label=_("Current password"),
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    password = forms.CharField(
        max_length=4096,
        strip=False,
        label=_("New password"),
        help_text=ADVICE_ON_PASSWORDS,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


def pin_input(autocomplete: str = "off") -> forms.PasswordInput:
    return forms.PasswordInput(
        attrs={"inputmode": "numeric", "maxlength": 6, "autocomplete": autocomplete}
    )


class PinForm(forms.Form):
    pin = forms.CharField(required=False, label=_("Current PIN"), widget=pin_input())
    newpin = forms.CharField(
        required=False,
        label=_("New PIN, six digits"),
        help_text=_("Asked before payments. Leave empty to remove the PIN."),
        widget=pin_input(),
    )


class LockTimerForm(forms.Form):
    prefix = "timer"  # the page has another field for the PIN

    CHOICES = [
        (0, _("Before every payment")),
        (60, _("Once a minute")),
        (300, _("Once every 5 minutes")),
        (900, _("Once every 15 minutes")),
        (3600, _("Once an hour")),
    ]

    locktime_s = forms.TypedChoiceField(
        label=_("Ask for the PIN"),
        coerce=int,
        help_text=_("For payments on these pages. Programs send the PIN with every payment."),
    )
    pin = forms.CharField(label="PIN", widget=pin_input())

    def __init__(self, data: Any = None, *, owner: User) -> None:
        super().__init__(data, initial={"locktime_s": owner.locktime_s})
        choices: dict[int, Any] = dict(self.CHOICES)
        now_s = owner.locktime_s  # programs may set any other
        choices.setdefault(now_s, _("Once every %(seconds)s seconds") % {"seconds": now_s})
        self.fields["locktime_s"].choices = sorted(choices.items())  # type: ignore[attr-defined]


class ApiKeyForm(forms.Form):
    name = forms.CharField(max_length=60, label=_("Name"), help_text=_("What will use this key?"))
    scope = forms.ChoiceField(
        label=_("This key may"),
        initial=ApiKey.Scope.RECEIVE,
        widget=forms.RadioSelect,
        choices=[
            (ApiKey.Scope.READ, _("Read")),
            (ApiKey.Scope.RECEIVE, _("Read and receive")),
            (ApiKey.Scope.SPEND, _("Read, receive and spend")),
        ],
    )
    budget_sat = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=2_100_000_000_000_000,
        label=_("Daily limit in sats"),
        help_text=_("Only for keys that can spend. Leave empty for no limit but your balance."),
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )
