"""T10: the ordinary life of a server that runs for years.

One trouble a file: a pooler that hands each transaction to another session, a failover that lost
the last commits, a node that came back from an old copy, a mempool that stays full, a stranger
with patience. After each the books are compared with what really happened.
"""

from __future__ import annotations

from tests.proof import oracle, table
from tests.proof.harness import Stage, require_unbroken
from tests.proof.scale import SEED
from tests.proof.t10 import full_mempool, lost_commits, patient_stranger, pooler, restored_node


def run(stage: Stage) -> None:
    for trouble in (pooler, patient_stranger, full_mempool, lost_commits, restored_node):
        found = trouble.run(stage)
        broken = found.broken + oracle.check(stage.control)
        table.record(
            test="T10",
            tried=found.tried,
            found=len(broken),
            seed=SEED,
            **found.counts,
            double_credits=oracle.count(broken, "I5"),
            wrongful_refunds=oracle.count(broken, "I7"),
        )
        require_unbroken(broken)
