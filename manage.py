#!/usr/bin/env python
"""`manage.py up` runs everything; otherwise plain Django."""

import os
import sys

# These change or compare tables, so they run as the role that owns them; all others as the app.
OWNER_COMMANDS = {"migrate", "makemigrations", "showmigrations", "flush"}

# These use no database, so the embedded one need not run for them.
WITHOUT_DATABASE = {"up", "doctor", "simnet", "help", "--help", "version", "--version", "check"} | {
    "bench",
    "restore",
    "collectstatic",
    "compilemessages",
    "diffsettings",
    "findstatic",
    "makemessages",
    "spectacular",
}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coinos.settings")
    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    if command in OWNER_COMMANDS:
        os.environ.setdefault("DATABASE_ROLE", "owner")
    if command != "up":  # one thread needs no pool of connections
        os.environ.setdefault("DATABASE_POOL_SIZE", "0")

    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from coinos import embedded
    from coinos.caller import Caller, calling

    try:
        if settings.DATABASE_IS_EMBEDDED and command not in WITHOUT_DATABASE:
            embedded.hold_postgres(settings.DATA_DIR)
        with calling(Caller("command")):
            execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, embedded.CannotStart) as error:
        sys.exit(f"coinos: {error}")


if __name__ == "__main__":
    main()
