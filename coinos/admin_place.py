"""The admin is a place of its own: a cookie of its own, and a host of its own where one is named.

A sign-in to the wallet opens nothing below /admin/, and one to the admin nothing elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.http.request import split_domain_port

ADMIN_PATH = "/admin/"

Answer = Callable[[HttpRequest], HttpResponseBase]


def is_in_admin(request: HttpRequest) -> bool:
    return request.path_info.startswith(ADMIN_PATH)


def admin_host_middleware(get_response: Answer) -> Answer:
    """With ADMIN_HOST, /admin/ answers there only, and nothing but the admin does. A script that
    gets into a page of the one is then not on the origin of the other. Stands behind what serves
    static files."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if settings.ADMIN_HOST:
            # As it was sent: health may be asked for under any name, and others are refused later.
            sent = split_domain_port(request.headers.get("Host", ""))[0]
            is_admin_host = sent == settings.ADMIN_HOST
            if is_admin_host and request.path_info == "/":
                return HttpResponseRedirect(ADMIN_PATH)
            if is_admin_host != is_in_admin(request):
                raise Http404
        return get_response(request)

    return middleware


def admin_cookie_middleware(get_response: Answer) -> Answer:
    """Below /admin/ the session is that of another cookie, which browsers send nowhere else.

    Stands before Django's SessionMiddleware, which then knows only one cookie of its name."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        wallet, ours = settings.SESSION_COOKIE_NAME, settings.ADMIN_SESSION_COOKIE_NAME
        if not is_in_admin(request):
            return get_response(request)
        request.COOKIES.pop(wallet, None)
        if ours in request.COOKIES:
            request.COOKIES[wallet] = request.COOKIES[ours]
        response = get_response(request)
        sent = response.cookies.pop(wallet, None)
        if sent is not None:
            response.cookies[ours] = sent.value
            response.cookies[ours].update(sent)
            response.cookies[ours].update({"path": ADMIN_PATH, "samesite": "Strict"})
        return response

    return middleware
