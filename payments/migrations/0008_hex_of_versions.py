from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0007_withdrawal_versions'),
    ]

    operations = [
        migrations.RemoveField(
            model_name='payment',
            name='hex',
        ),
    ]
