"""What makes the wallet installable: the manifest, and a service worker that knows one page.

The worker keeps the offline page and what it is drawn with, nothing else: a balance from a cache
would look like one of now.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

OFFLINE_ASSETS = ("wallet.css", "icons/favicon.svg")


@require_safe
def manifest(request: HttpRequest) -> JsonResponse:
    """https://www.w3.org/TR/appmanifest/"""
    icons = [
        {"src": static(f"icons/{name}.png"), "sizes": size, "type": "image/png", "purpose": purpose}
        for name, size, purpose in [
            ("app-192", "192x192", "any"),
            ("app-512", "512x512", "any"),
            ("app-maskable-512", "512x512", "maskable"),
        ]
    ]
    shortcuts = [
        {"name": name, "url": reverse(page)}
        for page, name in [("receive", _("Receive")), ("send", _("Send"))]
    ]
    return JsonResponse(
        {
            "id": "/",
            "name": "coinos",
            "short_name": "coinos",
            "description": _(
                "A bitcoin wallet: receive, hold and send over Lightning and on-chain."
            ),
            "start_url": "/",
            "scope": "/",
            "display": "standalone",
            "background_color": "#f5f4f0",
            "theme_color": "#0b6a4f",
            "icons": icons,
            "shortcuts": shortcuts,
        },
        content_type="application/manifest+json",
    )


@require_safe
def service_worker(request: HttpRequest) -> HttpResponse:
    """At the root, where its scope is the whole site. A new version replaces the old copies."""
    context = {
        "version": _version(),
        "offline": reverse("offline"),
        "assets": [static(name) for name in OFFLINE_ASSETS],
    }
    return render(request, "service-worker.js", context, content_type="text/javascript")


@require_safe
def offline(request: HttpRequest) -> HttpResponse:
    """What the app shows without a network: that it is offline, and nothing of anybody."""
    return render(request, "offline.html")


@cache
def _version() -> str:
    """Of what the worker keeps."""
    paths = [Path(str(finders.find(name))) for name in OFFLINE_ASSETS]
    paths.append(settings.BASE_DIR / "templates" / "offline.html")
    return sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]
