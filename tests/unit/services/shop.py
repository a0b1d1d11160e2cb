"""Two hosts with one service, and what an operator does with its releases, by the real scripts and decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plainstack.deploy import conclusions
from plainstack.deploy.view import View
from plainstack.engine import probe
from plainstack.engine.plan.actions import Run
from plainstack.engine.resources import Directory, File, Resource, Unit
from plainstack.errors import Refused
from plainstack.inventory.held import Pinned
from plainstack.inventory.stack import Stack
from plainstack.roles import registry
from plainstack.services import holds, kept, release, rollback
from plainstack.services.release_pruning import prune
from plainstack.services.release_steps import proven, put_in_place
from tests import inventories
from tests.unit.sandbox import Sandbox, build

HOSTS = ("app1", "app2")
TEXT = """
stack: small
hosts:
  app1: {address: 10.0.0.1, roles: [app, db]}
  app2: {address: 10.0.0.2, roles: [app]}
services: {web: {source: src, project: site_}}
database: {name: shop}
"""


def _resources(stack: Stack) -> Mapping[str, Sequence[Resource]]:
    """Return the resources of a host of the service, without account and templates."""
    here = release.wanted(stack, "web")
    settings = [
        File(path=f"/etc/plainstack/app/web{name}.env", content=b"A=1\n", ahead=name == ".next")
        for name in ("", ".next")
    ]
    folders = [Directory(path=path) for path in ("/srv/web", "/srv/web/releases", "/srv/web/venvs")]
    unit = Unit(name="plainstack-web.service", restart_on=(f"release:{here.id}",))
    steps = put_in_place("web", here, stack.services["web"])
    after = [proven("web", here), prune("web")]
    return {"app": [*folders, *holds.files(stack, "web"), *settings, *steps, unit, *after]}


@dataclass
class Shop:
    """Two hosts, an operator with a source, and what must be true of them."""

    folder: Path
    hosts: dict[str, Sandbox] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    times: int = 0
    beside: str = "1"

    def __post_init__(self) -> None:
        self.stack = inventories.parse(TEXT, "test.yaml", self.folder)
        self.hosts = {name: Sandbox(self.folder / name) for name in HOSTS}

    @classmethod
    def new(cls, folder: Path) -> Shop:
        """Make two hosts that were deployed three times."""
        source = folder / "src"
        (source / "site_").mkdir(parents=True)
        for file in ("site_/wsgi.py", "manage.py", "requirements.txt"):
            (source / file).write_text("pass\n", encoding="utf-8")
        for name in HOSTS:
            Sandbox.new(folder / name).write("/systemd/packaged/plainstack-web.service", "")
        made = cls(folder)
        for content in ("one", "two", "three"):
            made.write(content)
            made.deploy()
        return made

    def write(self, content: str) -> str:
        """Change the source; return the id of its release."""
        (self.folder / "src/asset").write_text(content, encoding="utf-8")
        found = release.read(self.stack, "web").id
        self.ids = [*dict.fromkeys([*self.ids, found])]
        return found

    def resources(self, stack: Stack) -> Mapping[str, Sequence[Resource]]:
        """Return the resources of a host: those of the service, and a file that belongs to another one."""
        return {"app": [*_resources(stack)["app"], File(path="/etc/beside", content=self.beside.encode())]}

    def held(self) -> Stack:
        script = probe.script([], [holds.facts()])
        seen = {name: probe.parse(host.sh(script)[1], str(host.root)) for name, host in self.hosts.items()}
        return holds.read(self.stack, seen)

    def kept(self) -> dict[str, kept.OnHost]:
        script = probe.script([], [kept.script("web")])
        facts = {name: probe.parse(host.sh(script)[1], str(host.root)).facts for name, host in self.hosts.items()}
        return {name: kept.parse(self.stack, "web", each) for name, each in facts.items()}

    def deploy(self, *, again: bool = False, killed: int = 0) -> None:
        """Deploy the source. Raises Refused if it was rolled back."""
        held = holds.unpinned(self.stack) if again else self.held()
        # A pin does not stop `inv deploy --again`, which changes it.
        change = holds.unpinned if again else None
        observer: Any = SimpleNamespace(stack=held, hosts=HOSTS, roles=registry(), chosen=(), change=change)
        plans = {name: host.plan(self.resources(held)) for name, host in self.hosts.items()}
        if sentences := conclusions.held_back(observer, View(held, plans)):
            raise Refused("\n".join(sentences))
        self._apply(held, killed)

    def back(self, to: str = "", killed: int = 0) -> str:
        """Roll back, and return the release. Raises Refused."""
        self.times += 1
        pin = rollback.target("web", self.kept(), to, f"2026-01-01T00:00:{self.times:02}Z", "ann@desk")
        pinned = {} if release.read(self.stack, "web").id == pin.release else {"web": pin}
        self._apply(holds.only("web", pinned)(self.stack), killed)
        return pin.release

    def _apply(self, stack: Stack, killed: int) -> None:
        for host in self.hosts.values():
            for work in host.plan(self.resources(stack)).transactions:
                asset = (self.folder / "src/asset").read_bytes()
                payloads = {"web: release": [("source/asset", asset)]}
                sent = payloads if any(isinstance(action, Run) for action in work.actions) else {}
                done = host.run(build(work, sent, stop_after=killed or None))
                assert killed or done.ok, done.text
                if killed:
                    return

    def fails(self, content: str) -> str:
        """Deploy content that does not start; return the id of its release."""
        found = self.write(content)
        for host in self.hosts.values():
            host.reads("plainstack-web.service", "/srv/web/fault")
            host.write("/srv/web/fault", "broken")
        with pytest.raises(AssertionError, match="plainstack-web"):
            self.deploy()
        for host in self.hosts.values():
            (host.root / "srv/web/fault").unlink()
        return found

    def releases(self, host: str = "app1") -> set[str]:
        """Return the releases that a host keeps."""
        return {each.name for each in (self.hosts[host].root / "srv/web/releases").iterdir()}

    def running(self) -> set[str]:
        return {(host.root / "srv/web/current").readlink().name for host in self.hosts.values()}

    def pins(self) -> set[Pinned | None]:
        return {one.pinned for one in self.kept().values()}

    def nothing_to_do(self) -> bool:
        held = self.held()
        return all(host.plan(self.resources(held)).empty for host in self.hosts.values())
