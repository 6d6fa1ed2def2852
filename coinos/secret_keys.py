"""Keys that a server makes for itself when its operator gave none."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet

SAMPLES = ("changeme", "change-me", "change_me", "insecure", "example", "sample", "your-", "secret")


def random_text() -> str:
    return secrets.token_urlsafe(64)


def random_fernet() -> str:
    return Fernet.generate_key().decode()


def is_sample(value: str) -> bool:
    """Whether this is a value that somebody copied or typed rather than generated."""
    return len(value) < 32 or len(set(value)) < 10 or value.lower().startswith(SAMPLES)


def generated_once(path: Path, generate: Callable[[], str]) -> str:
    """The key in this file, written by the first process that asks, readable by its owner only.

    Several processes may ask at the same time: each writes a file of its own and links it to the
    final name, which succeeds for one of them; then all read what that one wrote.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(generate())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
