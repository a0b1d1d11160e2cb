"""Rollbacks: under load, refused if impossible, after a failure on one host, and on a full disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from plainstack.services.edge import Balancer
from tests import inventories
from tests.lab.commands import await_output, kill, start
from tests.lab.conftest import Operator
from tests.lab.load import load

HOSTS = ("lb1", "lb2", "app1", "app2", "db1", "db2")
DISKS = "app2: 700M"
APPS = ("app1", "app2")

MIGRATION = """\
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("incidents", "{before}")]
    operations = [migrations.RunSQL("select 1", "select 1")]
"""
# Can be loaded on every host, and starts on all but app2.
BROKEN_ON_APP2 = """

import os
import socket
import sys

if socket.gethostname() == "app2" and "--check-config" not in sys.argv:
    print("no such device on this host", file=sys.stderr, flush=True)
    os._exit(3)
"""


@dataclass(frozen=True)
class Shop:
    """A stack whose application the tests may change: `source` is their copy of the application."""

    operator: Operator
    source: Path

    def running(self) -> dict[str, str]:
        """Return the release that each application host runs."""
        return {host: self.operator.on(host, "basename $(readlink /srv/web/current)").strip() for host in APPS}

    def release(self) -> str:
        """Return the release that all hosts run."""
        (release,) = {*self.running().values()}
        return release

    def style(self, text: str) -> None:
        """Change the source."""
        with (self.source / "incidents/static/incidents/style.css").open("a", encoding="utf-8") as style:
            style.write(f"/* {text} */\n")


@pytest.fixture(scope="module")
def shop(deployed: Operator, application: Path) -> Shop:
    return Shop(deployed, application)


def test_no_request_fails_during_a_release_with_a_migration_and_its_rollback(shop: Shop, tmp_path: Path) -> None:
    deployed, first = shop.operator, shop.release()
    folder = shop.source / "incidents/migrations"
    last = max(path.stem for path in folder.glob("[0-9]*.py"))
    (folder / "9999_nothing.py").write_text(MIGRATION.format(before=last), encoding="utf-8")
    with load(deployed, tmp_path / "requests", rate=30) as requests:
        deployed.inv("deploy")
        second = shop.release()
        back = deployed.inv("rollback").out
    outcomes, _ = requests.outcomes()
    assert set(outcomes) == {"get ok", "post ok"}, outcomes
    assert second != first == shop.release()
    assert f"web: from {second} to {first}" in back
    assert "which newer releases applied: incidents.9999_nothing" in back
    # The rollback changes only the service, and the hosts run the announced release.
    assert {line for line in back.splitlines() if re.match(r"\S+: (app|worker|base|firewall|db)\b", line)} <= {
        line for line in back.splitlines() if re.match(r"app[12]: app", line)
    }
    assert f"web stays at {first}" in back


def test_a_rollback_lasts_until_the_operator_ends_it(shop: Shop) -> None:
    deployed, first = shop.operator, shop.release()
    plan = deployed.inv("plan", code=1)
    assert re.search(rf"web: rolled back from \w+ to {first} on .*; it stays there until its source changes", plan.out)
    assert "would be refused" in plan.err
    assert deployed.json("plan", code=1)["changes"] == {}
    assert "inv deploy --again" in deployed.inv("deploy", code=1).err
    deployed.inv("deploy", "--role=db")
    assert shop.release() == first
    assert f" to {first} on " in deployed.inv("status").out
    deployed.inv("verify", "--role=app", "--host=app1,app2")

    seen = deployed.json("releases")["services"]["web"]
    (second,) = seen["rolled_back"]["refused"]
    assert seen["rolled_back"]["release"] == first
    assert second in seen["can_roll_back_to"]
    assert {host: one["runs"] for host, one in seen["hosts"].items()} == dict.fromkeys(APPS, first)
    table = deployed.inv("releases").out
    assert re.search(rf"web +{first} +runs +app1, app2 +20\S+Z +\S+@\S+", table)

    for words, why in {
        (): "web: rolled back",
        (f"--to={first}",): f"web was rolled back to {first} already",
        (f"--to={second[:-1]}0{second[-1]}",): f"did you mean '{second}'?",
        ("--service=wep",): "did you mean 'web'?",
    }.items():
        assert why in deployed.inv("rollback", *words, code=1).err
    venv = deployed.on("app2", f"basename $(readlink /srv/web/releases/{second}/venv)").strip()
    deployed.on("app2", f"mv /srv/web/releases/{second} /root/")
    assert f"app2 has no release {second}" in deployed.inv("rollback", f"--to={second}", code=1).err
    deployed.on("app2", f"mv /root/{second} /srv/web/releases/; mv /srv/web/venvs/{venv}/complete /root/")
    done = deployed.inv("rollback", f"--to={second}", code=1)
    assert "app2: its virtual environment is gone or incomplete" in done.err
    deployed.on("app2", f"mv /root/complete /srv/web/venvs/{venv}/")
    assert shop.release() == first

    assert f"make release {second} of web the current one" in deployed.inv("plan", "--again", code=2).out
    deployed.inv("deploy", "--again")
    assert shop.release() == second
    assert deployed.json("plan")["changes"] == {}


def test_a_release_that_fails_on_the_second_host_stops_there_and_one_command_rolls_the_first_back(shop: Shop) -> None:
    deployed, before = shop.operator, shop.release()
    wsgi = shop.source / "incidents_site/wsgi.py"
    good = wsgi.read_text(encoding="utf-8")
    wsgi.write_text(good + BROKEN_ON_APP2, encoding="utf-8")
    try:
        failed = deployed.inv("deploy", code=1)
    finally:
        wsgi.write_text(f"{good}\n# mended\n", encoding="utf-8")
    now = shop.running()
    assert "no such device on this host" in failed.err
    assert now["app1"] != before == now["app2"]
    assert f"web: app1 runs {now['app1']}, and app2 runs {before}. " in failed.err
    assert f"To return app1 to {before}: inv rollback --service=web" in failed.err
    assert f"web: app1 runs {now['app1']}, and app2 runs {before}" in deployed.inv("releases").out
    deployed.inv("rollback")
    assert shop.release() == before
    # The corrected source is new content: deploying it ends the rollback.
    deployed.inv("deploy")
    assert shop.release() not in (before, now["app1"])
    assert deployed.json("releases")["services"]["web"]["rolled_back"] is None


def test_a_rollback_killed_between_two_hosts_can_be_continued(shop: Shop) -> None:
    deployed, before = shop.operator, shop.release()
    shop.style("another")
    deployed.inv("deploy")
    # The rollback waits before the second host, for longer than the kill may take, until this balancer uses the first.
    deployed.on("lb1", "/etc/plainstack/balancer/upstreams drain app1")
    process = start(deployed, "rollback")
    await_output(process, "app2: app begins")
    kill(deployed, process, *APPS)
    deployed.on("lb1", "/etc/plainstack/balancer/upstreams restore app1")
    assert shop.running()["app1"] == before != shop.running()["app2"]
    assert "inv deploy --again" in deployed.inv("deploy", code=1).err
    deployed.inv("rollback")
    assert shop.release() == before
    assert deployed.json("plan", code=1)["changes"] == {}


def test_on_a_disk_too_full_for_a_release_the_old_one_keeps_running(shop: Shop) -> None:
    deployed, before = shop.operator, shop.running()
    site = inventories.load(deployed.inventory).settings(Balancer).virtual_address
    (shop.source / "large.bin").write_bytes(bytes(range(256)) * 4096 * 40)
    deployed.on("app2", "fallocate -l $(($(df --output=avail -B1 / | tail -n 1) - 60000000)) /root/ballast")
    failed = deployed.inv("deploy", code=1).err
    assert re.search(r"app2: .*", failed)
    assert re.search(r"the disk of / has \d+ MB free and needs \d+ MB: \d+ MB are missing", failed), failed
    assert shop.running() == before
    answer = deployed.on(
        "app2", f"a=$(hostname -I | cut -d' ' -f1); curl -sSi -H 'Host: {site}' http://$a:8000/healthz"
    )
    assert f"x-release: {before['app2']}" in answer.lower()
    deployed.on("app2", "rm /root/ballast")
    deployed.inv("deploy")
    assert shop.release() != before["app2"]
    assert deployed.json("plan")["changes"] == {}
