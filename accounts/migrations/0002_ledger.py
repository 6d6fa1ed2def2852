"""The books: tables, guards and functions in SQL, and what the application's role may do."""

from pathlib import Path

from django.conf import settings
from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


def create_books(apps, schema_editor):
    schema_editor.execute((SQL / "0001_ledger.sql").read_text(), params=None)


def grant(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        owner = cursor.fetchone()[0]
    if settings.DATABASE_APP_ROLE == owner:
        return  # one role for both: the triggers and constraints still guard
    role = schema_editor.quote_name(settings.DATABASE_APP_ROLE)
    sql = (SQL / "0002_grants.sql").read_text()
    schema_editor.execute(sql.replace("{app_role}", role), params=None)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [
        migrations.RunPython(create_books, migrations.RunPython.noop),
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]
