"""Log-in: signed sessions in a cookie, and a middleware that asks for one wherever LOGIN_REQUIRED is set.

A session ends after LOGIN_HOURS, after LOGIN_IDLE_MINUTES without a page, at log-out, and when the password changes.
"""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.utils.crypto import constant_time_compare

from incidents.tokens import has_token

COOKIE = "incidents_login"
SALT = "incidents.login"
RENEWED_AFTER = 60
LOGIN = "/login/"
OPEN = (LOGIN, "/api/samples", settings.STATIC_URL)  # the API has its token


class LogIn:
    """The middleware. The user of the session is also that of the admin, which needs no log-in of its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not settings.LOGIN_REQUIRED or request.path_info.startswith(OPEN):
            return self.get_response(request)
        user, session = who(request)
        if request.path_info == "/admin/login/":
            return asked_to_log_in(request, request.GET.get("next", "/admin/"))
        if user:
            request.user = user
            response = self.get_response(request)
            idle = time.time() - session["seen"]
            if idle > RENEWED_AFTER and not request.path_info.startswith("/api/") and COOKIE not in response.cookies:
                store(response, {**session, "seen": int(time.time())})
        elif request.path_info == "/api/incidents":
            if not has_token(request):
                return JsonResponse({"error": "log in, or send a bearer token"}, status=401)
            response = self.get_response(request)
        else:
            return asked_to_log_in(request, request.get_full_path() if request.method == "GET" else "/")
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response


def asked_to_log_in(_request: HttpRequest, then: str) -> HttpResponse:
    return HttpResponseRedirect(f"{LOGIN}?{urlencode({'next': then})}")


def begin(response: HttpResponse, user: Any) -> None:
    now = int(time.time())
    store(response, {"user": user.pk, "proof": user.get_session_auth_hash(), "since": now, "seen": now})


def end(response: HttpResponse) -> None:
    response.delete_cookie(COOKIE, samesite="Lax")


def store(response: HttpResponse, session: dict[str, Any]) -> None:
    left = int(session["since"] + settings.LOGIN_SECONDS - time.time())
    response.set_cookie(
        COOKIE,
        signing.dumps(session, salt=SALT, compress=True),
        max_age=max(left, 0),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def who(request: HttpRequest) -> tuple[Any, dict[str, Any]]:
    """Return the user of a valid session, and the session; None and an empty one if there is none."""
    try:
        session = signing.loads(request.COOKIES.get(COOKIE, ""), salt=SALT)
    except signing.BadSignature:
        return None, {}
    now = time.time()
    if now - session["since"] > settings.LOGIN_SECONDS or now - session["seen"] > settings.LOGIN_IDLE_SECONDS:
        return None, {}
    user = get_user_model().objects.filter(pk=session["user"], is_active=True).first()
    # The proof depends on the password, and on the secret key, which may have been replaced meanwhile.
    proofs = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()] if user else []
    return (user, session) if any(constant_time_compare(session["proof"], proof) for proof in proofs) else (None, {})
