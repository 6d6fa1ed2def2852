"""What DRF is configured with: the strict JSON parser, the renderer, the one error shape.

Bodies are JSON objects and nothing stranger. Errors are RFC 9457 problems that repeat their
sentence in `message` and `error`, which older clients read.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import IO, Any
from uuid import UUID

import orjson
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpResponse
from rest_framework import exceptions as drf
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer

from coinos import errors, limits

logger = logging.getLogger(__name__)

MAX_DEPTH = 20
REPLAYED = "Idempotent-Replayed"
"""The header of an answer that an earlier request with the same key has had."""

# --- JSON in and out -----------------------------------------------------------------------------


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
        most = limits.BODY_BYTES.at_most
        body = stream.read(most + 1)
        if len(body) > most:
            raise errors.TooLarge()
        return parse_json(body)


def to_json(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=_plain)
    except TypeError:  # an integer beyond 64 bits, which PostgreSQL makes of the number 1e20
        return json.dumps(
            value, default=_plain_or_id, ensure_ascii=False, separators=(",", ":")
        ).encode()


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)  # rates and fiat values only: amounts are integers
    raise TypeError(f"not JSON: {type(value)}")


def _plain_or_id(value: object) -> object:
    return str(value) if isinstance(value, UUID) else _plain(value)


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


# --- Errors --------------------------------------------------------------------------------------


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
        to_json(problem(error) | extra),
        status=error.status,
        content_type="application/problem+json",
    )
    if error.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        response["Retry-After"] = str(error.retry_after_s)
    if error.replayed:
        response[REPLAYED] = "true"
    return response


def exception_handler(exception: Exception, context: dict[str, Any]) -> HttpResponse:
    """Every exception of an API view becomes a problem; what is not ours is a logged 500."""
    error = as_coinos_error(exception)
    if isinstance(error, errors.DatabaseUnavailable):
        logger.error("the database does not answer: %s", exception)
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
            return errors.RateLimited(retry_after_s=int(getattr(exception, "wait", None) or 1))
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
        case OperationalError() | InterfaceError():
            return errors.DatabaseUnavailable()
        case SuspiciousOperation():  # such as hundreds of parameters
            return errors.InvalidRequest()
    return None
