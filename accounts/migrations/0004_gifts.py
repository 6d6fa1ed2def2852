"""The house account of gifts, and what guards it."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


def guard_gifts(apps, schema_editor):
    schema_editor.execute((SQL / "0003_gifts.sql").read_text(), params=None)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_picture")]

    operations = [migrations.RunPython(guard_gifts, migrations.RunPython.noop)]
