"""The bearer token of the API."""

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare


def has_token(request: HttpRequest) -> bool:
    given = request.headers.get("Authorization", "")
    tokens = [token for token in (settings.API_TOKEN, *settings.API_TOKEN_PREVIOUS) if token]
    return any(constant_time_compare(given, f"Bearer {token}") for token in tokens)
