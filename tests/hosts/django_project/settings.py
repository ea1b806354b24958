"""Settings of the tests' Django project; SHOP_DATABASE_URL names the database of a `manage.py` run by itself."""

from __future__ import annotations

import os

from tests.support.django_databases import databases_on

SECRET_KEY = "a test's"
DEBUG = False
ALLOWED_HOSTS = ["testserver"]
USE_TZ = True
TIME_ZONE = "Europe/Vienna"
LANGUAGE_CODE = "en"
ROOT_URLCONF = "tests.hosts.django_project.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "pgcorpus.integrations.django",
    "tests.hosts.django_project.shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = databases_on(
    os.environ.get("SHOP_DATABASE_URL", "postgresql://nobody@localhost:1/nothing"),
    # So that `manage.py test` need not migrate.
    TEST={"TEMPLATE": os.environ.get("SHOP_TEST_TEMPLATE")},
)

PGCORPUS: dict[str, object] = {}
