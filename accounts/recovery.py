"""A forgotten password: ask for a link, choose a new one."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts import authenticators, emails, links
from accounts.forms import ForgotForm, NewPasswordForm
from coinos import limits
from coinos.errors import CoinosError
from coinos.throttling import limited
from coinos.web import add_error, posted


@require_http_methods(["GET", "HEAD", "POST"])
@limited(post=limits.FORGOT)
def forgot(request: HttpRequest) -> HttpResponse:
    """Ask for a link. The answer is the same whether or not there is such an account (P19): all
    that happens here is that the wish is written down."""
    form = ForgotForm(posted(request))
    if settings.EMAIL_ENABLED and form.is_valid():
        try:
            emails.queue_reset(form.cleaned_data["account"])
        except CoinosError as error:
            add_error(form, error)
        else:
            messages.success(
                request,
                _("If this account has a confirmed e-mail address, a link is on its way to it."),
            )
            return redirect("login")
    status = 422 if form.errors else 200
    return render(request, "accounts/forgot.html", {"form": form}, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@limited(get=limits.RESET, post=limits.RESET)
def reset(request: HttpRequest, user_id: UUID, token: str) -> HttpResponse:
    """Where the link leads. Afterwards one signs in as always, with the second factor (P25)."""
    links.user_of_reset(user_id, token)
    form = NewPasswordForm(posted(request))
    if form.is_valid():
        try:
            authenticators.reset_password(
                user_id,
                token,
                new=form.cleaned_data["password"],
                api_keys=form.cleaned_data["api_keys"],
            )
        except CoinosError as error:
            add_error(form, error)
        else:
            messages.success(
                request, _("Your password has been changed, and you are signed out everywhere")
            )
            return redirect("login")
    status = 422 if form.errors else 200
    response = render(request, "accounts/reset.html", {"form": form}, status=status)
    response["Cache-Control"] = "no-store"
    return response
