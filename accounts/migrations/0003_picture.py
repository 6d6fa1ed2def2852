import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_ledger")]

    operations = [
        migrations.CreateModel(
            name="Picture",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("type", models.CharField(max_length=10)),
                ("version", models.CharField(max_length=12)),
                ("content", models.BinaryField()),
                ("changed", models.DateTimeField(auto_now=True)),
            ],
        ),
    ]
