"""Who may try a password now. Guessing is slow, and no stranger keeps the owner out.

1. A browser in which the account was signed in to has tries of its own.
2. Anybody else has tries per name and network.
3. A network from which the account was signed in to within 30 days has no other limit. Strangers
   also have so many tries per network, whatever the names. Once a name has had as many wrong ones
   in a day as `limits.PASSWORD_OF_NAME` says, all strangers together have one in half a minute.

Where everybody has the same address there is no limit per network, so nobody locks out everybody.
How many guesses a day that leaves is in docs/security.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from accounts import browsers
from accounts.attempts import count, count_or_refuse, forgive, take_back
from accounts.models import Session, User
from coinos import limits
from coinos.caller import caller
from coinos.errors import RateLimited
from coinos.limits import Rate

KNOWN_FOR = timedelta(days=30)


@dataclass(frozen=True)
class Try:
    """A try at a password that was counted and may be evaluated."""

    forgiven: tuple[tuple[Rate, object], ...]
    """Counters that a right password sets back: the owner's mistakes."""
    taken_back: tuple[tuple[Rate, object], ...] = ()
    """Counters from which a right password takes only itself: they are about other names, too."""

    def was_not_looked_at(self) -> None:
        """The server was too busy to evaluate it."""
        for rate, who in (*self.forgiven, *self.taken_back):
            take_back(rate, who)

    def was_right(self) -> None:
        for rate, who in self.forgiven:
            forgive(rate, who)
        for rate, who in self.taken_back:
            take_back(rate, who)


def admit(name: str) -> tuple[User | None, RateLimited | None, Try]:
    """Count a try at the password of `name` before it is evaluated. Returns the account, when there
    is one, and why the try is not evaluated, when it is not. Unknown names are counted like others
    (P19)."""
    network = caller().network
    user = (
        User.objects.filter(username=name).annotate(is_known=_has_signed_in_from(network)).first()
    )
    try:
        return user, None, _count(name, user, network)
    except RateLimited as refusal:
        return user, refusal, Try(())


def _count(name: str, user: Any, network: str | None) -> Try:
    browser = browsers.browser_of(user)
    if user is not None and browser:
        own = (limits.PASSWORD_IN_BROWSER, f"{user.id}:{browser}")
        count_or_refuse(*own)
        return Try((own,))
    here = (limits.PASSWORD_OF_NAME_FROM_NETWORK, f"{name}:{network}")
    if network:
        count_or_refuse(*here)
        if user is not None and user.is_known:
            return Try((here,))
        count_or_refuse(limits.PASSWORD_FROM_NETWORK, network)
    if count(limits.PASSWORD_OF_NAME, name) >= limits.PASSWORD_OF_NAME.at_most:
        count_or_refuse(limits.PASSWORD_OF_NAME_SLOWED, name)
    return Try(
        (here, (limits.PASSWORD_OF_NAME, name)),
        ((limits.PASSWORD_FROM_NETWORK, network),) if network else (),
    )


def _has_signed_in_from(network: str | None) -> Exists | Q:
    """Whether the account was signed in to from there, under the authenticators that it has now:
    whoever was thrown out by a new password is a stranger again."""
    sessions = Session.objects.filter(
        user=OuterRef("pk"),
        authenticators_version=OuterRef("authenticators_version"),
        last_used__gt=timezone.now() - KNOWN_FOR,
    )
    if network is None:
        return Exists(sessions.none())
    addresses = ip_network(network)
    return Exists(sessions.filter(address__range=(str(addresses[0]), str(addresses[-1]))))
