"""`manage.py restore`: put a copy of the embedded database in its place, with sends stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from coinos import backup, embedded
from coinos.management.commands.backup import NOT_OURS
from coinos.management.commands.up import alone_in


class Command(BaseCommand):
    help = (
        "Put a copy that `backup` has made in the place of the embedded database. The server must"
        " be stopped. Sends stay stopped until you have compared the books with the nodes."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="The copy")

    def handle(self, *args: Any, **options: Any) -> None:
        """The stop file comes first: whatever happens then, nothing goes out on old books."""
        if not settings.DATABASE_IS_EMBEDDED:
            raise CommandError(NOT_OURS)
        folder = options["folder"].absolute()
        try:
            with alone_in(settings.DATA_DIR):
                backup.check(folder)
                taken = f"{backup.taken_at(folder):%Y-%m-%d %H:%M:%S} UTC"
                stop_sends(f"restored from a copy of {taken}: compare with the nodes first")
                kept = backup.restore(settings.DATA_DIR, folder)
        except embedded.CannotStart as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"The database is that of {taken}. Sends are stopped: {settings.STOP_FILE}"
        )
        if kept:
            self.stdout.write(f"What was there is kept in {kept}")
        self.stdout.write(
            "Start coinos. When it has read the nodes, go on with: manage.py operator compare"
        )


def stop_sends(sentence: str) -> None:
    settings.STOP_FILE.parent.mkdir(parents=True, exist_ok=True)
    settings.STOP_FILE.write_text(f"{timezone.now():%Y-%m-%d %H:%M:%S} UTC {sentence}\n")
