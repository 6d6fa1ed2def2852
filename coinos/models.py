"""The tables of the kit: fiat rates, who does what work now, and when each job last worked."""

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


class Lease(models.Model):
    """Which process does a piece of work that one does at a time, and until when
    (`coinos.leases`)."""

    name = models.CharField(max_length=40, primary_key=True)
    owner = models.UUIDField()
    until = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Heartbeat(models.Model):
    """When a periodic job last succeeded, and how it has failed since."""

    job = models.CharField(max_length=40, primary_key=True)
    silence_max_s = models.PositiveIntegerField(help_text="Older than this is stale")
    succeeded_at = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0, help_text="Since the last success")
    reason = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return self.job
