"""The one table of the kit: the history of fiat rates."""

from __future__ import annotations

from django.db import models


class Rate(models.Model):
    """What a bitcoin cost in one minute. A later refresh within the minute replaces it.

    After `rates.MINUTES_KEPT` only the full hours remain.
    """

    minute = models.DateTimeField(primary_key=True)
    rates = models.JSONField()
    """Currency → units of it per BTC, as a decimal string."""

    def __str__(self) -> str:
        return f"rates of {self.minute:%Y-%m-%d %H:%M}"
