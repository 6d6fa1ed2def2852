"""Run the table: `make mutate`, or `make mutate M=4,5` for some.

Each mutation is made in a copy of the tree, its tests run, and the file put back. The tests must
pass without it first. Ends with 1 when one survives that is not accepted in the table.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mutation.table import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parent.parent.parent
PASSED, FAILED = 0, 1


def main() -> int:
    wanted = {int(number) for number in os.environ.get("M", "").replace(",", " ").split()}
    chosen = [each for each in MUTATIONS if not wanted or each.number in wanted]
    with TemporaryDirectory(prefix="coinos-mutation-") as folder:
        copy = Path(folder) / "tree"
        copy_tree(copy)
        tests = sorted({test for each in chosen for test in each.kills})
        print(f"{len(chosen)} mutations; first their tests without any")
        if run(copy, tests) != PASSED:
            print("The tests fail by themselves: mend them first.")
            return 1
        survivors = [each for each in chosen if not is_killed(copy, each)]
    unexpected = [each.number for each in survivors if not each.survives]
    print(f"{len(chosen) - len(survivors)} killed, {len(survivors)} survived")
    if unexpected:
        print(f"Not accepted: {', '.join(map(str, unexpected))}")
    return 1 if unexpected else 0


def is_killed(copy: Path, mutation: Mutation) -> bool:
    began = time.monotonic()
    with mutated(copy / mutation.file, mutation):
        outcome = run(copy, mutation.kills)
    if outcome not in (PASSED, FAILED):
        word = f"cannot be told: pytest ended with {outcome}"
    elif outcome == FAILED:
        word = "killed"
    else:
        word = f"SURVIVED ({mutation.survives})" if mutation.survives else "SURVIVED"
    took_s = time.monotonic() - began
    print(f"{mutation.number:>3}  {word}, {took_s:.0f} s: {mutation.rule}", flush=True)
    return outcome == FAILED


@contextmanager
def mutated(file: Path, mutation: Mutation) -> Iterator[None]:
    """The mutation is in the file for as long as the block runs."""
    text = file.read_text()
    if text.count(mutation.old) != 1:
        raise ValueError(f"mutation {mutation.number}: its text is not in {file} once")
    file.write_text(text.replace(mutation.old, mutation.new))
    try:
        yield
    finally:
        file.write_text(text)


def run(copy: Path, tests: tuple[str, ...] | list[str]) -> int:
    """pytest's exit code, at the first failure."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=copy, stdout=subprocess.DEVNULL, check=False).returncode


def copy_tree(copy: Path) -> None:
    """What git knows or would know of, as it is now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)


if __name__ == "__main__":
    sys.exit(main())
