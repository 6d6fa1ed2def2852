"""The forms of the settings page that guard the account: lock timer, second factor, e-mail."""

from __future__ import annotations

from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from accounts import authenticators, emails, second_factor
from accounts.authentication import session_of, user_of
from accounts.forms import CodeForm, EmailForm, LockTimerForm
from accounts.step_up import password_is_confirmed, proof_of, with_password
from accounts.views import saved, settings_page
from coinos import limits
from coinos.errors import CoinosError
from coinos.throttling import limited
from coinos.web import add_error, posted, signed_in


@require_POST
@signed_in
def set_lock_timer(request: HttpRequest) -> HttpResponse:
    user = user_of(request)
    form = LockTimerForm(request.POST, owner=user)
    if form.is_valid():
        try:
            authenticators.set_lock_timer(user, **form.cleaned_data)
        except CoinosError as error:
            add_error(form, error)
        else:
            return saved(request, _("The PIN setting is saved"))
    return settings_page(request, lock_timer=form)


@require_POST
@signed_in
def begin_second_factor(request: HttpRequest) -> HttpResponse:
    """Make a seed, and go on to the page that shows it."""
    form = with_password(request, Form(request.POST))
    if form.is_valid() and password_is_confirmed(request, form):
        second_factor.begin(user_of(request))
        return redirect("second_factor")
    return settings_page(request, second_factor=form)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def confirm_second_factor(request: HttpRequest) -> HttpResponse:
    """The seed as a code to scan. POST: the app shows the right digits, so ask for them from now
    on; the answer shows the recovery codes, this once."""
    user = user_of(request)
    set_up = second_factor.set_up_of(user)
    if set_up is None:
        return redirect(f"{reverse('settings')}#second-factor")
    form = CodeForm(posted(request))
    form.fields["token"].help_text = _("The six digits that your app shows now.")
    if form.is_valid():
        try:
            codes = authenticators.turn_on_second_factor(
                user,
                form.cleaned_data["token"],
                keep=session_of(request),
            )
        except CoinosError as error:
            add_error(form, error)
        else:
            return _recovery_codes_page(request, codes)
    context = {"form": form, "set_up": set_up, "here": "settings"}
    status = 422 if form.errors else 200
    return render(request, "accounts/second_factor.html", context, status=status)


@require_POST
@signed_in
def turn_off_second_factor(request: HttpRequest) -> HttpResponse:
    form = CodeForm(request.POST)
    if form.is_valid():
        try:
            authenticators.turn_off_second_factor(
                user_of(request),
                form.cleaned_data["token"],
                keep=session_of(request),
            )
        except CoinosError as error:
            add_error(form, error)
        else:
            return saved(
                request, _("The second factor is off, and you are signed out everywhere else")
            )
    return settings_page(request, second_factor=form)


@require_POST
@signed_in
def renew_recovery_codes(request: HttpRequest) -> HttpResponse:
    form = CodeForm(request.POST)
    if form.is_valid():
        try:
            codes = authenticators.renew_recovery_codes(
                user_of(request), form.cleaned_data["token"]
            )
        except CoinosError as error:
            add_error(form, error)
        else:
            return _recovery_codes_page(request, codes)
    return settings_page(request, second_factor=form)


def _recovery_codes_page(request: HttpRequest, codes: list[str]) -> HttpResponse:
    context = {"codes": codes, "here": "settings"}
    return render(request, "accounts/recovery_codes.html", context)


# --- E-mail --------------------------------------------------------------------------------------


@require_POST
@signed_in
def save_email(request: HttpRequest) -> HttpResponse:
    """Save the address and what is sent to it; a new one gets a link that confirms it."""
    user = user_of(request)
    form = with_password(request, EmailForm(request.POST))
    if form.is_valid() and (proof := proof_of(request, form)):
        before = user.email
        try:
            authenticators.change_email(
                user,
                form.cleaned_data["email"],
                notify=form.cleaned_data["notify"],
                proof=proof,
            )
        except CoinosError as error:
            add_error(form, error)
        else:
            if user.email not in ("", before):
                return send_link(request)
            return saved(request, _("Your e-mail settings are saved"))
    return settings_page(request, email=form)


@require_POST
@signed_in
def send_link(request: HttpRequest) -> HttpResponse:
    """Send the link that confirms the address."""
    user = user_of(request)
    emails.queue_verification(user)
    sent = _("We have sent a link to %(address)s. Open it within an hour.")
    return saved(request, sent % {"address": user.email})


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
@limited(post=limits.VERIFY)
def verify_email(request: HttpRequest, token: str) -> HttpResponse:
    """Where the link leads. Whoever opens it must be signed in, with the password of the last
    minutes: a session left open is not enough to take an account over by its e-mail (P21)."""
    user = user_of(request)
    form = with_password(request, Form(posted(request)))
    if request.method == "POST" and form.is_valid() and password_is_confirmed(request, form):
        authenticators.confirm_email(user, token)
        return saved(request, _("Your e-mail address is confirmed"))
    context = {"form": form, "address": user.email, "here": "settings"}
    status = 422 if form.errors else 200
    return render(request, "accounts/verify.html", context, status=status)
