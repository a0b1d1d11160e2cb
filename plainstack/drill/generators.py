"""Starts the load generator of a drill that sends requests to the site."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from plainstack.dataclass import dataclass
from plainstack.drill.generator import Generator
from plainstack.drill.requests import prefix, writes
from plainstack.inventory.references import OWN_SECRET, resolve
from plainstack.inventory.stack import Stack
from plainstack.secrets import pki
from plainstack.secrets.values import Vault
from plainstack.services import site
from plainstack.services.edge import Balancer, GivenCertificate
from plainstack.services.processes import Served, served
from plainstack.services.variables import secret_name
from plainstack.shipped import PACKAGE

# For how many seconds after the last request was due a response is awaited.
GRACE = 30


@dataclass(frozen=True)
class Entrance:
    """How clients reach the site: the address, the name, and the authorities they trust."""

    address: str
    name: str
    authority: str


def entrance(stack: Stack, vault: Vault, asked: Served | None = None) -> Entrance:
    """Return how visitors reach the site, under the name of the process `asked`, by default the first.

    `authority` contains every certificate authority that may have signed the site's certificate, as PEM, except the
    public ones.
    """
    authority = vault.authority
    given = stack.settings(Balancer).tls
    if isinstance(given, GivenCertificate):
        authority += pki.blocks(stack.file(given.certificate), "CERTIFICATE")
    acme = stack.settings(Balancer).issuer
    if acme and acme.authority:
        authority += pki.blocks(stack.file(acme.authority), "CERTIFICATE")
    first = asked or next(iter(served(stack)), None)
    known_as = site.known_as(stack, first) if first else site.name(stack)
    return Entrance(site.entrance(stack), known_as, authority)


def written(stack: Stack, vault: Vault, drill: str) -> dict[str, Any]:
    """Return the write request of a drill as settings for the load generator; empty if no service has one."""
    found = writes(stack)
    if found is None:
        return {}
    service, request = found
    secrets = {f"{OWN_SECRET}{name}": secret_name(service, name) for name in stack.services[service].secrets}

    def value(name: str) -> str:
        # The load generator resolves all other references, because it knows the key of each request.
        return vault.password(secrets[name]).reveal() if name in secrets else f"${{{name}}}"

    return {
        "post_path": request.path,
        "body": resolve(request.body, value),
        "headers": {name: resolve(text, value) for name, text in request.headers.items()},
        "prefix": prefix(drill),
    }


def ask_site(
    generator: Generator, stack: Stack, vault: Vault, drill: str, asked: Served, *, rate: float, seconds: float
) -> None:
    """Start the requests to a process of the site in a child process; for a lab, inside its network namespace."""
    there = entrance(stack, vault, asked)
    command = [sys.executable, "-m", "plainstack.drill.load"]
    if stack.in_lab:
        command = ["nsenter", f"--net=/run/netns/plainstack-{stack.lab_name}", *command]
    process = subprocess.Popen(
        command,
        cwd=PACKAGE.parent,
        env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C goes to the drill, which stops the load itself.
        start_new_session=True,
    )
    settings = {
        "address": there.address,
        "name": there.name,
        "authority": there.authority,
        "path": asked.path,
        "rate": rate,
        "seconds": seconds,
        "post": written(stack, vault, drill),
    }
    assert process.stdin is not None
    process.stdin.write(json.dumps(settings) + "\n")
    process.stdin.flush()

    def listen(this: Generator) -> str:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            this.take(line.rstrip("\n"))
        code = process.wait(10)
        return (process.stderr.read().strip().splitlines() or [f"exit code {code}"])[-1]

    generator.start(listen, process.kill)


def wait(clock: Callable[[], float], until: float, broken: Callable[[], bool]) -> None:
    """Wait until a moment of the drill's clock, or until `broken` returns True."""
    while clock() < until and not broken():
        time.sleep(0.05)
