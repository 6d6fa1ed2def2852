"""Accounts: register, sign in, change, freeze. The API, the pages and the admin call these."""

from __future__ import annotations

import re
import secrets
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts import (
    connections,
    guesses,
    hashing,
    ledger,
    names,
    passwords,
    second_factor,
)
from accounts.attempts import count_or_refuse, forgive, take_back
from accounts.audit import audit, audit_some
from accounts.credentials import revoke_all
from accounts.errors import (
    AccountFrozen,
    FundFrozen,
    InvalidCredentials,
    InvalidPin,
    KeyInUse,
    UsernameTaken,
)
from accounts.models import ApiKey, Contact, LedgerAccount, Session, UsedName, User
from coinos import limits, nostr, rates
from coinos.errors import Busy, CoinosError, Forbidden, InvalidRequest, NotFound, RateLimited

NOT_LOOKED_AT = (Busy, RateLimited)
"""What checking a secret raises when there was no place to check it: no guess was made."""


# --- Registration and sign-in --------------------------------------------------------------------


def register(
    *,
    username: str,
    password: str,
    pubkey: str | None = None,
    picture: str = "",
    at_api: bool = False,
) -> tuple[User, str | None]:
    """Open an account with a ledger account, a Nostr key and a default connection. `at_api` takes
    the passwords that the API has always taken.

    Returns the user and the new Nostr secret key in hex, which is not kept (None when the caller
    brought a `pubkey`). Raises `InvalidUsername`, `UsernameTaken`, `KeyInUse`, `InvalidRequest`.
    """
    name = names.check_new(username)
    password = passwords.check_new_at_api(password) if at_api else passwords.check_new(password)
    secret_key = None
    if pubkey:
        pubkey = pubkey.lower()
        if not nostr.is_pubkey(pubkey):
            raise InvalidRequest("pubkey must be a Nostr public key in hex", field="/pubkey")
    else:
        pair = nostr.generate_keypair()
        secret_key, pubkey = pair.secret, pair.pubkey
    require_free(name)  # before the expensive hash; the constraint decides
    user = User(username=name, pubkey=pubkey, picture=picture[:500])
    user.password = hashing.hash_of(password, signed_in=None)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
            ledger.open_account(user)
            audit(user, "account.opened")
            connections.create_default(user)
    except IntegrityError as error:
        if UsedName.objects.filter(username=name).exists():
            raise UsernameTaken(name) from error
        raise KeyInUse(field="/pubkey") from error
    return user, secret_key


def require_free(name: str, user: User | None = None) -> None:
    """Raise `UsernameTaken` when another account than this has the name or had it."""
    if UsedName.objects.filter(username=name).exclude(user=user).exists():
        raise UsernameTaken(name)


def authenticate(*, username: str, password: str, code: str) -> User:
    """The user whose name and password these are, and whose second factor `code` is, when the
    account has one. An unknown name takes as long and answers the same as a wrong password.

    Raises `InvalidCredentials`, `RateLimited`, and `OtpRequired` once the password was right."""
    user, refusal, counted = guesses.admit(names.normalise(username))
    if refusal:
        audit_some(user, "sign_in.refused", actor="unknown")
        raise refusal
    try:
        right = hashing.password_is_right(password, user, signed_in=False)
    except NOT_LOOKED_AT:
        counted.was_not_looked_at()
        raise
    if user is None or not right or not user.is_active:
        audit_some(user, "sign_in.wrong", actor="unknown")
        raise InvalidCredentials()
    counted.was_right()
    second_factor.require(user, code)
    return user


def confirm_password(user: User, password: str, *, refusal: CoinosError | None = None) -> None:
    """Raise `refusal` (by default `InvalidCredentials`) unless this is the user's password: for
    what an open session alone may not do. Guesses are counted."""
    count_or_refuse(limits.PASSWORD, user.id)
    try:
        right = hashing.password_is_right(password, user, signed_in=True)
    except NOT_LOOKED_AT:
        take_back(limits.PASSWORD, user.id)
        raise
    if not right:
        audit_some(user, "password.wrong")
        raise refusal or InvalidCredentials(_("The password is wrong"), field="/password")
    forgive(limits.PASSWORD, user.id)


# --- Profile and settings ------------------------------------------------------------------------

PROFILE_FIELDS = frozenset(
    """
    display about picture banner currency currencies fiat language theme prompt tip
    memo_prompt hidepay notify toasts sound
    """.split()
)


def check_profile(changes: dict[str, Any]) -> dict[str, Any]:
    """The part of `changes` that `update_profile` would write, in stored form. Raises what the
    fields' rules raise, and changes nothing."""
    allowed = {name: value for name, value in changes.items() if name in PROFILE_FIELDS}
    for name in ("currency", "currencies"):
        _check_currencies(name, allowed.get(name))
    if "language" in allowed and not re.fullmatch(r"[a-z]{2}", allowed["language"]):
        raise InvalidRequest("language must be two letters", field="/language")
    return allowed


def update_profile(user: User, changes: dict[str, Any]) -> User:
    """Change settings that need no proof; anything not in `PROFILE_FIELDS` is ignored. Raises what
    `check_profile` raises."""
    allowed = check_profile(changes)
    for name, value in allowed.items():
        setattr(user, name, value)
    if allowed:
        user.save(update_fields=list(allowed))
    return user


def _check_currencies(field: str, value: str | list[str] | None) -> None:
    if value is None:
        return
    wanted = [value] if isinstance(value, str) else value
    known = rates.known_currencies()
    for code in wanted:
        if code not in known:
            raise InvalidRequest(
                _("no rate for the currency %(currency)s"),
                field=f"/{field}",
                values={"currency": code},
            )


def require_password(user: User, password: str) -> None:
    """Raise `Forbidden` unless this is the user's password: what changes security asks for it.
    Wrong ones are counted."""
    refusal = Forbidden(_("The current password is wrong"), field="/current_password")
    confirm_password(user, password, refusal=refusal)


# --- PIN -----------------------------------------------------------------------------------------


def require_pin(user: User, pin: object) -> None:
    """Raise `InvalidPin` unless the account has no PIN or this is it; five tries in ten minutes and
    twenty in a day."""
    if not user.has_pin:
        return
    if not isinstance(pin, str) or not pin:
        raise InvalidPin(field="/pin")
    count_or_refuse(limits.PIN, user.id)
    count_or_refuse(limits.PIN_A_DAY, user.id)
    try:
        right = hashing.pin_is_right(pin, user)
    except NOT_LOOKED_AT:
        take_back(limits.PIN, user.id)
        take_back(limits.PIN_A_DAY, user.id)
        raise
    if not right:
        audit_some(user, "pin.wrong")
        raise InvalidPin(
            field="/pin",
            page_message=InvalidPin.WRONG,
            values={"attempts": limits.PIN.at_most, "minutes": limits.PIN.window_s // 60},
        )
    forgive(limits.PIN, user.id)
    forgive(limits.PIN_A_DAY, user.id)


# --- Contacts ------------------------------------------------------------------------------------


def pin_contact(user: User, username: str, *, pinned: bool) -> None:
    """Keep a contact on top of the list, or no longer. Raises `NotFound` for anybody else."""
    if not Contact.objects.filter(
        user=user, contact__in=User.objects.filter(username=username)
    ).update(pinned=pinned):
        raise NotFound(_("This is not one of your contacts"))


# --- Sanctions and closing -----------------------------------------------------------------------


def require_may_spend(user: User) -> None:
    if user.frozen_at is not None:
        raise FundFrozen() if user.is_fund else AccountFrozen()


def freeze(user: User, *, actor: str, reason: str) -> None:
    """Stop the account from spending; it still receives. By id: renaming changes nothing (P20)."""
    with transaction.atomic():
        User.objects.filter(id=user.id, frozen_at=None).update(frozen_at=timezone.now())
        audit(user, "account.frozen", actor=actor, detail={"reason": reason})


def unfreeze(user: User, *, actor: str, reason: str) -> None:
    with transaction.atomic():
        User.objects.filter(id=user.id).update(frozen_at=None)
        audit(user, "account.unfrozen", actor=actor, detail={"reason": reason})


def evict(user: User, *, actor: str, reason: str = "") -> None:
    """Close every door to the account: no password, token, session or key works any more."""
    with transaction.atomic():
        User.objects.filter(id=user.id).update(is_active=False)
        revoke_all(user, api_keys=True)
        audit(user, "account.evicted", actor=actor, detail={"reason": reason})


def readmit(user: User, *, actor: str, reason: str) -> None:
    """Open an account again that was evicted, or closed before its last invoice was paid: whoever
    knows its password can sign in and take the money out, a fund's owner can. Sessions, tokens and
    keys of before stay revoked."""
    with transaction.atomic():
        User.objects.filter(id=user.id).update(is_active=True)
        audit(user, "account.readmitted", actor=actor, detail={"reason": reason})


def revoke_as_operator(door: Session | ApiKey, *, actor: str, reason: str) -> None:
    """End one session or API key of somebody; the next request with it is refused."""
    with transaction.atomic():
        type(door).objects.filter(id=door.id, revoked_at=None).update(revoked_at=timezone.now())
        kind = "session" if isinstance(door, Session) else "key"
        detail = {"reason": reason}
        audit(door.user, f"{kind}.revoked", actor=actor, object=str(door.id), detail=detail)


class BalanceLeft(CoinosError):
    status = 409
    code = "balance_left"
    title = _("Balance left")
    message = _("Send all your sats elsewhere before you close the account")


class GiftsOpen(BalanceLeft):
    message = _("Before you close the account, take back the gifts that nobody has taken")


class FundsOpen(BalanceLeft):
    message = _("Before you close the account, close your funds on the page “Funds”")


def close_account(user: User, *, password: str) -> None:
    """Close an account that holds nothing. Its history and books stay, its name is not reused.

    Raises `BalanceLeft` while any sat is posted, held or set aside as a gift (A05), and while a
    fund of the user's is open: nobody else could close that."""
    confirm_password(user, password)
    with transaction.atomic():
        # Locked with its key: until we are done no fund is opened and no gift comes back.
        User.objects.select_for_update().get(id=user.id)
        account = LedgerAccount.objects.get(user=user)
        if account.posted_msat or account.held_msat:
            raise BalanceLeft()
        if ledger.set_aside_msat(user.id):
            raise GiftsOpen()
        if user.funds.filter(is_active=True).exists():
            raise FundsOpen()
        User.objects.filter(id=user.id).update(is_active=False)
        user.managed.all().delete()
        revoke_all(user, api_keys=True)
        audit(user, "account.closed")


# --- Suggested names -----------------------------------------------------------------------------


def suggest_username(like: str = "") -> str:
    """A free, friendly name for the registration form; one `like` the name that was taken."""
    animals = "otter heron lynx robin fox badger whale finch hare swift wren seal".split()
    colours = "amber blue coral green indigo ivory jade lilac mint ruby silver teal".split()
    for digits in (2, 3, 4, 6):
        words = like[: 24 - digits] or secrets.choice(colours) + secrets.choice(animals)
        name = f"{words}{secrets.randbelow(10**digits)}"
        if not UsedName.objects.filter(username=name).exists():
            return name
    return secrets.token_hex(8)
