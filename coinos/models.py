"""The tables of the kit: fiat rates, who does what work now, when each job last worked, alarms."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


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
    """When a periodic job last succeeded, when it last had something to do, and how it has failed
    since."""

    job = models.CharField(max_length=40, primary_key=True)
    silence_max_s = models.PositiveIntegerField(help_text="Older than this is stale")
    succeeded_at = models.DateTimeField(null=True)
    worked_at = models.DateTimeField(null=True, help_text="Last found something to do")
    failures = models.PositiveIntegerField(default=0, help_text="Since the last success")
    reason = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return self.job


class Alarm(models.Model):
    """Something that must not be, found by whoever looks (`coinos.alarms`). While an alarm that
    stops sends stands, the stop file comes back."""

    cause = models.CharField(max_length=200, help_text="The same for the same thing found again")
    sentence = models.CharField(max_length=300)
    amount_msat = models.BigIntegerField(null=True, help_text="What it is about, if an amount")
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True, help_text="Empty: nothing but a suspicion yet")
    holds_sends = models.BooleanField(
        default=False, help_text="The stop file could not be written: this row stands for it"
    )
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=100, blank=True)
    acknowledged_msat = models.BigIntegerField(null=True)
    reason = models.CharField(max_length=200, blank=True)
    ended_at = models.DateTimeField(null=True, help_text="Since when it is so no more")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="one_open_alarm_per_cause", fields=["cause"], condition=Q(ended_at=None)
            ),
        ]

    def __str__(self) -> str:
        return self.sentence
