"""How accounts look in the API: what is read, and allow-lists of what is shown."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts import connections
from accounts.ledger import Balance
from accounts.models import Activity, Connection, User
from accounts.selectors import Line, OtherSide
from coinos import nostr
from coinos.api import (
    AsSentField,
    FlagField,
    NotOfferedField,
    SatField,
    TextField,
    WholeField,
    WordField,
    milliseconds,
)

# --- Read ----------------------------------------------------------------------------------------


class Registration(serializers.Serializer[Any]):
    username = TextField()
    password = TextField()
    pubkey = TextField(required=False)
    picture = TextField(required=False, max_length=500)


class Login(serializers.Serializer[Any]):
    """A field left out is a failed sign-in, like a wrong one (P04)."""

    username = TextField(required=False)
    password = TextField(required=False)
    token = TextField(required=False, max_length=40)


class ProfileChanges(serializers.Serializer[Any]):
    """Every field is optional; what the account's owner may change."""

    username = TextField(required=False, max_length=100)
    display = TextField(required=False, max_length=100)
    about = TextField(required=False, max_length=2000)
    picture = TextField(required=False, max_length=500)
    banner = TextField(required=False, max_length=500)
    email = serializers.EmailField(required=False, allow_blank=True, max_length=254)
    currency = TextField(required=False, max_length=3)
    currencies = serializers.ListField(
        child=TextField(max_length=3), required=False, min_length=1, max_length=20
    )
    fiat = FlagField(required=False)
    language = TextField(required=False, max_length=2)
    theme = WordField(["light", "dark", "system"], required=False)
    prompt = FlagField(required=False)
    tip = WholeField(required=False, minimum=0, maximum=1000)
    memoPrompt = FlagField(required=False, source="memo_prompt")
    hidepay = FlagField(required=False)
    notify = FlagField(required=False)
    push = NotOfferedField("this server pushes nothing to devices; `notify` is for e-mail")


class AutoWithdrawChanges(serializers.Serializer[Any]):
    """When and where to what is too much goes by itself; needs the password, and the PIN if set."""

    autowithdraw = FlagField(required=False)
    threshold = SatField(required=False, minimum=0, source="threshold_sat")
    reserve = SatField(required=False, minimum=0, source="reserve_sat")
    destination = TextField(required=False, max_length=500)


class SecurityChanges(serializers.Serializer[Any]):
    """A new password, PIN or lock timer, each with the current password or PIN; no second factor,
    with a code of it."""

    password = TextField(required=False)
    confirm = TextField(required=False)
    current_password = TextField(required=False)
    pin = TextField(required=False, max_length=20)
    newpin = TextField(required=False, max_length=20)
    locktime = WholeField(required=False, minimum=0, maximum=86400, source="locktime_s")
    twofa = FlagField(required=False)
    token = TextField(required=False, max_length=40)
    pubkey = TextField(required=False, help_text="Only the one that the account has already")
    event = NotOfferedField("the Nostr key of an account cannot be changed here")


class ConnectionChanges(serializers.Serializer[Any]):
    name = TextField(max_length=60)
    secret = TextField(required=False)
    pubkey = TextField(required=False)
    max_amount = SatField(required=False, minimum=0, source="max_amount_sat")
    max_fee = SatField(required=False, minimum=0, source="max_fee_sat")
    budget_renewal = WordField(Connection.Renewal.choices, required=False)
    notify = FlagField(required=False)
    pin = AsSentField(required=False, help_text="Six digits, where the account has a PIN")


class AccountChanges(ProfileChanges, AutoWithdrawChanges, SecurityChanges):
    """The body of POST /user."""


class ConnectionName(serializers.Serializer[Any]):
    """The body of POST /apps/delete."""

    pubkey = TextField()


class WrappedRegistration(serializers.Serializer[Any]):
    """The body of POST /register."""

    user = Registration()


# --- Shown ---------------------------------------------------------------------------------------


def user_json(user: User, balance: Balance | None = None) -> dict[str, Any]:
    """The account as its owner sees it; `balance` only in GET /me."""
    body: dict[str, Any] = {"id": str(user.id), "username": user.username}
    if balance is not None:
        body["balance"] = balance.available_sat
        body["locked"] = balance.available_sat if user.frozen_at else 0
    body |= _unless_empty(
        display=user.display,
        about=user.about,
        picture=user.picture,
        banner=user.banner,
        email=user.email,
        language=user.language,
        theme=user.theme,
        tip=user.tip,
        threshold=user.threshold_sat,
        reserve=user.reserve_sat,
        destination=user.destination,
    )
    return body | {
        "currency": user.currency,
        "currencies": user.currencies,
        "fiat": user.fiat,
        "prompt": user.prompt,
        "memoPrompt": user.memo_prompt,
        "hidepay": user.hidepay,
        "notify": user.notify,
        "push": False,
        "autowithdraw": user.autowithdraw,
        "haspin": user.has_pin,
        "twofa": user.has_second_factor,
        "verified": user.email_verified_at is not None,
        "locktime": user.locktime_s,
        "migrated": True,
        **nostr_names(user),
    }


def public_profile(user: User | OtherSide) -> dict[str, Any]:
    """The account as anybody sees it; members that are unset are left out."""
    return {
        "id": str(user.id),
        "username": user.username,
        **_unless_empty(
            display=user.display,
            picture=user.picture,
            banner=user.banner,
            about=user.about,
        ),
        "currency": user.currency,
        "prompt": user.prompt,
        **({"memoPrompt": True} if user.memo_prompt else {}),
        **({"hidepay": True} if user.hidepay else {}),
        "migrated": True,
        **nostr_names(user),
    }


def nostr_names(user: User | OtherSide) -> dict[str, str]:
    if not user.pubkey:
        return {}
    return {"pubkey": user.pubkey, "npub": nostr.npub(user.pubkey)}


def payment_json(
    activity: Activity | Line, *, with_profile: bool = True, private: bool = True
) -> dict[str, Any]:
    """A line of the statement. `private` is false for readers who are not a party: they get no
    memo, no reference or preimage, no invoice id, no owner, no words of an LNURL service."""
    body: dict[str, Any] = {
        "id": str(activity.id),
        "type": activity.type,
        "amount": activity.amount_sat,
        "tip": activity.tip_sat,
        "confirmed": is_confirmed(activity),
        "status": activity.status,
        "hash": activity.hash,
        "rate": float(activity.rate) if activity.rate is not None else None,
        "currency": activity.currency,
        "created": milliseconds(activity.created),
    }
    if not private:
        return body
    body["uid"] = body["aid"] = str(activity.user_id)
    if not activity.is_incoming:
        body |= {"fee": activity.fee_sat or 0, "ourfee": activity.platform_fee_sat or 0}
    body |= _unless_empty(
        ref=activity.ref,
        memo=activity.memo,
        payment_hash=activity.payment_hash,
        iid=str(activity.invoice_id) if activity.invoice_id else None,
        reason=activity.reason,
        successAction=activity.success_action,
    )
    said = activity.lnurl or {}
    if "payer_data" in said:
        body["payerData"] = said["payer_data"]
    if "description_differs" in said:
        body["descriptionMatches"] = False
    if with_profile and activity.counterparty:
        body["with"] = public_profile(activity.counterparty)
    return body


def is_confirmed(activity: Activity | Line) -> bool:
    """Settled for good, or an on-chain payment that has been broadcast."""
    if activity.status == Activity.Status.SETTLED:
        return True
    sent_onchain = activity.type == Activity.Type.BITCOIN and not activity.is_incoming
    return sent_onchain and activity.status == Activity.Status.PENDING and bool(activity.ref)


def connection_json(connection: Connection) -> dict[str, Any]:
    return {
        "pubkey": connection.pubkey,
        "secret": connections.secret_of(connection),
        "name": connection.name,
        "max_amount": connection.max_amount_sat,
        "max_fee": connection.max_fee_sat,
        "budget_renewal": connection.budget_renewal,
        "notify": connection.notify,
        "uid": str(connection.user_id),
        "created": milliseconds(connection.created),
        "nwc": connections.uri_of(connection),
    }


def _unless_empty(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value not in (None, "")}
