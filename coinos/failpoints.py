"""Places where a test may kill the process: `COINOS_FAILPOINT=name[:visit]` does it.

One line between any two effects of sending, receiving, deposits and webhooks. Off, a failpoint is
one comparison; on, the process dies by SIGKILL at that visit (the first one unless named).
"""

from __future__ import annotations

import os
import signal

_name, _, _visit = os.environ.get("COINOS_FAILPOINT", "").partition(":")
_visits_left = int(_visit or 1)


def failpoint(name: str) -> None:
    """Die here by SIGKILL when the environment says so; otherwise nothing."""
    global _visits_left
    if name != _name:
        return
    _visits_left -= 1
    if _visits_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
