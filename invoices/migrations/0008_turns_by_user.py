from django.db import migrations, models


class Migration(migrations.Migration):
    """What is due is asked for by user, in the order of tries."""

    dependencies = [("invoices", "0007_deliveries_know_their_user")]

    operations = [
        migrations.RemoveIndex(model_name="webhookdelivery", name="delivery_due"),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(
                name="delivery_turn",
                fields=["user", "attempts_count", "next_attempt_at"],
                condition=models.Q(state="pending"),
            ),
        ),
    ]
