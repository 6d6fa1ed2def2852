import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

NAME_THE_PAYEE = """
    UPDATE invoices_webhookdelivery AS delivery SET user_id = invoice.user_id
    FROM invoices_invoice AS invoice WHERE invoice.id = delivery.invoice_id
"""
# Else the table could not be changed in this transaction: its foreign keys are looked at later.
LOOK_NOW = "SET CONSTRAINTS ALL IMMEDIATE"


def user(**more):
    return models.ForeignKey(
        to=settings.AUTH_USER_MODEL,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        db_index=False,
        help_text="The payee",
        **more,
    )


class Migration(migrations.Migration):
    """Whose calls wait is asked with every claim of some of them."""

    dependencies = [("invoices", "0006_invoices_by_others")]

    operations = [
        migrations.AddField(model_name="webhookdelivery", name="user", field=user(null=True)),
        migrations.RunSQL([NAME_THE_PAYEE, LOOK_NOW], migrations.RunSQL.noop),
        migrations.AlterField(model_name="webhookdelivery", name="user", field=user()),
    ]
