"""A balancer with a certificate from an ACME authority: a real nginx, lego and Pebble on this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from plainstack.inventory.stack import Stack
from tests import inventories
from tests.unit.roles import acme_authority
from tests.unit.roles.acme_authority import Authority
from tests.unit.roles.real_nginx import Edge, running
from tests.waiting import until

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
services:
  web: {kind: binary, source: ".", processes: {web: {command: run, port: 8000, health: /}}}
balancer:
  server_names: [shop.example, late.shop.example]
  tls: acme
  acme: {email: ops@shop.example, directory: "DIRECTORY", authority: root.crt}
"""
SECRETS = {"acme/account": "a" * 64}


@dataclass
class Balancer:
    """A balancer below a folder, the authority that it uses, and the stack's own certificate."""

    folder: Path
    authority: Authority
    edge: Edge
    own: x509.Certificate | None = None

    def acme(self, verb: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the program in a balancer's folder."""
        root = folder or self.folder
        program = root / "etc/plainstack/balancer/acme"
        environment = {**os.environ, "ROOT": str(root), "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        return subprocess.run([program, verb], env=environment, capture_output=True, text=True, check=False)

    def renew(self, folder: Path | None = None) -> None:
        done = self.acme("renew", folder)
        assert done.returncode == 0, done.stdout + done.stderr

    def facts(self) -> dict[str, str]:
        lines = self.acme("facts").stdout.splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def metrics(self) -> dict[str, float]:
        text = (self.folder / "var/lib/prometheus/node-exporter/plainstack_acme.prom").read_text()
        return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if not line.startswith("#")}

    def change(self, old: str, new: str) -> None:
        """Change the settings of the program, as a deploy with another inventory would."""
        settings = self.folder / "etc/plainstack/balancer/acme.conf"
        text = settings.read_text()
        assert old in text
        settings.write_text(text.replace(old, new))

    def served(self) -> x509.Certificate:
        """Return the certificate that visitors get."""
        context = ssl._create_unverified_context()
        with (
            socket.create_connection(("127.0.0.1", self.edge.port)) as plain,
            context.wrap_socket(plain, server_hostname="shop.example") as secure,
        ):
            certificate = secure.getpeercert(binary_form=True)
        assert certificate
        return x509.load_der_x509_certificate(certificate)

    def becomes(self, before: x509.Certificate) -> x509.Certificate:
        """Return the certificate that replaces this one, once no worker from before a reload serves the old one."""
        return self.serves(lambda found: found != before)

    def serves(self, wanted: Callable[[x509.Certificate], bool]) -> x509.Certificate:
        until(lambda: wanted(self.served()), "another certificate is served")
        self.edge.settle()
        return self.served()

    def settled(self) -> x509.Certificate:
        """Return the certificate that is served, once that is the newest one: a reload takes a moment."""
        newest = float(self.facts()["acme"])
        return self.serves(lambda found: found.not_valid_after_utc.timestamp() == newest)

    def want_another(self) -> None:
        """Let the next run obtain another certificate: without this note, it does not know what the last one is for."""
        (self.folder / "var/lib/plainstack-acme/wanted").unlink(missing_ok=True)

    def program(self, name: str, text: str) -> None:
        """Put a stand-in for a program into the balancer's search path."""
        program(self.folder, name, text)

    def reload_works(self) -> None:
        """Let systemctl reload nginx."""
        self.program("systemctl", f"kill -HUP $(cat {self.folder}/run/nginx.pid)")


@contextlib.contextmanager
def certified(folder: Path, authority_folder: Path) -> Iterator[Balancer]:
    """Run a balancer that has asked for a certificate without its name late.shop.example."""
    authority = acme_authority.prepared(authority_folder)
    text = TEXT.replace("DIRECTORY", authority.directory)
    stack: Stack = inventories.parse(text, "hosts.yaml", authority.folder)
    for path in ("etc/plainstack/tls/ca.crt", "etc/ssl/certs/ca-certificates.crt"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")
    (folder / "var/lib/prometheus/node-exporter").mkdir(parents=True)
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    program(folder, "nginx", f'exec {nginx} -e /dev/null "$@" -c {folder}/etc/nginx/nginx.conf')
    with running(stack, folder, SECRETS) as edge, acme_authority.running(authority, edge.plain):
        started = Balancer(folder, authority, edge)
        started.reload_works()
        started.own = started.served()
        assert started.facts() == {"acme": "none"}
        started.change(" late.shop.example", "")
        started.renew()
        yield started


def program(folder: Path, name: str, text: str) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / "bin" / name).chmod(0o755)
