from django.db import migrations, models

# Until now a stranger who made an invoice for somebody could name its webhook: the calls were signed
# with the payee's key, and the payee's own webhook was not told. These webhooks end here, and so do
# the calls that wait for them; without its body a call cannot be signed and sent again. Who owned
# the others is known: nobody else could set them.
END_THE_CALLS = """
    UPDATE invoices_webhookdelivery AS delivery
    SET body = '', leased_until = NULL,
        state = CASE WHEN state = 'pending' THEN 'failed' ELSE state END
    FROM invoices_invoice AS invoice
    WHERE invoice.id = delivery.invoice_id AND NOT invoice.own AND invoice.webhook <> ''
"""
END_THE_WEBHOOKS = """
    UPDATE invoices_invoice SET webhook = '', secret = '', webhook_disabled_at = NULL
    WHERE NOT own AND (webhook <> '' OR secret <> '')
"""
NAME_THE_PAYEE = """
    UPDATE invoices_invoice SET webhook_set_by = user_id WHERE webhook <> '' OR secret <> ''
"""


class Migration(migrations.Migration):
    """A webhook and its secret are the payee's, and the database knows it."""

    dependencies = [("invoices", "0003_fewer_indexes")]

    operations = [
        migrations.AddField(
            model_name="invoice",
            name="webhook_set_by",
            field=models.UUIDField(
                null=True,
                help_text="The user who set the webhook and secret: the payee, or nobody",
            ),
        ),
        migrations.RunSQL(
            [END_THE_CALLS, END_THE_WEBHOOKS, NAME_THE_PAYEE], migrations.RunSQL.noop
        ),
        migrations.AlterField(
            model_name="webhookdelivery",
            name="body",
            field=models.TextField(
                help_text="Sealed: it may contain the invoice's secret. Blank: it is not sent again"
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.CheckConstraint(
                name="webhook_belongs_to_the_payee",
                condition=models.Q(webhook="", secret="", webhook_set_by=None)
                | models.Q(webhook_set_by__isnull=False, webhook_set_by=models.F("user")),
            ),
        ),
        migrations.AddConstraint(
            model_name="webhookdelivery",
            constraint=models.CheckConstraint(
                name="pending_delivery_has_a_body",
                condition=~models.Q(state="pending", body=""),
            ),
        ),
    ]
