"""How large a run of the proof is, and its seed: both from the environment, both printed.

PROOF=full is `make proof`; anything else is the short form that runs with the other tests.
PROOF_SEED replays a run.
"""

from __future__ import annotations

import os
import random

FULL = os.environ.get("PROOF") == "full"
SEED = int(os.environ.get("PROOF_SEED") or random.SystemRandom().randrange(10**9))
os.environ["PROOF_SEED"] = str(SEED)  # the same for xdist's workers and forked processes


def size(quick: int, full: int) -> int:
    """How many: in the short form, in the full one."""
    return full if FULL else quick


def random_for(*names: object) -> random.Random:
    """Random numbers of this run for one purpose, the same whatever else runs."""
    return random.Random(":".join(map(str, (SEED, *names))))
