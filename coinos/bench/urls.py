"""The server's URLs, and the bench's yardsticks."""

from django.urls import path

from coinos.bench import yardstick
from coinos.urls import handler400, handler403, handler404
from coinos.urls import urlpatterns as the_site

__all__ = ["handler400", "handler403", "handler404", "urlpatterns"]

urlpatterns = [
    path("api/bench/balance", yardstick.balance),
    path("api/bench/payments", yardstick.payments),
    *the_site,
]
