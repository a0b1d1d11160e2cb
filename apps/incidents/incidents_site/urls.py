"""Every URL of the site except /livez and /healthz, which incidents_site.edge answers."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("incidents.urls")),
    path("admin/", admin.site.urls),
]
