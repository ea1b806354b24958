"""Where the tests' Django project answers."""

from django.contrib import admin
from django.urls import path

from tests.hosts.django_project.shop import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("remember/<str:name>/", views.remember),
    path("settings/", views.settings),
]
