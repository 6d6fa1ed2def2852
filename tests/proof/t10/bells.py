"""Rings what beat rings: the processes here are forked, and no beat runs beside them."""

from __future__ import annotations

from tests.proof.t5 import BELLS


def ring() -> None:
    from coinos import bell

    for task in BELLS:
        bell.ring(task)
