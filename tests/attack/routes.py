"""The site's routes, as an attacker reads them in its code."""

from __future__ import annotations

import re
from collections.abc import Mapping

from django.urls import get_resolver

from tests.api.endpoints import routes

PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")
NOBODY = "00000000-0000-4000-8000-000000000000"


def all_routes() -> list[str]:
    """Every path of the site as it is written in the code, `/gift/<str:token>`."""
    paths = [path for path, _ in routes(get_resolver().url_patterns)]
    return [path for path in dict.fromkeys(paths) if "(" not in path and "^" not in path]


def filled(route: str, values: Mapping[str, str]) -> str:
    """The route with these values for its parameters, and nobody's id for all others."""
    return PARAMETER.sub(lambda match: values.get(match[1], NOBODY), route)
