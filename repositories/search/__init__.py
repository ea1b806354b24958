"""Searching: from a request to a statement, its settings and its answer."""
