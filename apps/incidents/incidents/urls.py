from django.urls import path

from incidents import login_views, views

urlpatterns = [
    path("", views.incident_list, name="incidents"),
    path("machines/", views.machine_list, name="machines"),
    path("machines/<int:pk>/", views.machine_page, name="machine"),
    path("login/", login_views.log_in, name="log_in"),
    path("logout/", login_views.log_out, name="log_out"),
    path("api/incidents", views.api_incidents),
    path("api/samples", views.api_new_sample),
    path("api/samples/<int:pk>", views.api_sample),
]
