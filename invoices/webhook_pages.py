"""Pages of webhooks: the signing secret, what was delivered, tools for who builds a receiver."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from accounts.authentication import user_of
from accounts.step_up import password_is_confirmed, with_password
from coinos import limits
from coinos.errors import CoinosError, NotFound
from coinos.throttling import limited
from coinos.web import add_error, next_url, posted, signed_in
from invoices import selectors, services, webhook_check, webhooks
from invoices.forms import AccountWebhookForm, CheckSignatureForm, TryWebhookForm

DELIVERIES_SHOWN = 50


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def webhook_settings(request: HttpRequest) -> HttpResponse:
    """What was delivered; POST shows or replaces the signing secret."""
    user = user_of(request)
    form = with_password(request, forms.Form(posted(request)))
    shown: dict[str, Any] = {"form": form}
    if request.method == "POST" and form.is_valid() and password_is_confirmed(request, form):
        rotate = "rotate" in request.POST
        shown["secret"] = (
            webhooks.rotate_signing_secret(user) if rotate else webhooks.show_signing_secret(user)
        )
    return _page(request, **shown)


@require_POST
@signed_in
@limited(post=limits.WEBHOOK_SAVE)
def save_account_webhook(request: HttpRequest) -> HttpResponse:
    """Set the webhook of the account, let a paused one go on, or switch it off."""
    user = user_of(request)
    form = AccountWebhookForm(request.POST, owner=user)
    if form.is_valid():
        try:
            services.set_account_webhook(user, **form.cleaned_data)
        except CoinosError as error:
            add_error(form, error)
        else:
            messages.success(
                request,
                _("Your webhook is saved") if user.webhook else _("Your webhook is switched off"),
            )
            return redirect("webhooks")
    return _page(request, account=form)


@require_POST
@signed_in
def redeliver(request: HttpRequest, delivery_id: UUID) -> HttpResponse:
    delivery = selectors.deliveries_of(user_of(request)).filter(id=delivery_id).first()
    if delivery is None:
        raise NotFound()
    webhooks.redeliver(delivery)
    messages.success(request, _("The call will be made again within a few seconds"))
    return redirect(next_url(request, reverse("webhooks")))


@require_POST
@signed_in
@limited(post=limits.WEBHOOK_TRY)
def try_webhook(request: HttpRequest) -> HttpResponse:
    """Call a URL now, to see what it answers."""
    form = TryWebhookForm(request.POST)
    shown: dict[str, Any] = {"try": form}
    if form.is_valid():
        try:
            shown["tried"] = webhook_check.try_webhook(user_of(request), form.cleaned_data["url"])
        except CoinosError as error:
            add_error(form, error)
    return _page(request, **shown)


@require_POST
@signed_in
def check_signature(request: HttpRequest) -> HttpResponse:
    """Say whether a call that somebody received was ours."""
    form = CheckSignatureForm(request.POST)
    shown: dict[str, Any] = {"check": form}
    if form.is_valid():
        shown["checked"] = True
        shown["is_signed"] = webhook_check.is_signed(user_of(request), **form.cleaned_data)
        body = form.cleaned_data["body"]
        shown["is_a_strangers"] = webhook_check.is_about_a_strangers_invoice(body)
    return _page(request, **shown)


def _page(request: HttpRequest, **shown: Any) -> HttpResponse:
    """The one page, with what was asked for or a form that was refused."""
    user = user_of(request)
    context = {
        "form": with_password(request, forms.Form()),
        "account": AccountWebhookForm(owner=user),
        "try": TryWebhookForm(initial={"url": user.webhook}),
        "check": CheckSignatureForm(),
        "deliveries": selectors.deliveries_of(user)[:DELIVERIES_SHOWN],
        "here": "settings",
    } | shown
    refused = any(isinstance(value, forms.BaseForm) and value.errors for value in shown.values())
    return render(request, "invoices/webhooks.html", context, status=422 if refused else 200)
