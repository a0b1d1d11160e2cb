"""Access from the operator's machine: the stack's pages through SSH, and a shell on a host."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from plainstack.drill.load import Site
from plainstack.inventory.stack import Stack
from plainstack.secrets import store
from plainstack.services.edge import Balancer
from tests.lab.conftest import Operator
from tests.lab.test_secrets import stack_of
from tests.waiting import PATIENCE

HOSTS = ("lb1", "lb2", "app1", "db1", "db2", "mon1")


def site(stack: Stack, url: str) -> str:
    """Return the outcome of a request through `url` for the virtual address; the certificate is verified."""
    context = ssl.create_default_context(cadata=store.read(stack).pki["authority"]["chain"])
    there = urlsplit(url)
    assert there.hostname
    assert there.port
    name = str(stack.settings(Balancer).virtual_address)
    return Site(there.hostname, name, context, path=there.path, port=there.port).get(0)


@pytest.fixture(scope="module", autouse=True)
def ready(deployed: Operator) -> None:
    """Wait until the programs behind the pages answer: the hosts have just booted, and these still read their data."""
    for port in (9090, 9093):
        ask = f"curl -sf -o /dev/null http://127.0.0.1:{port}/-/ready"
        deployed.on("mon1", f"timeout {PATIENCE} sh -c 'until {ask}; do sleep 0.2; done'")


@contextmanager
def tunnel(deployed: Operator, *words: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run `inv tunnel`; yield the process and the lines that it prints before it waits."""
    line = [str(Path(sys.executable).with_name("inv")), "tunnel", *words, f"--inventory={deployed.inventory}"]
    with subprocess.Popen(line, cwd=deployed.project, stdout=subprocess.PIPE, text=True) as running:
        # A message that is worded differently must fail the test, and not keep it waiting.
        end = threading.Timer(PATIENCE, running.kill)
        end.start()
        try:
            assert running.stdout
            yield running, list(takewhile(lambda text: "Ctrl-C" not in text, running.stdout))
        finally:
            end.cancel()
            running.kill()


def test_the_pages_are_served_on_loopback_until_ctrl_c(deployed: Operator) -> None:
    with tunnel(deployed) as (running, lines):
        front, *pages = [word for line in lines for word in line.split() if "://127.0.0.1:" in word]
        assert site(stack_of(deployed), front) == "ok"
        assert len(pages) == 3
        for url in pages:
            page = requests.get(url, timeout=PATIENCE)
            assert page.status_code == 200, url
            assert "<title>Prometheus" in page.text, url
        assert "inv tunnel HOST:PORT" in lines[-1]
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE) == 0
        assert running.stdout
        assert running.stdout.read() == "tunnels closed\n"


def test_any_port_of_a_host_is_reachable_through_the_hosts_name(deployed: Operator) -> None:
    with tunnel(deployed, "mon1:9093") as (_, lines):
        name, address = lines[0].split()
        assert name == "mon1:9093"
        assert requests.get(f"http://{address}/api/v2/alerts", timeout=PATIENCE).status_code == 200


def test_the_shell_command_opens_a_shell_of_the_hosts_account(deployed: Operator) -> None:
    line = [str(Path(sys.executable).with_name("inv")), "lab.shell", "db1", f"--inventory={deployed.inventory}"]
    typed = "hostname; id -un; sudo -n id -un\n"
    ran = subprocess.run(line, cwd=deployed.project, input=typed, capture_output=True, text=True, timeout=PATIENCE)
    assert ran.stdout.split()[-3:] == ["db1", "ops", "root"], ran
