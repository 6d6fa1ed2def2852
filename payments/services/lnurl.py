"""Pay a Lightning Address or LNURL elsewhere (LUD-06, 09, 10, 12, 16, 18): ask for an invoice,
check it, and pay that one invoice. What the remote says is hostile input; docs/lnurl.md says what
is done with each part of it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.utils.translation import gettext_noop as _

from accounts.credentials import Credential
from accounts.errors import InsufficientFunds
from accounts.ledger import balance_of
from accounts.models import User
from accounts.statement import clean_memo
from coinos import http, success_action
from coinos.drf import parse_json
from coinos.errors import CoinosError, InvalidAmount, InvalidRequest
from coinos.money import MAX_SAT, MSAT_PER_SAT, msat_to_sat_ceil, msat_to_sat_floor
from payments import idempotency
from payments.destinations import NOT_FOR_PAYING, LightningAddress, Lnurl
from payments.errors import InvalidPaymentRequest
from payments.fees import platform_fee_sat
from payments.gate import open_gate
from payments.idempotency import Named, Spent
from payments.services.internal import send_to_user
from payments.services.lightning import bolt11_of, decode, pay_lightning

MAX_MSAT = MAX_SAT * MSAT_PER_SAT
ANSWER_MAX_BYTES = http.MAX_BYTES + 136_536
"""An answer may have a picture in it, of so many characters (LUD-06)."""

KINDS_ASKED_MAX = 20
KIND_SHOWN_CHARACTERS = 40

TOOK_TOO_LONG = _("The other server took too long to answer, so nothing was sent")


class RemoteRefused(CoinosError):
    """Raised with the reason that the other server gave, or that it gave nothing usable."""

    code = "remote_refused"
    title = _("The other server refused")
    message = _("The other server did not answer as a Lightning Address should")


class PayerDataRequired(RemoteRefused):
    """Raised when a service wants to know more about the payer than it is told (LUD-18)."""

    code = "payer_data_required"
    title = _("They want to know who pays")
    message = _("%(host)s takes payments only from those who tell it: %(kinds)s")

    def __init__(self, host: str, kinds: Collection[str]) -> None:
        super().__init__(field="/payerData", values={"host": host, "kinds": ", ".join(kinds)})


class DescriptionDiffers(RemoteRefused):
    """Raised when the invoice does not commit to the description that the service showed, and the
    payer has not agreed to that."""

    message = _(
        "The invoice does not commit to what the other server showed, so the payment would not"
        " prove what it was for. Nothing was sent yet; press Send to pay it all the same"
    )

    def __init__(self, destination: LightningAddress | Lnurl, service: PayService) -> None:
        super().__init__()
        self.destination, self.service = destination, service


@dataclass(frozen=True)
class PayService:
    """What an LNURL-pay service offers. Limits in msat; `description` is for the payer to read,
    `title` for the history."""

    callback: str
    min_msat: int
    max_msat: int
    comment_max: int
    host: str
    metadata: str | None = None
    """The text that the invoice commits to; None when the service sent none."""
    title: str = ""
    description: str = ""
    wanted: Mapping[str, bool] = field(default_factory=dict)
    """What it asks about the payer, by LUD-18's names, and whether it insists."""

    def require(self, told: Collection[str]) -> None:
        """Raise `PayerDataRequired` unless `told` has all that it insists on."""
        missing = [kind for kind, insists in self.wanted.items() if insists and kind not in told]
        if missing:
            raise PayerDataRequired(self.host, missing)


@dataclass(frozen=True)
class RemoteInvoice:
    """A checked bolt11, and what else its line keeps of the service: `success_action`, `payer_data`
    that it was told, `description_differs`; each where there is something to keep."""

    bolt11: str
    lnurl: dict[str, Any]


def payer_data(user: User) -> dict[str, str]:
    """What a service can be told about the user, if the user wants that, by LUD-18's names."""
    told = {
        "name": user.display or user.username,
        "identifier": f"{user.username}@{settings.DOMAIN}",
    }
    return told | ({"email": user.email} if user.email_verified_at else {})


def pay_address(
    *,
    credential: Credential,
    destination: LightningAddress | Lnurl,
    amount_sat: int,
    max_fee_sat: int | None = None,
    memo: str = "",
    any_description: bool = True,
    tell: Collection[str] = (),
    pin: object = None,
    named: Named | None = None,
) -> Spent:
    """Pay `amount_sat` to a Lightning Address or LNURL; one of our own settles internally.

    An invoice that does not commit to the description of the service is paid, and its line says so;
    unless not `any_description`, which raises `DescriptionDiffers`. Of the `payer_data` the service
    is told those in `tell` that it asks for. Nobody is asked for a user who may not spend, or
    cannot. Raises `InvalidAmount`, `InvalidRequest` for a long memo, `RemoteRefused`, `Busy`, and
    what paying raises.
    """
    if isinstance(destination, LightningAddress) and destination.is_ours:
        return send_to_user(
            credential=credential,
            username=destination.name,
            amount_sat=amount_sat,
            memo=memo,
            pin=pin,
            named=named,
        )
    # A repeated request must not fetch another invoice, and so another payment hash (M23).
    earlier = idempotency.replay(credential.user, named)
    if earlier:
        return Spent(earlier, replayed=True)
    require_within_balance(credential.user, amount_sat)
    open_gate(credential, pin=pin, external=True)
    with http.asking_others((credential.by or credential).user.id) as until:
        service = look_up(destination, until=until)
        told = {kind: text for kind, text in payer_data(credential.user).items() if kind in tell}
        invoice = fetch_invoice(
            service, amount_sat=amount_sat, comment=memo, told=told, until=until
        )
    if "description_differs" in invoice.lnurl and not any_description:
        raise DescriptionDiffers(destination, service)
    is_titled = bool(service.title) and not memo
    return pay_lightning(
        credential=credential,
        payreq=invoice.bolt11,
        recipient=str(destination),
        lnurl=invoice.lnurl | ({"memo_is_theirs": True} if is_titled else {}),
        max_fee_sat=max_fee_sat,
        memo=memo or service.title,
        pin=pin,
        named=named,
        gate_was_opened=True,
    )


def require_within_balance(user: User, amount_sat: int) -> None:
    """Raise `InsufficientFunds` unless this, with the fees, could be sent now. The hold decides;
    this is for asking nobody in vain."""
    available_sat = balance_of(user.id).available_sat
    needed_sat = amount_sat + platform_fee_sat(amount_sat)
    if needed_sat > available_sat:
        raise InsufficientFunds(available_sat, needed_sat)


def look_up(destination: LightningAddress | Lnurl, *, until: float) -> PayService:
    """Ask the service for its terms, within `coinos.http.asking_others`."""
    answer = _get(destination.url, until)
    tag = answer.get("tag")
    if tag != "payRequest":
        raise RemoteRefused(NOT_FOR_PAYING.get(str(tag), _("This LNURL is not for paying")))
    callback = answer.get("callback")
    host = _host_of(callback)
    low, high = _whole(answer.get("minSendable")), _whole(answer.get("maxSendable"))
    if not isinstance(callback, str) or not host or low is None or high is None:
        raise RemoteRefused()
    if not 1 <= msat_to_sat_floor(high) >= msat_to_sat_ceil(low):
        raise RemoteRefused()  # no amount in whole sats is taken
    metadata = answer.get("metadata")
    metadata = metadata if isinstance(metadata, str) else None
    texts = _texts(metadata)
    return PayService(
        callback=callback,
        min_msat=low,
        max_msat=high,
        comment_max=_whole(answer.get("commentAllowed")) or 0,
        host=host,
        metadata=metadata,
        title=texts.get("text/plain", ""),
        description=texts.get("text/long-desc") or texts.get("text/plain", ""),
        wanted=_wanted(answer.get("payerData")),
    )


def _texts(metadata: str | None) -> dict[str, str]:
    """The texts among the metadata, by kind (LUD-06, LUD-20); nothing of what cannot be read. JSON
    within JSON: what the outer one may not have, as half a surrogate pair, may be in here."""
    try:
        entries = json.loads(metadata or "[]")
    except (ValueError, RecursionError):
        return {}
    found: dict[str, str] = {}
    for entry in entries if isinstance(entries, list) else []:
        match entry:
            case ["text/plain" | "text/long-desc" as kind, str(text), *_]:
                found.setdefault(kind, clean_memo(text).strip())
    return found


def _wanted(asked: object) -> dict[str, bool]:
    """What is asked about the payer, and whether it is insisted on (LUD-18)."""
    kinds = list(asked.items())[:KINDS_ASKED_MAX] if isinstance(asked, dict) else []
    return {
        str(kind)[:KIND_SHOWN_CHARACTERS]: isinstance(how, dict) and how.get("mandatory") is True
        for kind, how in kinds
        if how is not None and how is not False
    }


def fetch_invoice(
    service: PayService,
    *,
    amount_sat: int,
    until: float,
    comment: str = "",
    told: Mapping[str, str] | None = None,
) -> RemoteInvoice:
    """An invoice for exactly `amount_sat`; any other is refused unpaid (F18), and so is one that
    buys something that could not be shown. Of `told`, the service hears what it asks for; where it
    insists on more, it is not asked. Within `coinos.http.asking_others`."""
    told = {kind: text for kind, text in (told or {}).items() if kind in service.wanted}
    service.require(told)
    amount_msat = amount_sat * MSAT_PER_SAT
    if not service.min_msat <= amount_msat <= service.max_msat:
        raise InvalidAmount(
            "amount out of range",
            page_message=_("This amount is too small or too large for the recipient"),
            field="/amount",
        )
    payer = json.dumps(told, ensure_ascii=False, separators=(",", ":")) if told else ""
    answer = _get(_url_of_invoice(service, amount_msat, comment, payer), until)
    if not isinstance(answer.get("pr"), str):
        raise RemoteRefused()
    try:
        bolt11 = bolt11_of(answer["pr"])
        decoded = decode(bolt11)
    except InvalidPaymentRequest as error:
        raise RemoteRefused(_("The other server sent an invoice that is not valid")) from error
    if decoded.amount_msat != amount_msat:
        raise RemoteRefused(
            _("The other server sent an invoice for another amount, so nothing was sent")
        )
    said: dict[str, Any] = {}
    try:
        given = success_action.read(answer.get("successAction"), callback=service.callback)
    except ValueError as error:
        raise RemoteRefused(
            _(
                "The other server would give something for this payment that cannot be shown here,"
                " so nothing was sent"
            )
        ) from error
    if given:
        said["success_action"] = given
    if told:
        said["payer_data"] = told
    # What it has to commit to: the metadata, and who pays (LUD-06, LUD-18).
    committed = (service.metadata or "") + payer
    if decoded.description_hash != hashlib.sha256(committed.encode()).hexdigest():
        said["description_differs"] = True
    return RemoteInvoice(bolt11, said)


def _url_of_invoice(service: PayService, amount_msat: int, comment: str, payer: str) -> str:
    """The callback with what it is asked for, and the note where one is taken (LUD-12). Raises
    `InvalidRequest` for a note that would not arrive."""
    query: dict[str, Any] = {"amount": amount_msat}
    if comment and service.comment_max:
        if len(comment) > service.comment_max:
            raise InvalidRequest(
                _("The recipient takes a note of at most %(most)s characters"),
                field="/memo",
                values={"most": service.comment_max},
            )
        query["comment"] = comment
    if payer:
        query["payerdata"] = payer
    callback = urlsplit(service.callback)
    parameters = "&".join(filter(None, [callback.query, urlencode(query)]))
    url = callback._replace(query=parameters, fragment="").geturl()
    if len(url) > http.MAX_URL_LENGTH and "comment" in query:
        raise InvalidRequest(_("The note is too long to be sent to the recipient"), field="/memo")
    return url


def _get(url: str, until: float) -> dict[str, Any]:
    """What the service answers: its body alone, status and headers mean nothing (LUD-01)."""
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise RemoteRefused(TOOK_TOO_LONG)
    try:
        response = http.fetch(url, kind="lnurl", timeout_s=left_s, max_bytes=ANSWER_MAX_BYTES)
    except http.UrlRefused as error:
        raise RemoteRefused(error.message) from error
    except http.TookTooLong as error:
        raise RemoteRefused(TOOK_TOO_LONG) from error
    except http.AnswerTooLong as error:
        raise RemoteRefused() from error
    except http.FetchFailed as error:
        raise RemoteRefused(_("The other server cannot be reached")) from error
    try:
        answer = parse_json(response.body)
    except CoinosError as error:
        raise RemoteRefused() from error
    if answer.get("status") == "ERROR":
        reason = answer.get("reason")
        if not isinstance(reason, str) or not reason.strip():
            raise RemoteRefused()
        raise RemoteRefused(_("The other server says: %(said)s"), values={"said": reason[:200]})
    return answer


def _host_of(url: object) -> str:
    """Empty when it is no URL with a host."""
    try:
        return urlsplit(url).hostname or "" if isinstance(url, str) else ""
    except ValueError:
        return ""


def _whole(value: object) -> int | None:
    """A whole number, 0 or more, as JSON may write it: 1000 and 1000.0 are the same. One beyond all
    bitcoin is as good as all of it, and can be written on a page."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    if isinstance(value, Decimal) and not value.is_finite():
        return None
    bounded = min(value, MAX_MSAT)
    return int(bounded) if bounded >= 0 and bounded == int(bounded) else None
