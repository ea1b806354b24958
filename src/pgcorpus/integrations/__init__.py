"""Adapters for the frameworks that apps are written in; each is imported on request."""
