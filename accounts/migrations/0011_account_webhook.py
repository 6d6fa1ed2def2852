from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0010_banner'),
    ]

    operations = [
        migrations.AddField(
            model_name='user',
            name='webhook',
            field=models.URLField(blank=True, help_text='For invoices that have none of their own', max_length=2000),
        ),
        migrations.AddField(
            model_name='user',
            name='webhook_disabled_at',
            field=models.DateTimeField(blank=True, help_text='It answered 410 or never', null=True),
        ),
        migrations.AddField(
            model_name='user',
            name='webhook_sealed_secret',
            field=models.TextField(blank=True, help_text="Sealed; sent back in the webhook's body"),
        ),
    ]
