"""What lets a program spend later: an API key of the scope spend, a wallet connection.

Whoever holds one needs no PIN, so handing it out asks for the PIN as a spend does: otherwise it
would be a way around the one gate (P22).
"""

from __future__ import annotations

from typing import Any

from accounts import connections, credentials
from accounts.models import ApiKey, Connection, User
from accounts.services import require_pin


def create_api_key(user: User, *, pin: object, scope: str, **fields: Any) -> tuple[ApiKey, str]:
    """Make a key, as `credentials.create_api_key` does. One that can spend needs the PIN, where
    the account has one. Raises `InvalidPin`, `RateLimited` and what that raises."""
    if scope == ApiKey.Scope.SPEND:
        require_pin(user, pin)
    return credentials.create_api_key(user, scope=scope, **fields)


def save_connection(user: User, *, pin: object, **fields: Any) -> Connection:
    """Make or change a wallet connection, as `connections.save` does, with the PIN where the
    account has one. Raises `InvalidPin`, `RateLimited` and what that raises."""
    require_pin(user, pin)
    return connections.save(user, **fields)
