from django.urls import path

from incidents import views

urlpatterns = [
    path("", views.incident_list, name="incidents"),
    path("api/incidents", views.api_incidents),
    path("api/samples", views.api_new_sample),
    path("api/samples/<int:pk>", views.api_sample),
]
