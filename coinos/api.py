"""The edge kit of the JSON API: scopes, typed fields, views, CORS. Knows nothing about money."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, ClassVar

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.views.decorators.csrf import csrf_exempt
from rest_framework import serializers
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from coinos import errors, limits, throttling
from coinos.drf import REPLAYED, problem_response
from coinos.limits import Rate
from coinos.money import MAX_SAT, parse_decimal, parse_sat
from coinos.throttling import Limit

# --- Fields --------------------------------------------------------------------------------------


class SatField(serializers.Field[int, object, int, int]):
    """A whole number of sats: a JSON integer or a string of ASCII digits."""

    def __init__(self, *, minimum: int = 1, **kwargs: Any) -> None:
        self.minimum = minimum
        super().__init__(**kwargs)

    def to_internal_value(self, data: object) -> int:
        try:
            return parse_sat(data, minimum=self.minimum)
        except ValueError as error:
            raise errors.InvalidAmount(
                f"must be a whole number of sats from {self.minimum} to {MAX_SAT}"
            ) from error

    def to_representation(self, value: int) -> int:
        return value


class DecimalAmountField(serializers.Field[Decimal, object, str, Decimal]):
    """A positive amount of a currency: a JSON number or a plain decimal string."""

    def to_internal_value(self, data: object) -> Decimal:
        try:
            return parse_decimal(data)
        except ValueError as error:
            raise errors.InvalidAmount("must be a positive number") from error

    def to_representation(self, value: Decimal) -> str:
        return str(value)


class TextField(serializers.CharField):
    """Text as it was sent; numbers and booleans are not text."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("trim_whitespace", False)
        kwargs.setdefault("allow_blank", True)
        super().__init__(**kwargs)

    def to_internal_value(self, data: object) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class FlagField(serializers.BooleanField):
    """JSON true or false; not the many words that DRF takes for them."""

    def to_internal_value(self, data: object) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class QueryFlagField(FlagField):
    """true or false, as a query writes it."""

    WORDS: ClassVar[Mapping[object, bool]] = {"true": True, "1": True, "false": False, "0": False}

    def to_internal_value(self, data: object) -> bool:
        if data not in self.WORDS:
            raise serializers.ValidationError("must be true or false")
        return self.WORDS[data]


class WordField(serializers.ChoiceField):
    """One of a few words, in small letters as they are written here."""

    def __init__(self, choices: Any, **kwargs: Any) -> None:
        super().__init__(choices, **kwargs)
        words = ", ".join(self.choices)
        self.error_messages["invalid_choice"] = f"must be one of these words: {words}"


class AsSentField(serializers.Field[Any, Any, Any, Any]):
    """A value whose meaning depends on its neighbours."""

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class NotOfferedField(serializers.Field[None, object, None, None]):
    """A member of the original's API that we cannot honour: refused when it asks for anything, so
    that nobody counts on what does not happen. Blanks, zeroes and false ask for nothing."""

    def __init__(self, reason: str, **kwargs: Any) -> None:
        self.reason = reason
        super().__init__(required=False, help_text=f"Refused: {reason}", **kwargs)

    def to_internal_value(self, data: object) -> None:
        if data:
            raise serializers.ValidationError(self.reason)
        raise serializers.SkipField()

    def to_representation(self, value: None) -> None:
        return value


class WholeField(serializers.Field[int, object, int, int]):
    """A JSON integer, or a string of digits, between two bounds."""

    def __init__(self, *, minimum: int, maximum: int, **kwargs: Any) -> None:
        self.minimum, self.maximum = minimum, maximum
        super().__init__(**kwargs)

    def to_internal_value(self, data: object) -> int:
        try:
            value = parse_sat(data, minimum=self.minimum)
        except ValueError:
            value = self.maximum + 1
        if value > self.maximum:
            raise serializers.ValidationError(
                f"must be a whole number from {self.minimum} to {self.maximum}"
            )
        return value

    def to_representation(self, value: int) -> int:
        return value


def read(
    serializer: type[serializers.Serializer[Any]], data: object, *, at: str = ""
) -> dict[str, Any]:
    """The known fields of `data`, checked and typed; unknown ones and nulls are left out.

    Raises the field's own `CoinosError`, or `InvalidRequest` naming the first bad field by its
    JSON pointer. `at` is the pointer of `data` itself ("/invoice").
    """
    if not isinstance(data, Mapping):
        raise errors.InvalidRequest("must be an object", field=at or "/")
    checked: dict[str, Any] = {}
    for name, field in _fields(serializer).items():
        value = data.get(name)
        if value is None:
            if field.required:
                raise errors.InvalidRequest(f"{name} is required", field=f"{at}/{name}")
            continue
        try:
            checked[field.source or name] = field.run_validation(value)
        except serializers.SkipField:
            continue
        except errors.CoinosError as error:
            error.field = error.field or f"{at}/{name}"
            error.message = f"{name} {error.message}"
            raise
        except serializers.ValidationError as error:
            raise errors.InvalidRequest(
                f"{name}: {_first_sentence(error.detail)}", field=f"{at}/{name}"
            ) from error
    return checked


def read_query(serializer: type[serializers.Serializer[Any]], query: QueryDict) -> dict[str, Any]:
    """The known parameters of a query, each of them once; empty ones are left out. A filter that
    cannot be read is refused: without it the answer would be that to another question."""
    given = {name: query[name] for name in _fields(serializer) if query.get(name)}
    for name in given:
        if len(query.getlist(name)) > 1:
            raise errors.InvalidRequest(f"{name} may be given once", field=f"/{name}")
    return read(serializer, given)


@functools.cache
def _fields(
    serializer: type[serializers.Serializer[Any]],
) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
    # Made once: DRF copies every declared field for each serializer.
    return dict(serializer().fields)


@contextlib.contextmanager
def errors_at(at: str) -> Iterator[None]:
    """What services refuse in here lies at the pointer `at` of the body ("/user")."""
    try:
        yield
    except errors.CoinosError as error:
        if error.field:
            error.field = at + error.field
        raise


def _first_sentence(detail: Any) -> str:
    while isinstance(detail, Mapping | list) and detail:
        detail = next(iter(detail.values())) if isinstance(detail, Mapping) else detail[0]
    return str(detail)


# --- Views ---------------------------------------------------------------------------------------


class HasScope(BasePermission):
    """The credential may do what the view does: deny by default (P07).

    `required_scope` of a view is read, receive, spend or full. Read-only tokens get only as far
    as views that say `read_only_token = True`.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        assert isinstance(view, ApiView)
        credential: Any = request.auth
        if credential is None:
            if view.optional_auth:
                return True
            raise errors.Unauthorized()
        credential.require(view.required_scope, read_only_allowed=view.read_only_token)
        return True


class AnswerJSON(DefaultContentNegotiation):
    """Answers have one form, whatever the Accept header says."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> Any:
        return renderers[0], renderers[0].media_type


class ApiView(APIView):
    """A view of the API. Needs a full token unless it says otherwise, and has the rates of all
    endpoints unless it names its own."""

    content_negotiation_class = AnswerJSON
    permission_classes = (HasScope,)
    required_scope: ClassVar[str] = "full"
    read_only_token: ClassVar[bool] = False
    optional_auth: ClassVar[bool] = False
    counted: ClassVar[Mapping[str, Limit]] = throttling.OF_API

    def perform_authentication(self, request: Request) -> None:
        try:
            super().perform_authentication(request)
        except errors.Unauthorized:
            throttling.count(request, limits.UNKNOWN_TOKEN)
            raise

    def check_permissions(self, request: Request) -> None:
        """Count the request first, whether or not it may do what it asks for."""
        limit = throttling.limit_of(self.counted, request.method)
        if isinstance(limit, Rate):
            throttling.count(request, limit)
        super().check_permissions(request)


def ok(data: Any, *, replayed: bool = False) -> Response:
    """A success: always 200, always with a body. `replayed` marks what an earlier request did."""
    return Response(data, headers={REPLAYED: "true"} if replayed else None)


# --- Middleware ----------------------------------------------------------------------------------


def api_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Under /api: trailing slashes are tolerated and any origin may call with a header token.

    Cookies never cross origins: `Access-Control-Allow-Credentials` is not sent.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        open_to_all = f"{request.path_info}/".startswith(("/api/", "/.well-known/"))
        if not open_to_all:
            return get_response(request)
        request.path_info = request.path_info.rstrip("/")
        if request.path_info == "/api/health":  # asked by machines, under no name of the site
            request.META["HTTP_HOST"] = settings.ALLOWED_HOSTS[0]
        if request.path_info == "/api" or "\x00" in request.path_info:
            response: HttpResponseBase = not_found(request)
        elif request.method == "OPTIONS":
            response = HttpResponse(status=200)
            response["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
            response["Access-Control-Allow-Headers"] = (
                "Authorization, Content-Type, Idempotency-Key"
            )
            response["Access-Control-Max-Age"] = "86400"
        elif getattr(request, "refusal", None):  # the web server has not read the body
            response = problem_response(request.refusal)  # type: ignore[attr-defined]
        else:
            response = get_response(request)
        response["Access-Control-Allow-Origin"] = "*"
        response.setdefault("Cache-Control", "no-store")  # balances are nobody else's
        response["Access-Control-Expose-Headers"] = f"Retry-After, {REPLAYED}"
        return response

    return middleware


@csrf_exempt
def not_found(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """The answer of every unknown path under /api."""
    return problem_response(errors.NotFound())


def milliseconds(moment: Any) -> int:
    """A time as the API writes it: whole milliseconds since the epoch."""
    return int(moment.timestamp() * 1000)
