"""The second factor: a code of six digits from an app (TOTP, RFC 6238), asked at every sign-in.

A code works once, and one step of 30 seconds early or late. The seed is sealed; of the recovery
codes, which stand in when the phone is lost, only hashes are kept.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass

import pyotp
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from accounts.attempts import count_or_refuse, forgive
from accounts.audit import audit, audit_some
from accounts.errors import OtpRequired, WrongCode
from accounts.models import RecoveryCode, User
from coinos import crypto, limits
from coinos.errors import Forbidden, InvalidRequest, RateLimited

STEP_S = 30
STEPS_ASIDE = (0, -1, 1)
RECOVERY_CODES = 10
NOTHING_TO_CONFIRM = _("Start again: there is nothing to confirm")
RECOVERY_CODE_BYTES = 10  # 80 bits: beyond guessing, so a plain hash keeps them


@dataclass(frozen=True)
class SetUp:
    """What an authenticator app needs: the seed, and the same as a link for its camera."""

    seed: str
    uri: str


# --- Turning it on and off -----------------------------------------------------------------------


def begin(user: User) -> None:
    """Make a seed for `confirm`; nothing is asked for yet. A seed that is in use stays."""
    sealed = crypto.seal(pyotp.random_base32(), place=_place(user))
    User.objects.filter(id=user.id, second_factor_at=None).update(totp_seed=sealed)


def set_up_of(user: User) -> SetUp | None:
    """The seed that waits for `confirm`; once that is done it is never shown again."""
    if user.has_second_factor or not user.totp_seed:
        return None
    seed = crypto.unseal(user.totp_seed, place=_place(user))
    name = f"{user.username}@{settings.DOMAIN}"
    return SetUp(seed, pyotp.TOTP(seed).provisioning_uri(name=name, issuer_name="coinos"))


def step_of_set_up(user: User, code: str) -> int:
    """The step whose code the app shows for the seed that waits to be confirmed. Raises `Forbidden`
    when the code is wrong: to clients, 401 would mean that the token is no good."""
    set_up = set_up_of(user)
    if set_up is None:
        raise InvalidRequest(NOTHING_TO_CONFIRM)
    _count(user)
    step = _step_of(set_up.seed, _plain(code))
    if step is None:
        raise _not_right()
    _forgive(user)
    return step


# --- Asking for it -------------------------------------------------------------------------------


def require(user: User, code: str) -> None:
    """Raise unless the account has no second factor or this is a code of it, which is then used up:
    `OtpRequired` when there is none, `WrongCode` when it is wrong or was used, `RateLimited` after
    five wrong ones in ten minutes or twenty in a day (P25)."""
    if not user.has_second_factor:
        return
    code = _plain(code)
    if not code:
        raise OtpRequired(user.id, user.authenticators_version)
    try:
        if re.fullmatch(r"[0-9]{6}", code, re.ASCII):
            _use(user, code)
        else:
            _use_recovery_code(user, code)
    except WrongCode:
        audit_some(user, "second_factor.wrong", actor="unknown")
        raise
    except RateLimited:
        audit_some(user, "second_factor.refused", actor="unknown")
        raise


def require_here(user: User, code: str) -> None:
    """The same within an open session: the token is good, so the answer is not a 401."""
    try:
        require(user, code)
    except OtpRequired as error:
        raise _not_right() from error


def _not_right() -> Forbidden:
    return Forbidden(WrongCode.message, field="/token")


def _use(user: User, code: str) -> None:
    _count(user)
    step = _step_of(crypto.unseal(user.totp_seed, place=_place(user)), code)
    # The row decides which of two that arrive together is the first.
    unused = User.objects.filter(id=user.id, totp_seed=user.totp_seed, totp_last_step__lt=step or 0)
    if step is None or not unused.update(totp_last_step=step):
        raise WrongCode(user.id, user.authenticators_version)
    _forgive(user)


def _use_recovery_code(user: User, code: str) -> None:
    count_or_refuse(limits.RECOVERY_CODE, user.id)
    with transaction.atomic():
        unused = RecoveryCode.objects.filter(user=user, code_sha256=_sha256(code), used_at=None)
        if not unused.update(used_at=timezone.now()):
            raise WrongCode(user.id, user.authenticators_version)
        audit(user, "second_factor.recovery_code_used")
    forgive(limits.RECOVERY_CODE, user.id)


def recovery_codes_left(user: User) -> int:
    return RecoveryCode.objects.filter(user=user, used_at=None).count()


def _plain(code: str) -> str:
    """As it was shown, without the spaces and hyphens that help to read it."""
    return re.sub(r"[\s-]", "", code).lower()


def _step_of(seed: str, code: str) -> int | None:
    """The step whose code this is; None when it is of none near now."""
    now = int(time.time()) // STEP_S
    totp = pyotp.TOTP(seed, interval=STEP_S)
    for aside in STEPS_ASIDE:
        if hmac.compare_digest(totp.generate_otp(now + aside).encode(), code.encode()):
            return now + aside
    return None


def _count(user: User) -> None:
    count_or_refuse(limits.CODE, user.id)
    count_or_refuse(limits.CODE_A_DAY, user.id)  # whoever goes on guessing waits longer


def _forgive(user: User) -> None:
    forgive(limits.CODE, user.id)
    forgive(limits.CODE_A_DAY, user.id)


def replace_recovery_codes(user: User, *, none: bool = False) -> list[str]:
    """New recovery codes, or `none`, instead of the old ones; for `accounts.authenticators`."""
    RecoveryCode.objects.filter(user=user).delete()
    if none:
        return []
    codes = [secrets.token_hex(RECOVERY_CODE_BYTES) for _ in range(RECOVERY_CODES)]
    RecoveryCode.objects.bulk_create(
        [RecoveryCode(user=user, code_sha256=_sha256(code)) for code in codes]
    )
    return ["-".join(re.findall(".....", code)) for code in codes]


def _sha256(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def _place(user: User) -> str:
    return f"totp:{user.id}"
