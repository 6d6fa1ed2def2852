"""The page of auto-withdraw, one of the settings."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts.authentication import user_of
from accounts.step_up import password_is_confirmed, with_password
from coinos import limits
from coinos.errors import CoinosError
from coinos.throttling import limited
from coinos.web import add_error, posted, signed_in
from payments import services
from payments.forms import AutoWithdrawForm
from payments.selectors import auto_withdraw_of, destination_of, last_auto_withdrawal


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
@limited(post=limits.LOOK)
def page(request: HttpRequest) -> HttpResponse:
    """What is set, when it looks next and why it did not pay; POST sets it."""
    user = user_of(request)
    form = AutoWithdrawForm(
        posted(request),
        initial={
            "autowithdraw": user.autowithdraw,
            "threshold": user.threshold_sat,
            "reserve": user.reserve_sat,
            "destination": destination_of(user),
        },
    )
    with_password(request, form)
    if form.is_valid() and password_is_confirmed(request, form):
        try:
            order = services.check_auto_withdraw(
                user, form.wanted(), password=None, pin=form.cleaned_data["pin"]
            )
            services.save_auto_withdraw(user, order)
        except CoinosError as error:
            add_error(form, error)
        else:
            is_on = form.cleaned_data["autowithdraw"]
            messages.success(
                request, _("Auto-withdraw is on") if is_on else _("Auto-withdraw is off")
            )
            return redirect("auto_withdraw")
    context = {
        "form": form,
        "destination": destination_of(user),
        "standing": auto_withdraw_of(user),
        "last": last_auto_withdrawal(user),
        "here": "settings",
    }
    status = 422 if form.errors else 200
    return render(request, "payments/autowithdraw.html", context, status=status)
