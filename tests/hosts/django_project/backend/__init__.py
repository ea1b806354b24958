"""A database backend made of Django's for PostgreSQL, as PostGIS' is."""
