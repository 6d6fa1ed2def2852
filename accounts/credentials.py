"""Who is calling: sessions with their tokens, API keys, and what each may do.

A login token is a JWT that names its session row, and the row decides: whoever revokes the row
ends the token. API keys are opaque; only their SHA-256 is stored. Both come in the same header
and are told apart by form.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from rest_framework_simplejwt.exceptions import TokenBackendError
from rest_framework_simplejwt.settings import api_settings as jwt_settings
from rest_framework_simplejwt.state import token_backend

from accounts import browsers
from accounts.audit import audit, audit_some
from accounts.errors import ReadOnlyToken, TooManyKeys
from accounts.models import ApiKey, Session, User
from coinos import limits
from coinos.caller import caller
from coinos.db import Query, ask
from coinos.errors import Forbidden, InvalidRequest, Unauthorized
from coinos.joined import Joined

API_KEY_PREFIX = "coinos_"
TOKEN_TYPES = {Session.Kind.LOGIN: "access", Session.Kind.READ_ONLY: "ro"}
SCOPES_OF_KEY = {
    ApiKey.Scope.READ: {"read"},
    ApiKey.Scope.RECEIVE: {"read", "receive"},
    ApiKey.Scope.SPEND: {"read", "receive", "spend"},
}


@dataclass(frozen=True)
class Credential:
    """What a request was authenticated with: a session (login, web, ro) or an API key.

    Or nobody asks, and the account spends by a standing order: `keep_sat` is what that must leave.
    Password and PIN were asked when it was given.

    Or somebody spends from a fund, which is the `user` then: `by` is what that person was
    authenticated with. Made by `accounts.funds` only, which knows the roles."""

    user: User
    session: Session | None = None
    api_key: ApiKey | None = None
    keep_sat: int | None = None
    by: Credential | None = None

    @property
    def is_standing_order(self) -> bool:
        return self.keep_sat is not None

    @property
    def id(self) -> str:
        """Stable name of the credential, for rate limits."""
        return str(self.session.id if self.session else self.api_key and self.api_key.id)

    @property
    def is_read_only(self) -> bool:
        return self.session is not None and self.session.kind == Session.Kind.READ_ONLY

    @property
    def asks_pin(self) -> bool:
        """Whether a spend must bring the PIN: always, but in a browser that has given it within
        the account's lock timer. A key's scope and budget take its place; for a standing order
        it was asked when that was given."""
        if self.api_key or self.is_standing_order or not self.user.has_pin:
            return False
        if self.session is None or self.session.kind != Session.Kind.WEB:
            return True
        if self.session.pin_at is None:
            return True
        return timezone.now() >= self.session.pin_at + timedelta(seconds=self.user.locktime_s)

    def note_pin(self) -> None:
        """The PIN was right; browsers need not give it again at once."""
        if self.session and self.session.kind == Session.Kind.WEB:
            self.session.pin_at = timezone.now()
            self.session.save(update_fields=["pin_at"])

    def may(self, scope: str) -> bool:
        """Whether it has this scope: read, receive, spend, full. An API key has what its own
        includes, a read-only token may read, and any other session may do everything."""
        if self.api_key:
            return scope in SCOPES_OF_KEY[ApiKey.Scope(self.api_key.scope)]
        return scope == "read" or not self.is_read_only

    def require(self, scope: str, *, read_only_allowed: bool = False) -> None:
        """Raise unless this credential may do what needs `scope`: read, receive, spend, full."""
        if self.is_read_only:
            if not read_only_allowed:
                raise ReadOnlyToken()
        elif self.api_key and not self.may(scope):
            raise Forbidden(f"This API key may not do this: it has the scope {self.api_key.scope}")


# --- Sessions and their tokens -------------------------------------------------------------------


def start_session(user: User, *, kind: str, user_agent: str | None = None) -> Session:
    """Write the row of a new sign-in: of the caller's program, unless another name is given.

    `user` is as read before the password was checked: should that change before the row is written,
    the session has ended before it began. Beyond the bound of its kind it takes the place of the
    one that is over, was never used again, or has not been used for longest."""
    browsers.remember(user)
    now = timezone.now()
    _make_room(user, kind)
    return Session.objects.create(
        user=user,
        authenticators_version=user.authenticators_version,
        kind=kind,
        address=caller().address,
        user_agent=caller().user_agent if user_agent is None else user_agent,
        created=now,
        last_used=now,
        expires=_expires(kind, created=now, now=now),
    )


def sign_in(user: User, *, kind: str) -> Session:
    """Start the session of somebody whose password, and second factor, were right just now."""
    with transaction.atomic():
        session = start_session(user, kind=kind)
        detail = {"kind": kind, "second_factor": user.has_second_factor}
        audit(user, "signed_in", object=str(session.id), detail=detail)
    return session


MOST_SESSIONS = {
    Session.Kind.LOGIN: limits.TOKENS.at_most,
    Session.Kind.WEB: limits.BROWSERS.at_most,
    Session.Kind.ADMIN: limits.OPERATORS.at_most,
}


def _make_room(user: User, kind: str) -> None:
    """Drop the rows that would make one too many; one of the last hour, which may not have been
    used again yet, counts as used."""
    most = MOST_SESSIONS.get(Session.Kind(kind))
    if most is None:  # of read-only tokens there is one
        return
    ask(Query(_DROP_SESSIONS, [user.id, kind, most - 1]))


_DROP_SESSIONS = """
    DELETE FROM accounts_session WHERE id IN (
        SELECT id FROM accounts_session WHERE user_id = %s AND kind = %s
        ORDER BY (revoked_at IS NULL AND expires > now()) DESC,
            (last_used > created + interval '1 minute' OR created > now() - interval '1 hour') DESC,
            last_used DESC
        OFFSET %s
    )
"""


def _expires(kind: str, *, created: datetime, now: datetime) -> datetime:
    """When a session ends that is used now and never again. Only the admin's do not wait long."""
    if kind == Session.Kind.ADMIN:
        return min(now + settings.ADMIN_SESSION_IDLE, created + settings.ADMIN_SESSION_LIFETIME)
    return created + timedelta(days=settings.TOKEN_LIFETIME_DAYS)


def token_of(session: Session) -> str:
    """The JWT that names this session; the same text for the same row."""
    return token_backend.encode(
        {
            "token_type": TOKEN_TYPES[Session.Kind(session.kind)],
            "jti": session.id.hex,
            "iat": int(session.created.timestamp()),
            "exp": int(session.expires.timestamp()),
            jwt_settings.USER_ID_CLAIM: str(session.user_id),
        }
    )


def read_only_token(user: User) -> str:
    """The account's one read-only token, the same at each call until it is revoked."""
    audit_some(user, "read_only_token.shown")
    live = Q(user=user, kind=Session.Kind.READ_ONLY, revoked_at=None)
    session = Session.objects.select_related("user").filter(live).first()
    if session and not session.is_live:
        revoke_session(user, session.id)
        session = None
    if session is None:
        try:
            with transaction.atomic():
                session = start_session(user, kind=Session.Kind.READ_ONLY)
        except IntegrityError:  # another request was faster
            session = Session.objects.get(live)
    return token_of(session)


SHOWN_IN_DOCS = "Shown in the API documentation"


def shown_token(user: User) -> str:
    """A full token to read off the documentation page; the same one at each call while it lives."""
    audit_some(user, "token.shown")
    session = live_sessions(user).filter(kind=Session.Kind.LOGIN, user_agent=SHOWN_IN_DOCS).first()
    if session is None:
        session = start_session(user, kind=Session.Kind.LOGIN, user_agent=SHOWN_IN_DOCS)
    return token_of(session)


def credential_of(token: str) -> Credential:
    """Check a bearer token of either form. Raises `Unauthorized`, for every reason alike."""
    if token.startswith(API_KEY_PREFIX):
        return _credential_of_api_key(token)
    session_id, token_type = _named_by(token)
    session = live_session(session_id)
    if session is None or token_type != TOKEN_TYPES.get(Session.Kind(session.kind)):
        raise Unauthorized()
    return Credential(session.user, session=session)


@functools.lru_cache(maxsize=10_000)
def _named_by(token: str) -> tuple[UUID, str]:
    """The session that a token names, and the token's type. Checked once a process: what may
    change, revoking and expiry, stands in the session's row, which is read each time."""
    try:
        claims = token_backend.decode(token, verify=True)  # type: ignore[arg-type]
        return UUID(claims["jti"]), str(claims.get("token_type"))
    except (TokenBackendError, KeyError, ValueError, TypeError) as error:
        raise Unauthorized() from error


def live_session(session_id: UUID | str) -> Session | None:
    """The session with its user, when it is neither revoked nor over, the authenticators are those
    it was made under, and the user is active."""
    session = _session_with_user(session_id)
    if session is None or not session.is_live or not session.user.is_active or session.user.is_fund:
        return None
    now = timezone.now()
    if now - session.last_used > timedelta(minutes=1):
        used: dict[str, datetime] = {"last_used": now}
        if session.kind == Session.Kind.ADMIN:
            used["expires"] = _expires(session.kind, created=session.created, now=now)
        Session.objects.filter(id=session.id).update(**used)
    return session


def live_sessions(user: User) -> QuerySet[Session]:
    """All sign-ins of the user that have not ended."""
    return Session.objects.filter(
        user=user,
        revoked_at=None,
        expires__gt=timezone.now(),
        authenticators_version=F("user__authenticators_version"),
    )


def _session_with_user(session_id: UUID | str) -> Session | None:
    """Runs with every request that is signed in."""
    rows = ask(Query(_SESSION_WITH_USER, [session_id]))
    if not rows:
        return None
    session, session.user = _SESSION_AND_USER.read(rows[0])
    return cast(Session, session)


_SESSION_AND_USER = Joined(session=Session, owner=User)
_SESSION_WITH_USER = f"""
    SELECT {_SESSION_AND_USER.columns}
    FROM accounts_session AS session JOIN accounts_user AS owner ON owner.id = session.user_id
    WHERE session.id = %s
"""  # noqa: S608 – our own names


def revoke_session(user: User, session_id: UUID | str) -> None:
    """End one sign-in of this user; the next request with it is refused."""
    with transaction.atomic():
        live = Session.objects.filter(user=user, id=session_id, revoked_at=None)
        if live.update(revoked_at=timezone.now()):
            audit(user, "session.revoked", object=str(session_id))


def log_out_everywhere(user: User, *, keep: Session | None, api_keys: bool = False) -> None:
    """End all sessions but `keep`, and the API keys when asked, because the user says so."""
    with transaction.atomic():
        revoke_all(user, keep=keep, api_keys=api_keys)
        audit(user, "sessions.revoked", detail={"api_keys": api_keys})


def end_session_of(token: str) -> None:
    """End the sign-in that this login token names, if it names one that lives."""
    try:
        credential = credential_of(token)
    except Unauthorized:
        return
    if credential.session:
        revoke_session(credential.user, credential.session.id)


def revoke_all(user: User, *, keep: Session | None = None, api_keys: bool = False) -> None:
    """End all sessions but `keep`, and the API keys when asked; whoever calls this audits why."""
    now = timezone.now()
    sessions = Session.objects.filter(user=user, revoked_at=None)
    if keep:
        sessions = sessions.exclude(id=keep.id)
    sessions.update(revoked_at=now)
    if api_keys:
        ApiKey.objects.filter(user=user, revoked_at=None).update(revoked_at=now)


def end_sessions_of_before(user: User, *, keep: Session | None, api_keys: bool = False) -> None:
    """The user's password or second factor has just been changed, in this transaction: end all
    sessions but the one that changed it, and the API keys when asked.

    Without this they would end as well, `keep` too: each knows the state it was made under."""
    before = user.authenticators_version
    user.refresh_from_db(fields=["authenticators_version"])
    revoke_all(user, keep=keep, api_keys=api_keys)
    if keep:
        keep.authenticators_version = user.authenticators_version
        Session.objects.filter(id=keep.id, authenticators_version=before).update(
            authenticators_version=user.authenticators_version
        )


# --- API keys ------------------------------------------------------------------------------------


def create_api_key(
    user: User,
    *,
    name: str,
    scope: str,
    budget_sat: int | None = None,
    expires_days: int | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; returns the row and the key itself, which cannot be shown again. Raises
    `TooManyKeys`."""
    if scope not in ApiKey.Scope.values:
        raise InvalidRequest("scope must be read, receive or spend", field="/scope")
    key = API_KEY_PREFIX + secrets.token_urlsafe(32)
    now, most = timezone.now(), limits.API_KEYS.at_most
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(id=user.id)  # one after the other
        live = user.api_keys.filter(Q(expires=None) | Q(expires__gt=now), revoked_at=None)
        if live.count() >= most:
            raise TooManyKeys(values={"most": most})
        row = ApiKey.objects.create(
            user=user,
            name=name[:60] or "API key",
            key_sha256=_sha256(key),
            hint=key[:12],
            scope=scope,
            budget_sat=budget_sat,
            expires=now + timedelta(days=expires_days) if expires_days else None,
        )
        audit(
            user,
            "key.made",
            object=str(row.id),
            detail={"name": row.name, "scope": scope, "budget_sat": budget_sat},
        )
    return row, key


def revoke_api_key(user: User, key_id: UUID | str) -> None:
    with transaction.atomic():
        live = ApiKey.objects.filter(user=user, id=key_id, revoked_at=None)
        if live.update(revoked_at=timezone.now()):
            audit(user, "key.revoked", object=str(key_id))


def _credential_of_api_key(key: str) -> Credential:
    now = timezone.now()
    row = (
        ApiKey.objects.select_related("user")
        .filter(
            Q(expires=None) | Q(expires__gt=now),
            key_sha256=_sha256(key),
            revoked_at=None,
        )
        .first()
    )
    if row is None or not row.user.is_active or row.user.is_fund:
        raise Unauthorized()
    if row.last_used is None or now - row.last_used > timedelta(minutes=1):
        ApiKey.objects.filter(id=row.id).update(last_used=now)
    return Credential(row.user, api_key=row)


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
