from django.apps import AppConfig
from django.db.models.signals import post_migrate


class PaymentsConfig(AppConfig):
    name = "payments"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from payments.services.another_cluster import follow_this_cluster

        post_migrate.connect(follow_this_cluster, sender=self)
