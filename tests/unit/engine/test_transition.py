"""Changes of a port or a database name on several hosts: at every moment, the values in use are served."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plainstack.deploy.schedule import Node, graph
from plainstack.engine import transition
from plainstack.engine.desired import HostDesired, assemble
from plainstack.engine.observed import Observed, UserState
from plainstack.engine.plan.actions import HostPlan
from plainstack.engine.plan.planner import plan
from plainstack.engine.resources import File
from plainstack.engine.role import Role
from plainstack.errors import InventoryError
from plainstack.inventory.sections import Host
from plainstack.inventory.service_parts import Process
from plainstack.inventory.services import BinaryService, Service, StaticService
from plainstack.inventory.stack import Stack
from plainstack.postgresql.settings import Database
from plainstack.roles import registry
from plainstack.secrets.values import Vault
from plainstack.services import processes
from plainstack.services.port_changes import FORWARDER
from tests import inventories
from tests.unit.hosts import NOW
from tests.unit.simulate import Machine

HOSTS = ("lb1", "lb2", "app1", "app2", "db1", "db2")


@dataclass
class Served:
    """What the hosts serve and use at one moment; a host that was never deployed has no entry."""

    bound: dict[str, tuple[int, ...]] = field(default_factory=dict)
    opened: dict[str, set[int]] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    databases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    connected: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        for balancer, port in self.used.items():
            for app, ports in self.bound.items():
                assert port in ports, f"{balancer} sends requests to port {port}, and {app} serves {ports}"
                assert ports[0] in self.opened[app], f"what {app} passes on arrives at port {ports[0]}, which is closed"
                assert port in self.opened[app], f"{balancer} sends requests to port {port}, closed on {app}"
        for app, name in self.connected.items():
            for host, names in self.databases.items():
                assert name in names, f"{app} uses database {name}, and {host} allows {names}"


def _bare() -> Machine:
    """Return a host with the accounts that Debian's packages bring."""
    return Machine(users={name: UserState("/", "/bin/sh") for name in ("postgres", "prometheus", "www-data")})


ASSEMBLED: dict[str, Mapping[str, HostDesired]] = {}


def web(stack: Stack) -> processes.Served:
    (found,) = processes.served(stack)
    return found


@dataclass
class World:
    """Hosts in memory, deployed transaction by transaction in the order of the graph."""

    registry: Mapping[str, Role]
    vault: Vault
    machines: dict[str, Machine] = field(default_factory=lambda: {name: _bare() for name in HOSTS})
    served: Served = field(default_factory=Served)

    def observe(self, desired: Mapping[str, HostDesired]) -> dict[str, Observed]:
        return {
            name: replace(
                machine.observed([item for wanted in desired[name].values() for item in wanted]),
                facts=self._facts(name),
            )
            for name, machine in self.machines.items()
        }

    def _facts(self, name: str) -> dict[str, str]:
        if name in self.served.bound:
            return {f"serves.web:{port}": "yes" for port in self.served.bound[name]}
        return {"databases": ",".join(self.served.databases.get(name, ()))}

    def deploy(self, stack: Stack, stop_after: int | None = None) -> int:
        """Deploy in as many passes as it takes, and check `served` after every node; return the number of nodes."""
        done = 0
        while True:
            now, desired, plans = self.plan(stack)
            if all(one.empty for one in plans.values()):
                assert now == stack, "nothing is left to do, and the old values are still served"
                return done
            for node in self._order(now, plans, desired):
                if done == stop_after:
                    return done
                self._apply(now, node, plans[node.host], desired[node.host])
                self.served.check()
                done += 1

    def plan(self, stack: Stack) -> tuple[Stack, Mapping[str, HostDesired], dict[str, HostPlan]]:
        desired = self._assembled(stack)
        observed = self.observe(desired)
        plans = {name: plan(name, desired[name], seen, NOW) for name, seen in observed.items()}
        now = transition.expanded(stack, self.registry, observed, plans)
        if now == stack:
            return stack, desired, plans
        desired = self._assembled(now)
        return now, desired, {name: plan(name, desired[name], seen, NOW) for name, seen in observed.items()}

    def _assembled(self, stack: Stack) -> Mapping[str, HostDesired]:
        """Return what roles want of every host, from a cache: there are few stacks, and many plans of each."""
        key = stack.model_dump_json()
        if key not in ASSEMBLED:
            ASSEMBLED[key] = assemble(stack, self.vault, self.registry, HOSTS)
        return ASSEMBLED[key]

    def _order(self, stack: Stack, plans: Mapping[str, HostPlan], desired: Mapping[str, HostDesired]) -> Iterator[Node]:
        yield from TopologicalSorter(graph(stack, plans, self.registry, self.observe(desired))).static_order()

    def _apply(self, stack: Stack, node: Node, found: HostPlan, desired: HostDesired) -> None:
        packages = found.packages if node.stage == "packages" else None
        work = tuple(one for one in found.transactions if one.stage == node.stage)
        everything = [item for wanted in desired.values() for item in wanted]
        self.machines[node.host].apply(HostPlan(node.host, packages, work), everything)
        host = stack.hosts[node.host]
        if node.stage == "firewall":
            self.served.opened[node.host] = self._openings(stack, host)
        elif node.stage == "app":
            self.served.bound[node.host] = _ports(desired)
            if stack.services["web"].env:
                self.served.connected[node.host] = stack.settings(Database).name
        elif node.stage == "balancer":
            self.served.used[node.host] = web(stack).port
        elif node.stage == "db":
            self.served.databases[node.host] = _databases(desired)

    def _openings(self, stack: Stack, host: Host) -> set[int]:
        return {opening.port for role in host.roles for opening in self.registry[role].opens(stack, host)}


def _databases(desired: HostDesired) -> tuple[str, ...]:
    (rules,) = [item for item in desired["db"] if isinstance(item, File) and item.path.endswith("pg_hba.conf")]
    quoted = [line.split('"')[1] for line in rules.content.decode().splitlines() if line.startswith('hostssl "')]
    return tuple(dict.fromkeys(quoted))


def _ports(desired: HostDesired) -> tuple[int, ...]:
    """Return the ports at which the main process is served, the one at which it surely listens first."""
    files = {item.path: item.content.decode() for item in desired["app"] if isinstance(item, File)}
    unit = files["/etc/systemd/system/plainstack-web.service"]
    own = files.get("/etc/plainstack/app/web.gunicorn.py") or files.get("/etc/plainstack/app/web.nginx.conf")
    if own:
        found = re.findall(r"^(?:bind = .*|\s*listen .*)", own, re.MULTILINE)
        return tuple(int(port) for line in found for port in re.findall(r":([0-9]+)\b", line))
    (listening,) = re.findall(r"^ExecStart=serve (\d+)$", unit, re.MULTILINE)
    passed_on = re.findall(rf"^ExecStartPre=\+{FORWARDER} web \S+ {listening} ([\d ]+)$", unit, re.MULTILINE)
    return tuple(int(port) for port in [listening, *(port for line in passed_on for port in line.split())])


def service(stack: Stack, kind: str, port: int) -> Service:
    """Return the service `web`, as a service of a kind."""
    django = stack.services["web"]
    if kind == "django":
        return django.model_copy(update={"port": port})
    if kind == "static":
        return StaticService(kind="static", source=django.source, port=port)
    process = Process(command="serve ${port}", port=port, health="/up")
    if kind == "binary":
        return BinaryService(kind="binary", source=django.source, processes={"web": process})
    return django.model_copy(update={"processes": {"web": process}})


def changed(stack: Stack, port: int, name: str, kind: str = "django") -> Stack:
    web = service(stack, kind, port)
    database = stack.settings(Database).model_copy(update={"name": name})
    hosts = {host: stack.hosts[host] for host in HOSTS}
    return stack.model_copy(update={"services": {"web": web}, "database": database, "hosts": hosts})


VALUES = st.tuples(st.sampled_from([8000, 8001, 8002]), st.sampled_from(["shop", "store"]))


KINDS = ("django", "static", "binary", "another server")


@settings(max_examples=8)
@given(st.sampled_from(KINDS), st.lists(st.tuples(VALUES, st.none() | st.integers(0, 20)), min_size=1, max_size=4))
def test_during_any_sequence_of_deploys_every_port_in_use_is_served(
    stack: Stack, vault: Vault, registry: Mapping[str, Role], kind: str, steps: list[tuple[tuple[int, str], int | None]]
) -> None:
    world = World(registry, vault)
    world.deploy(changed(stack, 8000, "shop", kind))
    for (port, name), stop_after in steps:
        world.deploy(changed(stack, port, name, kind), stop_after)
    port, name = steps[-1][0]
    world.deploy(changed(stack, port, name, kind))
    assert set(world.served.bound.values()) == {(port,)}
    assert set(world.served.databases.values()) == {(name,)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_port_is_served_beside_the_old_one_until_the_balancers_have_moved(
    stack: Stack, vault: Vault, registry: Mapping[str, Role], kind: str
) -> None:
    world = World(registry, vault)
    world.deploy(changed(stack, 8000, "shop", kind))
    now, desired, _ = world.plan(changed(stack, 8002, "shop", kind))
    assert _ports(desired["app1"]) == (8002, 8000)
    assert list(transition.notes(now, registry)) == [
        "web also answers at port 8000 until every balancer uses 8002. A second pass closes it",
    ]
    world.deploy(changed(stack, 8002, "shop", kind))
    assert set(world.served.bound.values()) == {(8002,)}
    assert 8000 not in world.served.opened["app1"]


def test_an_unchanged_stack_needs_no_second_pass(stack: Stack, vault: Vault, registry: Mapping[str, Role]) -> None:
    world = World(registry, vault)
    world.deploy(changed(stack, 8000, "shop"))
    assert world.deploy(changed(stack, 8000, "shop")) == 0


def test_a_plan_says_what_is_still_served_and_why(stack: Stack, vault: Vault, registry: Mapping[str, Role]) -> None:
    world = World(registry, vault)
    world.deploy(changed(stack, 8000, "shop"))
    now, _, _ = world.plan(changed(stack, 8002, "store"))
    assert list(transition.notes(now, registry)) == [
        "app hosts may connect to database shop until all of them have moved. A second pass removes the access",
        "web also answers at port 8000 until every balancer uses 8002. A second pass closes it",
    ]


def test_a_balancer_that_was_not_observed_may_still_use_the_old_port(
    stack: Stack, vault: Vault, registry: Mapping[str, Role]
) -> None:
    world = World(registry, vault)
    before, after = changed(stack, 8000, "shop"), changed(stack, 8002, "shop")
    world.deploy(before)
    desired = assemble(after, vault, registry, HOSTS)
    observed = world.observe(desired)
    plans = {name: plan(name, desired[name], seen, NOW) for name, seen in observed.items()}
    del plans["lb2"]
    world.deploy(after)
    plans["lb1"] = replace(plans["lb1"], transactions=())
    now = transition.expanded(after, registry, observed, plans)
    assert processes.ports(now, web(now)) == (8002, 8000)


@pytest.mark.parametrize("key", ["still", "folder"])
def test_internal_fields_of_the_models_are_not_keys_of_the_inventory(key: str) -> None:
    with pytest.raises(InventoryError, match=f":1: {key}: unknown key"):
        inventories.parse(f"{key}: {{}}\nstack: x\nhosts: {{a: {{address: 10.0.0.1}}}}\n", "t.yaml", Path())


def test_a_stack_without_database_and_services_has_no_transition(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text("stack: bare\nhosts:\n  a: {address: 192.0.2.1}\n", encoding="utf-8")
    stack = inventories.load(tmp_path / "hosts.yaml")
    assert all(role.transition(stack, {"a": Observed()}) == stack for role in registry().values())
