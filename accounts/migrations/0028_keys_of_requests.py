"""Idempotency keys name invoices, too: their table moves below payments, rows and grants with it."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

MOVED = """
ALTER TABLE payments_idempotencykey RENAME TO accounts_idempotencykey;
ALTER SEQUENCE payments_idempotencykey_id_seq RENAME TO accounts_idempotencykey_id_seq;
ALTER TABLE accounts_idempotencykey RENAME COLUMN activity_id TO made_id;
ALTER TABLE accounts_idempotencykey RENAME CONSTRAINT one_spend_per_key TO one_request_per_key;
"""
BACK = """
ALTER TABLE accounts_idempotencykey RENAME CONSTRAINT one_request_per_key TO one_spend_per_key;
ALTER TABLE accounts_idempotencykey RENAME COLUMN made_id TO activity_id;
ALTER SEQUENCE accounts_idempotencykey_id_seq RENAME TO payments_idempotencykey_id_seq;
ALTER TABLE accounts_idempotencykey RENAME TO payments_idempotencykey;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0027_what_was_spent"),
        ("payments", "0014_expected_withdrawals"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(MOVED, BACK)],
            state_operations=[
                migrations.CreateModel(
                    name="IdempotencyKey",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("key", models.CharField(max_length=255)),
                        ("fingerprint", models.CharField(max_length=64)),
                        (
                            "made_id",
                            models.UUIDField(
                                help_text="The payer's line of a payment, or an invoice"
                            ),
                        ),
                        (
                            "created",
                            models.DateTimeField(
                                default=django.utils.timezone.now, editable=False
                            ),
                        ),
                        ("answered_at", models.DateTimeField(null=True)),
                        (
                            "user",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="+",
                                to=settings.AUTH_USER_MODEL,
                            ),
                        ),
                    ],
                    options={
                        "constraints": [
                            models.UniqueConstraint(
                                fields=("user", "key"), name="one_request_per_key"
                            )
                        ],
                    },
                ),
            ],
        ),
    ]
