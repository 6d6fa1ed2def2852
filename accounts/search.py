"""Find lines of a statement by what people remember of them: a note, a name, a hash."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from django.db.models import Q

from accounts.models import Activity, User
from accounts.selectors import StatementFilter, statement_page

LINES_READ = 10_000
"""Notes and names are looked for in this many of the newest lines of the range, so that a search
takes as long in a history of a million; exact hashes are found in all of it, by index."""
MOST_FOUND = 500


def search(user: User, wanted: StatementFilter, text: str) -> StatementFilter:
    """`wanted`, narrowed to the newest lines whose note, name, hash, address or id has `text`."""
    text = text.replace("\x00", "").strip()
    exact = Activity.objects.filter(user=user)
    newest = exact.filter(created__gte=wanted.start) if wanted.start else exact
    newest = newest.filter(created__lte=wanted.end) if wanted.end else newest
    oldest_read = statement_page(
        user, replace(wanted, incoming=None, status="all"), limit=1, offset=LINES_READ - 1
    )
    if oldest_read:
        newest = newest.filter(created__gte=oldest_read[0].created)
    found = newest.filter(
        Q(memo__icontains=text)
        | Q(counterparty__username__icontains=text)
        | Q(counterparty__display__icontains=text)
        | Q(hash__istartswith=text)
        | Q(ref__istartswith=text)
        | Q(payment_hash__istartswith=text)
    )
    ids = list(found.order_by("-created", "-id").values_list("id", flat=True)[:MOST_FOUND])
    for match in (Q(hash=text), Q(hash=text.lower()), Q(payment_hash=text.lower())):
        ids += exact.filter(match).values_list("id", flat=True)[:MOST_FOUND]
    if is_id(text):
        ids += exact.filter(id=text).values_list("id", flat=True)
    return replace(wanted, ids=tuple(set(ids)))


def is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
