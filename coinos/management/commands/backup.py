"""`manage.py backup`: a copy of the embedded database, while it runs."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from coinos import backup, embedded

NOT_OURS = (
    "The database is not the embedded one: copy it by PostgreSQL's own tools (pg_basebackup and"
    " archived WAL), as docs/operating.md says."
)


class Command(BaseCommand):
    help = "Copy the embedded database to a folder, while it runs."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "folder",
            nargs="?",
            type=Path,
            help="Where to; by default backups/<time> in the data dir",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DATABASE_IS_EMBEDDED:
            raise CommandError(NOT_OURS)
        name = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}"
        folder = (options["folder"] or settings.DATA_DIR / "backups" / name).absolute()
        try:
            backup.back_up(settings.DATA_DIR, folder)
        except embedded.CannotStart as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{folder} is a whole copy. Keep it on another machine, with the folder secrets"
            f" of {settings.DATA_DIR}."
        )
