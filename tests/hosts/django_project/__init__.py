"""A Django project with one app, for the tests of the integration: see tests/support/django_host.py."""
