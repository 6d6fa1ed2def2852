from django.db import migrations, models

# Addresses are compared byte for byte from now on. One with letters beyond ASCII may look like
# another's: it goes, and its owner names a new one.
TO_STORED_FORM = r"""
    UPDATE accounts_user SET email = '', email_verified_at = NULL WHERE email ~ '[^ -~]';
    UPDATE accounts_user SET email = lower(email COLLATE "C") WHERE email ~ '[A-Z]';
    UPDATE accounts_user SET email = '', email_verified_at = NULL WHERE email !~ '^[!-@\[-~]*$';
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0014_fewer_indexes")]
    operations = [
        migrations.RemoveIndex(model_name="user", name="user_email"),
        migrations.RunSQL(TO_STORED_FORM, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                name="email_is_in_stored_form",
                condition=models.Q(email__regex=r"^[!-@\[-~]*$"),
            ),
        ),
        migrations.AddIndex(
            model_name="user",
            index=models.Index(
                name="user_email",
                fields=["email"],
                condition=models.Q(("email_verified_at", None), _negated=True),
            ),
        ),
    ]
