"""`manage.py check_ledger`: do the books add up? Exit code 1 when they do not."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.books import check_books

MOST_SHOWN = 20


class Command(BaseCommand):
    help = "Check that the books add up: a line for each check, and the differences it found."

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = 0
        for finding in check_books():
            self.stdout.write(f"{'NO ' if finding.differences else 'yes'} {finding.check}")
            for difference in finding.differences[:MOST_SHOWN]:
                self.stdout.write(f"      {difference}")
            wrong += bool(finding.differences)
        if wrong:
            raise CommandError(f"{wrong} checks found differences.", returncode=1)
