"""A user name that was given up is never given to another account."""

from pathlib import Path

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

SQL = Path(__file__).resolve().parent.parent / "sql"


def create(apps, schema_editor):
    schema_editor.execute((SQL / "0006_used_names.sql").read_text(), params=None)
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        owner = cursor.fetchone()[0]
    if settings.DATABASE_APP_ROLE == owner:
        return  # one role for both: the constraints still guard
    role = schema_editor.quote_name(settings.DATABASE_APP_ROLE)
    schema_editor.execute(f"REVOKE UPDATE, DELETE ON accounts_usedname FROM {role}", params=None)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0018_admin_sessions")]

    operations = [
        migrations.CreateModel(
            name="UsedName",
            fields=[
                ("username", models.CharField(max_length=24, primary_key=True, serialize=False)),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="used_names",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.RunPython(create, migrations.RunPython.noop),
    ]
