"""Funds: accounts without a sign-in, spent from by their owner and by the owner's managers.

To everybody else a fund is an account like any other: it has a name, a balance, a public page, and
anybody may pay it. Roles are given and taken by the owner only (P23), and what a role allows is
asked again in the transaction of every spend: whoever loses it loses it at once.
"""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.translation import gettext_noop as _

from accounts import ledger, names
from accounts.audit import audit
from accounts.credentials import Credential
from accounts.errors import (
    FundClosed,
    FundFrozen,
    FundNotFound,
    OwnerOnly,
    TooManyFunds,
    TooManyManagers,
    UsernameTaken,
)
from accounts.models import FundManager, LedgerAccount, User
from accounts.selectors import UserNotFound, user_by_name
from accounts.services import BalanceLeft, require_pin
from coinos import limits
from coinos.errors import InvalidRequest, Unauthorized


class FundNotEmpty(BalanceLeft):
    message = _("Take out all sats before you close the fund")


class FundGiftsOpen(BalanceLeft):
    message = _("Before you close the fund, take back the gifts that nobody has taken")


# --- Who sees what -------------------------------------------------------------------------------


def funds_of(user: User) -> list[User]:
    """The funds that the user owns or manages: open ones first, by name."""
    has_role = Q(owner=user) | Q(managers__user=user)
    funds = User.objects.filter(has_role, owner__isnull=False).distinct().select_related("owner")
    return list(funds.order_by("-is_active", "username"))


def fund_for(user: User, name: str) -> User:
    """The fund of that name, with its owner, for somebody who has a role in it. Raises
    `FundNotFound`, whether there is such a fund or not."""
    fund = (
        User.objects.select_related("owner")
        .filter(username=names.normalise(name), owner__isnull=False)
        .first()
    )
    if fund is None or not _has_role(fund, user):
        raise FundNotFound()
    return fund


def managers_of(fund: User) -> list[FundManager]:
    return list(fund.managers.select_related("user").order_by("created"))


def _has_role(fund: User, user: User, *, lock: bool = False) -> bool:
    if fund.owner_id == user.id:
        return True
    roles = FundManager.objects.filter(fund=fund, user=user)
    return bool((roles.select_for_update() if lock else roles).first())


# --- Spending ------------------------------------------------------------------------------------


def to_spend_from(fund: User, credential: Credential) -> Credential:
    """What every spend from the fund is asked for with, on behalf of whoever has this credential. A
    program's key spends from no fund. Raises `FundNotFound`, `Forbidden`."""
    credential.require("full")
    if not _has_role(fund, credential.user):
        raise FundNotFound()
    return Credential(fund, by=credential)


def require_may_spend(credential: Credential) -> None:
    """Raise unless money may leave the fund now at this person's wish: `FundNotFound` without a
    role, `FundFrozen` while the fund, its owner or the person is frozen or closed.

    In the transaction that moves the money; a role that is being taken meanwhile waits for it."""
    assert credential.by is not None
    fund, person = credential.user, credential.by.user
    if not _has_role(fund, person, lock=True):
        raise FundNotFound()
    if is_stopped(fund.id, fund.owner_id, person.id):
        raise FundFrozen()


def is_stopped(*user_ids: object) -> bool:
    """Whether one of these accounts is frozen or closed; None is nobody."""
    stopped = Q(frozen_at__isnull=False) | Q(is_active=False)
    return User.objects.filter(stopped, id__in=[one for one in user_ids if one]).exists()


# --- What only the owner does --------------------------------------------------------------------


def create_fund(owner: User, *, username: str, display: str = "", about: str = "") -> User:
    """Open a fund under a name that nobody has or had. Raises `InvalidUsername`, `UsernameTaken`,
    `TooManyFunds`."""
    assert not owner.is_fund, "nobody signs in as a fund"
    name = names.check_new(username)
    fund = User(
        username=name,
        owner=owner,
        display=display,
        about=about,
        currency=owner.currency,
        language=owner.language,
    )
    fund.set_unusable_password()
    try:
        with transaction.atomic():
            # One at a time, and not while the account is being closed.
            if not User.objects.select_for_update(no_key=True).get(id=owner.id).is_active:
                raise Unauthorized()
            if owner.funds.filter(is_active=True).count() >= limits.OPEN_FUNDS.at_most:
                raise TooManyFunds(values={"most": limits.OPEN_FUNDS.at_most})
            fund.save(force_insert=True)
            ledger.open_account(fund)
            _note(fund, owner, "fund.created")
    except IntegrityError as error:
        raise UsernameTaken(name) from error
    return fund


def change_fund(owner: User, name: str, *, display: str, about: str) -> User:
    """What the public page says. Raises `FundNotFound`, `OwnerOnly`, `FundClosed`."""
    with transaction.atomic():
        fund = _own(owner, name)
        fund.display, fund.about = display, about
        fund.save(update_fields=["display", "about"])
        return fund


def add_manager(owner: User, name: str, username: str, *, pin: object = None) -> FundManager:
    """Let this person spend from the fund; again changes nothing. Needs the owner's PIN, where
    there is one: afterwards the manager's own is enough. Raises `InvalidPin`, `RateLimited`,
    `FundNotFound`, `OwnerOnly`, `FundClosed`, `InvalidRequest` for whom it cannot be,
    `TooManyManagers`."""
    require_pin(owner, pin)
    with transaction.atomic():
        fund = _own(owner, name)
        try:
            person = user_by_name(username)
        except UserNotFound as error:
            raise InvalidRequest(
                _("There is nobody of this name here"), field="/username"
            ) from error
        if person == owner:
            raise InvalidRequest(_("You own this fund and can do all of this"), field="/username")
        if person.is_fund:
            raise InvalidRequest(_("This is a fund, not a person"), field="/username")
        if fund.managers.exclude(user=person).count() >= limits.MANAGERS.at_most:
            raise TooManyManagers(values={"most": limits.MANAGERS.at_most})
        manager, is_new = FundManager.objects.get_or_create(fund=fund, user=person)
        if is_new:
            _note(fund, owner, "fund.manager_added", person)
        return manager


def remove_manager(owner: User, name: str, role_id: int) -> None:
    """Take this role back, at once; gifts that were handed out stay. By id: renaming oneself
    meanwhile saves no role. Raises `FundNotFound`, `OwnerOnly`, `FundClosed`."""
    with transaction.atomic():
        fund = _own(owner, name)
        manager = fund.managers.select_related("user").filter(id=role_id).first()
        if manager:
            manager.delete()
            _note(fund, owner, "fund.manager_removed", manager.user)


def leave_fund(manager: User, name: str) -> None:
    """Give one's role back. Raises `FundNotFound`."""
    fund = fund_for(manager, name)
    with transaction.atomic():
        if FundManager.objects.filter(fund=fund, user=manager).delete()[0]:
            _note(fund, manager, "fund.manager_left", manager)


def close_fund(owner: User, name: str) -> None:
    """Close a fund that holds nothing. History and books stay, its name is not reused.

    Raises `FundNotFound`, `OwnerOnly`, `FundClosed`; `BalanceLeft` while any sat is posted, held
    or set aside as a gift."""
    with transaction.atomic():
        # With its key locked no gift comes back between the two looks: it writes to the statement.
        fund = _own(owner, name, no_key=False)
        account = LedgerAccount.objects.get(user=fund)
        if account.posted_msat or account.held_msat:
            raise FundNotEmpty()
        if ledger.set_aside_msat(fund.id):
            raise FundGiftsOpen()
        User.objects.filter(id=fund.id).update(is_active=False)
        _note(fund, owner, "fund.closed")


def _own(owner: User, name: str, *, no_key: bool = True) -> User:
    """The open fund, its row locked: what its owner changes is changed one after the other."""
    fund = fund_for(owner, name)
    if fund.owner_id != owner.id:
        raise OwnerOnly()
    fund = User.objects.select_for_update(no_key=no_key).get(id=fund.id)
    if not fund.is_active:
        raise FundClosed()
    return fund


def _note(fund: User, actor: User, action: str, manager: User | None = None) -> None:
    detail = {"fund": fund.username, "manager": manager.username} if manager else {}
    audit(
        fund,
        action,
        actor=f"user {actor.username}",
        object=str(manager.id) if manager else "",
        detail=detail,
    )
