"""What the help centre stores; a customer is a group of users."""

from django.contrib.auth.models import Group
from django.db import models


class Article(models.Model):
    """A page of one customer's help centre."""

    customer = models.ForeignKey(Group, on_delete=models.CASCADE)
    title = models.CharField(max_length=200)
    body = models.TextField()
    published = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.title
