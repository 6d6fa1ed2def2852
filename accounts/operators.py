"""Where operators sign in: the admin's sign-in, sign-out and who may open its pages.

An operator's session is a row like any other, listed and ended with the rest, but a short one. It
opens the admin only; the wallet asks the same person to sign in there.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, URLResolver, reverse
from unfold.forms import AuthenticationForm
from unfold.sites import UnfoldAdminSite
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts import credentials, services
from accounts.audit import audit_some
from accounts.authentication import SESSION_ROW
from accounts.models import Session, User
from coinos import limits
from coinos.errors import CoinosError
from coinos.throttling import limited

PASSWORD_PAGES = {"password_change", "password_change_done"}


class OperatorSignIn(AuthenticationForm):
    """Signs in through the same service as everybody, so that guesses are counted (P18) and the
    second factor is asked for here too (P25)."""

    token = forms.CharField(
        required=False,
        max_length=40,
        label="Code of your second factor",
        widget=UnfoldAdminTextInputWidget({"autocomplete": "one-time-code", "form": "login-form"}),
    )

    def clean(self) -> dict[str, Any]:
        assert self.request is not None
        try:
            user = services.authenticate(
                username=self.cleaned_data.get("username", ""),
                password=self.cleaned_data.get("password", ""),
                code=self.cleaned_data.get("token", ""),
            )
        except CoinosError as error:
            raise ValidationError(error.message) from error
        if not user.is_staff:
            audit_some(user, "sign_in.no_operator", actor="unknown")
            raise self.get_invalid_login_error()
        self.user_cache = user
        return self.cleaned_data


class OperatorSignInPage(LoginView):
    http_method_names = [
        "get",
        "head",
        "post",
    ]  # Django's takes a PUT for a POST that no rate knows
    template_name = "admin/login.html"
    authentication_form = OperatorSignIn

    def form_valid(self, form: Form) -> HttpResponse:
        assert isinstance(form, OperatorSignIn)
        user = form.user_cache
        if not has_what_operators_need(user):
            audit_some(user, "sign_in.no_second_factor")
            context = {**self.get_context_data(), "settings_url": f"{settings.PUBLIC_URL}/settings"}
            page = "admin/second_factor_needed.html"
            return render(self.request, page, context, status=403)
        end_session(self.request)
        login(self.request, user)
        session = credentials.sign_in(user, kind=Session.Kind.ADMIN)
        self.request.session[SESSION_ROW] = str(session.id)
        return HttpResponseRedirect(self.get_success_url())


def has_what_operators_need(user: User) -> bool:
    """On a network where sats are worth something, a password alone opens no admin."""
    return user.has_second_factor or not settings.OPERATORS_NEED_SECOND_FACTOR


def end_session(request: HttpRequest) -> None:
    """End what this browser was signed in to the admin as."""
    credential = getattr(request, "credential", None)
    if credential:
        credentials.revoke_session(credential.user, credential.session.id)


class OperatorSite(UnfoldAdminSite):
    """The admin. Passwords are changed in the wallet, whose service ends the other sign-ins."""

    login_form = OperatorSignIn

    def has_permission(self, request: HttpRequest) -> bool:
        credential = getattr(request, "credential", None)
        return (
            credential is not None
            and credential.session.kind == Session.Kind.ADMIN
            and credential.user.is_active
            and credential.user.is_staff
            and has_what_operators_need(credential.user)
        )

    @limited(post=limits.SIGN_IN)
    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        index = reverse("admin:index", current_app=self.name)
        if request.method == "GET" and self.has_permission(request):
            return HttpResponseRedirect(index)
        context = {
            **self.each_context(request),
            "title": "Log in",
            "app_path": request.get_full_path(),
            "username": "",
            "user": AnonymousUser(),
            **(extra_context or {}),
        }
        request.current_app = self.name
        page = OperatorSignInPage.as_view(extra_context=context, next_page=index)
        response = page(request)
        response["Cache-Control"] = "no-store"
        return response

    def logout(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        end_session(request)
        return super().logout(request, extra_context)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [url for url in super().get_urls() if getattr(url, "name", "") not in PASSWORD_PAGES]
