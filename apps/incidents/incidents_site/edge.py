"""What the site offers its operators: health checks, the release header, one-line log events."""

import logging
import time
from collections.abc import Callable

from django.conf import settings
from django.db import Error, InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

log = logging.getLogger(__name__)

# For how many seconds a GET is retried while the database fails over; a planned switchover takes one or two.
PATIENCE = 5.0
PAUSE = 0.1
# MariaDB 12 has words instead of numbers.
READ_ONLY = {"postgresql": "pg_is_in_recovery()", "mysql": "@@global.read_only NOT IN ('0', 'OFF')"}


class Edge:
    """The first middleware: answers health checks, adds the release header, and retries reads during a failover.

    Health checks are answered before Django validates the Host header, which may be an IP address. If the database is
    unavailable, the status is 503 rather than 500.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        check = {"/livez": livez, "/healthz": healthz}.get(request.path_info)
        response = check() if check else self.answer(request)
        if check:
            response["Cache-Control"] = "no-store"
            response["Content-Length"] = str(len(response.content))
        response["X-Release"] = settings.RELEASE
        return response

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Return the response; retry GET and HEAD while the database is unavailable. Clients repeat other requests."""
        give_up = time.monotonic() + PATIENCE
        while True:
            response = self.get_response(request)
            away = getattr(response, "database_is_away", False)
            if not away or request.method not in ("GET", "HEAD") or time.monotonic() > give_up:
                return response
            connection.close()  # so that the next attempt looks for the primary again
            time.sleep(PAUSE)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, OperationalError | InterfaceError):
            return None
        log.error("%s %s: database unavailable: %s", request.method, request.path, error)
        response = JsonResponse({"error": "the database is unavailable"}, status=503, headers={"Retry-After": "1"})
        response.database_is_away = True
        return response


def livez() -> HttpResponse:
    """Report that the process is alive, without using the database."""
    return HttpResponse("ok", content_type="text/plain")


def healthz() -> HttpResponse:
    """Report whether the process can serve requests: the database answers and accepts writes."""
    reason = database_trouble()
    if reason:
        connection.close()  # so that the next check looks for the primary again
        body = {"database": "failed", "reason": reason, "release": settings.RELEASE}
        return JsonResponse(body, status=503)
    return JsonResponse({"database": "ok", "release": settings.RELEASE})


def database_trouble() -> str:
    """Return why the database cannot be used, or "". Addresses and users are logged, but not shown to clients."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {READ_ONLY.get(connection.vendor, '1 = 0')}")
            (read_only,) = cursor.fetchone()
    except Error as error:
        log.error("healthz: %s", error)
        return f"no answer ({type(error).__name__})"
    return "a standby answered, not the primary" if read_only else ""


class OneLine(logging.Formatter):
    """Formats an event, including its traceback, as one line, so that the journal keeps it as one entry."""

    def format(self, record: logging.LogRecord) -> str:
        return " | ".join(super().format(record).splitlines())
