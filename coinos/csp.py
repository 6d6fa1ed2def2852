"""The Content-Security-Policy of every response."""

from __future__ import annotations

import functools
from collections.abc import Callable

from csp.constants import HEADER, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.utils import build_policy
from django.http import HttpRequest, HttpResponse

from coinos.admin_place import is_in_admin

# unfold's pages are built with Alpine, which evaluates the expressions in their attributes, and set
# colours inline. They have no inline script (tests/runtime/test_csp.py), so none runs. Only
# operators get there; the wallet's own pages stay strict.
ADMIN = {
    "script-src": [SELF, UNSAFE_EVAL],
    "style-src": [SELF, UNSAFE_INLINE],
}


def policy_middleware(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """The policy in the settings, loosened below /admin/."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        # A view may have set a stricter one.
        response.setdefault(HEADER, _policy(loosened=is_in_admin(request)))
        return response

    return middleware


@functools.cache
def _policy(*, loosened: bool) -> str:
    # Put together once: the library's own middleware does it anew for every response.
    return build_policy(replace=ADMIN if loosened else None)
