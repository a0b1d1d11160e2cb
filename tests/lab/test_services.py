"""Services of every kind: where their processes run, what they get, and what happens when they fail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab import labs
from tests.lab.conftest import Operator
from tests.lab.operator import ROOT
from tests.waiting import until

HOSTS = ("lb1", "lb2", "app1", "app2", "db1", "db2", "bak1")
SERVICES = Path(__file__).parent / "services"
ODD = "a\nb \"quoted\" $HOME `x` \\ %d 'y' é"


def own() -> dict[str, Any]:
    """Return what the test adds to the services of the default stack."""
    tick = "sh -c 'echo worker $DB_HOSTS ${number}; exec sleep infinity'"
    beat = "sh -c 'echo beat; exec sleep infinity'"
    return {
        "web": {
            "hosts": ["app1", "app2"],
            "processes": {
                "worker": {"command": tick, "count": 2, "hosts": "worker"},
                "beat": {"command": beat, "one": True},
            },
            "timers": {"sessions": {"command": "manage.py clearsessions", "calendar": "*:0/1"}},
        },
        "api": {
            "kind": "python",
            "source": str(SERVICES / "api"),
            "path": "/api/",
            "env": {"ODD": ODD, "URL": "${database.url}", "WHERE": "${host.name}", "SITE": "${site.url}"},
            "secrets": {"GIVEN": {}, "PRINTED": {"command": "echo from a manager | cut -c 6-"}},
            "writable": ["media"],
            "processes": {
                "web": {
                    "command": "python server.py ${host.address} ${port}",
                    "port": 8010,
                    "health": "/health",
                    # A busy machine may need seconds to start Python, and for an answer.
                    "watchdog": {"interval": 2, "failures": 2, "startup": 10},
                }
            },
        },
        "tool": {
            "kind": "binary",
            "source": str(SERVICES / "tool/tool"),
            "hosts": ["app1"],
            "secrets": {"TOOL_KEY": {"generate": 20, "file": True}},
            "processes": {
                "run": {"command": "tool --at ${host.address}", "memory": "100M", "cpus": 1},
                "once": {"command": "true", "restart": "no"},
            },
        },
    }


@pytest.fixture(scope="module")
def stack(project: Path) -> Iterator[Operator]:
    """Start the deployed stack with more services, where bak1 is also a worker and db2 an application server."""
    with labs.from_snapshot("services", labs.default_inventory(), project, HOSTS) as operator:
        data = yaml.safe_load(operator.inventory.read_text(encoding="utf-8"))
        for name, service in own().items():
            data["services"][name] = {**data["services"].get(name, {}), **service}
        data["hosts"]["bak1"]["roles"].append("worker")
        data["hosts"]["db2"]["roles"].append("app")
        data["rolling"] = {"at_once": 2, "canary": "app2"}
        operator.inventory.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
        yield operator


def asked(stack: Operator, path: str, host: str = "app1") -> dict[str, Any]:
    """Request a path of the service api on a host, and return its JSON."""
    there = "$(hostname -I | cut -d' ' -f1)"
    answer: dict[str, Any] = json.loads(stack.on(host, f"curl -sS --max-time 60 http://{there}:8010{path}"))
    return answer


def answers(stack: Operator, host: str) -> bool:
    """Return whether the service api answers 200 on a host."""
    there = "$(hostname -I | cut -d' ' -f1)"
    code = stack.on(host, f"curl -s -o /dev/null -w '%{{http_code}}' --max-time 60 http://{there}:8010/ || :")
    return code.strip() == "200"


def logged(stack: Operator, host: str, unit: str) -> list[str]:
    return stack.on(host, f"journalctl -u {unit} -o cat --no-pager").splitlines()


def test_an_unset_secret_is_reported_before_anything_is_changed(stack: Operator) -> None:
    for command in ("plan", "deploy"):
        assert "inv secrets.set api/GIVEN" in stack.inv(command, code=1).err
    stack.secret("api/GIVEN", ODD)


def test_services_of_every_kind_are_deployed_and_verified(stack: Operator) -> None:
    stack.inv("deploy")
    assert stack.subjects(code=0) == {}
    verified = stack.json("verify", "--role=app,worker", "--host=app1,app2,bak1,db2")
    assert [check["name"] for check in verified["checks"] if not check["passed"]] == []


def test_a_process_gets_exactly_the_environment_in_the_inventory(stack: Operator) -> None:
    got = asked(stack, "/")["env"]
    assert (got["ODD"], got["GIVEN"], got["PRINTED"]) == (ODD, ODD, "a manager")
    assert got["WHERE"] == "app1"
    assert got["URL"].startswith("postgresql://app_")
    assert not {"DB_PASSWORD", "API_TOKEN", "DJANGO_SECRET_KEY"} & got.keys()
    assert asked(stack, "/", "app2")["env"]["WHERE"] == "app2"


def test_every_process_runs_on_the_hosts_that_the_inventory_names(stack: Operator) -> None:
    # systemd's own lines about the unit may come before or after this one.
    said = [line for line in logged(stack, "app1", "plainstack-tool-run") if line.startswith("tool --at ")]
    assert said
    assert " as app-tool with " in said[-1]
    for number in ("1", "2"):
        assert f"worker db1,db2 {number}" in logged(stack, "bak1", f"plainstack-web-worker@{number}")
    assert "plainstack-web-worker" not in stack.on("app1", "systemctl list-units --no-legend 'plainstack-*'")
    both = ("app1", "app2")
    until(lambda: any("runs the command" in logged(stack, host, "plainstack-web-sessions") for host in both))


def test_a_process_that_runs_once_runs_on_exactly_one_host(stack: Operator) -> None:
    def running() -> list[str]:
        group = "/sys/fs/cgroup$(systemctl show -p ControlGroup --value plainstack-web-beat)/command/cgroup.procs"
        return [host for host in ("app1", "app2") if stack.on(host, f"cat {group} 2>/dev/null || :").strip()]

    (before,) = until(lambda: found if len(found := running()) == 1 else [])
    stack.on(before, "systemctl stop plainstack-web-beat")
    until(lambda: running() == [host for host in ("app1", "app2") if host != before])
    stack.on(before, "systemctl start plainstack-web-beat")


@pytest.fixture(scope="module")
def released(stack: Operator) -> list[dict[str, Any]]:
    """Let api write a file, and make new releases of api and web; return the stages of the deploy."""
    assert asked(stack, "/api/upload")["media"] == ["upload"]
    text = stack.inventory.read_text(encoding="utf-8")
    for source in (SERVICES / "api", ROOT / "apps/incidents"):
        copied = stack.inventory.parent / source.name
        shutil.copytree(source, copied)
        (copied / "release.txt").write_text("the next one\n", encoding="utf-8")
        text = text.replace(str(source), str(copied))
    stack.inventory.write_text(text, encoding="utf-8")
    stages: list[dict[str, Any]] = stack.json("deploy")["stages"]
    return stages


def runs(stack: Operator, service: str) -> dict[str, tuple[str, str]]:
    """Return the release that each host of a service runs, and the previous one."""
    hosts = stack.json("releases", f"--service={service}")["services"][service]["hosts"]
    return {name: (one["runs"], one["previous"]) for name, one in hosts.items()}


def test_a_release_goes_to_the_canary_first_and_then_to_two_hosts_at_once(released: list[dict[str, Any]]) -> None:
    times = {one["host"]: (one["begin"], one["end"]) for one in released if one["stage"] == "app"}
    first, *others = sorted(times, key=times.__getitem__)
    assert (first, sorted(others)) == ("app2", ["app1", "db2"])
    begins, ends = zip(*(times[host] for host in others), strict=True)
    assert times["app2"][1] <= min(begins) <= max(begins) < min(ends)


def test_one_service_is_rolled_back_on_its_application_servers_and_workers(
    stack: Operator, released: list[dict[str, Any]]
) -> None:
    assert released
    assert "which service? --service=" in stack.inv("rollback", code=1).err
    before = {service: runs(stack, service) for service in ("web", "api")}
    stack.inv("rollback", "--service=web")
    assert before["web"].keys() == {"app1", "app2", "bak1"}
    assert runs(stack, "web") == {host: (old, new) for host, (new, old) in before["web"].items()}
    assert runs(stack, "api") == before["api"]
    for number in ("1", "2"):
        working = stack.on(
            "bak1", f"readlink /proc/$(systemctl show -p MainPID --value plainstack-web-worker@{number})/cwd"
        )
        assert f"/{before['web']['bak1'][1]}/" in working
    # The source of the release that runs now ends the rollback.
    text = stack.inventory.read_text(encoding="utf-8")
    text = text.replace(str(stack.inventory.parent / "incidents"), str(ROOT / "apps/incidents"))
    stack.inventory.write_text(text, encoding="utf-8")


def test_data_that_a_service_writes_survives_a_release(stack: Operator, released: list[dict[str, Any]]) -> None:
    assert released
    assert asked(stack, "/")["media"] == ["upload"]


def test_a_process_that_is_alive_but_does_not_answer_is_restarted(stack: Operator) -> None:
    before = asked(stack, "/")["pid"]
    asked(stack, "/api/sick")
    until(lambda: answers(stack, "app1"))
    assert asked(stack, "/")["pid"] != before
    until(lambda: any("restarting it" in line for line in logged(stack, "app1", "plainstack-watchdog-api")))


def test_a_process_that_cannot_start_stops_the_deploy_on_the_first_host(stack: Operator) -> None:
    text = stack.inventory.read_text(encoding="utf-8")
    try:
        stack.inventory.write_text(text.replace("python server.py", "python serve.py"), encoding="utf-8")
        said = stack.inv("deploy", code=1)
        assert "plainstack-api.service" in said.err + said.out
        assert asked(stack, "/", "app1")["env"]["WHERE"] == "app1"
        # The undo restarts the previous command here; its server listens a moment after systemd has started it.
        until(lambda: answers(stack, "app2"))
        assert asked(stack, "/", "app2")["env"]["WHERE"] == "app2"
    finally:
        stack.inventory.write_text(text, encoding="utf-8")
    stack.inv("deploy")
    assert stack.subjects(code=0) == {}


def test_a_removed_service_is_deleted_but_its_data_is_kept(stack: Operator) -> None:
    data = yaml.safe_load(stack.inventory.read_text(encoding="utf-8"))
    for name in ("api", "tool"):
        del data["services"][name]
    for key in ("processes", "timers"):
        del data["services"]["web"][key]
    data["hosts"]["bak1"]["roles"].remove("worker")
    data["hosts"]["db2"]["roles"].remove("app")
    stack.inventory.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    stack.inv("deploy")
    assert stack.subjects(code=0) == {}
    left = stack.on(
        "app1", "ls -d /srv/* /var/lib/app-api/media/upload; systemctl list-units --no-legend 'plainstack-*'"
    )
    assert "/srv/api" not in left
    assert "/var/lib/app-api/media/upload" in left
    assert "plainstack-api" not in left
