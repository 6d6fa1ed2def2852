"""Whom people reach when something is wrong: the operator's contact as a link, and security.txt."""

from __future__ import annotations

import re
from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from coinos.errors import NotFound

VALID_FOR = timedelta(days=180)


def contact_link() -> str:
    """`SUPPORT_CONTACT` as an address that can be followed; empty when it is none or unset."""
    contact: str = settings.SUPPORT_CONTACT
    if re.fullmatch(r"(https://|mailto:)\S+", contact):
        return contact
    if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", contact):
        return f"mailto:{contact}"
    return ""


@require_safe
def security_txt(request: HttpRequest) -> HttpResponse:
    """Where to report a weakness (RFC 9116). Where the contact is a sentence, the page that shows
    it; raises `NotFound` where there is none."""
    if not settings.SUPPORT_CONTACT:
        raise NotFound()
    expires = (timezone.now() + VALID_FOR).replace(microsecond=0)
    lines = [
        f"Contact: {contact_link() or settings.PUBLIC_URL + reverse('support')}",
        f"Expires: {expires:%Y-%m-%dT%H:%M:%SZ}",
        f"Canonical: {settings.PUBLIC_URL}{reverse('security_txt')}",
    ]
    return HttpResponse("\n".join([*lines, ""]), content_type="text/plain; charset=utf-8")
