#!/usr/bin/env python
"""`manage.py up` runs everything; otherwise plain Django."""

import os
import sys

# These change tables, so they run as the role that owns them; everything else is the app role.
OWNER_COMMANDS = {"migrate", "flush"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coinos.settings")
    if OWNER_COMMANDS.intersection(sys.argv[1:2]):
        os.environ.setdefault("DATABASE_ROLE", "owner")

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
