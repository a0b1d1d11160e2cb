"""An ACME authority on this machine: Pebble, Let's Encrypt's server for tests, with a DNS server of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.ports import free_port
from tests.waiting import PATIENCE, until


@dataclass
class Authority:
    """Pebble's files and ports; `root` is the certificate of its HTTPS port."""

    folder: Path
    port: int
    dns_management: int

    @property
    def directory(self) -> str:
        return f"https://127.0.0.1:{self.port}/dir"

    @property
    def root(self) -> Path:
        return self.folder / "root.crt"

    def resolve(self, name: str, address: str) -> None:
        """Let a name have an address; otherwise, all names have 127.0.0.1."""
        body = {"host": f"{name}.", "addresses": [address]}
        requests.post(f"http://127.0.0.1:{self.dns_management}/add-a", json=body, timeout=PATIENCE).raise_for_status()

    def forget(self, name: str) -> None:
        """Let a name have 127.0.0.1 again."""
        url = f"http://127.0.0.1:{self.dns_management}/clear-a"
        requests.post(url, json={"host": f"{name}."}, timeout=PATIENCE).raise_for_status()


def age(certificate: Path, lifetime: timedelta, left: timedelta) -> None:
    """Replace a certificate by a self-signed one for the same names and key, with this much of its lifetime left."""
    old = x509.load_pem_x509_certificate(certificate.read_bytes())
    key = serialization.load_pem_private_key(certificate.with_suffix(".key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    end = datetime.now(UTC) + left
    names = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    builder = x509.CertificateBuilder(old.subject, old.subject, key.public_key(), old.serial_number)
    aged = builder.not_valid_before(end - lifetime).not_valid_after(end).add_extension(names, critical=False)
    certificate.write_bytes(aged.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def prepared(folder: Path) -> Authority:
    """Return an authority that does not run yet: an inventory needs its address and its root."""
    authority = Authority(folder, free_port(), free_port())
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", str(folder / "root.key"), "-out", str(authority.root)),
            *("-subj", "/CN=pebble", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return authority


@contextlib.contextmanager
def running(
    authority: Authority,
    http_port: int,
    customers: Mapping[str, str] = MappingProxyType({}),
    lifetime: timedelta = timedelta(days=90),
) -> Iterator[None]:
    """Run an authority that sends its challenges to a port of this machine, and whose certificates live this long.

    If it has customers, who are given as keys by their identifiers, it refuses accounts of others.
    """
    dns = free_port()
    settings: dict[str, object] = {
        "listenAddress": f"127.0.0.1:{authority.port}",
        "managementListenAddress": f"127.0.0.1:{free_port()}",
        "certificate": str(authority.root),
        "privateKey": str(authority.folder / "root.key"),
        "httpPort": http_port,
        "tlsPort": 1,
        "certificateValidityPeriod": int(lifetime.total_seconds()),
    }
    if customers:
        settings |= {"externalAccountBindingRequired": True, "externalAccountMACKeys": dict(customers)}
    configuration = authority.folder / "pebble.json"
    configuration.write_text(json.dumps({"pebble": settings}))
    nothing = [word for name in ("http01", "https01", "tlsalpn01") for word in (f"-{name}", "")]
    names = [
        *("pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-defaultIPv6", "", *nothing),
        *("-management", f"127.0.0.1:{authority.dns_management}"),
    ]
    server = ["pebble", "-config", str(configuration), "-dnsserver", f"127.0.0.1:{dns}"]
    # Without the last, the authority sometimes asks again for what it has validated, which takes lego five seconds.
    at_once = {
        **os.environ,
        "PEBBLE_VA_NOSLEEP": "1",
        "PEBBLE_WFE_NONCEREJECT": "0",
        "PEBBLE_AUTHZREUSE": "100",
    }
    with (
        (authority.folder / "said").open("w") as said,
        _started(names, os.environ, said.fileno(), authority.dns_management),
        _started(server, at_once, said.fileno(), authority.port),
    ):
        yield


@contextlib.contextmanager
def _started(
    command: list[str], environment: os._Environ[str] | dict[str, str], said: int, port: int
) -> Iterator[None]:
    with subprocess.Popen(command, env=environment, stdout=said, stderr=said) as process:
        try:
            until(lambda: process.poll() is not None or _open(port), command[0])
            assert process.poll() is None, command
            yield
        finally:
            process.terminate()


def _open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
