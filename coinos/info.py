"""What the server says about itself and the world: health, rates, the node."""

from __future__ import annotations

from datetime import datetime

from django.core.cache import cache
from django.db import DatabaseError
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from redis import RedisError
from rest_framework.request import Request
from rest_framework.response import Response

from coinos import answers, limits, nodes, rates
from coinos.api import ApiView, ok
from coinos.heartbeat import health

NODE_INFO_CACHE_S = 10


class HealthView(ApiView):
    authentication_classes = ()
    optional_auth = True
    counted = {"GET": limits.HEALTH}

    @extend_schema(responses={200: answers.Health, 503: answers.Health})
    def get(self, request: Request) -> Response:
        """200 while the database answers and every periodic job is on time, else 503."""
        try:
            found = health()
        except DatabaseError:
            body = {
                "healthy": False,
                "consecutiveFailures": 1,
                "lastSuccessTime": 0,
                "lastFailureReason": "the database does not answer",
                "stalledCheck": True,
                "alarms": 0,
                "jobs": {},
            }
            return Response(body, status=503)
        body = {
            "healthy": found.healthy,
            "consecutiveFailures": found.consecutive_failures,
            "lastSuccessTime": found.last_success_ms,
            "lastFailureReason": found.reason,
            "stalledCheck": found.stalled,
            "alarms": found.alarms,
            "jobs": {
                beat.job: {
                    "lastSuccessTime": _time_ms(beat.succeeded_at),
                    "lastWorkTime": _time_ms(beat.worked_at),
                }
                for beat in found.jobs
            },
        }
        return Response(body, status=200 if found.healthy else 503)


def _time_ms(moment: datetime | None) -> int | None:
    return int(moment.timestamp() * 1000) if moment else None


class OpenView(ApiView):
    """A view for everybody. A token is not looked at, so an old one does no harm."""

    authentication_classes = ()
    optional_auth = True
    counted = {"GET": limits.INFO}


class RatesView(OpenView):
    @extend_schema(responses={200: answers.RATES})
    def get(self, request: Request) -> Response:
        """Units of each currency per BTC."""
        return ok({currency: float(value) for currency, value in rates.rates().items()})


class RateView(OpenView):
    @extend_schema(responses=OpenApiTypes.NUMBER, auth=[])
    def get(self, request: Request) -> Response:
        """One BTC in US dollars, as a bare number."""
        return ok(float(rates.rate("USD")))


class FxView(OpenView):
    @extend_schema(responses=answers.Fx)
    def get(self, request: Request) -> Response:
        """Units of each currency per US dollar."""
        return ok({"fx": {currency: float(value) for currency, value in rates.fx().items()}})


class NodeInfoView(OpenView):
    @extend_schema(responses=answers.NodeInfo)
    def get(self, request: Request) -> Response:
        """Public facts about our Lightning node, at most ten seconds old."""
        try:
            body = cache.get("node-info")
        except RedisError:
            body = None
        if body is None:
            body = _node_info()
            try:
                cache.set("node-info", body, NODE_INFO_CACHE_S)
            except RedisError:
                pass  # answered all the same
        return ok(body)


def _node_info() -> dict[str, object]:
    info = nodes.lightning().info()
    return {
        "id": info.id,
        "alias": info.alias,
        "color": info.color,
        "num_peers": info.num_peers,
        "num_pending_channels": info.num_pending_channels,
        "num_active_channels": info.num_active_channels,
        "num_inactive_channels": info.num_inactive_channels,
        "address": list(info.addresses),
        "binding": [],
        "version": info.version,
        "blockheight": info.blockheight,
        "network": info.network,
        "fees_collected_msat": info.fees_collected_msat,
        "our_features": info.features,
    }
