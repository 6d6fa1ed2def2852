"""The API documentation as a page, with the reader's own token in it on request."""

from __future__ import annotations

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_safe

from accounts import credentials
from accounts.authentication import user_of
from accounts.step_up import password_is_confirmed, with_password
from coinos.errors import CoinosError
from coinos.web import posted, sign_in_first


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """POST shows the token, after the password when that was typed long ago."""
    context: dict[str, object] = {}
    signed_in = getattr(request, "credential", None) is not None
    if request.method == "POST" and not signed_in:
        return sign_in_first(request)
    if signed_in:
        form = with_password(request, forms.Form(posted(request)))
        context["form"] = form
        if request.method == "POST" and form.is_valid() and password_is_confirmed(request, form):
            context["token"] = credentials.shown_token(user_of(request))
    refused = signed_in and form.errors
    response = render(request, "accounts/docs.html", context, status=422 if refused else 200)
    if not signed_in:
        response["Cache-Control"] = "private, max-age=300"
    return response


@require_safe
def errors(request: HttpRequest) -> HttpResponse:
    """Every error code with its status and sentence: where the `type` of a problem points."""
    found = {error.code: error for error in _all_errors(CoinosError)}
    listed = sorted((error.status, error.code, error.title) for error in found.values())
    return render(request, "accounts/errors.html", {"errors": listed})


def _all_errors(base: type[CoinosError]) -> list[type[CoinosError]]:
    """The base and everything derived from it; for one code the most general comes last."""
    derived = [error for child in base.__subclasses__() for error in _all_errors(child)]
    return [*derived, base]
