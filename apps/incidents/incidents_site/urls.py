"""Every URL of the site except /livez and /healthz, which incidents_site.edge answers."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from incidents.login_views import log_out

urlpatterns = [
    *([path("admin/logout/", log_out)] if settings.LOGIN_REQUIRED else []),
    path("", include("incidents.urls")),
    path("admin/", admin.site.urls),
]
