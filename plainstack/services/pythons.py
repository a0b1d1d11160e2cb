"""The Python of a service: Debian's, or another one that a path on the hosts names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from plainstack.engine.observed import Observed
from plainstack.engine.sayings import Finding
from plainstack.inventory.service_values import DEBIANS_PYTHON
from plainstack.inventory.services import DjangoService, PythonService, Service
from plainstack.inventory.stack import Stack

_ASK = "import sys; print('%d.%d' % sys.version_info[:2])"


def given(service: Service) -> str:
    """Return what the inventory says: a version, or a path."""
    return service.python if isinstance(service, DjangoService | PythonService) else DEBIANS_PYTHON


def version(service: Service) -> str:
    """Return the version for which wheels are chosen, such as 3.13."""
    return re.sub(r".*python", "", given(service))


def interpreter(service: Service) -> str:
    """Return the program that makes the service's virtual environment on a host."""
    return given(service) if given(service).startswith("/") else "python3"


def facts(stack: Stack) -> Iterator[str]:
    """Yield shell lines that print the versions of the Pythons that paths name."""
    for path in sorted({interpreter(service) for service in stack.services.values()}):
        if path.startswith("/"):
            word = shlex.quote(path)
            yield f'echo "python.{path}=$([ -e {word} ] && {word} -I -c {shlex.quote(_ASK)} 2>&1 | tail -n 1)"'


def findings(stack: Stack, services: Iterator[str], observed: Observed) -> Iterator[Finding]:
    """Yield a refusal for each of these services whose Python the host lacks, or has in another version."""
    for name in services:
        service = stack.services[name]
        path = interpreter(service)
        if not path.startswith("/"):
            continue
        found = observed.facts.get(f"python.{path}", "")
        if not found:
            yield Finding(f"services.{name}.python: there is no {path}. Install it on the host, then deploy")
        elif found != version(service):
            yield Finding(f"services.{name}.python: {path} is not Python {version(service)}; asked, it says: {found}")
