"""Nostr Wallet Connect connections (NIP-47): kept and listed with their URI.

Nothing listens on a relay yet; clients read `/apps` right after registering and expect one.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.db import IntegrityError, transaction

from accounts.audit import audit
from accounts.errors import TooManyConnections
from accounts.models import Connection, User
from coinos import crypto, limits, nostr
from coinos.errors import InvalidRequest, NotFound

DEFAULT_BUDGET_SAT = 1_000_000


class ConnectionNotFound(NotFound):
    message = "Connection not found"


def create_default(user: User) -> Connection:
    """The connection that every account starts with: a million sats a week."""
    return save(
        user,
        name=user.username,
        max_amount_sat=DEFAULT_BUDGET_SAT,
        budget_renewal=Connection.Renewal.WEEKLY,
    )


def save(
    user: User, *, secret: str | None = None, pubkey: str | None = None, **fields: Any
) -> Connection:
    """Create or update the connection of a client key. With `secret` the pubkey is derived from
    it; with neither a new key is made. Another user's pubkey is `ConnectionNotFound`. Raises
    `TooManyConnections`."""
    if secret or not pubkey:
        pair = _pair_of(secret) if secret else nostr.generate_keypair()
        if pubkey and pubkey.lower() != pair.pubkey:
            raise InvalidRequest("pubkey must be that of the secret", field="/pubkey")
        secret, pubkey = pair.secret, pair.pubkey
    elif not nostr.is_pubkey(pubkey.lower()):
        raise InvalidRequest("pubkey must be a Nostr public key in hex", field="/pubkey")
    pubkey = pubkey.lower()
    action = "connection.changed"
    connection = Connection.objects.filter(pubkey=pubkey).first()
    if connection is None:
        action = "connection.made"
        wallet = nostr.generate_keypair()
        connection = Connection(user=user, pubkey=pubkey, wallet_pubkey=wallet.pubkey)
        connection.wallet_secret = crypto.seal(wallet.secret, place=f"wallet:{connection.id}")
    elif connection.user_id != user.id:
        raise ConnectionNotFound()
    if secret:
        connection.secret = crypto.seal(secret, place=f"connection:{connection.id}")
    for name, value in fields.items():
        setattr(connection, name, value)
    try:
        with transaction.atomic():
            if connection._state.adding:
                _require_room(user)
            connection.save()
            detail = {"name": connection.name, "max_amount_sat": connection.max_amount_sat}
            audit(user, action, object=pubkey, detail=detail)
    except IntegrityError as error:  # somebody registered this pubkey a moment ago
        raise ConnectionNotFound() from error
    return connection


def _require_room(user: User) -> None:
    User.objects.select_for_update(no_key=True).get(id=user.id)  # one after the other
    if user.connections.count() >= limits.WALLET_CONNECTIONS.at_most:
        raise TooManyConnections(values={"most": limits.WALLET_CONNECTIONS.at_most})


def get(user: User, pubkey: str) -> Connection:
    connection = (
        Connection.objects.select_related("user").filter(user=user, pubkey=pubkey.lower()).first()
    )
    if connection is None:
        raise ConnectionNotFound()
    return connection


def delete(user: User, pubkey: str) -> None:
    connection = get(user, pubkey)
    with transaction.atomic():
        connection.delete()
        audit(user, "connection.deleted", object=connection.pubkey)


def secret_of(connection: Connection) -> str | None:
    """The client's secret key in hex, None when the client kept it to itself."""
    if not connection.secret:
        return None
    return crypto.unseal(connection.secret, place=f"connection:{connection.id}")


def uri_of(connection: Connection) -> str:
    """`nostr+walletconnect://…` as NIP-47 writes it, with the owner's Lightning Address."""
    parts = [f"relay={quote(settings.NOSTR_RELAY, safe='')}"]
    secret = secret_of(connection)
    if secret:
        parts.append(f"secret={secret}")
    parts.append(f"lud16={connection.user.username}@{settings.DOMAIN}")
    return f"nostr+walletconnect://{connection.wallet_pubkey}?{'&'.join(parts)}"


def _pair_of(secret: str) -> nostr.KeyPair:
    try:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", secret):
            raise ValueError("not 64 hex digits")
        return nostr.keypair_of(secret)
    except ValueError as error:
        raise InvalidRequest("secret must be a key of 64 hex digits", field="/secret") from error
