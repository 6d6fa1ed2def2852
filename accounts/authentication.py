"""How requests name their caller: header, cookie, or the session of a browser page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponseBase
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.credentials import Credential, credential_of, live_session
from accounts.models import Session, User
from coinos.admin_place import is_in_admin
from coinos.errors import Forbidden

TOKEN_COOKIE = "__Host-token" if settings.PUBLIC_IS_HTTPS else "token"
SESSION_ROW = "session_row"


class ApiRequest(Request):
    """A request that `TokenAuthentication` has signed in; only the type checker needs it."""

    user: User
    auth: Credential
    data: dict[str, Any]


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`; else the `token` cookie, for our own origin only."""

    def authenticate(self, request: Request) -> tuple[User, Credential] | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            credential = credential_of(token.strip())
        elif TOKEN_COOKIE in request.COOKIES:
            refuse_other_origins(request)
            credential = credential_of(request.COOKIES[TOKEN_COOKIE])
        else:
            return None
        return credential.user, credential

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def refuse_other_origins(request: Request) -> None:
    """A request that a cookie names must come from our pages: other origins send a header.

    Browsers leave the origin out only of what their own page reads, so a request that changes
    something must say where it comes from."""
    origin = request.headers.get("Origin") or request.headers.get("Referer")
    if origin is None and request.method in ("GET", "HEAD", "OPTIONS"):
        return
    ours = {urlsplit(settings.PUBLIC_URL)[:2], (request.scheme, request.get_host())}
    if urlsplit(origin or "")[:2] not in ours:
        raise Forbidden("Send the token in the Authorization header: this is another origin")


def web_session_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Browser sessions end with their row, like tokens do. Pages find theirs as
    `request.credential`; this stands after Django's AuthenticationMiddleware.

    Below /admin/ only an operator's session counts, and elsewhere only one of the wallet."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        request.credential = None  # type: ignore[attr-defined]
        if settings.SESSION_COOKIE_NAME not in request.COOKIES:
            return get_response(request)
        session_id = request.session.get(SESSION_ROW)
        session = live_session(session_id) if session_id else None
        kind = Session.Kind.ADMIN if is_in_admin(request) else Session.Kind.WEB
        if session and session.kind == kind:
            request.user = session.user
            request.credential = Credential(  # type: ignore[attr-defined]
                session.user, session=session
            )
        elif session_id:
            logout(request)
        else:
            request.user = AnonymousUser()  # whatever Django's session says: no row, no sign-in
        return get_response(request)

    return middleware


def user_of(request: HttpRequest) -> User:
    """Who opened this page. For views behind `coinos.web.signed_in`."""
    return session_of(request).user


def session_of(request: HttpRequest) -> Session:
    """The browser's sign-in. For views behind `coinos.web.signed_in`."""
    credential: Credential = request.credential  # type: ignore[attr-defined]
    assert credential.session is not None
    return credential.session
