"""`manage.py bench`: start a server of its own, measure it, print a table."""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from coinos.bench import server


class Command(BaseCommand):
    help = "Measures the server's speed beside the limits of this machine. Needs no running server."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--quick", action="store_true", help="under two minutes, rough")
        parser.add_argument("--stages", default="", help="only these, comma-separated")
        parser.add_argument("--json", default="", help="write the result to this file, too")
        parser.add_argument("--processes", type=int, default=2, help="of the web server")
        parser.add_argument("--database-url", default="", help="an empty database, as the app role")
        parser.add_argument("--database-owner-url", default="", help="the same as the owner role")

    def handle(self, **given: Any) -> None:
        with server.started(
            processes=given["processes"],
            database_url=given["database_url"],
            owner_url=given["database_owner_url"],
        ) as started:
            argv = [sys.executable, "-m", "coinos.bench", f"--up-pid={started.pid}"]
            argv += [f"--startup-s={started.startup_s:.1f}", f"--stages={given['stages']}"]
            argv += [f"--json={given['json']}"] + (["--quick"] if given["quick"] else [])
            # The stages need Django's settings to be those of the server under test.
            environment = started.environment | {"DATABASE_POOL_SIZE": "0"}
            ended = subprocess.run(argv, cwd=settings.BASE_DIR, env=environment, check=False)
        sys.exit(ended.returncode)
