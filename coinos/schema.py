"""The API described by itself: OpenAPI 3.1 at /api/schema, a page to try it at /api/schema/docs.

Views say what they read and answer; this adds what holds for all of them: names, groups, the
bearer token, the one shape of errors, and what our own field types accept.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiResponse, OpenApiWebhook, extend_schema
from rest_framework.request import Request

from coinos import answers
from coinos.api import ApiView
from coinos.drf import to_json
from coinos.money import MAX_SAT

GROUPS = {
    "Account": ["register", "login", "logout", "me", "user", "users", "ro"],
    "Receive": ["invoice", "invoices"],
    "Send": ["payments", "send", "bitcoin", "parse", "decode"],
    "Contacts and connections": ["contacts", "apps", "app"],
    "LNURL": ["pay", "lnurlp", "lnurl", ".well-known"],
}


class Schema(AutoSchema):
    """Names an operation by method and path, and groups it by its first word."""

    def get_operation_id(self) -> str:
        words = re.findall(r"\w+", self.path.removeprefix("/api/"))
        return "_".join([self.method.lower(), *words])

    def get_summary(self) -> str:
        return str(self.get_description()).split(". ")[0].partition("\n")[0].rstrip(".")

    def get_tags(self) -> list[str]:
        word = self.path.removeprefix("/api").split("/")[1]
        return [next((name for name, words in GROUPS.items() if word in words), "Server")]

    def get_auth(self) -> list[dict[str, Any]]:
        assert isinstance(self.view, ApiView)
        needed = [way for way in super().get_auth() if way]
        return [*needed, {}] if needed and self.view.optional_auth else needed


class BearerToken(OpenApiAuthenticationExtension):
    target_class = "accounts.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A token from POST /register or /login, or an API key.",
        }


# --- Our field types ------------------------------------------------------------------------------


class WholeNumber(OpenApiSerializerFieldExtension):
    target_class = "coinos.api.WholeField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.target.minimum, "maximum": self.target.maximum}


class Sats(OpenApiSerializerFieldExtension):
    target_class = "coinos.api.SatField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        return sats(self.target.minimum)


class NotOffered(OpenApiSerializerFieldExtension):
    target_class = "coinos.api.NotOfferedField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        return {"deprecated": True}


class Tip(OpenApiSerializerFieldExtension):
    target_class = "invoices.serializers.TipField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        return sats(0)


class AnyJSON(OpenApiSerializerFieldExtension):
    target_class = "coinos.api.AsSentField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        return {}


def sats(minimum: int) -> dict[str, Any]:
    return {
        "type": "integer",
        "format": "int64",
        "minimum": minimum,
        "maximum": MAX_SAT,
        "description": "sats; a string of digits is accepted too",
    }


# --- What every operation has ---------------------------------------------------------------------

PROBLEM = {
    "type": "object",
    "description": "An error (RFC 9457). `detail`, `message` and `error` are the same sentence.",
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "What programs go by; see /docs/errors"},
        "message": {"type": "string"},
        "error": {"type": "string"},
        "instance": {"type": "string", "description": "To quote to the operator, when 500"},
        "errors": {
            "type": "array",
            "description": "The member of the body that is at fault",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "example": "#/invoice/amount"},
                    "detail": {"type": "string"},
                },
                "required": ["pointer", "detail"],
            },
        },
    },
    "required": ["type", "title", "status", "detail", "code", "message", "error"],
}

PAYMENT_WEBHOOK = OpenApiWebhook(
    "payment",
    extend_schema(
        summary="A payment to an invoice",
        description=(
            "Sent to the `webhook` of the invoice, or of the account, for every payment: when a"
            " deposit is first seen, when it is credited, and when it is taken away again. Signed"
            " as [Standard Webhooks](https://www.standardwebhooks.com) says, with the account's"
            " key. Any 2xx within 10 s ends it; else it is called again for 75 hours."
        ),
        tags=["Receive"],
        request=answers.WebhookCall,
        responses={
            "2XX": OpenApiResponse(description="Heard"),
            "410": OpenApiResponse(description="Call no more"),
        },
    ),
)
SIGNED_WITH = {
    "webhook-id": "the same at every attempt; a receiver may see a call twice",
    "webhook-timestamp": "of this attempt, seconds since the epoch",
    "webhook-signature": "`v1,` and the HMAC-SHA256 of id, timestamp and body",
}

EVENTS = {
    "operationId": "get_events",
    "tags": ["Server"],
    "summary": "What happens to the account's money, as it happens",
    "description": "Server-sent events; `Last-Event-ID` goes on where a lost connection was.",
    "security": [{"token": []}],
    "responses": {"200": {"description": "", "content": {"text/event-stream": {"schema": {}}}}},
}


def add_problems(
    result: dict[str, Any], generator: SchemaGenerator, request: Request | None, public: bool
) -> dict[str, Any]:
    """Give every operation its error answers and the webhook its headers, and name the one route
    that is no DRF view."""
    result["paths"]["/api/events"] = {"get": EVENTS}
    result["components"]["schemas"]["Problem"] = PROBLEM
    result["tags"] = [{"name": name} for name in (*GROUPS, "Server")]
    # What only the webhook refers to was not there yet when these were collected.
    result["components"]["schemas"] |= generator.registry.build({})["schemas"]
    result["webhooks"]["payment"]["post"]["parameters"] = [
        {
            "name": name,
            "in": "header",
            "required": True,
            "description": description,
            "schema": {"type": "string"},
        }
        for name, description in SIGNED_WITH.items()
    ]
    answer = {
        "description": "The request was refused",
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }
    for path in result["paths"].values():
        for operation in path.values():
            operation["responses"] = {"4XX": answer, "503": answer} | operation["responses"]
    return result


# --- Views ----------------------------------------------------------------------------------------


@functools.cache
def schema_json() -> bytes:
    """The whole schema, made once: it changes only with the code."""
    generator = SchemaGenerator()
    return to_json(generator.get_schema(request=None, public=True))


class SchemaView(ApiView):
    authentication_classes = ()
    optional_auth = True

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        """The OpenAPI description of this API."""
        return HttpResponse(schema_json(), content_type="application/vnd.oai.openapi+json")


class SchemaDocsView(ApiView):
    authentication_classes = ()
    optional_auth = True

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        """The same for people: every endpoint, to read and to try."""
        return render(request._request, "coinos/schema_docs.html")
