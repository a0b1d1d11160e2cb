"""The blackbox exporter with the rendered modules, against a TLS server whose certificate has expired."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from plainstack.engine.resources import File
from plainstack.roles import monitoring
from plainstack.secrets import signing
from plainstack.secrets.values import Certificate, Secret, Vault
from tests import inventories
from tests.ports import free_port
from tests.waiting import until

pytestmark = pytest.mark.programs

PROGRAM = "prometheus-blackbox-exporter"
INVENTORY = """\
stack: shop
hosts:
  lb1: {address: 192.0.2.16, public: 198.51.100.16, roles: [balancer]}
  app1: {address: 192.0.2.14, roles: [app]}
  mon1: {address: 192.0.2.13, roles: [monitoring]}
balancer: {tls: self-signed}
services: {web: {source: ".", project: site}}
"""
NOW = datetime.now(UTC)
EXPIRED = NOW - timedelta(days=2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """Serve TLS with a certificate that has expired, and yield the port; leave the authority in tmp_path."""
    authority = signing.authority("shop", NOW - timedelta(days=500))
    pair = signing.leaf(authority, ("localhost", "127.0.0.1"), EXPIRED - signing.LEAF_VALIDITY + timedelta(hours=1))
    for name, text in (("ca.crt", authority["chain"]), ("host.crt", pair["chain"]), ("host.key", pair["key"])):
        (tmp_path / name).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "host.crt", tmp_path / "host.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with suppress(OSError), context.wrap_socket(connection, server_side=True) as peer:
                        peer.recv(1)

        threading.Thread(target=answer, daemon=True).start()
        yield listener.getsockname()[1]


@pytest.fixture
def prober(tmp_path: Path) -> Iterator[str]:
    """Run the exporter with the configuration of a monitoring host, and yield its URL."""
    if shutil.which(PROGRAM) is None:
        pytest.fail(f"{PROGRAM} is not installed: run `make test`, which installs it")
    stack = inventories.parse(INVENTORY, "hosts.yaml", tmp_path)
    certificates = {name: Certificate("CHAIN\n", Secret(name, "KEY\n")) for name in (*stack.hosts, "site")}
    vault = Vault(passwords={}, certificates=certificates, authority="AUTHORITY\n")
    wanted = inventories.wanted(monitoring.ROLE, stack, "mon1", vault)
    text = next(
        one for one in wanted if isinstance(one, File) and one.path == "/etc/prometheus/blackbox.yml"
    ).content.decode()
    text = text.replace("/etc/plainstack/tls", str(tmp_path)).replace(
        "/etc/prometheus/site-ca.crt", f"{tmp_path}/ca.crt"
    )
    (tmp_path / "blackbox.yml").write_text(text)
    port = free_port()
    words = [PROGRAM, f"--config.file={tmp_path}/blackbox.yml", f"--web.listen-address=127.0.0.1:{port}"]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(words, stdout=log, stderr=log) as program:
        try:
            url = f"http://127.0.0.1:{port}"

            def ready() -> bool:
                assert program.poll() is None, (tmp_path / "log").read_text()
                with suppress(OSError), urllib.request.urlopen(f"{url}/-/healthy", timeout=5):
                    return True
                return False

            until(ready)
            yield url
        finally:
            program.terminate()


def test_the_expiry_of_a_certificate_is_known_after_it_has_expired(prober: str, server: int) -> None:
    """Otherwise the alert would end at the moment at which the certificate expires."""

    def probed(module: str) -> dict[str, float]:
        with urllib.request.urlopen(f"{prober}/probe?module={module}&target=127.0.0.1:{server}", timeout=30) as answer:
            return {
                name: float(value) for name, value in re.findall(r"(?m)^(probe_\w+) (\S+)$", answer.read().decode())
            }

    for module in ("host_tls", "site_certificate"):
        seen = probed(module)
        assert seen["probe_success"] == 1
        assert seen["probe_ssl_earliest_cert_expiry"] == int(EXPIRED.timestamp())
    assert probed("site_tls")["probe_success"] == 0
