from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Rate",
            fields=[
                ("minute", models.DateTimeField(primary_key=True, serialize=False)),
                ("rates", models.JSONField()),
            ],
        ),
    ]
