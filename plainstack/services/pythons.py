"""The Python of a service: Debian's, a standalone build of a version, or one that a path on the hosts names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from plainstack.engine.observed import Observed
from plainstack.engine.sayings import Finding
from plainstack.inventory.service_values import DEBIANS_PYTHON
from plainstack.inventory.services import DjangoService, PythonService, Service
from plainstack.inventory.stack import Stack
from plainstack.services.places import home
from plainstack.services.release_shell import word

_ASK = "import sys; print('%d.%d' % sys.version_info[:2])"


def given(service: Service) -> str:
    """Return what the inventory says: a version, or a path."""
    return service.python if isinstance(service, DjangoService | PythonService) else DEBIANS_PYTHON


def version(service: Service) -> str:
    """Return the version for which wheels are chosen, such as 3.13."""
    return ".".join(re.sub(r".*python", "", given(service)).split(".")[:2])


def downloaded(service: Service) -> str:
    """Return the version, such as 3.12 or 3.12.7, if a standalone build runs the service; otherwise nothing."""
    return "" if given(service).startswith("/") or given(service) == DEBIANS_PYTHON else given(service)


def folder(name: str, choice: str) -> str:
    """Return the folder of a standalone build on the hosts of a service."""
    return f"{home(name)}/pythons/{choice}"


def interpreter(name: str, service: Service) -> str:
    """Return the Python that creates the service's virtual environment on a host."""
    if given(service).startswith("/"):
        return given(service)
    choice = downloaded(service)
    return f"{folder(name, choice)}/bin/python{version(service)}" if choice else "python3"


def facts(stack: Stack) -> Iterator[str]:
    """Yield shell lines that print the versions of the Pythons that paths name, and of the standalone builds."""
    for path in sorted({given(service) for service in stack.services.values()}):
        if path.startswith("/"):
            quoted = shlex.quote(path)
            yield f'echo "python.{path}=$([ -e {quoted} ] && {quoted} -I -c {shlex.quote(_ASK)} 2>&1 | tail -n 1)"'
    for name, service in stack.services.items():
        if choice := downloaded(service):
            yield f"sed 's/^/python.{choice}=/' {word(folder(name, choice))}/complete 2>/dev/null || :"


def findings(stack: Stack, services: Iterator[str], observed: Observed) -> Iterator[Finding]:
    """Yield a refusal for each of these services whose Python the host lacks, or has in another version."""
    for name in services:
        service = stack.services[name]
        path = given(service)
        if not path.startswith("/"):
            continue
        found = observed.facts.get(f"python.{path}", "")
        if not found:
            yield Finding(f"services.{name}.python: there is no {path}. Install it on the host, then deploy")
        elif found != version(service):
            yield Finding(f"services.{name}.python: {path} is not Python {version(service)}; asked, it says: {found}")
