"""What connections cost that somebody opens and forgets (sec-2)."""

from __future__ import annotations

import socket
import time

from tests.attack.attacks import Tried, attack
from tests.attack.connections import begun
from tests.attack.world import World

ENDED_WITHIN_S = 45


@attack("abandoned", "sec-2")
def abandoned_connections(world: World) -> Tried:
    """Connections that were begun before all other attacks and never used again."""
    names = list(begun(world))
    tried = Tried(f"{len(names)} connections that were begun long ago: " + ", ".join(names))
    until = world.began + ENDED_WITHIN_S
    waiting = dict(zip(names, world.abandoned.sockets, strict=True))
    while True:
        for name, connection in list(waiting.items()):
            if _is_ended(connection):
                tried.answers["ended by the server"] += 1
                del waiting[name]
        if not waiting or time.monotonic() > until:
            break
        time.sleep(0.1)
    for name in waiting:
        tried.require(False, f"a connection with {name} is still open after {ENDED_WITHIN_S} s")
    return tried


def _is_ended(connection: socket.socket) -> bool:
    """Whether the server has closed it; what it said before is read."""
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
