"""A small service with hooks: its inventory, its resources on a host, and a deploy of it to a simulated host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from plainstack.engine.network import Network
from plainstack.engine.plan.actions import Run
from plainstack.engine.resources import Directory, File, Payload, Resource
from plainstack.inventory.stack import Stack
from plainstack.roles import registry
from plainstack.secrets.values import Vault
from plainstack.services import hook_steps, hooks
from plainstack.services.release import Release
from plainstack.services.release_steps import put_in_place
from plainstack.services.variables import Scope
from tests import inventories
from tests.unit.sandbox import Done, Sandbox, build

HOSTS = """
stack: small
hosts:
  w: {address: 10.0.0.1, roles: [worker]}
  a: {address: 10.0.0.2, roles: [app]}
  b: {address: 10.0.0.3, roles: [app]}
"""
TOOL = """
services:
  tool:
    kind: binary
    source: src
    processes: {run: {command: tool}, far: {command: tool, hosts: worker}}
"""


def stack(keys: str, folder: Path) -> Stack:
    (folder / "src").mkdir(exist_ok=True)
    (folder / "src" / "tool").write_text("true\n")
    return inventories.parse(f"{HOSTS}{TOOL}{keys}", "test.yaml", folder)


def scope(found: Stack, host: str = "a") -> Scope:
    return Scope(found, found.hosts[host], "tool", "r1", Vault({}, {}, ""), Network(found, registry()).references())


def wanted(found: Stack, number: str = "r1") -> Mapping[str, Sequence[Resource]]:
    """Return the resources of a host that concern the releases of the service."""
    here = Release(id=number, venv="", source=Payload(), wheels=Payload())
    at = scope(found)
    text = b"A='from the environment'\nFOLDER=\"/srv/tool/current/source\"\n"
    settings = [
        File(path=f"/etc/plainstack/app/tool{name}.env", content=text, ahead=name == ".next") for name in ("", ".next")
    ]
    folders = [Directory(path=path) for path in ("/srv/tool", "/srv/tool/releases")]
    before, after = hook_steps.commands(at, here, "before"), hook_steps.commands(at, here, "after")
    steps = put_in_place("tool", here, found.services["tool"], hooks.build_lines(at), before)
    return {"app": [*folders, *settings, *steps, *after]}


def deploy(host: Sandbox, found: Stack, number: str = "r1", stop_after: int | None = None) -> list[Done]:
    """Plan and apply a release of the service."""
    ended: list[Done] = []
    for work in host.plan(wanted(found, number)).transactions:
        payloads = {"tool: release": [("source/asset", number.encode())]}
        sent = payloads if any(isinstance(action, Run) for action in work.actions) else {}
        ended.append(host.run(build(work, sent, stop_after=None if work.ahead else stop_after)))
        if not ended[-1].ok:
            break
    return ended


def current(host: Sandbox) -> str:
    link = host.root / "srv/tool/current"
    return link.readlink().name if link.is_symlink() else ""
