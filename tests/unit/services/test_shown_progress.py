"""What a deploy shows while a command of a release runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plainstack.engine.plan.actions import Run
from tests.unit.sandbox import Done, Sandbox, build
from tests.unit.services import test_release_sequence as django
from tests.unit.services.hooked import deploy, stack

pytestmark = pytest.mark.programs


@pytest.fixture
def host(tmp_path: Path) -> Sandbox:
    return Sandbox.new(tmp_path / "host")


def shown(ended: list[Done]) -> list[str]:
    return [line for done in ended for line in done.answer.progress]


def await_report(host: Sandbox, folder: Path) -> str:
    """Return a shell command that ends when what was printed before it has been reported.

    Between two looks at the output there is a sleep: at the second one, what the look between them saw is reported.
    """
    printed, looking, reported = (folder / name for name in ("printed", "looking", "reported"))
    sleep = host.root / "bin/sleep"
    looks = [f"[ ! -e {looking} ] || touch {reported}", f"[ ! -e {printed} ] || touch {looking}"]
    sleep.write_text("\n".join(["#!/bin/sh", *looks, "exec /bin/sleep 0.05"]))
    sleep.chmod(0o755)
    return f"touch {printed}; until [ -e {reported} ]; do :; done"


@pytest.mark.parametrize("key", ["before: {load: {command: %s}}", "build: {host: [%s]}"])
def test_the_last_line_that_a_long_command_has_printed_is_shown_while_it_runs(
    host: Sandbox, tmp_path: Path, key: str
) -> None:
    words = r'printf "begun\n10 %%\r20 %%\033[K\r\n \n"'
    prints = f"sh -c '{words}; {await_report(host, tmp_path)}'"
    ended = deploy(host, stack(f"    {key % json.dumps(prints)}\n", tmp_path))
    assert all(done.ok for done in ended), ended[-1].text
    assert shown(ended) == ["20 %[K"]


def migrate(host: Sandbox, script: str) -> list[Done]:
    """Deploy a Django project whose migrations are this script; they run in the last transaction."""
    host.write("/systemd/packaged/plainstack-web.service", "")
    ended: list[Done] = []
    for work in host.plan(django.wanted("one")).transactions:
        payloads = {"web: release": [("source/asset", b"one"), ("source/migrations", script.encode())]}
        sent = payloads if any(isinstance(action, Run) for action in work.actions) else {}
        ended.append(host.run(build(work, sent)))
    return ended


def test_a_migration_is_shown_while_it_runs(host: Sandbox, tmp_path: Path) -> None:
    prints = "echo Running migrations:; printf '  Applying shop.0001_initial... OK\n  Applying shop.0002_orders...'"
    ended = migrate(host, f"{prints}; {await_report(host, tmp_path)}; echo ' OK'")
    assert all(done.ok for done in ended), ended[-1].text
    assert shown(ended) == ["  Applying shop.0002_orders..."]
    assert host.read("/srv/web/releases/one/migrations") == "shop.0001_initial\nshop.0002_orders\n"


def test_a_migration_that_fails_shows_why_and_those_before_it_are_known(host: Sandbox) -> None:
    ended = migrate(host, "printf '  Applying shop.0001_initial... OK\n  Applying shop.0002_orders...'; exit 1")
    assert ended[-1].answer.failed.startswith("run web: migrate")
    assert ended[-1].answer.tail[-1] == "  Applying shop.0002_orders..."
    assert host.read("/srv/web/releases/one/migrations") == "shop.0001_initial\n"
    assert not (host.root / "srv/web/current").exists()
