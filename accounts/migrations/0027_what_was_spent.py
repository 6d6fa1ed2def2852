"""A settled payment is corrected to what a row says that it took, and to nothing else."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


def create(apps, schema_editor):
    schema_editor.execute((SQL / "0014_what_was_spent.sql").read_text(), params=None)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0026_verbs")]

    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
