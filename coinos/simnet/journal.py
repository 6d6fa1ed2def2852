"""The journal: how simnet remembers across `kill -9`.

A file of JSON lines, one record a line. A record is an upsert of one entity; what it means is
the business of whoever writes it. `append` hands the line to the kernel before it returns, so
the death of this process loses nothing (the death of the machine may: there is no fsync).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class Journal:
    """An append-only file of records. One process writes it; nobody else does."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd: int | None = None

    def replay(self) -> Iterator[Record]:
        """Yield every record in the order it was written.

        A torn last line (the process died inside `write`) is ignored: its writer had not
        answered anybody yet. A broken line elsewhere raises ValueError.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield json.loads(line)

    def append(self, record: Record) -> None:
        """Write one record; on return it survives the death of the process."""
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        view = memoryview(line)
        while view:
            view = view[os.write(self._open(), view) :]

    def compact(self, records: Iterable[Record]) -> None:
        """Replace the whole journal by `records`, atomically. Meant for the start."""
        self.close()
        fresh = self.path.with_suffix(self.path.suffix + ".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            for record in records:
                file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        fresh.replace(self.path)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        if self._fd is None:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._cut_torn_line(self._fd)
        return self._fd

    @staticmethod
    def _cut_torn_line(fd: int) -> None:
        """Drop an unfinished last line, or the next record would be glued to it."""
        size = os.fstat(fd).st_size
        position = size
        while position:
            start = max(0, position - 4096)
            newline = os.pread(fd, position - start, start).rfind(b"\n")
            if newline >= 0:
                position = start + newline + 1
                break
            position = start
        if position < size:
            os.ftruncate(fd, position)
