"""The pages about incidents and machines, and the API."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from incidents import intake, pages
from incidents.kinds import KINDS
from incidents.models import Incident, Machine, Poll, Sample
from incidents.tokens import has_token

View = Callable[..., HttpResponse]


def with_token(view: View) -> View:
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if has_token(request):
            return view(request, *args, **kwargs)
        headers = {"WWW-Authenticate": "Bearer"}
        return JsonResponse({"error": "a valid bearer token is required"}, status=401, headers=headers)

    return checked


def page(request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
    known = {"release": settings.RELEASE, "login": settings.LOGIN_REQUIRED}
    return render(request, f"incidents/{name}.html", {**known, **context})


@require_safe
def incident_list(request: HttpRequest) -> HttpResponse:
    context = {
        "page": pages.incidents(request.GET),
        "open": Incident.objects.filter(closed_at=None).count(),
        "filters": pages.Filters.of(request.GET),
        "query": pages.without_page(request.GET),
        "kinds": KINDS,
        "states": pages.STATES,
    }
    return page(request, "list", context)


@require_safe
def machine_list(request: HttpRequest) -> HttpResponse:
    rows = Machine.objects.order_by("name")
    wanted = pages.Filters.of(request.GET).machine
    if wanted:
        rows = pages.named(rows, "name", wanted)
    found = Paginator(rows, pages.PAGE_SIZE).get_page(request.GET.get("page"))
    # Counted for these machines alone: all incidents are many.
    grouped = Incident.objects.filter(machine__in=list(found), closed_at=None).order_by().values_list("machine")
    counts = dict(grouped.annotate(Count("pk")))
    for machine in found:
        machine.open = counts.get(machine.pk, 0)
    return page(request, "machines", {"page": found, "wanted": wanted, "query": pages.without_page(request.GET)})


@require_safe
def machine_page(request: HttpRequest, pk: int) -> HttpResponse:
    machine = get_object_or_404(Machine, pk=pk)
    days, length = pages.span(request.GET)
    now = timezone.now()
    context = {
        "machine": machine,
        "charts": pages.history(machine, now - length, now),
        "begin": now - length,
        "end": now,
        "days": days,
        "ranges": pages.RANGES,
        "polls": Poll.objects.filter(machine=machine)[:20],
        "incidents": Incident.objects.filter(machine=machine).select_related("machine")[:20],
    }
    return page(request, "machine", context)


@require_safe
def api_incidents(request: HttpRequest) -> HttpResponse:
    found = pages.incidents(request.GET)
    return JsonResponse(
        {
            "incidents": [pages.as_json(incident) for incident in found],
            "page": found.number,
            "pages": found.paginator.num_pages,
            "total": found.paginator.count,
            "open": Incident.objects.filter(closed_at=None).count(),
        }
    )


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
