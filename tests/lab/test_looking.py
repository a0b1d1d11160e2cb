"""Looking in from the operator's machine: the stack's pages through SSH, and a shell on a host."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from urllib.parse import urlsplit

import requests

from plainstack import vault_store
from plainstack.drill.load import Site
from plainstack.stack import Stack
from tests.lab.conftest import Operator
from tests.lab.test_secrets import stack_of

HOSTS = ("lb1", "lb2", "app1", "db1", "db2", "mon1")


def site(stack: Stack, url: str) -> str:
    """What becomes of a request that goes to `url` and means the virtual address, its certificate verified."""
    context = ssl.create_default_context(cadata=vault_store.read(stack).pki["authority"]["chain"])
    there = urlsplit(url)
    assert there.hostname
    assert there.port
    name = str(stack.balancer.virtual_address)
    return Site(there.hostname, name, context, token="", drill="", path=there.path, port=there.port).get(0)


def test_the_pages_are_on_loopback_until_ctrl_c(deployed: Operator) -> None:
    line = [str(Path(sys.executable).with_name("inv")), "tunnel", f"--inventory={deployed.inventory}"]
    with subprocess.Popen(line, cwd=deployed.project, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout
            told = takewhile(lambda text: not text.startswith("Ctrl-C"), running.stdout)
            urls = dict(text.split() for text in told)
            assert site(stack_of(deployed), urls.pop("site")) == "ok"
            pages = {name: requests.get(url, timeout=30) for name, url in urls.items()}
            assert {name: page.status_code for name, page in pages.items()} == {"Prometheus": 200, "Alertmanager": 200}
            assert "Prometheus" in pages["Prometheus"].text
            running.send_signal(signal.SIGINT)
            assert running.wait(20) == 0
            assert running.stdout.read() == "tunnels closed\n"
        finally:
            running.kill()


def test_a_shell_on_a_host_is_one_of_its_account(deployed: Operator) -> None:
    line = [str(Path(sys.executable).with_name("inv")), "lab.shell", "db1", f"--inventory={deployed.inventory}"]
    typed = "hostname; id -un; sudo -n id -un\n"
    ran = subprocess.run(line, cwd=deployed.project, input=typed, capture_output=True, text=True, timeout=60)
    assert ran.stdout.split()[-3:] == ["db1", "ops", "root"], ran
