"""Releases and ports change while visitors use the site: every request is served."""

from __future__ import annotations

import contextlib
import http.client
import re
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from plainstack.services.edge import Balancer
from plainstack.ssh import netns
from tests import inventories
from tests.lab.conftest import Operator
from tests.waiting import PATIENCE

HOSTS = ("lb1", "lb2", "app1", "app2", "db1", "db2")
VISITS = 20


def ask(namespace: str, address: str, path: str) -> tuple[str, str]:
    """Return the status of a response, or what went wrong, and its text."""
    context = ssl.create_default_context()
    # Other tests verify the certificate.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(address)
    try:
        connection.sock = context.wrap_socket(netns.connect(namespace, address, 443, PATIENCE), server_hostname=address)
        connection.sock.settimeout(PATIENCE)
        connection.request("GET", path)
        answer = connection.getresponse()
        return str(answer.status), answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}", ""
    finally:
        connection.close()


@contextlib.contextmanager
def visitors(operator: Operator) -> Iterator[Counter[str]]:
    """Let visitors load the page with its style sheet again and again; yield a count of the outcomes."""
    stack = inventories.load(operator.inventory)
    address, namespace = str(stack.settings(Balancer).virtual_address), f"plainstack-{stack.lab_name}"
    seen: Counter[str] = Counter()
    enough, over = threading.Event(), threading.Event()

    def visit() -> None:
        while not over.wait(0.02):
            status, page = ask(namespace, address, "/")
            seen[f"page {status}"] += 1
            for asset in set(re.findall(r'href="(/static/[^"]+)"', page)):
                seen[f"asset {ask(namespace, address, asset)[0]}"] += 1
            if sum(seen.values()) >= VISITS:
                enough.set()

    threads = [threading.Thread(target=visit) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert enough.wait(PATIENCE), seen
        yield seen
        before = sum(seen.values())
        enough.clear()
        assert sum(seen.values()) >= before + VISITS or enough.wait(PATIENCE), seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


@dataclass(frozen=True)
class Shop:
    """A stack whose application the tests may change: `source` is their copy of the application."""

    operator: Operator
    source: Path


@pytest.fixture(scope="module")
def shop(deployed: Operator, application: Path) -> Shop:
    return Shop(deployed, application)


def test_visitors_see_no_error_while_a_release_changes_static_files_and_port(shop: Shop) -> None:
    deployed = shop.operator
    with (shop.source / "incidents/static/incidents/style.css").open("a", encoding="utf-8") as style:
        style.write("/* another style sheet */\n")
    text = deployed.inventory.read_text(encoding="utf-8")
    deployed.inventory.write_text(text.replace("port: 8000", "port: 8002"), encoding="utf-8")
    assert "web also answers at port 8000 until every balancer uses 8002" in deployed.inv("plan", code=2).out
    with visitors(deployed) as seen:
        stages = deployed.json("deploy")["stages"]
    assert set(seen) == {"page 200", "asset 200"}, seen
    done = [(stage["host"], stage["stage"]) for stage in stages]
    built, moved = done.index(("app1", "app.ahead")), done.index(("lb1", "balancer"))
    assert built < done.index(("app1", "app")) < done.index(("app2", "app")) < moved
    # The second pass closes the port that no balancer uses any more.
    assert done[moved:].count(("app1", "app")) == 1
    assert deployed.json("plan")["changes"] == {}
    for host in ("app1", "app2"):
        assert deployed.on(host, "ss -Hltn 'sport = :8000'") == ""


def test_a_release_that_cannot_be_loaded_changes_nothing_on_any_host(shop: Shop) -> None:
    deployed = shop.operator
    current = {host: deployed.on(host, "readlink /srv/web/current") for host in ("app1", "app2")}
    wsgi = shop.source / "incidents_site/wsgi.py"
    good = wsgi.read_text(encoding="utf-8")
    wsgi.write_text(f"{good}\nimport not_there\n", encoding="utf-8")
    try:
        reported = deployed.inv("deploy", code=1).text
    finally:
        wsgi.write_text(good, encoding="utf-8")
    assert "No module named 'not_there'" in reported
    assert {host: deployed.on(host, "readlink /srv/web/current") for host in current} == current
    assert deployed.json("plan")["changes"] == {}
