"""Copies of the embedded database: taken while it runs, checked, and put in its place again.

A copy is one of the files (`pg_basebackup`), so it has everything: both roles, and the numbers of
transactions, which streams and auto-withdraw go by. What happened after it was taken is known to
the nodes alone; docs/operating.md says how the two are brought together.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
from pathlib import Path

from coinos import embedded
from coinos.embedded import CannotStart


def back_up(data_dir: Path, target: Path) -> None:
    """Copy the running database to the folder `target`, which must not exist. It appears under its
    name when it is whole and has been checked. Raises CannotStart."""
    if target.exists():
        raise CannotStart(f"{target} exists already: name another folder.")
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = target.with_name(target.name + ".part")
    shutil.rmtree(draft, ignore_errors=True)
    embedded.make_folder_of_postgres(draft)
    server = str(embedded.short_path(data_dir) / "postgres")
    embedded.run_postgres_tool(
        *("pg_basebackup", "--host", server, "--username", embedded.SUPERUSER_ROLE),
        *("--pgdata", str(draft), "--checkpoint", "fast", "--wal-method", "stream"),
        *("--manifest-checksums", "SHA256"),
    )
    check(draft)
    draft.rename(target)


def check(backup: Path) -> None:
    """Raises CannotStart unless every file of the copy is there as it was taken. PostgreSQL's own
    program for that ends by a signal in the wheel that the embedded server comes from."""
    try:
        manifest = json.loads((backup / "backup_manifest").read_text())
    except (OSError, ValueError):
        raise CannotStart(f"{backup} is no copy that `manage.py backup` has made.")
    for file in manifest["Files"]:
        path = backup / file["Path"]
        if not path.is_file() or _sha256(path) != file["Checksum"]:
            raise CannotStart(f"{path} is not as it was copied: take another copy.")
    if not any((backup / "pg_wal").glob("0*")):
        raise CannotStart(f"{backup} has no log of what was written meanwhile.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def taken_at(backup: Path) -> dt.datetime:
    """When the copy was taken, by the clock of this machine."""
    return dt.datetime.fromtimestamp((backup / "backup_label").stat().st_mtime, dt.UTC)


def restore(data_dir: Path, backup: Path) -> Path | None:
    """Put a copy in the place of the database, which nobody may be using. Returns where the one
    that was there is kept. Raises CannotStart."""
    if embedded.postgres_is_running(data_dir):
        raise CannotStart("The database runs: stop coinos first.")
    check(backup)
    data_dir.mkdir(parents=True, exist_ok=True)
    folder, draft = data_dir / "postgres", data_dir / "postgres.restored"
    shutil.rmtree(draft, ignore_errors=True)
    embedded.make_folder_of_postgres(draft)
    shutil.copytree(backup, draft, dirs_exist_ok=True, symlinks=True)
    embedded.give_to_postgres(draft)
    kept = None
    if folder.exists():
        kept = data_dir / f"postgres.before-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}"
        folder.rename(kept)
    draft.rename(folder)
    return kept
