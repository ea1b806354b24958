"""What the tests' shop stores by Django's own models."""

from __future__ import annotations

from django.db import models


class Article(models.Model):
    """A page of the shop's help."""

    title = models.CharField(max_length=200)
    body = models.TextField()
    tenant = models.CharField(max_length=100, default="default")
    published = models.BooleanField(default=True)
    extra = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.title
