"""Which journals a name of a service, a role or a unit selects."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from plainstack.deploy.log_units import Units, choose, parse, script
from plainstack.errors import Refused

ROLES = ["base", "app", "db", "balancer"]
WEB, WORKER = "plainstack-web.service", "plainstack-web-worker@1.service"
SERVICES = {"web": {"app1": [WEB, WORKER], "app2": [WEB]}}
HOSTS = {
    "app1": Units({"base": ("ssh.service",), "app": (WEB, WORKER)}),
    "app2": Units({"base": ("ssh.service",), "app": ("plainstack-web.service",)}, frozenset({"cron.service"})),
    "db1": Units({"base": ("ssh.service",), "db": ("postgresql@17-main.service", "plainstack-backup.timer")}),
    "new1": Units(),
}


def chosen(*names: str) -> dict[str, tuple[str, ...]]:
    return choose(names, HOSTS, SERVICES, ROLES, ["app", "db", "balancer"])


def test_without_a_name_the_units_of_the_assigned_roles_are_shown() -> None:
    assert chosen() == {
        "app1": (WEB, WORKER),
        "app2": ("plainstack-web.service",),
        "db1": ("postgresql@17-main.service", "plainstack-backup.timer", "plainstack-backup.service"),
    }


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("web", {"app1": SERVICES["web"]["app1"], "app2": SERVICES["web"]["app2"]}),
        ("base", {host: ["ssh.service"] for host in ("app1", "app2", "db1")}),
        ("plainstack-web", {"app1": ["plainstack-web.service"], "app2": ["plainstack-web.service"]}),
        ("web-worker", {"app1": ["plainstack-web-worker@1.service"]}),
        ("postgresql", {"db1": ["postgresql@17-main.service"]}),
        ("postgresql@17-main.service", {"db1": ["postgresql@17-main.service"]}),
        ("backup.timer", {"db1": ["plainstack-backup.timer", "plainstack-backup.service"]}),
        ("cron", {"app2": ["cron.service"]}),
    ],
)
def test_a_name_can_be_a_service_a_role_or_a_unit(name: str, units: dict[str, list[str]]) -> None:
    assert {host: list(some) for host, some in chosen(name).items()} == units


def test_overlapping_names_select_each_unit_once() -> None:
    assert chosen("web", "app", "ssh")["app1"] == (
        "plainstack-web.service",
        "plainstack-web-worker@1.service",
        "ssh.service",
    )


def test_a_role_without_hosts_selects_nothing() -> None:
    assert chosen("balancer") == {}


def test_a_misspelled_name_is_reported_with_the_known_names() -> None:
    with pytest.raises(Refused) as caught:
        chosen("web", "postgresq")
    assert str(caught.value).splitlines() == [
        "no service, role or unit is called 'postgresq', did you mean 'postgresql@17-main'?; known are",
        "    services: web",
        "    roles: base, app, db, balancer",
        "    units: backup.timer, postgresql@17-main, ssh, web, web-worker@1",
    ]


@pytest.mark.programs
def test_a_host_reports_the_units_that_its_roles_declare(tmp_path: Path) -> None:
    manifests = tmp_path / "var/lib/plainstack/manifest"
    manifests.mkdir(parents=True)
    entries = {
        "base": [("package", "nginx", "installed"), ("unit", "ssh.service", "enabled"), ("file", "/etc/unit", "x")],
        "db": [("timer", "plainstack-backup.timer", "daily"), ("unit", "postgresql@17-main.service", "enabled")],
    }
    for role, lines in entries.items():
        text = "".join("\t".join((*line, "2026-01-01", "me", "abc")) + "\n" for line in lines)
        (manifests / role).write_text(text, encoding="utf-8")
    said = answer(tmp_path)
    assert said.declared == {
        "base": ("ssh.service",),
        "db": ("plainstack-backup.timer", "postgresql@17-main.service"),
    }
    assert said.known == frozenset()


@pytest.mark.programs
def test_a_host_that_was_never_deployed_declares_nothing(tmp_path: Path) -> None:
    assert answer(tmp_path) == Units()


def answer(root: Path) -> Units:
    line = ["sh", "-eu", "-c", script(everything=False)]
    ran = subprocess.run(line, env={**os.environ, "ROOT": str(root)}, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    return parse(ran.stdout)
