from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("invoices", "0005_secret_stays_with_its_webhook")]
    operations = [
        migrations.AddIndex(
            model_name="invoice",
            index=models.Index(
                condition=models.Q(("own", False)),
                fields=["user", "created"],
                name="invoices_by_others",
            ),
        ),
    ]
