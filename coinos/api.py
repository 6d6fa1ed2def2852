"""The edge kit of the JSON API: strict parsing, one error shape, scopes, fields, CORS.

Nothing here knows about money. Bodies are JSON objects and nothing stranger; errors are RFC 9457
problems that repeat their sentence in `message` and `error`, which older clients read.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import IO, Any, ClassVar

import orjson
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from rest_framework import exceptions as drf
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from coinos import errors
from coinos.money import MAX_SAT, parse_decimal, parse_sat

logger = logging.getLogger(__name__)

MAX_DEPTH = 20
MAX_BODY_BYTES = 64 * 1024

# --- JSON in and out -------------------------------------------------------------------------------


def parse_json(body: bytes) -> dict[str, Any]:
    """A JSON object, or `InvalidJSON`: no duplicate keys, no NaN, at most `MAX_DEPTH` deep, no NUL
    and no lone surrogates (F09, F10). Numbers with a fraction or exponent become Decimal. An empty
    body and `null` count as {}."""
    if not body.strip():
        return {}
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=Decimal,
        )
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise errors.InvalidJSON() from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise errors.InvalidJSON()
    _refuse_strange(value, MAX_DEPTH)
    return value


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _refuse_strange(value: object, depth_left: int) -> None:
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise errors.InvalidJSON("Text may not contain NUL characters or lone surrogates")
    elif isinstance(value, dict | list):
        if not depth_left:
            raise errors.InvalidJSON(f"The body may be at most {MAX_DEPTH} levels deep")
        for item in value.values() if isinstance(value, dict) else value:
            _refuse_strange(item, depth_left - 1)
        if isinstance(value, dict):
            for key in value:
                _refuse_strange(key, depth_left)


class StrictJSONParser(BaseParser):
    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise errors.TooLarge()
        return parse_json(body)


def to_json(value: Any) -> bytes:
    return orjson.dumps(value, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)  # rates and fiat values only: amounts are integers
    raise TypeError(f"not JSON: {type(value)}")


class JSONRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return to_json(data)


# --- Errors ----------------------------------------------------------------------------------------


def problem(error: errors.CoinosError) -> dict[str, Any]:
    """The body of an error answer (RFC 9457)."""
    body: dict[str, Any] = {
        "type": f"{settings.PUBLIC_URL}/docs/errors#{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "message": error.message,
        "error": error.message,
    }
    if error.field:
        body["errors"] = [{"pointer": f"#{error.field}", "detail": error.message}]
    return body


def problem_response(error: errors.CoinosError, **extra: Any) -> HttpResponse:
    response = HttpResponse(
        to_json(problem(error) | extra), status=error.status, content_type="application/problem+json"
    )
    if error.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        response["Retry-After"] = str(error.retry_after_s)
    return response


def exception_handler(exception: Exception, context: dict[str, Any]) -> HttpResponseBase:
    """Every exception of an API view becomes a problem; what is not ours is a logged 500."""
    error = as_coinos_error(exception)
    if error:
        return problem_response(error)
    reference = str(uuid.uuid4())
    logger.exception("internal error %s", reference, exc_info=exception)
    return problem_response(InternalError(), instance=reference)


class InternalError(errors.CoinosError):
    status = 500
    code = "internal_error"
    title = "Internal error"
    message = "Something went wrong on our side. Quote the instance number to the operator"


def as_coinos_error(exception: Exception) -> errors.CoinosError | None:
    """Translate what Django and DRF raise; None for a bug of ours."""
    match exception:
        case errors.CoinosError():
            return exception
        case drf.Throttled():
            return errors.RateLimited(retry_after_s=int(exception.wait or 1) + 1)
        case drf.NotAuthenticated() | drf.AuthenticationFailed():
            return errors.Unauthorized()
        case drf.PermissionDenied() | PermissionDenied():
            return errors.Forbidden()
        case drf.NotFound() | Http404():
            return errors.NotFound()
        case drf.MethodNotAllowed():
            return errors.MethodNotAllowed()
        case drf.UnsupportedMediaType():
            return errors.UnsupportedMediaType()
        case drf.ParseError():
            return errors.InvalidJSON()
        case RequestDataTooBig():
            return errors.TooLarge()
        case drf.ValidationError():
            return errors.InvalidRequest(str(exception.detail))
        case drf.NotAcceptable():
            return errors.InvalidRequest("Answers are application/json only")
    return None


def not_found(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """The answer of every unknown path under /api."""
    return problem_response(errors.NotFound())


# --- Fields ----------------------------------------------------------------------------------------


class SatField(serializers.Field[int, object, int, int]):
    """A whole number of sats: a JSON integer or a string of ASCII digits (api.md 2.4)."""

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
    for name, field in serializer().fields.items():
        value = data.get(name)
        if value is None:
            if field.required:
                raise errors.InvalidRequest(f"{name} is required", field=f"{at}/{name}")
            continue
        try:
            checked[field.source or name] = field.run_validation(value)
        except errors.CoinosError as error:
            error.field = error.field or f"{at}/{name}"
            error.message = f"{name} {error.message}"
            raise
        except serializers.ValidationError as error:
            raise errors.InvalidRequest(
                f"{name}: {_first_sentence(error.detail)}", field=f"{at}/{name}"
            ) from error
    return checked


def _first_sentence(detail: Any) -> str:
    while isinstance(detail, Mapping | list) and detail:
        detail = next(iter(detail.values())) if isinstance(detail, Mapping) else detail[0]
    return str(detail)


# --- Views -----------------------------------------------------------------------------------------


class HasScope(BasePermission):
    """The credential may do what the view does: deny by default (P07).

    `required_scope` of a view is read, receive, spend or full. Read-only tokens get only as far
    as views that say `read_only_token = True`.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        assert isinstance(view, ApiView)
        if request.auth is None:
            if view.optional_auth:
                return True
            raise errors.Unauthorized()
        request.auth.require(view.required_scope, read_only_allowed=view.read_only_token)
        return True


class ApiView(APIView):
    """A view of the API. Needs a full token unless it says otherwise."""

    permission_classes: ClassVar[Any] = [HasScope]
    required_scope: ClassVar[str] = "full"
    read_only_token: ClassVar[bool] = False
    optional_auth: ClassVar[bool] = False


def ok(data: Any) -> Response:
    """A success: always 200, always with a body."""
    return Response(data)


# --- Middleware ------------------------------------------------------------------------------------


def api_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Under /api: trailing slashes are tolerated and any origin may call with a header token.

    Cookies never cross origins: `Access-Control-Allow-Credentials` is not sent.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        open_to_all = request.path_info.startswith(("/api/", "/.well-known/"))
        if not open_to_all:
            return get_response(request)
        if request.path_info.endswith("/"):
            request.path_info = request.path_info.rstrip("/")
        if request.method == "OPTIONS":
            response: HttpResponseBase = HttpResponse(status=200)
            response["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
            response["Access-Control-Allow-Headers"] = (
                "Authorization, Content-Type, Idempotency-Key"
            )
            response["Access-Control-Max-Age"] = "86400"
        else:
            response = get_response(request)
        response["Access-Control-Allow-Origin"] = "*"
        response["Access-Control-Expose-Headers"] = "Retry-After, Idempotent-Replayed"
        return response

    return middleware


def milliseconds(moment: Any) -> int:
    """A time as the API writes it: whole milliseconds since the epoch."""
    return int(moment.timestamp() * 1000)
