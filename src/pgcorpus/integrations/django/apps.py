"""The app for INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig


class PgCorpusConfig(AppConfig):
    """pgcorpus among a project's apps: commands and checks, no models."""

    name = "pgcorpus.integrations.django"
    label = "pgcorpus"
    verbose_name = "pgcorpus"

    def ready(self) -> None:
        """Make the checks known, once settings can be read."""
        from pgcorpus.integrations.django.checks import register_checks

        register_checks()
