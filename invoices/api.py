"""POST /invoice, GET and POST /invoice/:key, GET /invoices."""

from __future__ import annotations

from typing import Any, cast

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api import IDEMPOTENCY_KEY, named, require_own
from accounts.credentials import Credential
from accounts.models import User
from accounts.selectors import user_by_name
from coinos import answers, limits
from coinos.api import (
    ApiView,
    QueryFlagField,
    TextField,
    WholeField,
    errors_at,
    ok,
    read,
    read_query,
)
from coinos.drf import to_json
from coinos.errors import Forbidden, InvalidRequest, Unauthorized
from coinos.places import Places
from invoices import services
from invoices.errors import NotByReadOnlyToken, NotTheOwner
from invoices.models import Invoice
from invoices.selectors import get_invoice, invoices_of
from invoices.serializers import (
    InvoiceChanges,
    InvoiceRequest,
    InvoiceUpdate,
    PayeeFields,
    invoice_json,
    read_draft,
)

MOST_INVOICES = 1000
INVOICES_AT_A_TIME = 50


class CreateInvoiceView(ApiView):
    """Make an invoice: one's own with a token, anybody's by `user.username`."""

    required_scope = "receive"
    read_only_token = True
    optional_auth = True
    counted = {"GET": limits.READ, "POST": limits.INVOICE_CREATE}

    @extend_schema(request=InvoiceRequest, responses=answers.Invoice, parameters=[IDEMPOTENCY_KEY])
    def post(self, request: Request) -> Response:
        draft, aid = read_draft(_body(request))
        key = _key(request)

        def create() -> Invoice:
            user = _payee(request)
            with errors_at("/invoice"):
                require_own(user, aid)
                _require_payee(
                    request, user, is_new=True, webhook=draft.webhook, secret=draft.secret
                )
                return services.create_invoice(user, draft, own=request.user == user, key=key)

        invoice, replayed = services.create_invoice_once(key, create) if key else (create(), False)
        # The caller may see what this very body sets, and has not been changed since.
        set_here = {"webhook": draft.webhook, "secret": draft.secret}
        now = {"webhook": invoice.webhook, "secret": invoice.webhook_secret}
        shown = {name for name in now if now[name] == set_here[name]}
        return ok(invoice_json(invoice, shown=shown), replayed=replayed)


class InvoiceView(ApiView):
    """Look at an invoice; before payment, set its tip."""

    required_scope = "read"
    read_only_token = True
    optional_auth = True
    counted = {"GET": limits.INVOICE_READ, "POST": limits.INVOICE_EDIT}

    @extend_schema(responses=answers.InvoiceWithUser)
    def get(self, request: Request, key: str) -> Response:
        """An invoice, by bolt11, payment hash, address or id."""
        invoice = get_invoice(key)
        shown = _may_see(_credential(request), invoice.user)
        return ok(invoice_json(invoice, shown=shown, with_user=True))

    @extend_schema(request=InvoiceUpdate, responses=answers.Invoice)
    def post(self, request: Request, key: str) -> Response:
        """Set the tip before payment; the owner sets the webhook, too."""
        given = _body(request).get("invoice")
        if given is None:
            raise InvalidRequest("no invoice object provided", field="/invoice")
        changes = read(InvoiceChanges, given, at="/invoice")
        invoice = get_invoice(key)
        sets_webhook = "webhook" in changes or "secret" in changes
        with errors_at("/invoice"):
            _require_payee(
                request, invoice.user, webhook="webhook" in changes, secret="secret" in changes
            )
            if "tip" in changes:
                by_owner = request.user == invoice.user
                invoice = services.set_tip(invoice, changes["tip"], by_owner=by_owner)
            if sets_webhook:
                invoice = services.set_webhook(
                    invoice,
                    by=cast(User, request.user),
                    webhook=changes.get("webhook"),
                    secret=changes.get("secret"),
                )
        shown = _may_see(_credential(request), invoice.user) | changes.keys()
        return ok(invoice_json(invoice, shown=shown))


class PageFields(serializers.Serializer[Any]):
    limit = WholeField(required=False, minimum=0, maximum=10**9)
    offset = WholeField(required=False, minimum=0, maximum=10**9)
    aid = TextField(required=False, max_length=100)
    own = QueryFlagField(
        required=False,
        help_text="true: only those that the account made; false: only those that others made",
    )


class InvoicesView(ApiView):
    """The account's invoices, newest first."""

    required_scope = "read"
    read_only_token = True
    counted = {"GET": limits.INVOICE_READ}

    @extend_schema(parameters=[PageFields], responses=answers.Invoice(many=True))
    def get(self, request: Request) -> HttpResponse:
        page = read_query(PageFields, request.query_params)
        limit = min(page.get("limit") or MOST_INVOICES, MOST_INVOICES)
        offset = page.get("offset", 0)
        credential = _credential(request)
        assert credential is not None
        require_own(credential.user, page.get("aid"))
        invoices = invoices_of(credential.user, own=page.get("own"))[offset : offset + limit]
        return list_of(invoices, shown=_may_see(credential, credential.user))


for_lists = Places(limits.LISTS.at_most, waiting=8 * limits.LISTS.at_most, wait_s=3.0)


def list_of(invoices: QuerySet[Invoice], *, shown: set[str]) -> HttpResponse:
    """As JSON, a few at a time: what shops and strangers keep with a thousand invoices would take
    twenty times its length of memory all at once. Raises `Busy`."""
    with for_lists.take():
        written = [
            to_json(invoice_json(invoice, shown=shown))
            for invoice in invoices.iterator(chunk_size=INVOICES_AT_A_TIME)
        ]
        return HttpResponse(b"[" + b",".join(written) + b"]", content_type="application/json")


def _body(request: Request) -> dict[str, Any]:
    return cast(dict[str, Any], request.data)  # the parser makes nothing else


def _credential(request: Request) -> Credential | None:
    return cast(Credential | None, request.auth)


def _key(request: Request) -> services.Key | None:
    """The key of this request. Keys belong to an account: raises `InvalidRequest` for one without a
    token."""
    name = named(request)
    if name is None:
        return None
    credential = _credential(request)
    if credential is None:
        raise InvalidRequest("An Idempotency-Key needs a token: keys belong to an account")
    return services.Key(credential.user, name)


def _payee(request: Request) -> User:
    """Who gets the money: the user named in the body, else whose token this is."""
    payee = _body(request).get("user")
    if payee is not None:
        return user_by_name(read(PayeeFields, payee, at="/user")["username"])
    credential = _credential(request)
    if credential is None:
        raise Unauthorized("A valid token or a user to pay is required")
    return credential.user


def _require_payee(request: Request, payee: User, *, is_new: bool = False, **given: object) -> None:
    """Only the payee says who is told of a payment: whoever is told has our word, signed with the
    payee's key. `given` are the members that would say so. A read-only token says it of a new
    invoice, as shops use it, and moves no webhook that is there.

    Raises `NotTheOwner`, `NotByReadOnlyToken`, or `Forbidden` for a key of too small a scope, each
    with the first of these as its field."""
    field = next((f"/{name}" for name, value in given.items() if value), None)
    if field is None:
        return
    credential = _credential(request)
    if credential is None or credential.user != payee:
        raise NotTheOwner(field=field)
    if credential.is_read_only:
        if is_new:
            return
        raise NotByReadOnlyToken(field=field)
    try:
        credential.require("receive")
    except Forbidden as refusal:
        refusal.field = field
        raise


def _may_see(credential: Credential | None, payee: User) -> set[str]:
    """Which of `webhook` and `secret` this caller may see without having just set them (P15): the
    payee's login token both, an API key that may set a webhook the URL, tokens and keys that only
    read neither. With the secret one could tell the payee's shop that it was paid."""
    if credential is None or credential.user != payee or not credential.may("receive"):
        return set()
    return {"webhook"} if credential.api_key else {"webhook", "secret"}
