"""The pages for logging in and out."""

from django.contrib.auth import authenticate
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from incidents import login, throttle


def target(request: HttpRequest) -> str:
    """Return where to go after the log-in: a page of this site, whatever the address says."""
    wanted = request.POST.get("next") or request.GET.get("next") or "/"
    safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if safe and not wanted.startswith(login.LOGIN) else "/"


@sensitive_post_parameters("password")
@never_cache
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def log_in(request: HttpRequest) -> HttpResponse:
    known = {"next": target(request), "name": request.POST.get("name", "")[:150]}
    if request.method != "POST":
        return render(request, "incidents/login.html", known)
    name, password = request.POST.get("name", ""), request.POST.get("password", "")
    if not (name.isprintable() and 1 <= len(name) <= 150 and 1 <= len(password) <= 1000 and "\0" not in password):
        return render(request, "incidents/login.html", {**known, "error": "Enter a name and a password."}, status=400)
    client = throttle.address(request)
    counted = throttle.attempt(name, client)
    if counted is None:
        minutes = throttle.WINDOW.seconds // 60
        error = f"Too many attempts. Try again in {minutes} minutes."
        response = render(request, "incidents/login.html", {**known, "error": error}, status=429)
        response["Retry-After"] = str(throttle.WINDOW.seconds)
        return response
    user = authenticate(request, username=name, password=password)
    # On MySQL, a name is found in any spelling, each of which would be throttled on its own.
    if user is None or user.get_username() != name:
        return render(request, "incidents/login.html", {**known, "error": "Wrong name or password."}, status=403)
    throttle.succeeded(name, client, counted)
    response = HttpResponseRedirect(known["next"])
    login.begin(response, user)
    return response


@csrf_protect
@require_POST
def log_out(_request: HttpRequest) -> HttpResponse:
    response = HttpResponseRedirect(login.LOGIN)
    login.end(response)
    return response
