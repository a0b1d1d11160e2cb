"""Limits how fast passwords can be guessed. All hosts count failed log-ins together, in the database."""

from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from incidents.models import FailedLogIn

WINDOW = timedelta(minutes=15)
# Failures in the window: of a name from one address, from one address, and of a name. The last is high, so that
# a stranger who knows only a name cannot lock its user out.
LIMITS = {"both": 5, "address": 20, "name": 50}


def address(request: HttpRequest) -> str:
    """Return the address of the client; the balancer sets the header, whatever the client sends."""
    proxied = "" if settings.DEBUG else request.headers.get("X-Real-IP", "")
    return proxied or request.META.get("REMOTE_ADDR", "")


def digests(name: str, client: str) -> dict[str, str]:
    known = {"both": f"{client} {name.casefold()}", "address": client, "name": name.casefold()}
    return {what: salted_hmac(f"throttle {what}", text, algorithm="sha256").hexdigest() for what, text in known.items()}


def attempt(name: str, client: str) -> list[int] | None:
    """Count a log-in as failed until it succeeds; return what `succeeded` needs, or None if there were too many."""
    now = timezone.now()
    found = digests(name, client)
    # Count before the password is looked at, so that attempts at the same moment count as well.
    rows = [FailedLogIn.objects.create(who=digest, at=now).pk for digest in found.values()]
    for what, digest in found.items():
        if FailedLogIn.objects.filter(who=digest, at__gt=now - WINDOW).count() > LIMITS[what]:
            FailedLogIn.objects.filter(pk__in=rows).delete()
            return None
    return rows


def succeeded(name: str, client: str, rows: list[int]) -> None:
    FailedLogIn.objects.filter(pk__in=rows).delete()
    FailedLogIn.objects.filter(who=digests(name, client)["both"]).delete()
