"""The articles."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """As `manage.py makemigrations` wrote it."""

    initial = True
    dependencies = [("auth", "0012_alter_user_first_name_max_length")]  # noqa: RUF012 -- Django's form
    operations = [  # noqa: RUF012
        migrations.CreateModel(
            name="Article",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("title", models.CharField(max_length=200)),
                ("body", models.TextField()),
                ("published", models.BooleanField(default=True)),
                ("customer", models.ForeignKey(on_delete=models.deletion.CASCADE, to="auth.group")),
            ],
        ),
    ]
