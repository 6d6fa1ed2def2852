"""Every URL of the site: the JSON API below /api, then the admin, then the pages."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.decorators.csrf import csrf_exempt

from accounts.streams import api_events
from coinos import contact, info, pwa
from coinos.api import not_found
from coinos.logs import hide_in_paths
from coinos.routes import routes
from coinos.schema import SchemaDocsView, SchemaView
from invoices.simnet_page import page as simnet_page
from invoices.urls import person_urls
from payments.design import page as design_page

api_urls: list[URLPattern | URLResolver] = [
    path("health", info.HealthView.as_view()),
    path("rates", info.RatesView.as_view()),
    path("rate", info.RateView.as_view()),
    path("fx", info.FxView.as_view()),
    path("info", info.NodeInfoView.as_view()),
    path("schema", SchemaView.as_view(), name="schema"),
    path("schema/docs", SchemaDocsView.as_view(), name="schema_docs"),
    path("events", csrf_exempt(api_events), name="api_events"),
    path("", include("accounts.api_urls")),
    path("", include("payments.api_urls")),
    path("", include("invoices.api_urls")),
    re_path(r"^.*$", not_found),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/", include(api_urls)),
    path(".well-known/security.txt", contact.security_txt, name="security_txt"),
    path("manifest.webmanifest", pwa.manifest, name="manifest"),
    path("service-worker.js", pwa.service_worker, name="service_worker"),
    path("offline", pwa.offline, name="offline"),
    path("design", design_page),
    path("", include("accounts.urls")),
    path("", include("invoices.urls")),
    path("", include("payments.urls")),
]

if settings.ADMIN_ENABLED:
    admin.site.unregister(Group)  # operators are superusers: there are no rights to hand out
    urlpatterns.append(path("admin/", admin.site.urls))

if settings.SIMNET:
    urlpatterns.append(path("simnet", simnet_page, name="simnet"))

# The last one: a user name stands where no other page does. `accounts.names` reserves the others.
urlpatterns += person_urls

hide_in_paths(route for route, _view in routes(urlpatterns))

handler400 = "coinos.web.bad_request"
handler403 = "coinos.web.forbidden"
handler404 = "coinos.web.not_found"
handler500 = "coinos.web.server_error"
