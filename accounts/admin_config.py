"""Django's admin with our site in place of its own."""

from django.contrib.admin.apps import AdminConfig


class OperatorAdminConfig(AdminConfig):
    default_site = "accounts.operators.OperatorSite"
