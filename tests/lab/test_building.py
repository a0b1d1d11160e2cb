"""What goes into a release, on two hosts: builds, hooks, files with a secret, a wheel built from a source."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.labs import PACKAGES, lab
from tests.lab.operator import Operator
from tests.waiting import until

SOURCE = Path(__file__).parent / "services" / "api"
# The package index has only the source of this package.
LOCK = "oncalendar==1.1 --hash=sha256:3122aa811786c313568a53745015729aa650e35054b689c08b6db4b1ee891287\n"
TEMPLATE = 'KEY = "${secret.KEY}"\nHOST = "${host.name}"\nLITERAL = "$${x}"\n'
HOSTS = """\
stack: testbuild
ssh: {user: root, gateway: lab}
hosts:
  app1: {address: 192.168.63.21, roles: [app]}
  app2: {address: 192.168.63.22, roles: [app]}
"""


def service() -> dict[str, Any]:
    """Return the service as the inventory has it."""
    return {
        "kind": "python",
        "source": "api",
        "secrets": {"KEY": {"generate": 40}},
        "files": {"conf/own.py": "own.py"},
        "writable": ["media"],
        "build": {
            "local": "mkdir -p made && cp ../own.py made/ && echo run >>../built",
            "output": ["made"],
            "host": ["sh -c 'python -c \"import oncalendar\" && cp conf/own.py seen'"],
        },
        "before": {
            "one": {"command": "sh -c 'echo before-once $RELEASE $KEY >>media/log'", "once": True},
            "each": {"command": "sh -c 'echo before $RELEASE >>media/log'"},
        },
        "after": {
            "each": {"command": "sh -c 'echo after $RELEASE >>media/log'"},
            "last": {"command": "sh -c 'echo after-once $RELEASE >>media/log'", "once": True},
        },
        "processes": {
            "web": {"command": "python server.py ${host.address} ${port}", "port": 8010, "health": "/health"}
        },
    }


@pytest.fixture(scope="module")
def stack(project: Path) -> Iterator[Operator]:
    """Start two bare hosts, and write a service that uses everything."""
    inventory = HOSTS + yaml.safe_dump({"services": {"api": service()}}, sort_keys=False)
    with lab("building", inventory, project, packages=PACKAGES) as operator:
        folder = operator.inventory.parent
        shutil.copytree(SOURCE, folder / "api")
        (folder / "api" / "requirements.txt").write_text(LOCK)
        (folder / "own.py").write_text(TEMPLATE)
        operator.inv("lab.up", timeout=900)
        yield operator


def change(stack: Operator, **keys: Any) -> None:
    """Write the inventory with other keys of the service."""
    data = yaml.safe_load(stack.inventory.read_text(encoding="utf-8"))
    data["services"] = {"api": {**service(), **keys}}
    stack.inventory.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")


def log(stack: Operator, host: str) -> list[str]:
    """Return the first word of every line that a hook wrote on a host since the last call."""
    path = "/var/lib/app-api/media/log"
    return [line.split()[0] for line in stack.on(host, f"cat {path} 2>/dev/null; rm -f {path}").splitlines()]


def asked(stack: Operator, host: str) -> dict[str, Any]:
    there = "$(hostname -I | cut -d' ' -f1)"
    answer: dict[str, Any] = json.loads(stack.on(host, f"curl -sS --max-time 20 http://{there}:8010/"))
    return answer


def new_release(stack: Operator, text: str) -> None:
    (stack.inventory.parent / "api" / "text").write_text(text)


EVERY_HOST = {"app1": ["before-once", "before", "after"], "app2": ["before", "after", "after-once"]}


def test_a_service_that_uses_everything_is_deployed(stack: Operator) -> None:
    said = stack.inv("deploy", timeout=1200).out
    assert "api: running mkdir -p made" in said
    assert "building the wheel of oncalendar==1.1 from its source on this machine" in said
    assert {host: log(stack, host) for host in ("app1", "app2")} == EVERY_HOST
    for host in ("app1", "app2"):
        root = "/srv/api/current/source"
        own = stack.on(host, f"cat {root}/conf/own.py; stat -L -c '%a %U %G' {root}/conf/own.py")
        assert own.splitlines()[1:] == [f'HOST = "{host}"', 'LITERAL = "${x}"', "640 root app-api"]
        assert stack.on(host, f"head -n 3 {root}/seen") == "\n".join(own.splitlines()[:3]) + "\n"
        assert stack.on(host, f"cat {root}/made/own.py") == TEMPLATE
        assert stack.on(host, f"find {root} -user app-api") == ""


def test_the_same_again_builds_and_runs_nothing(stack: Operator) -> None:
    assert "nothing to do" in stack.inv("deploy").out
    assert (stack.inventory.parent / "built").read_text() == "run\n"
    assert {host: log(stack, host) for host in ("app1", "app2")} == {"app1": [], "app2": []}


def test_a_next_release_runs_every_hook_again(stack: Operator) -> None:
    new_release(stack, "two")
    stack.inv("deploy")
    assert (stack.inventory.parent / "built").read_text() == "run\nrun\n"
    assert {host: log(stack, host) for host in ("app1", "app2")} == EVERY_HOST


def test_a_changed_template_restarts_the_process_and_makes_no_release(stack: Operator) -> None:
    before = asked(stack, "app1")
    (stack.inventory.parent / "own.py").write_text(TEMPLATE + "MORE = 1\n")
    change(stack, build={"host": service()["build"]["host"]})
    plan = stack.inv("plan", code=2).out
    key = stack.on("app1", "sed -n 's/^KEY=\"\\(.*\\)\"/\\1/p' /etc/plainstack/app/api.env").strip()
    assert len(key) == 40
    assert key not in plan
    assert "/etc/plainstack/app/api/files/conf/own.py" in plan
    stack.inv("deploy")
    after = asked(stack, "app1")
    assert after["folder"] == before["folder"]
    assert after["pid"] != before["pid"]
    assert "MORE = 1" in stack.on("app2", "cat /srv/api/current/source/conf/own.py")


def test_a_hook_that_fails_before_the_switch_switches_no_host(stack: Operator) -> None:
    before = {host: asked(stack, host) for host in ("app1", "app2")}
    hook = {"command": "sh -c 'echo the reason; exit 9'", "once": True}
    change(stack, before={"check": hook}, after={})
    said = stack.inv("deploy", code=1).text
    assert "app1: app: run api: before check" in said
    assert "the reason" in said
    assert "The command of services.api.before.check, sh -c 'echo the reason; exit 9', failed with exit code 9" in said
    assert {host: asked(stack, host) for host in ("app1", "app2")} == before


def test_a_fatal_hook_that_fails_after_the_start_takes_its_host_back(stack: Operator) -> None:
    before = {host: asked(stack, host)["folder"] for host in ("app1", "app2")}
    change(stack, before={}, after={"check": {"command": "sh -c 'echo the reason; exit 9'"}})
    said = stack.inv("deploy", code=1).text
    assert "app1: app: run api: after check" in said
    assert "this host returns to the previous release" in said
    # The undo restarts the previous command; its server listens a moment after systemd has started it.
    there = "$(hostname -I | cut -d' ' -f1)"
    until(lambda: stack.on("app1", f"curl -sS --max-time 20 http://{there}:8010/", check=False), "app1 answers again")
    assert {host: asked(stack, host)["folder"] for host in ("app1", "app2")} == before


def test_a_hook_that_is_not_fatal_warns_at_the_end(stack: Operator) -> None:
    change(stack, before={}, after={"check": {"command": "sh -c 'echo the reason; exit 9'", "fatal": False}})
    said = stack.inv("deploy").out
    for host in ("app1", "app2"):
        assert f"WARNING: {host}: The command of services.api.after.check" in said
    assert "    the reason" in said
    assert "nothing to do" in stack.inv("deploy").out


def test_a_service_runs_with_the_python_that_the_inventory_names(stack: Operator) -> None:
    keys: dict[str, Any] = {"before": {}, "after": {}}
    change(stack, python="/usr/bin/python3.12", **keys)
    said = stack.inv("plan", code=1).text
    for host in ("app1", "app2"):
        assert f"{host}: services.api.python: there is no /usr/bin/python3.12" in said
    change(stack, python="/usr/bin/python3.13", **keys)
    stack.inv("deploy")
    for host in ("app1", "app2"):
        there = stack.on(
            host, "readlink -f /srv/api/current/venv/bin/python; grep ^executable /srv/api/current/venv/pyvenv.cfg"
        )
        assert there.splitlines() == ["/usr/bin/python3.13", "executable = /usr/bin/python3.13"]
    assert "nothing to do" in stack.inv("deploy").out
