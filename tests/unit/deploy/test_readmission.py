"""A deploy removes the fences against a reinstalled database host, and against no other host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plainstack.deploy import errands
from plainstack.deploy.observe import Observer
from plainstack.errors import HostFailed
from plainstack.inventory.stack import Stack
from plainstack.roles import registry
from plainstack.ssh.session import Output
from tests import inventories

TEXT = """
stack: small
hosts:
  db1: {address: 10.0.0.1, roles: [db]}
  db2: {address: 10.0.0.2, roles: [db]}
  db3: {address: 10.0.0.3, roles: [db]}
  app1: {address: 10.0.0.4, roles: [app]}
  app2: {address: 10.0.0.5, roles: [app]}
  lb1: {address: 10.0.0.6, public: 10.1.0.6, roles: [balancer]}
services: {web: {source: ., project: p}}
database: {name: shop, synchronous: true}
"""
EMPTY = {"data": "no"}
PRIMARY = {"data": "yes", "running": "yes", "recovery": "false", "timeline": "2"}
STANDBY = {**PRIMARY, "recovery": "true", "signal": "yes"}
STOPPED = {"data": "yes", "running": "no", "timeline": "1"}


@dataclass
class Hosts:
    """Simulated hosts: each reports which host it fences off, and the scripts that they receive are recorded."""

    fences: Mapping[str, str]
    away: tuple[str, ...] = ()
    scripts: list[tuple[str, str]] = field(default_factory=list)

    def to(self, name: str) -> Any:
        if name in self.away:
            raise HostFailed(name, "connect", "no answer")

        def script(text: str, **_: object) -> Output:
            self.scripts.append((name, text))
            fact = f"fact\tfence.{self.fences[name]}=yes\n" if name in self.fences else ""
            return Output(0, f"probe 2\n{fact}end\n", "")

        return SimpleNamespace(script=script, run=lambda *_, **__: Output(0, f"generation of {name}\n", ""))


@pytest.fixture
def stack() -> Stack:
    return inventories.parse(TEXT, "test.yaml", Path())


class Run:
    """A deploy to hosts with these facts; a host whose facts are None does not answer."""

    def __init__(self, stack: Stack, hosts: Hosts, facts: Mapping[str, Any], scope: tuple[str, ...] | None = None):
        seen = {name: SimpleNamespace(facts=said) for name, said in facts.items() if said is not None}
        failed = dict.fromkeys(facts.keys() - seen.keys())
        view = SimpleNamespace(pending=dict.fromkeys(seen), observed=seen, failed=failed)
        observer: Any = SimpleNamespace(stack=stack, sessions=hosts, scope=scope, roles=registry())
        observer.ask = partial(Observer.ask, observer)
        self.observer = observer
        self.errands = errands.wanted(observer, view)  # type: ignore[arg-type]  # a stand-in

    @property
    def hosts(self) -> list[str]:
        return sorted({errand.host for errand in self.errands})

    def do(self) -> dict[str, str]:
        return errands.do(self.observer, self.errands, "me", "-", "inv deploy")


def test_a_reinstalled_host_is_unfenced_everywhere_and_gets_a_slot(stack: Stack) -> None:
    hosts = Hosts({"db2": "db1", "db3": "db1", "app1": "db1", "app2": "db3"}, away=("lb1",))
    readmitted = Run(stack, hosts, {"db1": EMPTY, "db2": PRIMARY, "db3": STANDBY})
    assert [(step.host, step.says) for step in readmitted.errands] == [
        ("app1", "remove the fence against db1"),
        ("db2", "remove the fence against db1"),
        ("db3", "remove the fence against db1"),
        ("db2", "prepare replication slots for db1"),
    ]
    assert readmitted.hosts == ["app1", "db2", "db3"]
    hosts.scripts.clear()
    assert readmitted.do() == {name: f"generation of {name}" for name in readmitted.hosts}
    assert sorted(name for name, text in hosts.scripts if "plainstack-firewall unfence db1" in text) == readmitted.hosts


def test_an_unreachable_host_keeps_its_fence_and_blocks_nothing(stack: Stack) -> None:
    hosts = Hosts({"db2": "db1"}, away=("app1", "app2"))
    readmitted = Run(stack, hosts, {"db1": EMPTY, "db2": PRIMARY, "db3": None})
    assert readmitted.hosts == ["db2"]


@pytest.mark.parametrize(
    ("facts", "scope"),
    [
        ({"db1": STOPPED, "db2": PRIMARY, "db3": STANDBY}, None),
        ({"db1": EMPTY, "db2": EMPTY, "db3": EMPTY}, None),
        ({"db1": EMPTY, "db2": STANDBY, "db3": None}, None),
        ({"db1": EMPTY, "db2": PRIMARY, "db3": STANDBY}, ("base",)),
    ],
    ids=["it has data", "nobody has data", "nobody leads", "role db is left out"],
)
def test_otherwise_nothing_is_changed_and_no_host_is_queried(
    stack: Stack, facts: Mapping[str, Any], scope: Any
) -> None:
    hosts = Hosts({"db2": "db1"})
    readmitted = Run(stack, hosts, facts, scope)
    assert (readmitted.errands, readmitted.do(), hosts.scripts) == ([], {}, [])


def test_a_host_outside_this_deploy_is_still_asked_which_host_is_the_primary(stack: Stack) -> None:
    hosts = Hosts({})
    readmitted = Run(stack, hosts, {"db1": EMPTY})
    asked = [name for name, text in hosts.scripts if "pg_controldata" in text]
    assert (sorted(asked), readmitted.errands) == (["db2", "db3"], [])
