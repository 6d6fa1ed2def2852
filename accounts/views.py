"""The owner's home, and the settings page with its forms."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings as django_settings
from django.contrib import messages
from django.contrib.auth import logout, update_session_auth_hash
from django.forms import BaseForm, Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import get_language, override
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts import (
    authenticators,
    credentials,
    grants,
    ledger,
    pictures,
    second_factor,
    selectors,
    services,
)
from accounts.authentication import session_of, user_of
from accounts.forms import (
    ApiKeyForm,
    BannerForm,
    CloseForm,
    CodeForm,
    EmailForm,
    LockTimerForm,
    NotificationsForm,
    PasswordForm,
    PictureForm,
    PinForm,
    PreferencesForm,
    ProfileForm,
    TipsForm,
)
from accounts.models import Picture, User
from accounts.rows import rows
from accounts.step_up import (
    note_confirmed,
    password_is_confirmed,
    proof_of,
    with_password,
    with_pin,
)
from coinos import languages, limits
from coinos.errors import CoinosError, NotFound
from coinos.throttling import limited
from coinos.web import Units, add_error, next_url, signed_in

RECENT_PAYMENTS = 6
HIDE_BALANCE = "hide_balance"

# --- The owner's home ----------------------------------------------------------------------------


@require_safe
@signed_in
def wallet(request: HttpRequest) -> HttpResponse:
    """What is spendable, what is on its way, and the last payments."""
    user = user_of(request)
    everything = selectors.StatementFilter(status="all")
    context = {
        "balance": ledger.balance_of(user.id),
        "is_hidden": request.COOKIES.get(HIDE_BALANCE) == "yes",
        "pending_sat": selectors.pending_incoming_sat(user),
        "rows": rows(
            selectors.statement_page(user, everything, limit=RECENT_PAYMENTS), Units(user)
        ),
        "here": "home",
    }
    return render(request, "accounts/wallet.html", context)


@require_POST
@signed_in
def swap(request: HttpRequest) -> HttpResponse:
    """Show the currency first, or the sats first; remembered."""
    user = user_of(request)
    services.update_profile(user, {"fiat": not user.fiat})
    return redirect(next_url(request, "/"))


@require_POST
@signed_in
def hide_balance(request: HttpRequest) -> HttpResponse:
    """Hide the balance from who looks over the shoulder, or show it again; this browser remembers.

    A cookie and not a script hides it: a page never shows it first."""
    response = redirect("person", user_of(request).username)
    response.set_cookie(
        HIDE_BALANCE,
        "yes" if "hide" in request.POST else "no",
        max_age=languages.COOKIE_AGE_S,
        secure=django_settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return response


# --- Settings ------------------------------------------------------------------------------------


@require_safe
@signed_in
def settings(request: HttpRequest) -> HttpResponse:
    return settings_page(request)


@require_POST
@signed_in
def save_profile(request: HttpRequest) -> HttpResponse:
    form = ProfileForm(request.POST)
    if form.is_valid():
        try:
            authenticators.change_profile(user_of(request), form.cleaned_data)
        except CoinosError as error:
            add_error(form, error)
        else:
            return saved(request, _("Your profile is saved"))
    return settings_page(request, profile=form)


@require_POST
@signed_in
@limited(post=limits.PICTURE)
def save_picture(request: HttpRequest, kind: str) -> HttpResponse:
    """Set the picture or banner that was sent, or take it away."""
    user = user_of(request)
    is_banner = kind == Picture.Kind.BANNER
    if "remove" in request.POST:
        pictures.remove_picture(user, kind)
        return saved(
            request,
            _("Your banner has been removed") if is_banner else _("Your picture has been removed"),
        )
    form = (BannerForm if is_banner else PictureForm)(request.POST, request.FILES)
    if form.is_valid():
        try:
            sent = form.cleaned_data[kind].read(pictures.MOST_BYTES + 1)
            pictures.set_picture(user, kind, sent)
        except CoinosError as error:
            add_error(form, error)
        else:
            return saved(
                request, _("Your banner is saved") if is_banner else _("Your picture is saved")
            )
    return settings_page(request, **{kind: form})


@require_safe
def picture(request: HttpRequest, user_id: UUID, kind: str) -> HttpResponse:
    """The bytes that somebody uploaded, as an image and nothing else."""
    found = pictures.picture_of(user_id, kind)
    if found is None:
        raise NotFound()
    response = HttpResponse(found.content, content_type=found.type)
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["X-Content-Type-Options"] = "nosniff"
    is_this_one = request.GET.get("v") == found.version
    response["Cache-Control"] = f"public, max-age={365 * 24 * 3600 if is_this_one else 300}"
    return response


@require_POST
@signed_in
def save_preferences(request: HttpRequest) -> HttpResponse:
    form = PreferencesForm(request.POST)
    if form.is_valid():
        try:
            services.update_profile(user_of(request), form.cleaned_data)
        except CoinosError as error:
            add_error(form, error)
        else:
            language = form.cleaned_data["language"]
            with override(language):
                response = saved(request, _("Your preferences are saved"))
            languages.keep_in_cookie(response, language)  # for after signing out
            return response
    return settings_page(request, preferences=form)


@require_POST
@signed_in
def save_tips(request: HttpRequest) -> HttpResponse:
    form = TipsForm(request.POST)
    if form.is_valid():
        services.update_profile(user_of(request), form.cleaned_data)
        return saved(request, _("Your preferences are saved"))
    return settings_page(request, tips=form)


@require_POST
@signed_in
def save_notifications(request: HttpRequest) -> HttpResponse:
    form = NotificationsForm(request.POST)
    form.is_valid()  # two boxes, ticked or not
    services.update_profile(user_of(request), form.cleaned_data)
    return saved(request, _("Your preferences are saved"))


@require_POST
@signed_in
def change_password(request: HttpRequest) -> HttpResponse:
    form = PasswordForm(request.POST)
    if form.is_valid():
        user = user_of(request)
        try:
            authenticators.change_password(
                user,
                current=form.cleaned_data["current_password"],
                new=form.cleaned_data["password"],
                keep=session_of(request),
            )
        except CoinosError as error:
            add_error(form, error)
        else:
            update_session_auth_hash(request, user)
            note_confirmed(request)
            return saved(
                request, _("Your password has been changed, and you are signed out everywhere else")
            )
    return settings_page(request, password=form)


@require_POST
@signed_in
def change_pin(request: HttpRequest) -> HttpResponse:
    form = with_password(request, PinForm(request.POST))
    if form.is_valid() and (proof := proof_of(request, form)):
        new = form.cleaned_data["newpin"] or "delete"
        try:
            authenticators.set_pin(
                user_of(request), new=new, current=form.cleaned_data["pin"], proof=proof
            )
        except CoinosError as error:
            add_error(form, error)
        else:
            return saved(
                request, _("The PIN has been removed") if new == "delete" else _("The PIN is set")
            )
    return settings_page(request, pin=form)


@require_POST
@signed_in
def revoke_session(request: HttpRequest, session_id: UUID) -> HttpResponse:
    credentials.revoke_session(user_of(request), session_id)
    return saved(request, _("That sign-in has ended"))


@require_POST
@signed_in
def revoke_all(request: HttpRequest) -> HttpResponse:
    """Log out everywhere but here; the API keys too when asked."""
    credentials.log_out_everywhere(
        user_of(request),
        keep=session_of(request),
        api_keys="api_keys" in request.POST,
    )
    return saved(request, _("You are signed out everywhere else"))


@require_POST
@signed_in
@limited(post=limits.CLOSE)
def close_account(request: HttpRequest) -> HttpResponse:
    """Close the account for good and sign out."""
    user = user_of(request)
    form = CloseForm(request.POST, owner=user)
    if form.is_valid():
        try:
            services.close_account(user, password=form.cleaned_data["password"])
        except CoinosError as error:
            add_error(form, error)
        else:
            logout(request)
            messages.success(request, _("Your account is closed"))
            return redirect("home")
    return settings_page(request, close=form)


@require_POST
@signed_in
def create_api_key(request: HttpRequest) -> HttpResponse:
    """Make a key and show it, this once."""
    form = with_pin(request, with_password(request, ApiKeyForm(request.POST)))
    if form.is_valid() and password_is_confirmed(request, form):
        try:
            row, key = grants.create_api_key(
                user_of(request),
                pin=form.cleaned_data.get("pin"),
                name=form.cleaned_data["name"],
                scope=form.cleaned_data["scope"],
                budget_sat=form.cleaned_data["budget_sat"],
            )
        except CoinosError as error:
            add_error(form, error)
        else:
            return settings_page(request, new_key=key, new_key_name=row.name)
    return settings_page(request, api_key=form)


@require_POST
@signed_in
def revoke_api_key(request: HttpRequest, key_id: UUID) -> HttpResponse:
    credentials.revoke_api_key(user_of(request), key_id)
    return saved(request, _("That API key no longer works"))


@require_POST
@signed_in
def show_read_only_token(request: HttpRequest) -> HttpResponse:
    return settings_page(request, read_only_token=credentials.read_only_token(user_of(request)))


def settings_page(request: HttpRequest, **changed: Any) -> HttpResponse:
    """The one settings page, with a form that was refused or a secret that was asked for."""
    user = user_of(request)
    stored = User.objects.get(id=user.id)  # a refused form may have changed our copy
    context: dict[str, Any] = {
        "profile": ProfileForm(
            initial={name: getattr(stored, name) for name in ProfileForm.base_fields}
        ),
        "preferences": PreferencesForm(
            initial={
                "currency": stored.currency,
                "fiat": stored.fiat,
                "language": get_language(),
                "theme": stored.theme or "system",
            }
        ),
        "tips": TipsForm(initial={"prompt": stored.prompt, "tip": stored.tip}),
        "notifications": NotificationsForm(
            initial={"toasts": stored.toasts, "sound": stored.sound}
        ),
        "picture": PictureForm(),
        "banner": BannerForm(),
        "close": CloseForm(owner=stored),
        "password": PasswordForm(),
        "pin": with_password(request, PinForm()),
        "lock_timer": LockTimerForm(owner=stored),
        "second_factor": CodeForm() if stored.has_second_factor else with_password(request, Form()),
        "email": with_password(
            request, EmailForm(initial={"email": stored.email, "notify": stored.notify})
        ),
        "recovery_codes_left": second_factor.recovery_codes_left(stored),
        "api_key": with_pin(request, with_password(request, ApiKeyForm())),
        "sessions": credentials.live_sessions(stored).order_by("-last_used"),
        "this_session": session_of(request),
        "api_keys": stored.api_keys.filter(revoked_at=None).order_by("-created"),
        "here": "settings",
    }
    context |= changed
    for name, value in context.items():
        if isinstance(value, BaseForm):  # several ask for a PIN or a password, each under a label
            value.auto_id = f"id_{name}_%s"
    refused = any(isinstance(value, BaseForm) and value.errors for value in changed.values())
    return render(request, "accounts/settings.html", context, status=422 if refused else 200)


def saved(request: HttpRequest, sentence: str) -> HttpResponse:
    messages.success(request, sentence)
    return redirect("settings")
