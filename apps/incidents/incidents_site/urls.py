"""Every address of the site, but /livez and /healthz: those are answered by incidents_site.edge."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("incidents.urls")),
    path("admin/", admin.site.urls),
]
