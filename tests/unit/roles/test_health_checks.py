"""The health checks of a balancer: which answers of a host take it out of use, and when it comes back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.roles import health_servers
from tests.unit.roles.health_servers import FAULTS, REFUSES, SILENT, HealthServer
from tests.unit.roles.upstreams_program import METRICS, PROGRAM, TARGETS, Balancer, everything, without
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.programs


@dataclass
class Watched:
    """A balancer on which the program runs, and the servers that it asks: one for each host of a service."""

    balancer: Balancer
    servers: dict[tuple[str, str], HealthServer]
    running: subprocess.Popen[bytes]

    def health(self, host: str, answer: str) -> None:
        """Set how all health pages of a host respond."""
        for (_, name), server in self.servers.items():
            if name == host:
                server.respond(answer)

    def files(self, folder: str) -> int:
        """Return how many hosts of services the program has noted in a folder."""
        return len(list((self.balancer.state / folder).iterdir()))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    servers = {(service, host): HealthServer() for service, host, _ in TARGETS}
    targets = [(service, host, server.address) for (service, host), server in servers.items()]
    balancer = Balancer.new(tmp_path / "balancer", targets)
    with subprocess.Popen(
        ["sh", str(PROGRAM), "watch"], env=balancer.environment, stdout=subprocess.DEVNULL, start_new_session=True
    ) as running:
        try:
            until(lambda: all(server.requests for server in servers.values()))
            yield Watched(balancer, servers, running)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            health_servers.close(list(servers.values()))


def test_a_drain_expires(watched: Watched) -> None:
    """A deploy that is killed between drain and restore does not leave a host out."""
    balancer = watched.balancer
    assert balancer.run("drain", "app1", "60").returncode == 0
    assert balancer.used() == without("app1")
    # The drain expired long ago.
    over = balancer.root / "over"
    over.write_text("1\n", encoding="utf-8")
    over.rename(balancer.state / "drain/app1")
    until(lambda: balancer.used() == everything())


def test_a_host_is_taken_when_it_answers_and_no_failures_are_counted(watched: Watched) -> None:
    assert watched.balancer.run("taken", "app2", "60").returncode == 0
    watched.health("app2", REFUSES)
    until(lambda: watched.files("failing") == 2)
    assert watched.balancer.run("taken", "app2", "0").returncode == 1
    # The follower counts failures of a host that answers again, until it has asked once more.
    watched.health("app2", "200")
    assert watched.balancer.run("taken", "app2", "60").returncode == 0
    assert watched.files("failing") == 0


def test_a_host_that_is_out_is_taken_when_the_engine_has_loaded_the_change(watched: Watched) -> None:
    watched.health("app2", "500")
    until(lambda: watched.balancer.used() == without("app2"))
    watched.health("app2", "200")
    assert watched.balancer.run("taken", "app2", "60").returncode == 0
    assert watched.balancer.used() == everything()
    assert not (watched.balancer.state / "pending").exists()


@pytest.mark.parametrize("answer", ["500", "503", *sorted({*FAULTS} - {REFUSES})])
def test_an_unhealthy_or_unreachable_host_is_taken_out_and_put_back(watched: Watched, answer: str) -> None:
    watched.health("app2", answer)
    until(lambda: watched.balancer.used() == without("app2"))
    watched.health("app2", "200")
    until(lambda: watched.balancer.used() == everything())


def test_a_host_that_refuses_connections_goes_out_after_one_that_does_not_answer(watched: Watched) -> None:
    """A restart must not cost a reload, and a refused request goes to another host without delay."""
    watched.health("app1", REFUSES)
    until(lambda: watched.files("failing") == 2)
    watched.health("app2", SILENT)
    until(lambda: (watched.balancer.state / "out" / watched.servers["web", "app2"].address).exists())
    assert "app1" in watched.balancer.used()["web"]
    until(lambda: watched.balancer.used()["web"] == {"app3"})
    watched.health("app1", "200")
    until(lambda: watched.balancer.used()["web"] == {"app1", "app3"})


@pytest.mark.parametrize("answer", ["204", "301", "400", "404", "507"])
def test_a_host_is_taken_out_only_for_a_server_error(watched: Watched, answer: str) -> None:
    """The running release may not know a new name or path of the health page yet. 507 is a status of this service."""
    for host in ("app1", "app3"):
        watched.health(host, answer)
    watched.health("app2", "500")
    until(lambda: watched.balancer.used() == without("app2"))


def test_if_all_hosts_are_unhealthy_all_are_used(watched: Watched) -> None:
    watched.health("app1", "503")
    until(lambda: watched.balancer.used() == without("app1"))
    for host in ("app2", "app3"):
        watched.health(host, "503")
    until(lambda: watched.files("out") == len(TARGETS) and watched.balancer.used() == everything())


def test_the_service_is_started_again_if_it_can_no_longer_ask_a_host(watched: Watched) -> None:
    """A follower that ended would leave its host in use, or out, for ever."""
    shutil.rmtree(watched.balancer.state / "failing")
    watched.health("app2", "500")
    assert watched.running.wait(PATIENCE) == 1


def test_metrics_are_exported_from_the_start(watched: Watched) -> None:
    reported = watched.balancer.root / METRICS

    def values() -> dict[str, str]:
        lines = reported.read_text().splitlines() if reported.exists() else []
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    def wanted(down: str) -> dict[str, str]:
        return {
            f'plainstack_upstream_up{{service="{service}",target="{host}"}}': "0" if host == down else "1"
            for service, host, _ in TARGETS
        }

    until(lambda: values() == wanted(""))
    watched.health("app2", "500")
    until(lambda: values() == wanted("app2"))


def test_the_health_request_looks_like_a_request_to_the_site(watched: Watched) -> None:
    request = watched.servers["web", "app1"].requests[0]
    assert request.startswith("GET /healthz HTTP/1.1\r\n")
    for header in ("Host: www.example.com", "X-Forwarded-Host: www.example.com", "X-Forwarded-Proto: https"):
        assert f"\r\n{header}\r\n" in request
