"""The web server's command line, in one place: `python -m coinos.web_server`.

`manage.py up` and the container both start this. It becomes granian, after asking the system for
as many open files as the connections need.
"""

from __future__ import annotations

import os
import resource
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coinos.settings")

from django.conf import settings

from coinos import limits

OTHER_FILES = 256
"""What a web process opens besides: databases, look-ups, logs, code."""

# A connection on which no request's headers arrive in this time is closed: one that sends nothing
# at all, one that drips, and one that is kept alive for a request that does not come.
HEADERS_TIMEOUT_S = 10

HEADERS_BYTES = 64 * 1024
"""Of one request, about: a read that ends just beyond still counts. Browsers send a few kB, and a
proxy before us allows less."""

# A hash takes 19 MiB for a moment. Left to itself, glibc learns from the first ones to keep such
# blocks, for each thread its own: a flood of sign-ins would cost 350 MB for good (sec-5).
GIVEN_BACK_BYTES = 1024 * 1024
"""Blocks of memory from this size on go back to the system as soon as they are free."""

STOP_S = 5
"""For answers that are being made when the server is told to stop; then they are cut off."""


def max_connections() -> int:
    """The connections that one web process accepts: the bound, or what the system's limit
    of open files leaves for them."""
    files, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return limits.CONNECTIONS.at_most
    return max(128, min(limits.CONNECTIONS.at_most, files - OTHER_FILES))


def allow_open_files() -> None:
    """Raise this process's limit of open files as far as it is needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.CONNECTIONS.at_most + OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def command() -> list[str]:
    """The command that serves, for this process's limit of open files.

    HTTP/1 only, which is what proxies speak to us: where granian looks for HTTP/2 first, it waits
    for the first bytes of a connection without end.
    """
    connections = str(max_connections())
    return [
        *(sys.executable, "-m", "granian", "--interface", "asginl", "coinos.asgi:application"),
        *("--host", settings.HOST, "--port", str(settings.PORT)),
        *("--workers", str(settings.WEB_PROCESSES), "--respawn-failed-workers"),
        *("--backpressure", connections, "--backlog", connections),
        *("--http", "1", "--http1-header-read-timeout", str(HEADERS_TIMEOUT_S * 1000), "--no-ws"),
        *("--http1-buffer-size", str(HEADERS_BYTES)),
        *("--workers-kill-timeout", str(STOP_S), "--log-level", "warning"),
    ]


if __name__ == "__main__":
    allow_open_files()
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(GIVEN_BACK_BYTES))
    # Each of the threads would keep memory of its own that it has used once (mallopt(3)).
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    os.execv(sys.executable, command())  # noqa: S606 – our own command line
