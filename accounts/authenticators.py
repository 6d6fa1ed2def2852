"""Passwords, PINs, second factors, e-mail addresses and user names change here, by whatever door.

A `Change` collects what one request wants. Each part is checked when it is named and says which
proof it needs: that whoever asks holds more than an open session. `make` checks the proofs and then
writes all parts or none: the columns, the end of sessions, the audit log, and a
message to the confirmed address, the old one when that is what changes.

Proofs are checked and new secrets hashed outside of any transaction: wrong guesses stay counted,
and no row is locked while a hash is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts import (
    browsers,
    email_addresses,
    emails,
    hashing,
    links,
    names,
    passwords,
    second_factor,
    services,
)
from accounts.attempts import count_or_refuse, forgive
from accounts.audit import audit
from accounts.credentials import end_sessions_of_before
from accounts.errors import InvalidPin, UsernameTaken
from accounts.models import Email, Session, User
from coinos import limits
from coinos.constraints import violated_constraint
from coinos.errors import Forbidden, InvalidRequest, Unauthorized

Notice = Email.Notice
NAME_CONSTRAINTS = {"accounts_user_username_key", "name_is_nobody_elses"}

# --- Proofs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Password:
    """The current password, as it was typed for this change."""

    password: str

    def check(self, user: User) -> None:
        """Raises `Forbidden`, also when it was left out, which is no guess and not counted."""
        if not self.password:
            raise Forbidden(
                "Send your current password as current_password",
                page_message=_("The current password is wrong"),
                field="/current_password",
            )
        services.require_password(user, self.password)


@dataclass(frozen=True)
class Pin:
    """The PIN that the account has until now."""

    pin: str | None

    def check(self, user: User) -> None:
        services.require_pin(user, self.pin)


@dataclass(frozen=True)
class Code:
    """A code of the second factor, which is used up."""

    code: str

    def check(self, user: User) -> None:
        second_factor.require_here(user, self.code)


@dataclass(frozen=True)
class StepUp:
    """A page has asked for the password within the last minutes: made by `step_up` only."""

    def check(self, user: User) -> None:
        pass


@dataclass(frozen=True)
class ResetLink:
    """The link that came to the confirmed address; it works once."""

    user_id: UUID
    token: str

    def check(self, user: User) -> None:
        links.user_of_reset(self.user_id, self.token)


@dataclass(frozen=True)
class Operator:
    """An operator who knows that the account's owner asks, and says why."""

    actor: str
    reason: str

    def check(self, user: User) -> None:
        if not self.reason.strip():
            raise InvalidRequest("Write a reason for the audit log", field="/reason")


Proof = Password | Pin | Code | StepUp | ResetLink | Operator


# --- A change ------------------------------------------------------------------------------------


class Change:
    """What shall change of one account. Nothing does before `make`, and then all of it at once."""

    def __init__(self, user: User) -> None:
        """Raises `InvalidRequest` for a fund."""
        if user.is_fund:
            raise InvalidRequest("Nobody signs in as a fund: it has no password and no PIN")
        self.user = user
        self._columns: dict[str, Any] = {}
        self._secrets: dict[str, str] = {}  # columns of hashes, which `make` makes
        self._proofs: list[Proof] = []
        self._done: list[tuple[str, Email.Notice | None, dict[str, Any]]] = []
        self._ends_sessions = self._forgets_pin = False
        self._recovery_codes: bool | None = None  # to be replaced, or dropped

    def password(self, new: str, proof: Password | ResetLink | Operator) -> None:
        """Set a new password; all other sign-ins end. Raises `InvalidRequest`."""
        self._secrets["password"] = passwords.check_new(new)
        action = {Password: "password.changed", ResetLink: "password.reset"}
        self._add(action.get(type(proof), "password.set"), Notice.PASSWORD, proof)
        self._ends_sessions = True

    def settings(self, wanted: dict[str, Any]) -> None:
        """Change what needs no proof; see `services.check_profile`, which says what it raises."""
        self._columns |= services.check_profile(wanted)

    def lock_timer(self, locktime_s: int, proof: Pin) -> None:
        """For how many seconds a browser that has given the PIN may spend without it; 0 is never.
        The same changes nothing."""
        if locktime_s != self.user.locktime_s:
            self._columns["locktime_s"] = locktime_s
            self._add("pin.lock_timer", None, proof)

    def pin(self, new: str, *proofs: Password | StepUp | Pin) -> None:
        """Set a PIN of six digits, or remove it with `new="delete"`: with the old one when there is
        one, else with the password. Browsers must give it again. Raises `InvalidRequest`."""
        assert proofs, "an open session alone sets no PIN: its owner could not spend any more"
        if new == "delete" and not self.user.has_pin:
            return
        if self.user.has_pin and not any(isinstance(proof, Pin) for proof in proofs):
            proofs = (*proofs, Pin(None))
        if new == "delete":
            self._columns["pin_hash"] = ""
            self._add("pin.removed", Notice.PIN_REMOVED, *proofs)
        elif re.fullmatch(r"[0-9]{6}", new, re.ASCII):
            self._secrets["pin_hash"] = new
            self._add("pin.set", Notice.PIN, *proofs)
        else:
            raise InvalidRequest(
                "newpin must be six digits",
                page_message=_("The new PIN must be six digits"),
                field="/newpin",
            )
        self._forgets_pin = True

    def remove_pin(self, operator: Operator) -> None:
        """For somebody who has forgotten the PIN."""
        self._columns["pin_hash"] = ""
        self._forgets_pin = True
        self._add("pin.removed", Notice.PIN_REMOVED, operator)

    def email(self, new: str, proof: Password | StepUp) -> None:
        """Set another address, or none (""); it is not confirmed then. The same one changes
        nothing. Raises `InvalidRequest`."""
        new = email_addresses.normalise(new)
        if new == self.user.email:
            return
        self._columns |= {"email": new, "email_verified_at": None}
        self._add("email.changed", Notice.EMAIL, proof)

    def username(self, new: str) -> None:
        """Rename the account, a few times a day. A session is enough, as the API's documentation
        has it: whoever knows the old name finds nobody, and it stays this account's. The same name
        changes nothing. Raises `InvalidUsername`, `UsernameTaken`, `RateLimited`."""
        name = names.check_new(new)
        if name == self.user.username:
            return
        services.require_free(name, self.user)
        self._columns["username"] = name
        detail = {"from": self.user.username, "to": name}
        self._add("username.changed", Notice.USERNAME, detail=detail)

    def second_factor_on(self, step: int) -> None:
        """Ask for a code at every sign-in; `step` is that of the code which the app has shown."""
        self._columns |= {"second_factor_at": timezone.now(), "totp_last_step": step}
        self._recovery_codes = self._ends_sessions = True
        self._add("second_factor.on", Notice.SECOND_FACTOR_ON)

    def second_factor_off(self, proof: Code | Operator) -> None:
        """Ask for no code any more."""
        self._columns |= {"second_factor_at": None, "totp_seed": ""}
        self._recovery_codes, self._ends_sessions = False, True
        by_operator = isinstance(proof, Operator)
        action = "second_factor.removed" if by_operator else "second_factor.off"
        self._add(action, Notice.SECOND_FACTOR_OFF, proof)

    def recovery_codes(self, proof: Code) -> None:
        """New recovery codes; the old ones end."""
        self._recovery_codes = True
        self._add("second_factor.recovery_codes", Notice.RECOVERY_CODES, proof)

    def _add(
        self,
        action: str,
        notice: Email.Notice | None,
        *proofs: Proof,
        detail: dict[str, Any] | None = None,
    ) -> None:
        self._done.append((action, notice, detail or {}))
        self._proofs += [proof for proof in proofs if proof not in self._proofs]

    def make(
        self,
        *,
        keep: Session | None = None,
        api_keys: bool = False,
        also: Callable[[], None] | None = None,
    ) -> list[str]:
        """Check the proofs, then write everything, and what `also` writes, or nothing.

        Where sessions end, `keep` lives on, and the API keys do unless `api_keys` is true. Returns
        the recovery codes if there are new ones; they cannot be shown again. Raises what the proofs
        raise, `UsernameTaken`, and `Unauthorized`, `InvalidPin` or `InvalidRequest` when password,
        PIN or second factor have changed meanwhile: what was proved holds no more."""
        self._check_proofs()
        if "username" in self._columns:
            count_or_refuse(limits.RENAME, self.user.id)
        for column, secret in self._secrets.items():
            self._columns[column] = hashing.hash_of(secret, signed_in=self.user)
        try:
            with transaction.atomic():
                codes = self._write(keep=keep, api_keys=api_keys)
                if also:
                    also()
        except IntegrityError as error:
            if violated_constraint(error) in NAME_CONSTRAINTS:
                raise UsernameTaken(self._columns["username"]) from error
            raise
        if keep and self._ends_sessions:
            browsers.remember(self.user)
        if "password" in self._columns:
            forgive(limits.PASSWORD, self.user.id)
        return codes

    def _check_proofs(self) -> None:
        """A code last: it is used up, which a refusal of another proof shall not do."""
        for proof in sorted(self._proofs, key=lambda one: isinstance(one, Code)):
            proof.check(self.user)

    def _write(self, *, keep: Session | None, api_keys: bool) -> list[str]:
        user, address = self.user, ""
        if self._done:
            stored = self._lock()
            address = stored.email if stored.email_verified_at else ""
        for name, value in self._columns.items():
            setattr(user, name, value)
        if self._columns:
            user.save(update_fields=list(self._columns))
        codes = []
        if self._recovery_codes is not None:
            codes = second_factor.replace_recovery_codes(user, none=not self._recovery_codes)
        if self._ends_sessions:
            end_sessions_of_before(user, keep=keep, api_keys=api_keys)
        if self._forgets_pin:
            Session.objects.filter(user=user).update(pin_at=None)
        operator = next((one for one in self._proofs if isinstance(one, Operator)), None)
        for action, notice, detail in self._done:
            if api_keys:
                detail = detail | {"api_keys": True}
            if operator:
                detail = detail | {"reason": operator.reason}
            audit(user, action, actor=operator.actor if operator else "user", detail=detail)
            if notice:
                emails.queue_notice(user, notice, to=address, by_operator=operator is not None)
        return codes

    def _lock(self) -> User:
        """The stored row, locked, as it was when the proofs were checked."""
        link = next((one for one in self._proofs if isinstance(one, ResetLink)), None)
        if link:  # of two requests with one link the second finds it used
            return links.user_of_reset(link.user_id, link.token, lock=True)
        stored = User.objects.select_for_update(no_key=True).get(id=self.user.id)
        if any(isinstance(one, Operator) for one in self._proofs):
            return stored
        if stored.authenticators_version != self.user.authenticators_version:
            raise Unauthorized()  # the session has ended
        if stored.pin_hash != self.user.pin_hash:
            raise InvalidPin(field="/pin")
        if stored.totp_seed != self.user.totp_seed:
            raise InvalidRequest(second_factor.NOTHING_TO_CONFIRM)
        return stored


# --- What the doors call -------------------------------------------------------------------------


def change_password(user: User, *, current: str, new: str, keep: Session | None) -> None:
    """Set a new password and end every other sign-in. API keys live on. Raises `Forbidden` when
    `current` is wrong: to clients, 401 would mean that the token is no good."""
    change = Change(user)
    change.password(new, Password(current))
    change.make(keep=keep)


def reset_password(user_id: UUID, token: str, *, new: str, api_keys: bool = False) -> None:
    """Set a new password by the link that came by e-mail, which works once, and end every sign-in;
    the API keys when asked. A second factor stays and is asked for (P25), and so does a PIN.
    Raises `LinkEnded`."""
    owner = links.user_of_reset(user_id, token)
    change = Change(owner)
    change.password(new, ResetLink(user_id, token))
    change.make(api_keys=api_keys)
    browsers.remember(owner)


def set_password_as_operator(
    user: User, *, new: str, actor: str, reason: str, api_keys: bool = False
) -> None:
    """For somebody who has forgotten the password, once the operator knows who asks: set a new one
    and end every sign-in; the API keys when asked. A second factor stays and is asked for."""
    change = Change(user)
    change.password(new, Operator(actor, reason))
    change.make(api_keys=api_keys)


def remove_pin_as_operator(user: User, *, actor: str, reason: str) -> None:
    """For somebody who has forgotten the PIN, once the operator knows who asks. Raises
    `InvalidRequest` when there is none."""
    if not user.has_pin:
        raise InvalidRequest("This account has no PIN")
    change = Change(user)
    change.remove_pin(Operator(actor, reason))
    change.make()
    forgive(limits.PIN, user.id)
    forgive(limits.PIN_A_DAY, user.id)


def turn_on_second_factor(user: User, code: str, *, keep: Session | None) -> list[str]:
    """The app shows the right code: ask for one from now on, and end all other sign-ins.

    Returns the recovery codes, which cannot be shown again. Raises `Forbidden` when the code is
    wrong: to clients, 401 would mean that the token is no good."""
    step = second_factor.step_of_set_up(user, code)
    change = Change(user)
    change.second_factor_on(step)
    return change.make(keep=keep)


def turn_off_second_factor(user: User, code: str, *, keep: Session | None) -> None:
    """Ask for no code any more, and end all other sign-ins. Raises `Forbidden`, `RateLimited`."""
    change = Change(user)
    change.second_factor_off(Code(code))
    change.make(keep=keep)


def remove_second_factor_as_operator(user: User, *, actor: str, reason: str) -> None:
    """For somebody who has lost app and recovery codes, once the operator knows who asks. Raises
    `InvalidRequest` when there is none."""
    if not user.has_second_factor:
        raise InvalidRequest("This account has no second factor")
    change = Change(user)
    change.second_factor_off(Operator(actor, reason))
    change.make()


def renew_recovery_codes(user: User, code: str) -> list[str]:
    """New recovery codes; the old ones end. Raises `Forbidden`, `RateLimited`."""
    change = Change(user)
    change.recovery_codes(Code(code))
    return change.make()


def change_profile(user: User, changes: dict[str, Any]) -> None:
    """What the profile page saves: settings that need no proof, and the user name."""
    change = Change(user)
    change.settings(changes)
    change.username(changes["username"])
    change.make()


def set_pin(user: User, *, new: str, current: str | None, proof: StepUp) -> None:
    """What the settings page saves: a new PIN, or none with `new="delete"`."""
    change = Change(user)
    change.pin(new, proof, *([Pin(current)] if user.has_pin else []))
    change.make()


def set_lock_timer(user: User, locktime_s: int, *, pin: str | None) -> None:
    """See `Change.lock_timer`. Raises `InvalidPin`."""
    change = Change(user)
    change.lock_timer(locktime_s, Pin(pin))
    change.make()


def change_email(user: User, email: str, *, notify: bool, proof: StepUp) -> None:
    """What the settings page saves: the address, and whether payments are told there. Raises
    `InvalidRequest`."""
    change = Change(user)
    change.settings({"notify": notify})
    change.email(email, proof)
    change.make()


def confirm_email(user: User, token: str) -> None:
    """The owner has opened the link that was sent to the account's address. Raises `LinkEnded`."""
    with transaction.atomic():
        links.check_verification(user, token)
        user.email_verified_at = timezone.now()
        user.save(update_fields=["email_verified_at"])
        audit(user, "email.verified")
