"""Checks that a Django project's pages name the path at which the balancers serve its static files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from plainstack.inventory.services import DjangoService
from plainstack.services import static_paths
from plainstack.services.settings_module import Settings


def problems(settings: Settings, service: DjangoService) -> Iterator[str]:
    """Yield an error if STATIC_URL is certainly another path than that of the balancers."""
    known = settings.bound.get("STATIC_URL", [])
    if len(known) != 1 or not isinstance(known[0].value, ast.Constant) or not isinstance(known[0].value.value, str):
        return
    first = service.routes[0] if service.routes else service.path
    route = first if isinstance(first, str) else first.path
    served, found = static_paths.path(service, route), _path(known[0].value.value)
    # Both change the prefix of a relative URL, and what the application sees of the path.
    moved = "FORCE_SCRIPT_NAME" in settings.bound or "SCRIPT_NAME" in service.env
    if found is None or found == served or moved:
        return
    where = f"{known[0].path}:{known[0].line}: STATIC_URL"
    if re.fullmatch(r"/([A-Za-z0-9_.-]+/)+", found):
        yield (
            f"{where} is {found}, but the balancers serve the static files at {served}. Write in the inventory, in the"
            f" service: static_url: {found}"
        )
    else:
        yield (
            f"{where} is {found}, at which the balancers cannot serve static files. Use a path of their own, such as"
            f' STATIC_URL = "{served}"'
        )


def _path(url: str) -> str | None:
    """Return the path of a STATIC_URL as visitors request it; None if it is on another site, such as a CDN."""
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return None
    # Django puts the prefix of the URLs, which is usually only a slash, in front of a relative one.
    return parts.path if parts.path.startswith("/") else f"/{parts.path}"
