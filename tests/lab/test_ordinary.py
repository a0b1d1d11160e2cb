"""An ordinary Django site: its own ALLOWED_HOSTS, a redirect to https, a front page that needs a login, no /livez."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import inventories
from tests.lab.labs import PACKAGES, lab
from tests.lab.operator import ROOT, Operator
from tests.waiting import PATIENCE

INVENTORY = """\
stack: ordinary
ssh: {user: root, gateway: lab}
hosts:
  lb1: {address: 192.168.62.16, public: 192.168.63.16, roles: [balancer]}
  app1: {address: 192.168.62.14, roles: [app, db]}
balancer: {server_names: [shop.example, www.shop.example]}
services:
  web:
    source: SITE
    project: shop
    health: /status/
    env:
      DB_HOSTS: ${database.hosts}
      DB_NAME: ${database.name}
      DB_USER: ${database.user}
      DB_PASSWORD: ${database.password}
      DB_SSLROOTCERT: ${database.ca}
    secrets: {DJANGO_SECRET_KEY: {generate: 50}}
database: {name: shop}
"""


CHRONY = "apt-get update -q && apt-get install -qy --no-install-recommends chrony"


@pytest.fixture(scope="module")
def ordinary(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Deploy a balancer, and a host with the site and its database.

    The site's folder looks as on a developer's machine, with a virtual environment in it. The host already has another
    time service than the one that Plainstack installs.
    """
    folder = tmp_path_factory.mktemp("ordinary")
    site = folder / "site"
    shutil.copytree(ROOT / "tests/lab/ordinary", site)
    shutil.copy(ROOT / "apps/incidents/requirements.txt", site)
    (site / "env").mkdir()
    (site / "env/pyvenv.cfg").touch()
    (site / "shared").mkdir()
    (site / "assets/shared").symlink_to("../shared")
    (site / "shared/logo.svg").write_text("<svg/>")
    with lab("ordinary", INVENTORY.replace("SITE", str(site)), project, packages=PACKAGES) as operator:
        operator.inv("lab.up", timeout=900)
        operator.on("app1", f"{{ {CHRONY}; }} >/dev/null 2>&1")
        said = operator.inv("deploy", timeout=1200)
        assert "not part of it: env/ (an environment)" in said.text
        yield operator


def test_an_ordinary_project_passes_every_check(ordinary: Operator) -> None:
    ordinary.inv("verify")
    request = (
        "curl -sk -o /dev/null -w '%{http_code} %{redirect_url}' --connect-to ::192.168.63.16: https://shop.example"
    )
    assert ordinary.on("lb1", f"{request}/") == "302 https://shop.example/accounts/login/?next=/"
    assert ordinary.on("lb1", f"{request}/accounts/login/").startswith("200")
    assert ordinary.on("app1", "cat /srv/web/current/static/shared/logo.svg") == "<svg/>"


def test_a_time_service_installed_before_the_first_deploy_stays(ordinary: Operator) -> None:
    installed = ordinary.on(
        "app1", "dpkg-query -W -f '${Package} ${Status}\\n' | sed -n 's/ install ok installed$//p'"
    ).split()
    assert "chrony" in installed
    assert "systemd-timesyncd" not in installed
    assert ordinary.on("app1", "systemctl is-enabled chrony") == "enabled\n"
    assert ordinary.json("plan", code=0)["changes"] == {}


def test_the_site_is_reachable_by_its_name_through_a_tunnel(ordinary: Operator) -> None:
    line = [str(Path(sys.executable).with_name("inv")), "tunnel", f"--inventory={ordinary.inventory}"]
    with subprocess.Popen(line, cwd=ordinary.project, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout
            reported = next(text for text in running.stdout if "curl" in text)
            words = reported[reported.index("curl") :].split()
            seen = subprocess.run(
                [*words, "-sk", "-w", "%{http_code}"], capture_output=True, text=True, timeout=PATIENCE, check=True
            )
            assert seen.stdout == "302"
            assert any("Ctrl-C" in text for text in running.stdout)
            running.send_signal(signal.SIGINT)
            assert running.wait(PATIENCE) == 0
        finally:
            running.kill()


def test_a_release_that_rejects_the_sites_name_reports_its_response_and_is_rolled_back(ordinary: Operator) -> None:
    settings = inventories.load(ordinary.inventory).services["web"].source / "shop/settings.py"
    right = settings.read_text(encoding="utf-8")
    settings.write_text(right.replace('["shop.example"]', '["elsewhere.example"]'), encoding="utf-8")
    try:
        said = ordinary.inv("deploy", code=1).text
        assert "GET /status/ with Host: shop.example answered 400: Bad Request (400)" in said
        assert "the application must accept shop.example as its Host (ALLOWED_HOSTS)" in said
        ask = "curl -sk -o /dev/null -w '%{http_code}' --connect-to ::192.168.63.16: https://shop.example/status/"
        assert ordinary.on("lb1", f"for try in $(seq {PATIENCE}); do {ask} | grep 200 && break; sleep 1; done")
    finally:
        settings.write_text(right, encoding="utf-8")
    ordinary.inv("deploy")
