"""The payment endpoints of the JSON API. Translate, call a service, answer."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from accounts import selectors as accounts
from accounts.api import IDEMPOTENCY_KEY, UserView, named, require_own
from accounts.authentication import ApiRequest
from accounts.serializers import (
    AccountChanges,
    AutoWithdrawChanges,
    SecurityChanges,
    payment_json,
    user_json,
)
from coinos import answers, limits
from coinos.api import ApiView, ok, read, read_query
from coinos.errors import InvalidRequest
from coinos.money import msat_to_sat_ceil
from payments import services
from payments.destinations import LightningAddress, Lnurl, Username, recognise
from payments.fees import least_fee_rate_sat_vb, platform_fee_sat
from payments.idempotency import Spent
from payments.selectors import line_by_key, own_payment_by_key
from payments.serializers import (
    AddressInPath,
    AddressPayment,
    Bump,
    FeeLimit,
    InternalPayment,
    LightningPayment,
    OnchainPayment,
    OnchainQuote,
    PaymentRequestToParse,
    StatementQuery,
    statement_page,
    totals_json,
)


class AccountView(UserView):
    """POST /user. It is here because auto-withdraw, one of the settings, knows destinations."""

    @extend_schema(request=AccountChanges, responses=answers.Changed)
    def post(self, request: ApiRequest) -> Response:
        """Change profile and settings. Password, PIN and auto-withdraw need the current ones."""
        user = request.user
        security = read(SecurityChanges, request.data)
        change = self.change_of(request)
        order = services.check_auto_withdraw(
            user,
            read(AutoWithdrawChanges, request.data),
            password=security.get("current_password", ""),
            pin=security.get("pin"),
        )
        change.make(
            keep=request.auth.session, also=lambda: services.save_auto_withdraw(user, order)
        )
        return ok({"user": user_json(user)})


class SpendView(ApiView):
    """A view that sends money."""

    required_scope = "spend"
    counted = {"GET": limits.READ, "POST": limits.SPEND}

    def answer(self, spent: Spent) -> Response:
        return ok(payment_json(spent.activity), replayed=spent.replayed)


class PaymentsView(SpendView):
    @property
    def required_scope(self) -> str:  # type: ignore[override]
        return "spend" if self.request.method == "POST" else "read"

    @property
    def read_only_token(self) -> bool:  # type: ignore[override]
        return self.request.method != "POST"

    @extend_schema(
        parameters=[StatementQuery],
        responses=answers.Payments,
    )
    def get(self, request: ApiRequest) -> Response:
        """Payments sent and received, newest first, with totals."""
        page = statement_page(request.query_params)
        require_own(request.user, page.aid)
        lines, totals = accounts.page_and_totals(
            request.user, page.wanted, limit=page.limit, offset=page.offset
        )
        return ok({"payments": [payment_json(line) for line in lines], **totals_json(totals)})

    @extend_schema(
        request=LightningPayment, responses=answers.Payment, parameters=[IDEMPOTENCY_KEY]
    )
    def post(self, request: ApiRequest) -> Response:
        """Pay a Lightning invoice, or an invoice of this server by its hash."""
        fields = read(LightningPayment, request.data)
        require_own(request.user, fields.get("aid"))
        caller = {
            "credential": request.auth,
            "amount_sat": fields.get("amount"),
            "memo": fields.get("memo", ""),
            "pin": fields.get("pin"),
            "named": named(request),
        }
        if "payreq" in fields:
            max_fee_sat = fields.get("fee", fields.get("maxfee"))
            spent = services.pay_lightning(
                payreq=fields["payreq"], max_fee_sat=max_fee_sat, **caller
            )
        elif "hash" in fields:
            spent = services.pay_own_invoice(ref=fields["hash"], **caller)
        else:
            raise InvalidRequest("payreq is required", field="/payreq")
        return self.answer(spent)


class PaymentView(ApiView):
    optional_auth = True
    required_scope = "read"
    read_only_token = True
    counted = {"GET": limits.PAYMENT}

    @extend_schema(responses=answers.PaymentOfAnybody)
    def get(self, request: ApiRequest, key: str) -> Response:
        """A payment by id, txid, bolt11, address or payment hash; strangers see less."""
        reader = request.user if request.auth else None
        line = line_by_key(key, reader=reader)
        return ok(payment_json(line, private=line.user_id == getattr(reader, "id", None)))


class CancelView(ApiView):
    required_scope = "spend"
    counted = {"GET": limits.READ, "POST": limits.SPEND}

    @extend_schema(request=None, responses=answers.Payment)
    def post(self, request: ApiRequest, key: str) -> Response:
        """Take back a payment that has not been sent yet; its sats are there again."""
        payment = own_payment_by_key(key, request.user)
        return ok(payment_json(services.cancel(payment.id)))


class BumpView(ApiView):
    required_scope = "spend"
    counted = {"GET": limits.READ, "POST": limits.SPEND}

    @extend_schema(request=Bump, responses=answers.Payment)
    def post(self, request: ApiRequest, key: str) -> Response:
        """Give a bitcoin payment that waits for a block a higher fee."""
        fields = read(Bump, request.data)
        line = services.bump_own(
            credential=request.auth,
            payment=own_payment_by_key(key, request.user),
            fee_rate_sat_vb=fields["feeRate"],
            pin=fields.get("pin"),
        )
        return ok(payment_json(line))


class SendView(SpendView):
    @extend_schema(request=InternalPayment, responses=answers.Payment, parameters=[IDEMPOTENCY_KEY])
    def post(self, request: ApiRequest) -> Response:
        """Pay another user of this server, free and at once."""
        fields = read(InternalPayment, request.data)
        require_own(request.user, fields.get("aid"))
        return self.answer(
            services.send_to_user(
                credential=request.auth,
                username=fields["username"],
                amount_sat=fields["amount"],
                memo=fields.get("memo", ""),
                pin=fields.get("pin"),
                named=named(request),
            )
        )


class SendToAddressView(SpendView):
    @extend_schema(
        request=AddressPayment,
        responses=answers.Payment,
        parameters=[IDEMPOTENCY_KEY, FeeLimit],
    )
    def post(self, request: ApiRequest, lnaddress: str, amount: str) -> Response:
        """Pay a Lightning Address, an LNURL or a user of this server."""
        fields = read(AddressPayment, request.data)
        require_own(request.user, fields.get("aid"))
        sums = read(AddressInPath, {"lnaddress": lnaddress, "amount": amount})
        query = read_query(FeeLimit, request.query_params)
        caller = {
            "credential": request.auth,
            "amount_sat": sums["amount"],
            "memo": fields.get("memo", ""),
            "pin": fields.get("pin"),
            "named": named(request),
        }
        destination = recognise(lnaddress)
        match destination:
            case Username(name):
                return self.answer(services.send_to_user(username=name, **caller))
            case LightningAddress() | Lnurl():
                max_fee_sat = fields.get("fee", fields.get("maxfee", query.get("maxfee")))
                return self.answer(
                    services.pay_address(
                        destination=destination,
                        max_fee_sat=max_fee_sat,
                        tell=fields.get("tell", ()),
                        **caller,
                    )
                )
        raise InvalidRequest("not a user name or Lightning Address", field="/lnaddress")


class OnchainSendView(SpendView):
    @extend_schema(request=OnchainPayment, responses=answers.Payment, parameters=[IDEMPOTENCY_KEY])
    def post(self, request: ApiRequest) -> Response:
        """Send to a bitcoin address."""
        fields = read(OnchainPayment, request.data)
        require_own(request.user, fields.get("aid"))
        return self.answer(
            services.send_onchain(
                credential=request.auth,
                address=fields["address"],
                amount_sat=fields["amount"],
                fee_rate_sat_vb=fields.get("feeRate"),
                subtract=fields.get("subtract", False),
                memo=fields.get("memo", ""),
                pin=fields.get("pin"),
                named=named(request),
            )
        )


class OnchainFeeView(ApiView):
    required_scope = "read"
    counted = {"GET": limits.READ, "POST": limits.QUOTE}

    @extend_schema(request=OnchainQuote, responses=answers.FeeQuote)
    def post(self, request: ApiRequest) -> Response:
        """What a bitcoin payment would cost. Moves and locks nothing."""
        fields = read(OnchainQuote, request.data)
        require_own(request.user, fields.get("aid"))
        quote = services.quote_onchain(
            user=request.user,
            address=fields["address"],
            amount_sat=fields["amount"],
            fee_rate_sat_vb=fields.get("feeRate"),
            subtract=fields.get("subtract", False),
        )
        return ok(
            {
                "feeRate": quote.fee_rate_sat_vb,
                "ourfee": quote.platform_fee_sat,
                "fee": quote.fee_sat,
                "fees": {
                    "fastestFee": quote.fees.fastest,
                    "halfHourFee": quote.fees.half_hour,
                    "hourFee": quote.fees.hour,
                    "economyFee": quote.fees.economy,
                    "minimumFee": least_fee_rate_sat_vb(quote.fees),
                },
                "subtract": quote.subtract,
                "hex": "",
                "inputs": [],
            }
        )


class ParseView(ApiView):
    required_scope = "read"
    counted = {"GET": limits.READ, "POST": limits.DECODE}

    @extend_schema(request=PaymentRequestToParse, responses=answers.Parsed)
    def post(self, request: ApiRequest) -> Response:
        """Read a Lightning invoice or offer: who is paid and how much, in sats."""
        fields = read(PaymentRequestToParse, request.data)
        decoded = services.decode(services.payment_request_of(fields["payreq"]))
        amount_sat = msat_to_sat_ceil(decoded.amount_msat or 0)
        return ok(
            {
                "alias": (decoded.payee or "")[:12],
                "amount": amount_sat,
                "ourfee": platform_fee_sat(amount_sat),
                "type": decoded.kind,
                "description": decoded.description or "",
            }
        )


class DecodeView(ApiView):
    authentication_classes = ()
    optional_auth = True
    counted = {"GET": limits.DECODE}

    @extend_schema(responses=answers.Decoded)
    def get(self, request: ApiRequest, payreq: str) -> Response:
        """The node's own reading of a Lightning invoice or offer."""
        return ok(services.decode(services.payment_request_of(payreq)).raw)
