"""What a payer scans: one code for every wallet, or Lightning or on-chain alone."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext_lazy as _

from coinos.money import sat_to_btc
from invoices.models import Invoice

QR_URI_MAX_CHARACTERS = 500
"""Of an on-chain link in a code: the longest that a phone still reads from a screen with ease."""


@dataclass(frozen=True)
class Code:
    """One way to pay an invoice. `qr` says where to pay and how much, as `text` does, in capitals
    where the encoding allows them: a QR code stores those in fewer modules. A note that would make
    it hard to scan, or too long for any code, stands in `text` alone."""

    way: str
    label: str
    text: str
    qr: str
    href: str
    parts: tuple[tuple[str, str], ...] = ()
    """What the text is made of, each with its name: for wallets that want it piece by piece."""


def codes(invoice: Invoice) -> list[Code]:
    """The ways to pay this invoice, best first. One that has an address beside its bolt11 can be
    paid by one link for all (BIP 21 with `lightning=`) and by each alone."""
    if invoice.type == Invoice.Type.BITCOIN:
        return [_onchain(invoice, invoice.hash)]
    lightning = Code(
        "lightning",
        str(_("Lightning invoice")),
        invoice.hash,
        invoice.hash.upper(),
        f"lightning:{invoice.hash}",
    )
    address = invoice.addresses.values_list("address", flat=True).first()
    if address is None:
        return [lightning]
    onchain = _onchain(invoice, address)
    if invoice.received_sat or invoice.pending_sat:
        # The bolt11 is for all of it; an address takes what is missing.
        return [onchain]
    amount = [("amount", str(sat_to_btc(invoice.total_sat)))] if invoice.total_sat else []
    link = _link(address, [*amount, ("lightning", invoice.hash)])
    capitals = _link(_capitals(address), [*amount, ("lightning", invoice.hash.upper())])
    every = Code(
        "any", str(_("Link for any wallet")), link, capitals.replace("bitcoin", "BITCOIN", 1), link
    )
    return [every, lightning, onchain]


def _onchain(invoice: Invoice, address: str) -> Code:
    uri = invoice.uri_of(address, invoice.missing_sat)
    link = uri if uri.startswith("bitcoin:") else f"bitcoin:{uri}"
    scanned = uri
    if len(uri) > QR_URI_MAX_CHARACTERS:
        scanned = invoice.uri_of(address, invoice.missing_sat, memo="")
    qr = scanned.replace(f"bitcoin:{address}", f"BITCOIN:{_capitals(address)}", 1)
    qr = _capitals(address) if scanned == address else qr
    parts = [(str(_("Only the address")), address)] if uri != address else []
    if invoice.missing_sat:
        parts.append((str(_("Amount in bitcoin")), sat_to_btc(invoice.missing_sat)))
    return Code("bitcoin", str(_("Bitcoin address")), uri, qr, link, tuple(parts))


def _capitals(address: str) -> str:
    """Bech32 may be written in capitals, base58 may not."""
    return address.upper() if address.lower().startswith(("bc1", "tb1", "bcrt1")) else address


def _link(address: str, parameters: list[tuple[str, str]]) -> str:
    return f"bitcoin:{address}?" + "&".join(f"{name}={value}" for name, value in parameters)
