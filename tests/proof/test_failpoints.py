"""Every line where a process may be killed is one where T5 kills a process."""

from __future__ import annotations

from tests.proof.t5 import FAILPOINTS, all_cells


def test_every_failpoint_has_a_process_that_dies_there() -> None:
    assert {cell.failpoint for cell in all_cells()} == FAILPOINTS
