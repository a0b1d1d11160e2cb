"""A deploy shows why the web server keeps its previous configuration, with a real nginx on this machine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from plainstack.roles.balancer.engines import ENGINES
from plainstack.roles.balancer.generation import health
from tests.unit.roles.real_nginx import Edge, running
from tests.unit.roles.test_limited_clients import parse
from tests.waiting import until

pytestmark = pytest.mark.programs
SITE, STATUS = "etc/nginx/conf.d/site.conf", "etc/nginx/conf.d/status.conf"


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    with running(parse(tmp_path / "stack"), tmp_path / "edge") as started:
        yield started


def asked(edge: Edge, wanted: str) -> subprocess.CompletedProcess[str]:
    """Run the health command of the balancer's unit, as a deploy does after a reload."""
    port = re.findall(r"listen 127\.0\.0\.1:(\d+);", (edge.folder / STATUS).read_text())[0]
    command = health(ENGINES["nginx"], wanted).replace(":8081/", f":{port}/")
    command = command.replace("/var/log/nginx", f"{edge.folder}/var/log/nginx")
    return subprocess.run(["sh", "-euc", command], capture_output=True, text=True, check=False)


def change(edge: Edge, name: str, old: str, new: str) -> None:
    path = edge.folder / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_the_health_command_gives_the_reason_of_a_refused_reload_and_is_silent_after_a_good_one(edge: Edge) -> None:
    before = re.findall(r"return 200 (\w+)", (edge.folder / STATUS).read_text())[0]
    assert (asked(edge, before).returncode, asked(edge, before).stdout) == (0, "")

    change(edge, STATUS, f"return 200 {before}", "return 200 wanted")
    zone = re.findall(r"limit_req_zone (\$\w+) ", (edge.folder / SITE).read_text())[0]
    change(edge, SITE, f"limit_req_zone {zone} ", "limit_req_zone $http_host ")
    edge.ask_to_reload()
    until(lambda: "[emerg]" in asked(edge, "wanted").stdout, "nginx refuses the configuration")
    refused = asked(edge, "wanted")
    assert refused.returncode == 1
    first, *reasons = refused.stdout.splitlines()
    assert first == "nginx does not use the new configuration"
    assert re.search(r"\[emerg\] .*previously it used", reasons[0])
    assert asked(edge, before).returncode == 0

    change(edge, SITE, "limit_req_zone $http_host ", f"limit_req_zone {zone} ")
    edge.reload()
    edge.settle()
    assert (asked(edge, "wanted").returncode, asked(edge, "wanted").stdout) == (0, "")


def test_an_old_reason_is_not_given(edge: Edge) -> None:
    log = edge.folder / "var/log/nginx/error.log"
    log.write_text("2020/01/01 00:00:00 [emerg] 1#1: bind() to 0.0.0.0:80 failed\n")
    assert asked(edge, "wanted").stdout == "nginx does not use the new configuration\n"
