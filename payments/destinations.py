"""What did the user paste? A typed destination. Pure: asks no database, node or network."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from bech32 import bech32_decode, convertbits
from django.conf import settings
from django.utils.translation import gettext_noop

from accounts.names import RESERVED
from coinos.money import parse_btc
from payments.errors import UnknownDestination

PASTED_MAX_CHARACTERS = 8192
WAYS_OF_A_KIND_MAX = 4
"""Of a link. Wallets offer one or two; each may cost questions to a node or to another server."""


@dataclass(frozen=True)
class Bolt11:
    """A Lightning invoice, in lower case."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Bolt12Offer:
    text: str


@dataclass(frozen=True)
class Onchain:
    """A bitcoin address, in its canonical case."""

    address: str

    def __str__(self) -> str:
        return self.address


@dataclass(frozen=True)
class Username:
    """Somebody on this server."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class LightningAddress:
    """`name@host`, or `name+tag@host` (LUD-16)."""

    name: str
    host: str

    @property
    def is_ours(self) -> bool:
        """Of this very server."""
        return _is_ours(self.host)

    @property
    def url(self) -> str:
        return f"{_scheme(self.host)}://{self.host}/.well-known/lnurlp/{self.name}"

    def __str__(self) -> str:
        return f"{self.name}@{self.host}"


@dataclass(frozen=True)
class Lnurl:
    """An LNURL service by its URL (LUD-01, LUD-17)."""

    url: str

    def __str__(self) -> str:
        return f"lnurlp:{self.url.partition(':')[2]}"


@dataclass(frozen=True)
class NostrKey:
    """A public key, as npub or nprofile (NIP-19): perhaps of somebody here."""

    text: str


Destination = Bolt11 | Bolt12Offer | Onchain | Username | LightningAddress | Lnurl | NostrKey

D = TypeVar("D", bound=Destination)


@dataclass(frozen=True)
class Request:
    """What a text asks for: the ways to pay it, the best first, and what a link says besides."""

    ways: tuple[Destination, ...]
    amount_sat: int | None = None
    memo: str = ""

    def best(self, *kinds: type[D]) -> D | None:
        """The best way to pay of these kinds."""
        return next((way for way in self.ways if isinstance(way, kinds)), None)


_BOLT11 = re.compile(r"ln(bcrt|bc|tbs|tb)[0-9a-z]*1[02-9ac-hj-np-z]{50,}")
_BECH32_ADDRESS = re.compile(r"(bc|tb|bcrt)1[02-9ac-hj-np-z]{11,87}")
_BASE58_ADDRESS = re.compile(r"[123mn][1-9A-HJ-NP-Za-km-z]{25,39}")
_BROKEN_INVOICE = re.compile(r"(lightning:\s*)?(ln(bc|tb|url)|bitcoin:)\S*\s", re.IGNORECASE)
_INVOICE_BEGINS = re.compile(r"ln(bcrt|bc|tbs|tb)[0-9]")
_SCHEME = re.compile(r"(lightning|lnurl|nostr):(//)?\s*", re.IGNORECASE)
_LUD17 = re.compile(r"(lnurlp|lnurlw|lnurlc|keyauth):(//)?", re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9]{2,24}")
_LIGHTNING_ADDRESS = re.compile(r"([a-z0-9._+-]{1,64})@([a-z0-9.-]{1,253}(?::[0-9]{1,5})?)")
_OWN_LNURL = re.compile(r"/\.well-known/lnurlp/([a-z0-9._+-]{1,64})")
_VARIATION_SELECTORS = "\N{VARIATION SELECTOR-15}\N{VARIATION SELECTOR-16}"
_ADDRESS_KEYS = ("bc", "tb", "bcrt")
NOT_FOR_PAYING = {
    "withdrawRequest": gettext_noop(
        "This is a link to withdraw money from somewhere, not to pay with"
    ),
    "login": gettext_noop("This is a link to sign in somewhere, not to pay"),
    "channelRequest": gettext_noop("This is a link to open a channel, not to pay"),
}
"""What to say of an LNURL that is not for paying, by its tag."""
_TAG_OF_SCHEME = {"lnurlw": "withdrawRequest", "keyauth": "login", "lnurlc": "channelRequest"}
_ONCE_ONLY = ("amount", "label", "message", "pop")


def recognise(pasted: str) -> Destination:
    """The best way to pay what a pasted text names. Raises as `read`."""
    return read(pasted).ways[0]


def read(pasted: str) -> Request:
    """What a pasted text asks for. Raises `UnknownDestination` and nothing else, whatever the
    text; the work is bounded by its length.

    BOLT11, LNURL and bech32 in capitals or small letters, also broken into lines and among
    characters without width, as copying leaves them; `lightning:` and `bitcoin:` links (BIP 321,
    with their ways to pay, of each kind the first four), LNURL also as a link that carries one
    (LUD-01) or by its scheme (LUD-17), Lightning Addresses, user names with or without `@`, links
    to their pages, Nostr keys.
    """
    if len(pasted) > PASTED_MAX_CHARACTERS:
        raise UnknownDestination()
    try:
        return _read(_visible(pasted))
    except ValueError as error:  # of a parser of the standard library
        raise UnknownDestination() from error


def _visible(text: str) -> str:
    """The text without what nobody sees: characters without width, and spaces around."""
    shown = (
        character
        for character in text
        if unicodedata.category(character) != "Cf" and character not in _VARIATION_SELECTORS
    )
    return "".join(shown).strip().lstrip("\N{BITCOIN SIGN}\N{HIGH VOLTAGE SIGN}")


def _read(text: str) -> Request:
    if _BROKEN_INVOICE.match(text):
        text = "".join(text.split())  # as a mail program breaks it
    if text[:8].lower() == "bitcoin:":
        return _bitcoin_link(text[8:])
    return Request((_one_way(text),))


def _one_way(text: str) -> Destination:
    """What a text that is no `bitcoin:` link names."""
    scheme = _SCHEME.match(text)
    if scheme:
        text = text[scheme.end() :]
    lower = text.lower()
    lud17 = _LUD17.match(lower)
    if lud17:
        return _lud17(lud17[1], text[lud17.end() :])
    if lower.startswith(("http://", "https://")):
        return _web_link(text)
    if not text.isascii():
        raise UnknownDestination()
    if _BOLT11.fullmatch(lower):
        return Bolt11(_one_case(text))
    if lower.startswith("lno1"):
        return Bolt12Offer(_one_case(text))
    if lower.startswith("lnurl1"):
        return _lnurl(_one_case(text))
    if lower.startswith(("npub1", "nprofile1")):
        return NostrKey(lower)
    address = _address(text)
    if address:
        return Onchain(address)
    match = _LIGHTNING_ADDRESS.fullmatch(lower)
    if match:
        return LightningAddress(match[1], match[2])
    if _NAME.fullmatch(lower.removeprefix("@")):
        return Username(lower.removeprefix("@"))
    if lower.startswith("nsec1"):
        raise UnknownDestination(
            gettext_noop("This is a secret key: show it to nobody. Money cannot be sent to it")
        )
    if _INVOICE_BEGINS.match(lower):
        raise UnknownDestination(
            gettext_noop("This invoice is not complete. Copy all of it and paste it again")
        )
    raise UnknownDestination()


def _one_case(text: str) -> str:
    """In small letters. Raises `UnknownDestination` for mixed case: bech32 is never written so, and
    whatever is has been changed on the way (BIP 173)."""
    if text not in (text.lower(), text.upper()):
        raise UnknownDestination(
            gettext_noop(
                "This mixes capital and small letters, so it was changed on the way."
                " Copy it again from where it came"
            )
        )
    return text.lower()


def _address(text: str) -> str | None:
    """The address in its canonical case; bech32 may be given in capitals, base58 may not."""
    if _BECH32_ADDRESS.fullmatch(text.lower()) and text in (text.lower(), text.upper()):
        return text.lower()
    return text if _BASE58_ADDRESS.fullmatch(text) else None


# --- bitcoin: links ------------------------------------------------------------------------------


def _bitcoin_link(rest: str) -> Request:
    """`[<address>][?amount=<btc>&label=…&message=…&lightning=…&bc=…]` (BIP 321). Ways to pay that
    nobody here understands are passed over, unless the link requires them."""
    target, _, query = rest.partition("?")
    fields = _fields(query)
    addresses = [_address(target.strip("/"))]
    for key in _ADDRESS_KEYS:
        addresses += [
            address
            for address in map(_address, fields.get(key, ()))
            if address and address.startswith(f"{key}1")
        ]
    kinds: tuple[list[Destination], ...] = (
        _understood(fields.get("lightning", ())),
        [Onchain(address) for address in addresses if address],
        _understood(fields.get("lno", ())),
    )
    ways = [way for kind in kinds for way in list(dict.fromkeys(kind))[:WAYS_OF_A_KIND_MAX]]
    if not ways:
        raise UnknownDestination(
            gettext_noop("This bitcoin: link names no way to pay that is understood here")
        )
    said = [" ".join(text.split()) for key in ("label", "message") for text in fields.get(key, ())]
    return Request(tuple(ways), _amount_sat(fields), ": ".join(filter(None, said)))


def _fields(query: str) -> dict[str, list[str]]:
    """The parameters of a link by name, in small letters, each with all its values."""
    fields: dict[str, list[str]] = defaultdict(list)
    for parameter in filter(None, query.split("&")):
        name, _, value = parameter.partition("=")
        fields[unquote(name).lower()].append(unquote(value))
    if any(name.startswith("req-") for name in fields):
        raise UnknownDestination(
            gettext_noop("This bitcoin: link needs something that is not supported here")
        )
    if any(len(fields.get(name, ())) > 1 for name in _ONCE_ONLY):
        raise UnknownDestination(
            gettext_noop("This bitcoin: link says the same thing twice, so it is not valid")
        )
    return fields


def _amount_sat(fields: dict[str, list[str]]) -> int | None:
    """None when the payer chooses: without an amount, or with 0 as some wallets write it."""
    if "amount" not in fields:
        return None
    try:
        return parse_btc(fields["amount"][0]) or None
    except ValueError as error:
        raise UnknownDestination(
            gettext_noop("The amount in this bitcoin: link is not valid")
        ) from error


def _understood(values: Iterable[str]) -> list[Destination]:
    """The values of `lightning=` and `lno=` that can be read."""
    found: list[Destination] = []
    for value in values:
        try:
            way = _one_way(value)
        except (UnknownDestination, ValueError):
            continue
        if isinstance(way, Bolt11 | Bolt12Offer | Lnurl | LightningAddress):
            found.append(way)
    return found


# --- LNURL ---------------------------------------------------------------------------------------


def _lud17(scheme: str, rest: str) -> Destination:
    """`lnurlp://<host>/<path>` and the schemes that do something else (LUD-17)."""
    if scheme in _TAG_OF_SCHEME:
        raise UnknownDestination(NOT_FOR_PAYING[_TAG_OF_SCHEME[scheme]])
    host = urlsplit(f"//{rest}").hostname or ""
    is_local = host in ("127.0.0.1", "localhost")
    return _service(f"{'http' if is_local else _scheme(host)}://{rest}")


def _scheme(host: str) -> str:
    """Of the URL at which a service is asked: onion services have no TLS (LUD-01)."""
    return "http" if host.partition(":")[0].endswith(".onion") else "https"


def _web_link(text: str) -> Destination:
    """The LNURL that a link to a web page carries for wallets (LUD-01), or the person here whose
    page it is."""
    parts = urlsplit(text)
    for name, (value, *_) in parse_qs(parts.query).items():
        if name.lower() == "lightning" and value.lower().startswith("lnurl1"):
            return _lnurl(_one_case(value))
    name = parts.path.strip("/").lower()
    if _is_ours(parts.netloc) and _NAME.fullmatch(name) and name not in RESERVED:
        return Username(name)
    raise UnknownDestination(
        gettext_noop("This is a link to a web page. Open it and copy the invoice that it shows")
    )


def _lnurl(text: str) -> Destination:
    """The service whose URL is inside an LNURL (LUD-01)."""
    _, data = bech32_decode(text)
    decoded = convertbits(data, 5, 8, False) if data else None
    if not decoded:
        raise UnknownDestination()
    return _service(bytes(decoded).decode())


def _service(url: str) -> Destination:
    """An LNURL service; one of this server is the Lightning Address of somebody here. A tag in the
    URL already says what it is for (LUD-01)."""
    parts = urlsplit(url)
    [tag, *_] = parse_qs(parts.query).get("tag", [""])
    if tag in NOT_FOR_PAYING:
        raise UnknownDestination(NOT_FOR_PAYING[tag])
    own = _OWN_LNURL.fullmatch(parts.path.lower())
    if own and _is_ours(parts.netloc):
        return LightningAddress(own[1], settings.DOMAIN.lower())
    return Lnurl(url)


def _is_ours(host: str) -> bool:
    return host.lower() == settings.DOMAIN.lower()
