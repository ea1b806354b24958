"""The app of the tests' Django project."""
