"""`python -m tests.proof`: the proof, its table and its release sentence.

    make proof                      all of it, about 20 minutes on 2 cores
    make proof QUICK=1              six minutes of it
    make proof SEED=7 T=T4,T5       these tests again with this seed

T3 to T7 and T10 kill the real processes; T1, T2, T8 and T9 are pytest files. The first broken
promise ends the proof.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ALL = [f"T{n}" for n in range(1, 11)]
ON_STAGE = ["T3", "T4", "T5", "T6", "T7", "T10"]
HERE = Path(__file__).resolve().parent


def main() -> int:
    quick = os.environ.get("QUICK", "") not in ("", "0")
    chosen = [name.strip().upper() for name in os.environ.get("T", "").split(",") if name.strip()]
    chosen = chosen or ALL
    if unknown := set(chosen) - set(ALL):
        sys.exit(f"T={','.join(sorted(unknown))}: the tests are {', '.join(ALL)}")
    if os.environ.get("SEED"):
        os.environ["PROOF_SEED"] = os.environ["SEED"]
    os.environ["PROOF"] = "quick" if quick else "full"
    table_file = tempfile.NamedTemporaryFile(prefix="proof-table-", suffix=".jsonl")  # noqa: SIM115
    os.environ["PROOF_TABLE"] = table_file.name

    from tests.proof import table
    from tests.proof.scale import SEED

    print(f"proof ({os.environ['PROOF']}), seed {SEED}", flush=True)
    started = time.monotonic()
    failed = ""
    for run in (_pytest, _on_stage):
        failed = failed or run(
            [name for name in chosen if (name in ON_STAGE) == (run is _on_stage)]
        )
    rows = table.read(Path(table_file.name))
    print()
    print(table.render(rows))
    print()
    if failed:
        again = f"make proof SEED={SEED} T={failed}" + (" QUICK=1" if quick else "")
        print(f"{failed} FAILED. Again with: {again}")
        return 1
    print(table.release_sentence(rows, SEED))
    print(f"{', '.join(chosen)} in {time.monotonic() - started:.0f} s")
    return 0


def _pytest(names: list[str]) -> str:
    """Run the tests that are pytest files; the name of the first that fails, or ""."""
    for name in names:
        files = sorted(str(path) for path in HERE.glob(f"test_{name.lower()}_*.py"))
        if not files:
            print(f"{name}: there is no such test yet")
            continue
        at_once = ["-n", "2"] if len(files) > 1 else []
        if subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", *at_once, *files]
        ).returncode:
            return name
    return ""


def _on_stage(names: list[str]) -> str:
    """Run the tests that kill processes, one after the other on one stage."""
    if not names:
        return ""
    from tests.proof.harness import ProofFailed, Stage, prepare_environment

    stage = Stage(prepare_environment())
    try:
        stage.start()
        for name in names:
            started = time.monotonic()
            print(f"{name} …", end=" ", flush=True)
            try:
                importlib.import_module(f"tests.proof.{name.lower()}").run(stage)
            except ProofFailed as failure:
                print(f"FAILED\n{failure}\n{stage.how_it_stands()}")
                print(f"logs: PROOF_KEEP=1 keeps {stage.data_dir}")
                return name
            print(f"{time.monotonic() - started:.0f} s", flush=True)
    finally:
        stage.stop()
    return ""
