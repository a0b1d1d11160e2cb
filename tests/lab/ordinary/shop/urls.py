from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path


@login_required
def orders(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("orders")


def status(_request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("ok")


urlpatterns = [
    path("", orders),
    path("accounts/login/", LoginView.as_view()),
    path("status/", status),
]
