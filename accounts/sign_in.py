"""The first page, registration, signing in with its second step, signing out."""

from __future__ import annotations

import time
from uuid import UUID

from django.contrib.auth import login, logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import credentials, names, second_factor, services
from accounts.authentication import SESSION_ROW, TOKEN_COOKIE, session_of, user_of
from accounts.errors import OtpRequired, UsernameTaken
from accounts.forms import CodeForm, RegisterForm, SignInForm
from accounts.models import Session, User
from accounts.step_up import note_confirmed
from coinos import languages, limits
from coinos.contact import contact_link
from coinos.errors import CoinosError
from coinos.throttling import limited
from coinos.web import add_error, next_url, posted

HALF_SIGNED_IN = "half_signed_in"
HALF_SIGNED_IN_FOR_S = 300


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The first page: one's own wallet, or what this is."""
    if getattr(request, "credential", None):
        return redirect("person", user_of(request).username)
    return render(request, "accounts/landing.html")


@require_safe
def privacy(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/privacy.html")


@require_safe
def support(request: HttpRequest) -> HttpResponse:
    """The operator's contact as it was set; a link where it is an address of some kind."""
    return render(request, "accounts/support.html", {"support_link": contact_link()})


@require_http_methods(["GET", "HEAD", "POST"])
@limited(post=limits.REGISTER)
def register(request: HttpRequest) -> HttpResponse:
    form, free_name = RegisterForm(posted(request)), ""
    if request.method == "POST":
        if form.is_valid():
            try:
                user, _secret_key = services.register(**form.cleaned_data)
            except UsernameTaken as error:
                add_error(form, error)
                free_name = services.suggest_username(names.normalise(form.data["username"]))
            except CoinosError as error:
                add_error(form, error)
            else:
                _sign_in(request, user)
                return redirect(next_url(request, f"/{user.username}"))
    else:
        form = RegisterForm(initial={"username": services.suggest_username()})
    newcomer = User(username=form["username"].value() or "")  # for the picture
    context = {
        "form": form,
        "free_name": free_name,
        "newcomer": newcomer,
        "next": next_url(request, ""),
    }
    status = 422 if form.errors else 200
    return render(request, "accounts/register.html", context, status=status)


# --- Signing in: name and password, then the code of the second factor ---------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@limited(post=limits.SIGN_IN)
def sign_in(request: HttpRequest) -> HttpResponse:
    form = SignInForm(posted(request))
    if form.is_valid():
        try:
            user = services.authenticate(**form.cleaned_data, code="")
        except OtpRequired as error:
            _note_half_signed_in(request, error, next_url(request, ""))
            return redirect("login_code")
        except CoinosError as error:
            add_error(form, error)
        else:
            _sign_in(request, user)
            return redirect(next_url(request, f"/{user.username}"))
    context = {"form": form, "next": next_url(request, "")}
    return render(request, "accounts/login.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@limited(post=limits.SIGN_IN)
def login_code(request: HttpRequest) -> HttpResponse:
    """The second step, for whoever typed the right password within the last minutes."""
    user, wanted = _half_signed_in(request)
    if user is None:
        return redirect("login")
    form = CodeForm(posted(request))
    if form.is_valid():
        code = form.cleaned_data["token"]
        try:
            second_factor.require(user, code)
        except CoinosError as error:
            add_error(form, error)
        else:
            _sign_in(request, user)
            return redirect(wanted or f"/{user.username}")
    response = render(
        request, "accounts/login_code.html", {"form": form}, status=422 if form.errors else 200
    )
    response["Cache-Control"] = "no-store"
    return response


def _note_half_signed_in(request: HttpRequest, asked: OtpRequired, wanted: str) -> None:
    request.session.cycle_key()
    request.session[HALF_SIGNED_IN] = {
        "user": str(asked.user_id),
        "state": asked.authenticators_version,
        "at": time.time(),
        "next": wanted,
    }


def _half_signed_in(request: HttpRequest) -> tuple[User | None, str]:
    """Who typed the right password in this browser, unless it was long ago or has changed since;
    and where to go on to."""
    noted = request.session.get(HALF_SIGNED_IN)
    if not noted or time.time() - noted["at"] > HALF_SIGNED_IN_FOR_S:
        return None, ""
    user = User.objects.filter(id=UUID(noted["user"]), is_active=True).first()
    if user is None or user.authenticators_version != noted["state"]:
        return None, ""
    return user, noted["next"]


def _sign_in(request: HttpRequest, user: User) -> None:
    _end_session(request)
    login(request, user)
    session = credentials.sign_in(user, kind=Session.Kind.WEB)
    request.session[SESSION_ROW] = str(session.id)
    note_confirmed(request)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End this browser's session, and the one whose token the API left here as a cookie."""
    _end_session(request)
    credentials.end_session_of(request.COOKIES.get(TOKEN_COOKIE, ""))
    response = redirect("home")
    response.delete_cookie(TOKEN_COOKIE)
    return response


def _end_session(request: HttpRequest) -> None:
    """End what this browser was signed in as: the row, and the cookie's session."""
    if getattr(request, "credential", None):
        credentials.revoke_session(user_of(request), session_of(request).id)
    logout(request)


@require_POST
def choose_language(request: HttpRequest) -> HttpResponse:
    """The small form below every page of a visitor; who is signed in has the settings."""
    response = redirect(next_url(request, "/"))
    language = request.POST.get("language", "")
    if languages.is_offered(language):
        languages.keep_in_cookie(response, language)
    return response
