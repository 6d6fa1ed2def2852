"""The picture and the banner of a profile: resized by the browser, told by their first bytes, kept
without metadata, never decoded here."""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext_noop as _

from accounts.models import Picture, User
from accounts.picture_metadata import Malformed, without_metadata
from coinos.errors import InvalidRequest

MOST_BYTES = 200_000


def set_picture(user: User, kind: str, content: bytes) -> None:
    """Make this the user's picture of that kind, without its metadata, at an address that changes
    with it. Raises `InvalidRequest` above `MOST_BYTES`, for anything that does not begin like a
    JPEG, PNG or WebP, and for one that is damaged."""
    if len(content) > MOST_BYTES:
        raise InvalidRequest(_("The picture may be at most 200 kB"), field=f"/{kind}")
    type = _type_of(content)
    if type is None:
        raise InvalidRequest(_("The picture must be a JPEG, PNG or WebP"), field=f"/{kind}")
    try:
        content = without_metadata(content, type)
    except Malformed:
        raise InvalidRequest(
            _("This picture is damaged. Save it again or choose another one"), field=f"/{kind}"
        ) from None
    version = sha256(content).hexdigest()[:12]
    path = reverse(kind, args=[user.id])
    setattr(user, kind, f"{settings.PUBLIC_URL}{path}?v={version}")
    with transaction.atomic():
        Picture.objects.update_or_create(
            user=user,
            kind=kind,
            defaults={"type": type, "content": content, "version": version},
        )
        user.save(update_fields=[kind])


def remove_picture(user: User, kind: str) -> None:
    setattr(user, kind, "")
    with transaction.atomic():
        Picture.objects.filter(user=user, kind=kind).delete()
        user.save(update_fields=[kind])


def picture_of(user_id: UUID, kind: str) -> Picture | None:
    return Picture.objects.filter(user_id=user_id, kind=kind, user__is_active=True).first()


def _type_of(content: bytes) -> str | None:
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return None
