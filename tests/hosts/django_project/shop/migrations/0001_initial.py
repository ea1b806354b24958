"""The shop's articles."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """As `manage.py makemigrations` wrote it."""

    initial = True

    operations = [  # noqa: RUF012 -- Django's form
        migrations.CreateModel(
            name="Article",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("title", models.CharField(max_length=200)),
                ("body", models.TextField()),
                ("tenant", models.CharField(default="default", max_length=100)),
                ("published", models.BooleanField(default=True)),
                ("extra", models.JSONField(default=dict)),
            ],
        ),
    ]
