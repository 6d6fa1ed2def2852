"""Lines of a statement as the lists of the pages show them: texts ready to be put into the page.

Made here and not in the template: thirty rows of tags and filters took most of a page's time.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from uuid import UUID

from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _

from accounts.models import Activity
from accounts.selectors import Line
from coinos.templatetags.wallet import ago, icon
from coinos.web import Units

MEMO_SHOWN = 60


@dataclass(slots=True)
class Row:
    """One payment of a list. `amount` is in the unit that the user wants first."""

    url: str
    status: str
    direction: str  # "in", or nothing
    icon: SafeString
    who: str
    amount: SafeString
    amount_otherwise: SafeString
    when: SafeString
    kind: str  # how a settled one was paid, and the tip in it


def rows(lines: Iterable[Line], units: Units) -> list[Row]:
    """In the language and the units of the reader."""
    return [_row(line, units) for line in lines]


def days(lines: Iterable[Line], units: Units) -> list[tuple[date, list[Row]]]:
    """The rows of each day where the reader is, in the order of the lines."""
    by_day = groupby(lines, key=lambda line: timezone.localdate(line.created))
    return [(day, rows(of_day, units)) for day, of_day in by_day]


def _row(line: Line, units: Units) -> Row:
    amount, amount_otherwise = units.both(
        line.total_sat, sign=True, rate=line.rate, currency=line.currency
    )
    return Row(
        url=f"{_url_before_id()}{line.id}",
        status=line.status,
        direction="in" if line.is_incoming else "",
        icon=icon(_ICONS.get(line.status) or ("receive" if line.is_incoming else "send")),
        who=_who(line),
        amount=amount,
        amount_otherwise=amount_otherwise,
        when=ago(line.created),
        kind=_kind(line, units),
    )


_ICONS: dict[str, str] = {Activity.Status.FAILED: "cross", Activity.Status.PENDING: "clock"}


def _who(line: Line) -> str:
    if line.counterparty:
        words = _("From %(name)s") if line.is_incoming else _("To %(name)s")
        return words % {"name": line.counterparty.username}
    if line.memo:
        return Truncator(line.memo).chars(MEMO_SHOWN)
    if line.status == Activity.Status.PENDING:
        return _("Arriving") if line.is_incoming else _("On its way")
    if line.status == Activity.Status.SETTLED and line.reason:
        return _(line.reason)
    return _("Received") if line.is_incoming else _("Sent")


def _kind(line: Line, units: Units) -> str:
    if not line.tip_sat:
        return line.type_name
    tip = _("with a tip of %(tip)s") % {"tip": f"{units.number(line.tip_sat)} sats"}
    return f"{line.type_name} · {tip}"


@functools.cache
def _url_before_id() -> str:
    nobody = UUID(int=0)
    return reverse("payment", args=[nobody]).removesuffix(str(nobody))
