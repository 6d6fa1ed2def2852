"""Every URL of the site: the JSON API below /api, then the admin, then the pages."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerView

from coinos import info
from coinos.api import not_found

api_urls: list[URLPattern | URLResolver] = [
    path("health", info.HealthView.as_view()),
    path("rates", info.RatesView.as_view()),
    path("rate", info.RateView.as_view()),
    path("fx", info.FxView.as_view()),
    path("info", info.NodeInfoView.as_view()),
    path("schema", SpectacularJSONAPIView.as_view(), name="schema"),
    path("schema/docs", SpectacularSwaggerView.as_view(url_name="schema")),
    path("", include("accounts.api_urls")),
    path("", include("payments.api_urls")),
    path("", include("invoices.api_urls")),
    re_path(r"^.*$", not_found),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/", include(api_urls)),
    path("", include("invoices.urls")),
]

if settings.ADMIN_ENABLED:
    urlpatterns.append(path("admin/", admin.site.urls))
