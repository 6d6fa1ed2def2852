"""Sessions know the state of the authenticators that they were made under. Those of before stay."""

from pathlib import Path

from django.db import migrations, models

SQL = Path(__file__).resolve().parent.parent / "sql"


def create(apps, schema_editor):
    schema_editor.execute((SQL / "0005_authenticators.sql").read_text(), params=None)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0016_audit_says_from_where")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="authenticators_version",
            field=models.PositiveIntegerField(
                db_default=0,
                default=0,
                editable=False,
                help_text="Changes of password and second factor; the database counts",
            ),
        ),
        migrations.AddField(
            model_name="session",
            name="authenticators_version",
            field=models.PositiveIntegerField(
                db_default=0,
                default=0,
                editable=False,
                help_text="The user's, at sign-in; the session ends when it differs",
            ),
        ),
        migrations.RunPython(create, migrations.RunPython.noop),
    ]
