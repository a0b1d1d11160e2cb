import os
import time

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path


def page(_request: HttpRequest) -> HttpResponse:
    time.sleep(0.01)
    return HttpResponse(f"release {os.environ['RELEASE']}\n")


def count(request: HttpRequest) -> HttpResponse:
    """Add the body as a line to the file of this host."""
    time.sleep(0.02)
    with (settings.MEDIA_ROOT / "counted").open("ab") as file:
        file.write(request.body + b"\n")
    return HttpResponse(status=201)


def healthz(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", headers={"X-Release": os.environ["RELEASE"]})


urlpatterns = [path("", page), path("count", count), path("healthz", healthz)]
