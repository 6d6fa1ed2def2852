"""E-mail to users: a row with its cause, sent by a worker until it is out.

No request waits for the mail server, and none tells by its time whether an account exists. A row
is leased, sent without holding anything, and then marked; a message may come twice.
"""

from __future__ import annotations

import datetime as dt
import logging
import smtplib
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from babel.dates import format_datetime
from babel.numbers import format_decimal
from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import connection, transaction
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, pgettext

from accounts import links, names
from accounts.attempts import count_or_refuse
from accounts.email_addresses import mailbox_of
from accounts.models import Activity, Email, User
from coinos import bell, languages, limits
from coinos.caller import caller
from coinos.errors import InvalidRequest, RateLimited

logger = logging.getLogger(__name__)

SMTP = "django.core.mail.backends.smtp.EmailBackend"
RETRY_AFTER = [
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
]
LEASE = timedelta(minutes=5)  # longer than sending can take: a killed worker's rows come free
RUN_S = 50
KEPT_FOR = timedelta(days=7)
ACCOUNTS_PER_ADDRESS = 10
BY_OPERATOR = "operator"

# --- What is sent --------------------------------------------------------------------------------


def queue_verification(user: User) -> None:
    """Send the link that confirms the account's address. Raises `RateLimited`: neither does one
    account send to many mailboxes, nor do many accounts to one."""
    if not settings.EMAIL_ENABLED or not user.email:
        raise InvalidRequest(gettext_noop("There is no address to send a link to"))
    count_or_refuse(limits.VERIFY_MAILS, user.id)
    count_or_refuse(limits.VERIFY_MAILBOX, mailbox_of(user.email))
    _queue(Email(kind=Email.Kind.VERIFY, user=user))


def queue_reset(typed: str) -> None:
    """Send a link for a new password to whoever this name or address belongs to, if anybody: a
    worker finds that out, and whether its mailbox has had enough of them. Raises `RateLimited`, by
    the name or address that was typed, in whichever way."""
    typed = typed.strip().lower()
    count_or_refuse(limits.RESET_MAILS, _name_in(typed) or typed)
    _queue(Email(kind=Email.Kind.RESET, typed=typed))


def queue_notice(user: User, notice: Email.Notice, *, to: str, by_operator: bool) -> None:
    """Tell the owner what was changed and from where, at the address that was confirmed before, if
    one was; in the transaction of the change."""
    if settings.EMAIL_ENABLED and to:
        source = BY_OPERATOR if by_operator else caller().address or ""
        _queue(Email(kind=Email.Kind.CHANGED, user=user, notice=notice, to=to, source=source))


def queue_receipts(lines: Sequence[Activity]) -> None:
    """Tell the owners of settled receipts, if they want it; in the transaction of the money."""
    if not settings.EMAIL_ENABLED:
        return
    settled = [one for one in lines if one.is_incoming and one.status == Activity.Status.SETTLED]
    if not settled:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            _QUEUE_RECEIPTS, [[one.id for one in settled], [one.user_id for one in settled]]
        )
        if cursor.rowcount:
            bell.ring_after_commit("accounts.tasks.send_emails")


_QUEUE_RECEIPTS = """
    INSERT INTO accounts_email
        (kind, user_id, typed, activity_id, state, attempts_count, next_attempt_at, created)
    SELECT 'received', id, '', receipt.activity_id, 'pending', 0, now(), now()
    FROM unnest(%s::uuid[], %s::uuid[]) AS receipt (activity_id, user_id)
    JOIN accounts_user ON accounts_user.id = receipt.user_id
    WHERE notify AND email_verified_at IS NOT NULL AND is_active
    ON CONFLICT DO NOTHING
"""


def _queue(email: Email) -> None:
    with transaction.atomic():
        email.save()
        bell.ring_after_commit("accounts.tasks.send_emails")


# --- What it says --------------------------------------------------------------------------------


def _message(email: Email) -> EmailMessage | None:
    """The message in the reader's language; None when there is nobody to send it to."""
    users = _readers(email)
    if not users or not _may_send(email, users[0]):
        return None
    reader = users[0]
    language = reader.language if languages.is_offered(reader.language) else "en"
    with translation.override(language):
        subject, body = _words(email, users)
    return EmailMessage(subject, body, to=[email.to or reader.email])


def _readers(email: Email) -> list[User]:
    """The accounts that the message is about; they share the address that it goes to."""
    if email.kind == Email.Kind.RESET:
        return _accounts_named(email.typed)
    user = email.user
    return [user] if user and user.is_active and (email.to or user.email) else []


def _may_send(email: Email, reader: User) -> bool:
    """Whether the mailbox has room for one more link, asked for by whatever name."""
    if email.kind != Email.Kind.RESET or email.attempts_count:
        return True
    try:
        count_or_refuse(limits.RESET_MAILBOX, mailbox_of(reader.email))
    except RateLimited:
        logger.warning("e-mail %s was not sent: its mailbox has had enough links", email.id)
        return False
    return True


def _name_in(typed: str) -> str:
    """The name when one of ours was typed, alone or with our host; "" for an address elsewhere."""
    name, _at, domain = typed.partition("@")
    return names.normalise(name) if not domain or domain == settings.DOMAIN else ""


def _accounts_named(typed: str) -> list[User]:
    verified = User.objects.filter(is_active=True, email_verified_at__isnull=False)
    if name := _name_in(typed):
        return list(verified.filter(username=name))
    # Byte for byte: whoever is found here gets the links of all who are.
    same = verified.filter(email=typed)
    return list(same.order_by("created")[:ACCOUNTS_PER_ADDRESS])


def _words(email: Email, users: list[User]) -> tuple[str, str]:
    site = settings.PUBLIC_URL
    if email.kind == Email.Kind.VERIFY:
        return _("Confirm your e-mail address"), _(
            "Hello %(name)s,\n\nopen this link within an hour to confirm this address for your"
            " wallet at %(site)s:\n\n%(link)s\n\nIf you did not ask for this, you can ignore this"
            " message.\n"
        ) % {"name": users[0].username, "site": site, "link": links.verify_url(users[0])}
    if email.kind == Email.Kind.RESET:
        listed = "\n".join(f"{user.username}: {links.reset_url(user)}" for user in users)
        return _("Choose a new password"), _(
            "Somebody, probably you, has forgotten the password of a wallet at %(site)s. Choose a"
            " new one here within an hour; the link works once:\n\n%(links)s\n\nIf it was not you,"
            " you can ignore this message: your password still works.\n"
        ) % {"site": site, "links": listed}
    if email.kind == Email.Kind.CHANGED:
        return _words_of_notice(email, users[0])
    assert email.activity is not None
    amount = format_decimal(email.activity.total_sat, locale=languages.locale())
    return _("You received %(amount)s sats") % {"amount": amount}, _(
        "Hello %(name)s,\n\n%(amount)s sats have arrived in your wallet:\n\n%(link)s\n\n"
        "You asked to be told about payments. You can change this in the settings: %(settings)s\n"
    ) % {
        "name": users[0].username,
        "amount": amount,
        "link": site + reverse("payment", args=[email.activity.id]),
        "settings": site + reverse("settings"),
    }


_NOTICES = {
    Email.Notice.PASSWORD: gettext_noop("Your password was changed"),
    Email.Notice.PIN: gettext_noop("Your PIN was changed"),
    Email.Notice.PIN_REMOVED: gettext_noop("Your PIN was removed"),
    Email.Notice.EMAIL: gettext_noop("Your e-mail address was changed"),
    Email.Notice.USERNAME: gettext_noop("Your username was changed"),
    Email.Notice.SECOND_FACTOR_ON: gettext_noop("Your second factor was turned on"),
    Email.Notice.SECOND_FACTOR_OFF: gettext_noop("Your second factor was turned off"),
    Email.Notice.RECOVERY_CODES: gettext_noop("Your recovery codes were replaced"),
}


def _words_of_notice(email: Email, user: User) -> tuple[str, str]:
    site, notice = settings.PUBLIC_URL, Email.Notice(email.notice)
    what, where = _(_NOTICES[notice]), email.source or pgettext("a network address", "unknown")
    if email.source == BY_OPERATOR:
        where = _("the operator of this server")
    when = format_datetime(email.created, "medium", tzinfo=dt.UTC, locale=languages.locale())
    if notice == Email.Notice.EMAIL:  # no link for a new password comes to this address any more
        advice = _(
            "If it was not you, sign in at once, change your password, and change the address back"
            " in the settings. If you cannot sign in, tell the operator of this server: %(support)s"
        )
    else:
        advice = _(
            "If it was not you, choose a new password at once: %(forgot)s\nThen tell the operator"
            " of this server: %(support)s"
        )
    ways = {"forgot": site + reverse("forgot"), "support": site + reverse("support")}
    return what, _(
        "Hello %(name)s,\n\n%(what)s.\n\nWallet: %(site)s\nWhen: %(when)s UTC\nFrom: %(where)s\n\n"
        "If it was you, you can ignore this message.\n%(advice)s\n"
    ) % {
        "name": user.username,
        "what": what,
        "site": site,
        "when": when,
        "where": where,
        "advice": advice % ways,
    }


# --- Sending -------------------------------------------------------------------------------------


def deliver_due(*, seconds: float = RUN_S, stopped: Callable[[], bool] = lambda: False) -> int:
    """Send what is due until there is none, for about `seconds`; returns how many were tried. Any
    number of processes may do this at once."""
    if not settings.EMAIL_ENABLED:
        return 0
    count, ends = 0, time.monotonic() + seconds
    while time.monotonic() < ends and not stopped():
        email = _claim()
        if email is None:
            break
        _send(email)
        count += 1
    return count


def _claim() -> Email | None:
    """Lease the message that has waited longest."""
    now = timezone.now()
    due = Email.objects.filter(
        Q(leased_until=None) | Q(leased_until__lte=now),
        state=Email.State.PENDING,
        next_attempt_at__lte=now,
    )
    with transaction.atomic():
        email = (
            due.select_for_update(skip_locked=True, of=("self",))
            .select_related("user", "activity")
            .order_by("next_attempt_at")
            .first()
        )
        if email:
            Email.objects.filter(id=email.id).update(leased_until=now + LEASE)
    return email


def _send(email: Email) -> None:
    """One try, and what came of it. The log names the row, never the reader."""
    try:
        message = _message(email)
        if message:
            message.connection = get_connection(SMTP)
            message.send()
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _text in error.recipients.values()]
        _try_again(email, error, for_ever=all(code >= 500 for code in codes))
    except (smtplib.SMTPNotSupportedError, ValueError) as error:  # no address that can be sent to
        _try_again(email, error, for_ever=True)
    except (smtplib.SMTPException, OSError) as error:
        _try_again(email, error, for_ever=False)
    else:
        Email.objects.filter(id=email.id).update(state=Email.State.DONE, leased_until=None)


def _try_again(email: Email, error: Exception, *, for_ever: bool) -> None:
    """Later, or no more."""
    tries = email.attempts_count + 1
    is_last = for_ever or tries > len(RETRY_AFTER)
    logger.warning("e-mail %s was not sent: %s", email.id, type(error).__name__)
    Email.objects.filter(id=email.id).update(
        state=Email.State.FAILED if is_last else Email.State.PENDING,
        attempts_count=tries,
        leased_until=None,
        next_attempt_at=timezone.now() + (timedelta(0) if is_last else RETRY_AFTER[tries - 1]),
    )


def forget_old() -> None:
    """Drop what is over: who asked for what is nobody's business later."""
    over = Email.objects.exclude(state=Email.State.PENDING)
    over.filter(created__lt=timezone.now() - KEPT_FOR).delete()
