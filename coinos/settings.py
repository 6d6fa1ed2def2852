"""Django settings, and the only place where coinos reads its environment.

Every variable is read here once, typed, and refused with a sentence when it is wrong, so that
a server either starts as its operator meant it or says why not. Nothing has to be set: without
any variable the server runs on loopback with its own PostgreSQL, Redis and simulated network.
"""

import datetime as dt
import ipaddress
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static

from coinos import embedded, limits, mail, secret_keys
from coinos.logs import ClientErrors, RedactingFormatter

BASE_DIR = Path(__file__).resolve().parent.parent


def refuse(sentence: str) -> ImproperlyConfigured:
    """The error that stops a start; the sentence names the variable and the mend."""
    return ImproperlyConfigured(sentence)


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def flag(name: str, default: bool) -> bool:
    value = text(name, "on" if default else "off").lower()
    if value not in ("on", "off", "true", "false", "1", "0", "yes", "no"):
        raise refuse(f"{name} is {value!r}: write on or off.")
    return value in ("on", "true", "1", "yes")


def number(name: str, default: int, minimum: int = 0, maximum: int = 2**62) -> int:
    value = text(name, str(default))
    if not (value.isascii() and value.isdigit() and minimum <= int(value) <= maximum):
        raise refuse(f"{name} is {value!r}: write a whole number from {minimum} to {maximum}.")
    return int(value)


def choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    value = text(name, default)
    if value not in choices:
        raise refuse(f"{name} is {value!r}: write one of {', '.join(choices)}.")
    return value


def names(name: str) -> list[str]:
    return [part.strip() for part in text(name).split(",") if part.strip()]


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# --- Where things live ---------------------------------------------------------------------

DATA_DIR = Path(text("COINOS_DATA_DIR", str(BASE_DIR / "data"))).expanduser().absolute()

# --- Network and nodes ---------------------------------------------------------------------

NETWORK = choice("NETWORK", "regtest", ("bitcoin", "testnet4", "signet", "regtest"))
MAINNET = NETWORK == "bitcoin"

NOT_FOR_THIS_PROCESS = "none"
"""Of a node or a key: this process has no business with it (docker-compose.yml)."""

LIGHTNING_RPC = text("LIGHTNING_RPC")
BITCOIN_RPC_URL = text("BITCOIN_RPC_URL")
BITCOIN_WALLET = text("BITCOIN_WALLET", "coinos")

# True when no node is given: the same adapters then talk to the simulated network.
SIMNET = not LIGHTNING_RPC and not BITCOIN_RPC_URL
SIMNET_DIR = DATA_DIR / "simnet"
SIMNET_CONTROL = embedded.socket_path(DATA_DIR, "simnet/control")

if SIMNET:
    if NETWORK != "regtest":
        raise refuse(
            f"NETWORK is {NETWORK} but no node is given: set LIGHTNING_RPC and BITCOIN_RPC_URL."
            " The simulated network is regtest."
        )
    LIGHTNING_RPC = str(embedded.socket_path(DATA_DIR, "simnet/lightning-rpc"))
    # 0 until simnet has run once: never the port of some other server's simnet.
    port_file = SIMNET_DIR / "bitcoin-port"
    SIMNET_BITCOIN_PORT = number(
        "SIMNET_BITCOIN_PORT",
        int(port_file.read_text()) if port_file.exists() else 0,
        maximum=65535,
    )
    BITCOIN_RPC_URL = f"http://simnet:simnet@127.0.0.1:{SIMNET_BITCOIN_PORT}"
elif not LIGHTNING_RPC or not BITCOIN_RPC_URL:
    given, missing = (
        ("LIGHTNING_RPC", "BITCOIN_RPC_URL")
        if LIGHTNING_RPC
        else ("BITCOIN_RPC_URL", "LIGHTNING_RPC")
    )
    raise refuse(f"{given} is set and {missing} is not: set both, or neither for simnet.")

if BITCOIN_RPC_URL != NOT_FOR_THIS_PROCESS and urlsplit(BITCOIN_RPC_URL).scheme not in (
    "http",
    "https",
):
    raise refuse("BITCOIN_RPC_URL must look like http://user:password@host:port")

# --- Money: limits, fees, waiting ----------------------------------------------------------

OURFEE_PPM = number("OURFEE", 0, maximum=100_000)
"""Platform fee on external payments, in parts per million of the amount."""

FALLBACK_FEE_SAT_VB = number("FALLBACK_FEE_SAT_VB", 20 if MAINNET else 1, minimum=1, maximum=500)
"""Fee rate of withdrawals while the Bitcoin node has no estimate: on mainnet what Bitcoin Core took
while its own fallback was on by default. On other networks there is room in every block."""

MIN_DEPOSIT_SAT = number("MIN_DEPOSIT_SAT", 300, minimum=1)

# (from this amount in sats, confirmations needed before a deposit is credited), ascending.
CONFIRMATIONS = number("CONFIRMATIONS", 1, minimum=1, maximum=100)
CONFIRMATION_TIERS = (
    (0, CONFIRMATIONS),
    (number("CONFIRMATIONS_3_FROM_SAT", 10_000_000), max(3, CONFIRMATIONS)),
    (number("CONFIRMATIONS_6_FROM_SAT", 100_000_000), max(6, CONFIRMATIONS)),
)

MAX_PAYMENT_SAT = number("MAX_PAYMENT_SAT", 100_000_000_000, minimum=1)
MAX_INVOICE_SAT = number("MAX_INVOICE_SAT", 2_100_000_000_000_000, minimum=1)

SEND_LIMIT_SITE_SAT = number("SEND_LIMIT_SITE_SAT", 0)
"""Most sats that may leave the whole site in an hour; 0 is no limit."""
SEND_LIMIT_USER_SAT = number("SEND_LIMIT_USER_SAT", 0)
"""Most sats that one user may send out in a day; 0 is no limit."""
MAX_IN_FLIGHT = number("MAX_IN_FLIGHT", 16, minimum=1, maximum=10_000)
"""Undecided payments that one user may have at a time: half of what one process sends at once."""

OPERATOR_APPROVAL_SAT = number("OPERATOR_APPROVAL_SAT", 100_000)
"""Most sats that one operator may move in a day on that operator's word alone; beyond it a second
one has to approve. 0: always."""

SEND_RETRY_FOR_SECONDS = number("SEND_RETRY_FOR", 30, minimum=1, maximum=600)
SEND_MARGIN_SECONDS = number("SEND_MARGIN", 120, minimum=1, maximum=3600)
if MAINNET and (SEND_RETRY_FOR_SECONDS < 30 or SEND_MARGIN_SECONDS < 120):
    raise refuse("SEND_RETRY_FOR and SEND_MARGIN may not be shorter than 30 and 120 on mainnet.")

STOP_FILE = Path(text("STOP_FILE", str(DATA_DIR / "stop-sends"))).expanduser().absolute()
"""The kill switch: while this file exists, no external send starts."""

# --- Where the server is reached -----------------------------------------------------------

DEBUG = flag("DEBUG", False)
if DEBUG and MAINNET:
    raise refuse("DEBUG is refused on mainnet: its error pages show secrets.")

HOST = text("HOST", "127.0.0.1")
PORT = number("PORT", 8000, minimum=1, maximum=65535)
PUBLIC_URL = text("PUBLIC_URL", f"http://{f'[{HOST}]' if ':' in HOST else HOST}:{PORT}").rstrip("/")

public = urlsplit(PUBLIC_URL)
if public.scheme not in ("http", "https") or not public.hostname or public.path or public.query:
    raise refuse(f"PUBLIC_URL is {PUBLIC_URL!r}: write it as https://wallet.example.com")
PUBLIC_IS_HTTPS = public.scheme == "https"
DOMAIN = public.netloc
"""What stands behind the @ of a Lightning Address."""

NOSTR_RELAY = text("NOSTR_RELAY", f"ws{'s' if PUBLIC_IS_HTTPS else ''}://{DOMAIN}/relay")
"""Named in the URIs of wallet connections."""

TRUSTED_PROXIES = number("TRUSTED_PROXIES", 0, maximum=5)
"""How many proxies in front of us overwrite X-Forwarded-For and X-Forwarded-Proto."""
if MAINNET and not PUBLIC_IS_HTTPS and not public.hostname.endswith(".onion"):
    raise refuse("NETWORK=bitcoin needs an https PUBLIC_URL.")
if PUBLIC_IS_HTTPS and not TRUSTED_PROXIES:
    raise refuse(
        "PUBLIC_URL is https, so a proxy in front of coinos speaks TLS: set TRUSTED_PROXIES=1"
        " and let that proxy overwrite X-Forwarded-For and X-Forwarded-Proto."
    )

public_host = f"[{public.hostname}]" if ":" in public.hostname else public.hostname
ALLOWED_HOSTS = list(dict.fromkeys([public_host, *names("ALLOWED_HOSTS")]))
if is_loopback(public.hostname) or public.hostname in ("0.0.0.0", "::"):  # noqa: S104
    ALLOWED_HOSTS = [*dict.fromkeys([*ALLOWED_HOSTS, "127.0.0.1", "localhost", "[::1]"])]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]

# Processes and threads of `manage.py up`.
WEB_PROCESSES = number("WEB_PROCESSES", 1, minimum=1, maximum=64)
WORKER_THREADS = number("WORKER_THREADS", 4, minimum=1, maximum=64)
WEBHOOK_THREADS = number("WEBHOOK_THREADS", 8, minimum=1, maximum=64)

ADMIN_ENABLED = flag("ADMIN_ENABLED", SIMNET)

ADMIN_HOST = text("ADMIN_HOST").lower()
"""Where it is set, /admin/ answers at this host name only, and the wallet does not answer there."""
if ADMIN_HOST:
    if not ADMIN_ENABLED:
        raise refuse("ADMIN_HOST is set and ADMIN_ENABLED is not: set both or neither.")
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", ADMIN_HOST) or public.hostname == ADMIN_HOST:
        raise refuse(
            f"ADMIN_HOST is {ADMIN_HOST!r}: write a host name of its own, as in admin.example.com"
        )
    ALLOWED_HOSTS.append(ADMIN_HOST)
    CSRF_TRUSTED_ORIGINS.append(f"{public.scheme}://{ADMIN_HOST}")

OPERATORS_NEED_SECOND_FACTOR = NETWORK != "regtest"
"""Whether the admin opens to a password alone."""

RATE_LIMITS = flag("RATE_LIMITS", True)
if MAINNET and not RATE_LIMITS:
    raise refuse("RATE_LIMITS=off is refused on mainnet.")


def networks(name: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    try:
        return [ipaddress.ip_network(part) for part in names(name)]
    except ValueError as error:
        raise refuse(f"{name}: {error}. Write networks such as 10.0.0.0/8, comma-separated.")


# Private networks that URLs given by users (webhooks, LNURL) may reach. None on mainnet; a
# developer on simnet receives webhooks on his own machine.
ALLOW_PRIVATE_URLS = networks("ALLOW_PRIVATE_URLS")
if MAINNET and ALLOW_PRIVATE_URLS:
    raise refuse("ALLOW_PRIVATE_URLS is refused on mainnet.")
if SIMNET and not ALLOW_PRIVATE_URLS:
    ALLOW_PRIVATE_URLS = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")]

# Our own public addresses and the node's, which such URLs may not reach either.
OWN_ADDRESSES = networks("OWN_ADDRESSES")

# --- People: e-mail to them, and whom they may ask ------------------------------------------

EMAIL_URL = text("EMAIL_URL")
EMAIL_ENABLED = bool(EMAIL_URL)
"""Without a mail server no page offers what needs one."""
DEFAULT_FROM_EMAIL = text("EMAIL_FROM")
if bool(DEFAULT_FROM_EMAIL) != EMAIL_ENABLED:
    raise refuse("Set both EMAIL_URL and EMAIL_FROM to send e-mail, or neither.")
if EMAIL_ENABLED:
    try:
        mail_server = mail.parse_url(EMAIL_URL)
        mail.check_sender(DEFAULT_FROM_EMAIL)
    except ValueError as error:
        raise refuse(str(error))
    EMAIL_HOST, EMAIL_PORT = mail_server.host, mail_server.port
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = mail_server.user, mail_server.password
    EMAIL_USE_SSL, EMAIL_USE_TLS = mail_server.tls, mail_server.starttls
EMAIL_TIMEOUT = 15

SUPPORT_CONTACT = text("SUPPORT_CONTACT")
"""An e-mail address, a web address or a sentence; shown on the support page as it is."""


def explorer(url: str) -> str:
    """The URL when it can be filled with a txid and leads there unseen by others."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    is_safe = host and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))
    if url and not (is_safe and "{txid}" in url and "{" not in parts.netloc):
        raise refuse(
            f"EXPLORER_URL is {url!r}: write it as https://explorer.example.com/tx/{{txid}};"
            " http is for an explorer on this machine."
        )
    return url


EXPLORER_URL = explorer(text("EXPLORER_URL"))
"""Where pages link transactions to; without it they name no other host."""

# --- Secrets -------------------------------------------------------------------------------


def secret(name: str, generate: Any) -> str:
    """The variable, else the key that the first start generated into the data dir (0600). A process
    that has no business with it makes one that nobody else knows or accepts."""
    if text(name) == NOT_FOR_THIS_PROCESS:
        return str(generate())
    value = text(name) or secret_keys.generated_once(DATA_DIR / "secrets" / name, generate)
    if secret_keys.is_sample(value):
        raise refuse(f"{name} is a sample value: unset it, or make one with: openssl rand -hex 32")
    return value


SECRET_KEY = secret("SECRET_KEY", secret_keys.random_text)
JWT_SIGNING_KEY = secret("JWT_SIGNING_KEY", secret_keys.random_text)
FIELD_KEYS = (
    []  # what was sealed with a key of the moment could never be read again
    if text("FIELD_KEY") == NOT_FOR_THIS_PROCESS
    else secret("FIELD_KEY", secret_keys.random_fernet).split(",")
)
"""Fernet keys for secrets at rest: the first encrypts, all decrypt (for MultiFernet)."""
for key in FIELD_KEYS:
    try:
        Fernet(key)
    except ValueError:
        raise refuse("FIELD_KEY must be 32 random bytes in URL-safe base64 (44 characters).")

# --- Database ------------------------------------------------------------------------------
# Two roles: `app` runs the server, `owner` owns the tables and migrates. See manage.py.

DATABASE_URL = text("DATABASE_URL")
DATABASE_IS_EMBEDDED = not DATABASE_URL
DATABASE_OWNER_URL = text("DATABASE_OWNER_URL", DATABASE_URL)
DATABASE_ROLE = choice("DATABASE_ROLE", "app", ("app", "owner"))

if DATABASE_IS_EMBEDDED:
    if text("DATABASE_OWNER_URL"):
        raise refuse("DATABASE_OWNER_URL is set and DATABASE_URL is not: set both or neither.")
    if MAINNET and os.geteuid() == 0:
        raise refuse(
            "NETWORK=bitcoin as root with the embedded database is refused:"
            " run coinos as a user of its own, or set DATABASE_URL."
        )
    DATABASE_URL = embedded.postgres_url(DATA_DIR, role=embedded.APP_ROLE)
    DATABASE_OWNER_URL = embedded.postgres_url(DATA_DIR, role=embedded.OWNER_ROLE)


def database(url: str) -> dict[str, Any]:
    """Django's words for a libpq URL. Each process keeps a small pool (ASGI uses many threads)."""
    try:
        options = embedded.parse_postgres_url(url)
    except ValueError as error:
        name = "DATABASE_URL" if url == DATABASE_URL else "DATABASE_OWNER_URL"
        raise refuse(f"{name}: {error}")
    pool_size = number("DATABASE_POOL_SIZE", 20, maximum=200)
    return {
        "ENGINE": "coinos.postgresql",
        "NAME": options.pop("dbname"),
        "USER": options.pop("user", ""),
        "PASSWORD": options.pop("password", ""),
        "HOST": options.pop("host", ""),
        "PORT": options.pop("port", ""),
        # A cursor of the server's belongs to one session; poolers hand out another one each time.
        "DISABLE_SERVER_SIDE_CURSORS": True,
        # A process that hangs in a transaction may not hold its locks for ever. Statements are
        # prepared when a connection sends them for the second time (`fixed_cursor`).
        "OPTIONS": {"options": "-c idle_in_transaction_session_timeout=60000"}
        | options
        | {"application_name": "coinos", "prepare_threshold": 1}
        | ({"pool": {"min_size": 0, "max_size": pool_size, "timeout": 10}} if pool_size else {}),
    }


DATABASES = {"default": database(DATABASE_OWNER_URL if DATABASE_ROLE == "owner" else DATABASE_URL)}
DATABASE_APP_ROLE = database(DATABASE_URL)["USER"]
"""The role to which migrations grant what the server may do."""
DATABASE_OWNER = database(DATABASE_OWNER_URL)
"""How `coinos.db.as_operator` connects: once for an act, so without a pool."""
DATABASE_OWNER["OPTIONS"].pop("pool", None)

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis: broker, cache, throttles, wake-ups; never money --------------------------------

REDIS_URL = text("REDIS_URL")
REDIS_IS_EMBEDDED = not REDIS_URL
if REDIS_IS_EMBEDDED:
    REDIS_URL = embedded.redis_url(DATA_DIR)
if not REDIS_URL.startswith(("redis://", "rediss://", "unix://")):
    raise refuse("REDIS_URL must begin with redis://, rediss:// or unix://")

CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
}

# Celery is a bell: messages carry ids, the rows are the queue, results are never read.
# Its word for a unix socket, and for the number of a database on it, are its own.
CELERY_BROKER_URL = REDIS_URL
if REDIS_URL.startswith("unix://"):
    CELERY_BROKER_URL = REDIS_URL.replace("unix:", "redis+socket:").replace(
        "?db=", "?virtual_host="
    )
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
# A worker takes as many messages as it has threads, and the next when one has ended.
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# What was taken is gone from Redis; beat rings again. Kept there until it is acknowledged, a worker
# whose threads all end while Redis is away counts them as at work for ever, and takes nothing more.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "ack_emulation": False,
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
}
CELERY_TIMEZONE = "UTC"

# --- Django --------------------------------------------------------------------------------

INSTALLED_APPS = [
    "coinos",
    "accounts",  # before auth: its createsuperuser is Django's, and opens a ledger account too
    "invoices",
    "payments",
    "unfold.apps.BasicAppConfig",
    "accounts.admin_config.OperatorAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "csp",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "coinos.static_files.StaticFiles",
    "coinos.caller.caller_middleware",
    "accounts.browsers.browser_middleware",
    "coinos.csp.policy_middleware",
    "coinos.web.private_pages",
    "coinos.admin_place.admin_host_middleware",
    "coinos.api.api_middleware",
    "coinos.admin_place.admin_cookie_middleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "coinos.web.RateLimits",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.authentication.web_session_middleware",
    "coinos.languages.language_middleware",
    "coinos.time_zones.time_zone_middleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "coinos.web.ErrorPages",
]

ROOT_URLCONF = "coinos.urls"
ASGI_APPLICATION = "coinos.asgi.application"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "coinos.web.page_context",
            ],
        },
    },
]

# Every language is complete (tests/html/test_languages.py); which one a page speaks is decided in
# coinos/languages.py.
LANGUAGE_CODE = "en"
LANGUAGES = [
    ("en", "English"),
    ("es", "Español"),
    ("fr", "Français"),
    ("de", "Deutsch"),
    ("pt", "Português"),
    ("ja", "日本語"),
]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

# Files are served as they lie in the tree, by coinos/static_files.py: nothing to build or collect.
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"] if (BASE_DIR / "static").is_dir() else []
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 0 if DEBUG else 300

# --- Who is calling ------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
CSRF_FAILURE_VIEW = "coinos.web.csrf_failure"
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
PASSWORD_RESET_TIMEOUT = 3600
AUTH_PASSWORD_VALIDATORS = [{"NAME": "accounts.passwords.Rules"}]  # of Django's own commands
PASSWORD_HASHERS = [
    "accounts.hashing.Argon2",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]

TOKEN_LIFETIME_DAYS = number("TOKEN_LIFETIME_DAYS", 365, minimum=1, maximum=3650)
SIMPLE_JWT = {
    "ALGORITHM": "HS256",
    "SIGNING_KEY": JWT_SIGNING_KEY,
    "ISSUER": "coinos",
    "AUDIENCE": "coinos",
    "LEEWAY": 10,
    "ACCESS_TOKEN_LIFETIME": dt.timedelta(days=TOKEN_LIFETIME_DAYS),
    "UPDATE_LAST_LOGIN": False,
    "USER_ID_FIELD": "id",
    "USER_ID_CLAIM": "user_id",
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["coinos.drf.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["coinos.drf.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "coinos.schema.Schema",
    "EXCEPTION_HANDLER": "coinos.drf.exception_handler",
    "NUM_PROXIES": TRUSTED_PROXIES,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "coinos",
    "DESCRIPTION": "Receive, hold and send bitcoin over Lightning and on-chain.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    # `check --deploy` is about security; the schema has tests of its own.
    "ENABLE_DJANGO_DEPLOY_CHECK": False,
    "SERVERS": [{"url": PUBLIC_URL}],
    "OAS_VERSION": "3.1.1",
    "WEBHOOKS": ["coinos.schema.PAYMENT_WEBHOOK"],
    "POSTPROCESSING_HOOKS": ["coinos.schema.add_problems"],
}

UNFOLD = {
    "SITE_TITLE": "coinos",
    "SITE_HEADER": "coinos",
    "SITE_SYMBOL": "currency_bitcoin",
    "SITE_URL": PUBLIC_URL,
    "DASHBOARD_CALLBACK": "payments.status.dashboard",
    "STYLES": [lambda request: static("admin.css")],
    "SITE_FAVICONS": [{"rel": "icon", "href": lambda request: static("icons/favicon.svg")}],
    # In place of unfold's own page for changing the password.
    "ACCOUNT": {
        "navigation": [
            {"title": "Password and second factor", "link": f"{PUBLIC_URL}/settings#password"}
        ]
    },
}

# --- What browsers and strangers may do ----------------------------------------------------

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "font-src": [SELF],
        "manifest-src": [SELF],
        "worker-src": [SELF],
        "base-uri": [NONE],
        "object-src": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = PUBLIC_IS_HTTPS
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True  # scripts send forms, which hold the token
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
# Browsers refuse the __Host- prefix without Secure, so plain http has plain names.
SESSION_COOKIE_NAME = "__Host-sessionid" if PUBLIC_IS_HTTPS else "sessionid"
# Browsers refuse __Host- on a cookie for one path.
ADMIN_SESSION_COOKIE_NAME = "__Secure-admin" if PUBLIC_IS_HTTPS else "admin"
ADMIN_SESSION_IDLE = dt.timedelta(minutes=30)
ADMIN_SESSION_LIFETIME = dt.timedelta(hours=12)
CSRF_COOKIE_NAME = "__Host-csrftoken" if PUBLIC_IS_HTTPS else "csrftoken"
LANGUAGE_COOKIE_NAME = "__Host-language" if PUBLIC_IS_HTTPS else "language"
LANGUAGE_COOKIE_HTTPONLY = True

SECURE_SSL_REDIRECT = PUBLIC_IS_HTTPS
SECURE_REDIRECT_EXEMPT = [r"^api/health$"]
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if PUBLIC_IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = PUBLIC_IS_HTTPS
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

DATA_UPLOAD_MAX_MEMORY_SIZE = limits.BODY_BYTES.at_most
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200

# --- Logs ----------------------------------------------------------------------------------

LOG_LEVEL = choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "redacting": {
            "()": RedactingFormatter,
            "format": "%(asctime)s %(levelname)s %(name)s: %(message)s",
        }
    },
    "filters": {"client errors": {"()": ClientErrors, "level": LOG_LEVEL}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "redacting",
            "filters": ["client errors"],
        }
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        # Three lines for every request.
        "psycopg.pool": {"level": "WARNING"},
        # These log whole requests, credentials and preimages included, below WARNING.
        "BitcoinRPC": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
        "django": {"handlers": [], "propagate": True},
    },
}
