"""What did the user paste? A typed destination. Pure: asks no database, node or network."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from urllib.parse import parse_qs, urlsplit

from bech32 import bech32_decode, convertbits
from django.utils.translation import gettext_noop

from coinos.money import btc_to_sat
from payments.errors import UnknownDestination


@dataclass(frozen=True)
class Bolt11:
    """A Lightning invoice, in lower case."""

    text: str


@dataclass(frozen=True)
class Bolt12Offer:
    text: str


@dataclass(frozen=True)
class Onchain:
    """A bitcoin address, with what its BIP21 URI said beside it."""

    address: str
    amount_sat: int | None = None
    memo: str = ""
    bolt11: str | None = None


@dataclass(frozen=True)
class Username:
    """Somebody on this server."""

    name: str


@dataclass(frozen=True)
class LightningAddress:
    """`name@host` (LUD-16)."""

    name: str
    host: str

    @property
    def url(self) -> str:
        return f"https://{self.host}/.well-known/lnurlp/{self.name}"

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

_BOLT11 = re.compile(r"ln(bcrt|bc|tbs|tb)[0-9a-z]*1[02-9ac-hj-np-z]{50,}")
_BECH32_ADDRESS = re.compile(r"(bc|tb|bcrt)1[02-9ac-hj-np-z]{11,87}")
_BASE58_ADDRESS = re.compile(r"[123mn][1-9A-HJ-NP-Za-km-z]{25,39}")
_BROKEN_INVOICE = re.compile(r"(lightning:)?(ln(bc|tb|url)|bitcoin:)\S*\s", re.IGNORECASE)
_INVOICE_BEGINS = re.compile(r"ln(bcrt|bc|tbs|tb)[0-9]")
_NAME = re.compile(r"[a-z0-9]{2,24}")
_LIGHTNING_ADDRESS = re.compile(r"([a-z0-9._+-]{1,64})@([a-z0-9.-]{1,253}(?::[0-9]{1,5})?)")


def recognise(pasted: str) -> Destination:
    """The destination that a pasted text names. Raises `UnknownDestination`.

    BOLT11 and bech32 in any letter case, also broken into lines, `lightning:` and `bitcoin:` URIs
    (BIP21, with `lightning=` inside), LNURL, also as a link that carries one (LUD-01), Lightning
    Addresses, user names with or without `@`, Nostr keys.
    """
    text = pasted.strip()
    if _BROKEN_INVOICE.match(text):
        text = "".join(text.split())  # as a mail program breaks it
    lower = text.lower()
    if lower.startswith("bitcoin:"):
        return _bip21(text[len("bitcoin:") :])
    for prefix in ("lightning://", "lightning:"):
        if lower.startswith(prefix):
            text, lower = text[len(prefix) :], lower[len(prefix) :]
    lower = lower.removeprefix("nostr:")
    if _BOLT11.fullmatch(lower):
        return Bolt11(lower)
    if lower.startswith("lno1"):
        return Bolt12Offer(lower)
    if lower.startswith("lnurl1"):
        return Lnurl(_lnurl(lower))
    if lower.startswith("lnurlp://"):
        scheme = "http" if urlsplit(lower).hostname in ("127.0.0.1", "localhost") else "https"
        return Lnurl(scheme + text[len("lnurlp") :])
    if lower.startswith(("http://", "https://")):
        return _link(text)
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


def _address(text: str) -> str | None:
    """The address in its canonical case; bech32 may be given in capitals, base58 may not."""
    if _BECH32_ADDRESS.fullmatch(text.lower()) and (text.islower() or text.isupper()):
        return text.lower()
    return text if _BASE58_ADDRESS.fullmatch(text) else None


def _bip21(rest: str) -> Onchain | Bolt11:
    """`<address>?amount=<btc>&message=…&lightning=<bolt11>` (BIP21)."""
    target, _, query = rest.partition("?")
    fields = {name.lower(): values[0] for name, values in parse_qs(query).items()}
    invoice = fields.get("lightning", "").lower()
    bolt11 = invoice if _BOLT11.fullmatch(invoice) else None
    address = _address(target.strip("/"))
    if address is None:
        if bolt11:
            return Bolt11(bolt11)
        raise UnknownDestination()
    if any(name.startswith("req-") for name in fields):
        raise UnknownDestination(
            gettext_noop("This bitcoin: link needs something that is not supported here")
        )
    found = Onchain(address, memo=fields.get("message", ""), bolt11=bolt11)
    if "amount" not in fields:
        return found
    try:
        return replace(found, amount_sat=btc_to_sat(Decimal(fields["amount"])))
    except (InvalidOperation, ValueError) as error:
        raise UnknownDestination(
            gettext_noop("The amount in this bitcoin: link is not valid")
        ) from error


def _link(text: str) -> Lnurl:
    """The LNURL that a link to a web page carries for wallets (LUD-01)."""
    try:
        values = parse_qs(urlsplit(text).query)
    except ValueError as error:
        raise UnknownDestination() from error
    for name, (value, *_) in values.items():
        if name.lower() == "lightning" and value.lower().startswith("lnurl1"):
            return Lnurl(_lnurl(value.lower()))
    raise UnknownDestination(
        gettext_noop("This is a link to a web page. Open it and copy the invoice that it shows")
    )


def _lnurl(text: str) -> str:
    """The URL inside an LNURL (LUD-01)."""
    _, data = bech32_decode(text)
    decoded = convertbits(data, 5, 8, False) if data else None
    try:
        return bytes(decoded or []).decode("utf-8") or _refuse()
    except ValueError as error:
        raise UnknownDestination() from error


def _refuse() -> str:
    raise UnknownDestination()
