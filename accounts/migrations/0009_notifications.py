from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0008_receive_each'),
    ]

    operations = [
        migrations.AddField(
            model_name='user',
            name='sound',
            field=models.BooleanField(default=False, help_text='Open pages sound when money arrives'),
        ),
        migrations.AddField(
            model_name='user',
            name='toasts',
            field=models.BooleanField(default=True, help_text='Open pages show what arrives'),
        ),
    ]
