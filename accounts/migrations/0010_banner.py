import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """Pictures get a kind and a key of their own; those that are there are of the kind `picture`."""

    dependencies = [("accounts", "0009_notifications")]

    operations = [
        # Django does not drop a primary key by itself.
        migrations.RunSQL(
            "ALTER TABLE accounts_picture DROP CONSTRAINT accounts_picture_pkey",
            state_operations=[
                migrations.AlterField(
                    model_name="picture",
                    name="user",
                    field=models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="picture",
            name="id",
            field=models.BigAutoField(primary_key=True, serialize=False),
        ),
        migrations.AlterField(
            model_name="picture",
            name="user",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="picture",
            name="kind",
            field=models.CharField(
                choices=[("picture", "Picture"), ("banner", "Banner")],
                default="picture",
                max_length=7,
            ),
        ),
        migrations.AddConstraint(
            model_name="picture",
            constraint=models.UniqueConstraint(
                fields=("user", "kind"), name="one_of_each_kind"
            ),
        ),
    ]
