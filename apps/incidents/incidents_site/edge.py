"""Where the site meets those who operate it: health checks, the release header, log lines."""

import logging
import time
from collections.abc import Callable

from django.conf import settings
from django.db import Error, InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

log = logging.getLogger(__name__)

# Seconds that a reader waits for a database that changes hands: a planned switchover takes one or two.
PATIENCE = 5.0
PAUSE = 0.1


class Edge:
    """The first middleware. It answers the health checks before anything looks at their Host header, marks
    every response with the release, and says 503 instead of 500 when it is the database that is missing."""

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
        """What only reads is tried again while the database is away; what writes is the sender's to repeat."""
        give_up = time.monotonic() + PATIENCE
        while True:
            response = self.get_response(request)
            away = getattr(response, "database_is_away", False)
            if not away or request.method not in ("GET", "HEAD") or time.monotonic() > give_up:
                return response
            connection.close()  # the next try looks for the primary anew
            time.sleep(PAUSE)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, OperationalError | InterfaceError):
            return None
        log.error("%s %s: database unavailable: %s", request.method, request.path, error)
        response = JsonResponse({"error": "the database is unavailable"}, status=503, headers={"Retry-After": "1"})
        response.database_is_away = True
        return response


def livez() -> HttpResponse:
    """The process answers. Never touches the database."""
    return HttpResponse("ok", content_type="text/plain")


def healthz() -> HttpResponse:
    """The process can do its work: the database answers, and takes writes."""
    reason = database_trouble()
    if reason:
        connection.close()  # the next check looks for the primary anew
        body = {"database": "failed", "reason": reason, "release": settings.RELEASE}
        return JsonResponse(body, status=503)
    return JsonResponse({"database": "ok", "release": settings.RELEASE})


def database_trouble() -> str:
    """Why the database cannot be used, or nothing. Addresses and users go to the log, not to whoever asks."""
    standby = "pg_is_in_recovery()" if connection.vendor == "postgresql" else "1 = 0"
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {standby}")
            (read_only,) = cursor.fetchone()
    except Error as error:
        log.error("healthz: %s", error)
        return f"no answer ({type(error).__name__})"
    return "a standby answered, not the primary" if read_only else ""


class OneLine(logging.Formatter):
    """One line an event, tracebacks included, so that no event falls apart in the journal."""

    def format(self, record: logging.LogRecord) -> str:
        return " | ".join(super().format(record).splitlines())
