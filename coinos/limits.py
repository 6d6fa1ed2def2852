"""Every limit of the product, as data: how much, of what, counted by whom, and what happens beyond.

A `Rate` is so many requests in a window of time, a `Bound` so many of a thing at a time. API and
pages share them. What people count by is never something that they can have any number of: the
user behind a token, key or session, and a network (an IPv4 address, or the /64 of an IPv6 one),
never the credential and never the full address.

docs/operating.md and docs/api.md repeat these numbers; tests/test_limits.py compares them. Rates
are counted by `coinos.throttling` in Redis, tries at secrets by `accounts.attempts` in the
database. Money has limits of its own, which are settings (README).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class By(StrEnum):
    """What a limit is counted by."""

    USER = "user"
    NETWORK = "network"
    CALLER = "user, else network"
    NAME = "name or address that was typed"
    NAME_AND_NETWORK = "user name that was typed, and network"
    BROWSER = "browser that was signed in before"
    MAILBOX = "mailbox"
    PAYEE = "payee"
    PAYEE_FROM_NETWORK = "payee and network"
    INVOICE = "invoice"
    FUND = "fund"
    PROCESS = "server process"
    REQUEST = "request"
    ADDRESS = "address that is called"


@dataclass(frozen=True)
class Rate:
    """At most `at_most` times in `window_s` seconds. Beyond it: 429 `rate_limited`, at once, with
    the seconds until the window ends as `Retry-After`."""

    name: str
    """Of the counter; unique."""
    at_most: int
    window_s: int
    by: By
    of: str
    """What is counted, for the documents."""
    together: int | None = None
    """What all callers whom nobody can tell apart may do together: those behind a unix socket or an
    onion service. None: they are not counted, for one of them could use up what all have. It is
    set where strangers make something that stays."""


@dataclass(frozen=True)
class Bound:
    """At most `at_most` of a thing at a time."""

    name: str
    at_most: int
    by: By
    of: str
    """What is bounded, for the documents."""
    beyond: str
    """What happens to the next one, for the documents."""


@dataclass(frozen=True)
class Unlimited:
    """A route without a rate, and why it needs none."""

    reason: str


# --- Every route: what holds where nothing below is named ----------------------------------------

READ = Rate("read", 300, 10, By.CALLER, "reading requests to the API")
CHANGE = Rate("change", 60, 60, By.CALLER, "changes of settings, and forms of pages")
PAGE = Rate("page", 600, 60, By.CALLER, "pages that are opened")
UNKNOWN_TOKEN = Rate("unknown-token", 60, 10, By.NETWORK, "requests with a token that is no good")

# --- Signing in, and the account -----------------------------------------------------------------

REGISTER = Rate("register", 60, 3600, By.NETWORK, "new accounts", together=600)
SIGN_IN = Rate("login", 10, 5, By.NETWORK, "sign-ins, right or wrong")

# See accounts/guesses.py. Strangers: neither that browser nor a network that was signed in from.
PASSWORD_IN_BROWSER = Rate("login:browser", 20, 600, By.BROWSER, "wrong passwords at sign-in")
PASSWORD_OF_NAME_FROM_NETWORK = Rate(
    "login:pair", 20, 600, By.NAME_AND_NETWORK, "wrong passwords at sign-in"
)
PASSWORD_FROM_NETWORK = Rate(
    "login:network", 20, 600, By.NETWORK, "wrong passwords at sign-in, by strangers"
)
PASSWORD_OF_NAME = Rate(
    "login:name", 20, 24 * 3600, By.NAME, "wrong passwords by strangers before they are slowed"
)
PASSWORD_OF_NAME_SLOWED = Rate(
    "login:slowed", 1, 30, By.NAME, "tries by strangers, all together, once they are slowed"
)
PASSWORD = Rate("password", 20, 600, By.USER, "wrong passwords where a session is asked for one")
PIN = Rate("pin", 5, 600, By.USER, "wrong PINs")
PIN_A_DAY = Rate("pin:day", 20, 24 * 3600, By.USER, "wrong PINs")
CODE = Rate("totp", 5, 600, By.USER, "wrong codes of the second factor")
CODE_A_DAY = Rate("totp:day", 20, 24 * 3600, By.USER, "wrong codes of the second factor")
RECOVERY_CODE = Rate("recovery", 5, 600, By.USER, "wrong recovery codes")
RENAME = Rate("rename", 3, 24 * 3600, By.USER, "changes of the user name")

AUDITED = Rate("audited", 20, 3600, By.USER, "tries of one kind that the audit log lists singly")

FORGOT = Rate("forgot", 10, 600, By.NETWORK, "links asked for a new password", together=100)
RESET = Rate("reset", 20, 60, By.NETWORK, "visits to such links")
VERIFY = Rate("verify", 10, 60, By.USER, "confirmations of an e-mail address")
VERIFY_MAILS = Rate("verify-mails", 5, 3600, By.USER, "links that confirm an e-mail address")
VERIFY_MAILBOX = Rate("verify-mailbox", 5, 3600, By.MAILBOX, "links that confirm an e-mail address")
RESET_MAILS = Rate("reset-mails", 5, 3600, By.NAME, "links asked for a new password")
RESET_MAILBOX = Rate("reset-mailbox", 5, 3600, By.MAILBOX, "links sent for a new password")

# Programs that sign in for every call, and people with many browsers, end their own oldest.
TOKENS = Bound("tokens", 100, By.USER, "login tokens", "the one unused for longest ends")
BROWSERS = Bound("browsers", 50, By.USER, "browsers signed in", "the one unused for longest ends")
OPERATORS = Bound(
    "operators", 10, By.USER, "sign-ins to the admin", "the one unused for longest ends"
)
API_KEYS = Bound("api-keys", 50, By.USER, "API keys", "403, until one is revoked")
WALLET_CONNECTIONS = Bound(
    "wallet-connections", 100, By.USER, "wallet connections", "403, until one is deleted"
)

PICTURE = Rate("picture", 10, 60, By.USER, "uploads of pictures")
CLOSE = Rate("close", 5, 600, By.USER, "tries to close an account")

# --- Being paid ----------------------------------------------------------------------------------

INVOICE_CREATE = Rate("invoice-create", 60, 10, By.CALLER, "new invoices", together=600)
INVOICE_EDIT = Rate("invoice-edit", 60, 10, By.CALLER, "changes of invoices", together=600)
INVOICE_READ = Rate("invoice-read", 300, 10, By.CALLER, "looks at invoices")
LNURL = Rate("lnurl", 60, 60, By.NETWORK, "LNURL-pay requests", together=6000)
LNURL_VERIFY = Rate("lnurl-verify", 100, 10, By.NETWORK, "questions whether LNURL paid")

# Strangers ask in somebody's name. What one network asks for leaves room for others, and all that
# others ask for leaves room for the user's own.
INVOICE_FOR_ANOTHER = Rate(
    "invoice-for-another", 600, 3600, By.PAYEE_FROM_NETWORK, "invoices that others make for a user"
)
UNPAID_BY_OTHERS = Bound(
    "unpaid-by-others",
    3000,
    By.PAYEE,
    "unpaid invoices that others made within an hour",
    "429; the user's own are made all the same",
)
TIP_BY_ANOTHER = Rate("tip-by-another", 20, 3600, By.INVOICE, "tips that others than the owner set")

# A node watches every address for ever.
ADDRESS = Rate("address", 2000, 24 * 3600, By.USER, "bitcoin addresses")
ADDRESS_FOR_PAYEE = Rate(
    "address-for-payee", 200, 24 * 3600, By.PAYEE, "bitcoin addresses that others ask for"
)
ADDRESS_FROM_NETWORK = Rate(
    "address-from-network", 50, 24 * 3600, By.NETWORK, "bitcoin addresses of others"
)

QR_PICTURE = Rate("qr-picture", 60, 60, By.CALLER, "QR codes as pictures")

ITEMS_BYTES = Bound(
    "items", 8 * 1024, By.INVOICE, "bytes of what a shop keeps with an invoice (`items`)", "400"
)
LISTS = Bound(
    "lists",
    4,
    By.PROCESS,
    "lists of invoices for programs that are made, and eight times as many that wait for 3 s",
    "503, with `Retry-After`",
)

WEBHOOK_SAVE = Rate("webhook-save", 10, 60, By.USER, "changes of the account's webhook")
WEBHOOK_TRY = Rate("webhook-try", 10, 60, By.USER, "test calls of a webhook")

WEBHOOK_CALLS = Bound(
    "webhook-calls",
    16,
    By.USER,
    "webhook calls under way, each to another endpoint",
    "the next one waits, and no other user's does",
)
WEBHOOK_CALLS_AT_ADDRESS = Bound(
    "webhook-calls-at-address",
    16,
    By.ADDRESS,
    "webhook calls under way, in each process, to an address or IPv6 network",
    "they wait, but for the first one of each user",
)
WEBHOOKS_WAITING = Bound(
    "webhooks-waiting",
    5_000,
    By.USER,
    "webhook calls that wait",
    "later ones are not made; `/webhooks` shows them, and sends them again",
)

# --- Paying --------------------------------------------------------------------------------------

SPEND = Rate("spend", 30, 10, By.USER, "spends, whatever kind")
LOOK = Rate("look", 30, 60, By.USER, "destinations looked up, on the pages")
QUOTE = Rate("quote", 30, 10, By.USER, "quotes of an on-chain fee")
DECODE = Rate("decode", 30, 10, By.CALLER, "payment requests read")
GIFT = Rate("gift", 60, 60, By.CALLER, "looks at gifts")
FUND = Rate("fund", 10, 600, By.USER, "new funds")
MANAGER = Rate("manager", 20, 60, By.USER, "managers added to funds")
UNCONFIRMED_WITHDRAWALS = Bound(
    "unconfirmed-withdrawals",
    10,
    By.USER,
    "withdrawals that no block has yet",
    "403, until one is in a block",
)
OPEN_GIFTS = Bound("open-gifts", 1000, By.USER, "gifts that nobody has taken", "403, until one is")
OPEN_FUNDS = Bound("open-funds", 20, By.USER, "open funds", "403, until one is closed")
MANAGERS = Bound("managers", 20, By.FUND, "managers", "403, until one is removed")

# --- Looking back, and around --------------------------------------------------------------------

PAYMENT = Rate("payment", 60, 10, By.CALLER, "looks at one payment")
RECEIPT = Rate("receipt", 60, 60, By.CALLER, "looks at somebody's receipt")
SEARCH = Rate("search", 60, 60, By.USER, "searches in the history")
EXPORT = Rate("export", 10, 60, By.USER, "downloads of the history")
PROFILE = Rate("users", 60, 10, By.CALLER, "looks at public profiles")
INFO = Rate("info", 60, 10, By.CALLER, "rates and facts about the node")
HEALTH = Rate("health", 100, 10, By.NETWORK, "questions whether the server is well")
STREAM = Rate("stream", 60, 60, By.CALLER, "live streams that are opened")
SIMNET = Rate("simnet", 60, 60, By.CALLER, "moves of the simulated network")


# --- How much of it at a time ---------------------------------------------------------------------

CONNECTIONS = Bound(
    "connections",
    4096,
    By.PROCESS,
    "open connections: idle ones, streams and half-sent requests too",
    "waits until another ends",
)
STREAMS_OF_USER = Bound(
    "streams of a user", 24, By.USER, "live streams of a wallet", "429, with `Retry-After`"
)
STREAMS_OF_STRANGER = Bound(
    "streams of a stranger",
    12,
    By.NETWORK,
    "live streams of invoices",
    "429, with `Retry-After`",
)
BODY_BYTES = Bound("body", 64 * 1024, By.REQUEST, "bytes in the body", "413, connection closed")
UPLOAD_BYTES = Bound(
    "upload",
    300 * 1024,
    By.REQUEST,
    "bytes in the body with a picture",
    "413, connection closed",
)
HELD_BYTES = Bound(
    "half-read bodies",
    32 * 1024 * 1024,
    By.PROCESS,
    "bytes of bodies above 4 kB that are half read",
    "503, with `Retry-After`",
)
LOG_LINES = Bound(
    "log lines",
    60,
    By.PROCESS,
    "lines a minute in the log about requests that were refused",
    "left out, and counted",
)
LOOK_UPS = Bound(
    "look-ups",
    16,
    By.PROCESS,
    "requests that wait for another server: Lightning Addresses, LNURL, test calls of a webhook",
    "503, with `Retry-After`",
)
LOOK_UPS_OF_USER = Bound(
    "look-ups of a user", 2, By.USER, "such requests of one user", "429, with `Retry-After`"
)
NAMES_CHECKED = Bound(
    "names checked",
    8,
    By.PROCESS,
    "host names of webhooks that are looked up to refuse them early",
    "not checked early",
)
HASHES_WAITING = Bound(
    "hashes that wait",
    8,
    By.PROCESS,
    "passwords of strangers that wait for a processor, and as many secrets of signed-in users",
    "503, with `Retry-After`",
)
HASHES_OF_USER = Bound(
    "hashes of a user",
    2,
    By.USER,
    "secrets of one user in checking",
    "429, with `Retry-After`",
)


def all_rates() -> list[Rate]:
    """In the order of this page."""
    return [one for one in globals().values() if isinstance(one, Rate)]


def all_bounds() -> list[Bound]:
    """In the order of this page."""
    return [one for one in globals().values() if isinstance(one, Bound)]
