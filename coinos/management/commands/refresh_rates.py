"""`manage.py refresh_rates`: what Celery does once a minute, now."""

from typing import Any

from django.core.management.base import BaseCommand

from coinos import rates


class Command(BaseCommand):
    help = "Asks every source for fiat rates and keeps what they agree on."
    requires_system_checks: list[str] = []

    def handle(self, **options: Any) -> None:
        found = rates.refresh()
        self.stdout.write(f"{len(found)} rates" if found else "no rates: nobody answered")
