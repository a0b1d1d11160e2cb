"""The list of incidents, as a page and as JSON, and the API that receives samples."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.core.paginator import Page, Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from incidents import intake
from incidents.models import Incident, Sample

PAGE_SIZE = 25
View = Callable[..., HttpResponse]


def with_token(view: View) -> View:
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        given = request.headers.get("Authorization", "")
        tokens = [token for token in (settings.API_TOKEN, *settings.API_TOKEN_PREVIOUS) if token]
        if any(constant_time_compare(given, f"Bearer {token}") for token in tokens):
            return view(request, *args, **kwargs)
        headers = {"WWW-Authenticate": "Bearer"}
        return JsonResponse({"error": "a valid bearer token is required"}, status=401, headers=headers)

    return checked


def page_of_incidents(request: HttpRequest) -> Page[Incident]:
    paginator = Paginator(Incident.objects.select_related("machine"), PAGE_SIZE)
    return paginator.get_page(request.GET.get("page"))


@require_safe
def incident_list(request: HttpRequest) -> HttpResponse:
    context = {
        "page": page_of_incidents(request),
        "open": Incident.objects.filter(closed_at=None).count(),
        "release": settings.RELEASE,
    }
    return render(request, "incidents/list.html", context)


@require_safe
def api_incidents(request: HttpRequest) -> HttpResponse:
    page = page_of_incidents(request)
    incidents = [
        {
            "id": incident.pk,
            "machine": incident.machine.name,
            "kind": incident.kind,
            "severity": incident.severity,
            "opened_at": incident.opened_at,
            "closed_at": incident.closed_at,
            "summary": incident.summary,
        }
        for incident in page
    ]
    pages = {"page": page.number, "pages": page.paginator.num_pages, "total": page.paginator.count}
    return JsonResponse({"incidents": incidents, **pages})


@csrf_exempt
@require_POST
@with_token
def api_new_sample(request: HttpRequest) -> HttpResponse:
    try:
        new = intake.parse(json.loads(request.body))
    except intake.Invalid as error:
        return JsonResponse({"error": str(error), "field": error.field}, status=400)
    except (ValueError, RecursionError):
        return JsonResponse({"error": "body: is not JSON", "field": "body"}, status=400)
    sample, created = intake.store(new)
    return JsonResponse({"id": sample.pk}, status=201 if created else 200)


@require_safe
@with_token
def api_sample(request: HttpRequest, pk: int) -> HttpResponse:
    sample = Sample.objects.select_related("machine").filter(pk=pk).first()
    if sample is None:
        return JsonResponse({"error": f"no sample {pk}"}, status=404)
    return JsonResponse(
        {
            "id": sample.pk,
            "machine": sample.machine.name,
            "metric": sample.metric,
            "value": sample.value,
            "taken_at": sample.taken_at,
            "received_at": sample.received_at,
            "key": sample.key,
        }
    )
