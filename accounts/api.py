"""The account endpoints of the JSON API. Translate, call a service, answer."""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import (
    authenticators,
    connections,
    credentials,
    grants,
    idempotency,
    ledger,
    selectors,
    services,
)
from accounts.authentication import TOKEN_COOKIE, ApiRequest
from accounts.authenticators import Change
from accounts.errors import AccountNotFound
from accounts.idempotency import Named
from accounts.models import Session, User
from accounts.serializers import (
    AccountChanges,
    ConnectionChanges,
    ConnectionName,
    Login,
    ProfileChanges,
    Registration,
    SecurityChanges,
    WrappedRegistration,
    connection_json,
    public_profile,
    user_json,
)
from coinos import answers, limits
from coinos.api import ApiView, errors_at, ok, read
from coinos.errors import InvalidRequest

COOKIE_AGE_S = 5 * 24 * 3600

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Repeating the request with the same key returns what the first one made.",
)


def require_own(user: User, aid: str | None) -> None:
    """`aid`, the account that a request is about, is the caller's own: there are no others, and
    what is asked about another is not answered about this. Raises `AccountNotFound`."""
    if aid not in (None, "", str(user.id)):
        raise AccountNotFound(field="/aid")


def named(request: Request) -> Named | None:
    """What the client calls this request. Raises `InvalidRequest`."""
    query = request.META.get("QUERY_STRING", "")
    return idempotency.name_of(
        request.headers.get("Idempotency-Key"),
        path=f"{request.path_info}?{query}" if query else request.path_info,
        body=cast(dict[str, Any], request.data),  # the parser makes nothing else
    )


def sign_in(user: User) -> str:
    """Start a login session and return its token."""
    return credentials.token_of(credentials.sign_in(user, kind=Session.Kind.LOGIN))


class RegisterView(ApiView):
    authentication_classes = ()
    optional_auth = True
    counted = {"GET": limits.READ, "POST": limits.REGISTER}

    @extend_schema(request=WrappedRegistration, responses=answers.Registered)
    def post(self, request: ApiRequest) -> Response:
        """Open an account. Answers with its token and, once only, its Nostr secret key `sk`."""
        body, at = request.data, ""
        if "user" in body:
            body, at = body["user"], "/user"
        elif not body:
            raise InvalidRequest("no user object provided", field="/user")
        if isinstance(body, dict) and body.get("username") in (None, ""):
            raise InvalidRequest("Username required", field=f"{at}/username")
        fields = read(Registration, body, at=at)
        with errors_at(at):
            user, secret_key = services.register(
                username=fields["username"],
                password=fields["password"],
                pubkey=fields.get("pubkey"),
                picture=fields.get("picture", ""),
                at_api=True,
            )
        answer = user_json(user) | {"token": sign_in(user)}
        if secret_key:
            answer["sk"] = secret_key
        return ok(answer)


class LoginView(ApiView):
    authentication_classes = ()
    optional_auth = True
    counted = {"GET": limits.READ, "POST": limits.SIGN_IN}

    @extend_schema(request=Login, responses=answers.SignedIn)
    def post(self, request: ApiRequest) -> Response:
        """Sign in with name, password and, where the account has a second factor, its code as
        `token`. The token that is answered also comes as a cookie for our own pages."""
        fields = read(Login, request.data)
        user = services.authenticate(
            username=fields.get("username", ""),
            password=fields.get("password", ""),
            code=fields.get("token", ""),
        )
        token = sign_in(user)
        response = ok({"user": user_json(user), "token": token})
        response.set_cookie(
            TOKEN_COOKIE,
            token,
            max_age=COOKIE_AGE_S,
            httponly=True,
            secure=settings.PUBLIC_IS_HTTPS,
            samesite="Lax",
        )
        return response


class LogoutView(ApiView):
    required_scope = "read"

    @extend_schema(request=None, responses={200: answers.NOTHING})
    def post(self, request: ApiRequest) -> Response:
        """End the session of this token."""
        if request.auth.session:
            credentials.revoke_session(request.user, request.auth.session.id)
        response = ok({})
        response.delete_cookie(TOKEN_COOKIE)
        return response


class MeView(ApiView):
    required_scope = "read"

    @extend_schema(responses=answers.Me)
    def get(self, request: ApiRequest) -> Response:
        """The account and what it can spend, in sats."""
        return ok(user_json(request.user, ledger.balance_of(request.user.id)))


class UserView(ApiView):
    @extend_schema(request=AccountChanges, responses=answers.Changed)
    def post(self, request: ApiRequest) -> Response:
        """Change profile and settings: all that is asked for, or nothing. A new password or e-mail
        address and a first PIN need `current_password`; another PIN and the lock timer need the PIN
        as `pin`; `twofa: false`, which turns the second factor off, needs a code of it as `token`.
        """
        self.change_of(request).make(keep=request.auth.session)
        return ok({"user": user_json(request.user)})

    def change_of(self, request: ApiRequest) -> Change:
        """What the body asks for, checked and not yet made."""
        user = request.user
        security = read(SecurityChanges, request.data)
        profile = read(ProfileChanges, request.data)
        if security.get("twofa") and not user.has_second_factor:
            raise InvalidRequest("turn the second factor on in the settings page", field="/twofa")
        password = authenticators.Password(security.get("current_password", ""))
        pin = authenticators.Pin(security.get("pin"))
        change = Change(user)
        change.settings(profile)
        if "username" in profile:
            change.username(profile["username"])
        if "email" in profile:
            change.email(profile["email"], password)
        if security.get("pubkey") not in (None, "", user.pubkey):
            raise InvalidRequest(
                "pubkey: the Nostr key of an account cannot be changed here", field="/pubkey"
            )
        if security.get("confirm") not in (None, security.get("password", "")):
            raise InvalidRequest("the passwords do not match", field="/confirm")
        if security.get("password"):
            change.password(security["password"], password)
        if "locktime_s" in security:
            change.lock_timer(security["locktime_s"], pin)
        if security.get("newpin"):
            change.pin(security["newpin"], pin if user.has_pin else password)
        if security.get("twofa") is False and user.has_second_factor:
            change.second_factor_off(authenticators.Code(security.get("token", "")))
        return change


class UserProfileView(ApiView):
    authentication_classes = ()
    optional_auth = True
    counted = {"GET": limits.PROFILE}

    @extend_schema(responses=answers.PublicProfile)
    def get(self, request: ApiRequest, key: str) -> Response:
        """The public profile of a name, id, pubkey, npub or nprofile."""
        return ok(public_profile(selectors.user_by_key(key)))


class ReadOnlyTokenView(ApiView):
    @extend_schema(responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: ApiRequest) -> HttpResponse:
        """The account's read-only token, as plain text."""
        token = credentials.read_only_token(request.user)
        return HttpResponse(token, content_type="text/plain")


class ContactsView(ApiView):
    required_scope = "read"

    @extend_schema(responses=answers.Contact(many=True))
    def get(self, request: ApiRequest, limit: int | None = None) -> Response:
        """Users with whom the account exchanged internal payments, most recent first."""
        return ok(
            [
                {
                    "id": str(row.contact.id),
                    "username": row.contact.username,
                    "picture": row.contact.picture or None,
                    **({"pinned": True} if row.pinned else {}),
                    **({"trusted": True} if row.trusted else {}),
                }
                for row in selectors.contacts(request.user, limit)
            ]
        )


class ConnectionsView(ApiView):
    @extend_schema(responses=answers.ListedConnection(many=True))
    def get(self, request: ApiRequest) -> Response:
        """The account's wallet connections, with their URIs."""
        rows = request.user.connections.select_related("user").order_by("created")
        return ok([connection_json(row) | {"spent": 0} for row in rows])


class ConnectionView(ApiView):
    @extend_schema(responses=answers.ShownConnection)
    def get(self, request: ApiRequest, pubkey: str) -> Response:
        """One wallet connection and its payments. 404 until it has been created."""
        # No relay is served yet, so no connection has paid anything.
        return ok(connection_json(connections.get(request.user, pubkey)) | {"payments": []})


class SaveConnectionView(ApiView):
    @extend_schema(request=ConnectionChanges, responses={200: answers.NOTHING})
    def post(self, request: ApiRequest) -> Response:
        """Create or update a wallet connection. It can spend: an account with a PIN sends it."""
        fields: dict[str, Any] = read(ConnectionChanges, request.data)
        pin = fields.pop("pin", None)
        grants.save_connection(request.user, pin=pin, **fields)
        return ok({})


class DeleteConnectionView(ApiView):
    @extend_schema(request=ConnectionName, responses={200: answers.NOTHING})
    def post(self, request: ApiRequest) -> Response:
        """Delete a wallet connection."""
        connections.delete(request.user, read(ConnectionName, request.data)["pubkey"])
        return ok({})
