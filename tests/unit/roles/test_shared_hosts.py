"""Any combination of roles on one host: one deploy is enough, and the plan afterwards is empty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, combinations

import pytest
import yaml

from plainstack.engine.declared import by_name
from plainstack.engine.desired import assemble
from plainstack.engine.network import Network
from plainstack.engine.observed import UserState
from plainstack.engine.plan.planner import plan
from plainstack.engine.resources import File, Resource, Unit
from plainstack.engine.role import Role, assigned
from plainstack.errors import InventoryError
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.postgresql import sql
from plainstack.roles import monitoring, registry
from plainstack.secrets.values import Vault
from plainstack.services.edge import Balancer
from plainstack.shipped import ROOT
from tests import inventories
from tests.unit.conftest import fake_vault
from tests.unit.hosts import NOW
from tests.unit.simulate import Machine

# Accounts that packages make.
ACCOUNTS = ("postgres", "barman", "prometheus", "www-data")


def stack_of(*roles: str) -> Stack | None:
    """Return a stack of one host with these roles, or None if the inventory refuses them."""
    address = f"address: 10.0.0.1, public: 10.1.0.1, roles: [{', '.join(roles)}]"
    text = f"stack: small\nhosts:\n  one: {{{address}}}\ndatabase: {{name: shop}}\n"
    media = ", writable: [{path: media, backup: true}]" if "backup" in roles else ""
    text += f"services:\n  web: {{source: apps/incidents, project: incidents_site{media}}}\n"
    try:
        return inventories.parse(text, "small.yaml", ROOT)
    except InventoryError:
        return None


ROLE_NAMES = assigned(registry())
# Every pair alone on a host, and every pair with almost all others.
SIZES = (0, 1, 2, len(ROLE_NAMES) - 1, len(ROLE_NAMES))
SETS = [*chain.from_iterable(combinations(ROLE_NAMES, count) for count in SIZES)]
STACKS = {"+".join(roles) or "none": stack for roles in SETS if (stack := stack_of(*roles)) is not None}


@pytest.mark.parametrize("roles", STACKS)
def test_a_second_deploy_of_any_roles_on_one_host_has_nothing_to_do(roles: str, registry: Mapping[str, Role]) -> None:
    stack = STACKS[roles]
    before = fake_vault(stack, by_name(stack, registry))
    renewed = {name: replace(pair, chain=f"new {pair.chain}") for name, pair in before.certificates.items()}
    machine = Machine(users={name: UserState("/", "/bin/false") for name in ACCOUNTS})
    for vault in (before, replace(before, certificates=renewed), before):
        wanted = assemble(stack, vault, registry, stack.hosts)["one"]
        everything = [item for resources in wanted.values() for item in resources]
        files = [item.path for item in everything if isinstance(item, File)]
        machine.unit_files = tuple(path for path in files if "/systemd/" in path)
        machine.apply(plan("one", wanted, machine.observed(everything), NOW), everything)
        left = plan("one", wanted, machine.observed(everything), NOW)
        assert [action.subject() for _, action in left.actions()] == []


def test_all_roles_fit_on_one_host() -> None:
    assert "+".join(ROLE_NAMES) in STACKS
    assert len(STACKS) > 10


def test_a_unit_that_depends_on_a_file_of_a_later_role_is_refused_by_name(stack: Stack) -> None:
    def role(name: str, *resources: Resource) -> Role:
        def wanted(_stack: Stack, _host: Host, _vault: Vault, _network: Network) -> Sequence[Resource]:
            return resources

        return Role(name=name, desired=wanted, everywhere=True)

    reads = role("a", File(path="/etc/x/own", content=b""), Unit(name="a.service", reload_on=("/etc/x/",)))
    writes = role("b", File(path="/etc/x/other", content=b""))
    with pytest.raises(InventoryError) as caught:
        assemble(stack, Vault({}, {}, ""), {"a": reads, "b": writes}, ["db1"])
    assert caught.value.problems == ("db1: role a: a.service reads /etc/x/other, which a later role writes",)
    assemble(stack, Vault({}, {}, ""), {"b": writes, "a": reads}, ["db1"])


# Metrics that only some stacks have, and the condition for each.
_ONLY_WITH: Mapping[str, Callable[[Stack], object]] = {
    "pg_replication_slot": lambda stack: any(sql.slots(stack, host.name) for host in stack.with_role("db")),
    "pg_stat_replication": lambda stack: len(stack.with_role("db")) > 1 or stack.with_role("backup"),
    "pg_stat_wal_receiver": lambda stack: len(stack.with_role("db")) > 1,
    "pg_": lambda stack: stack.with_role("db"),
    "plainstack_vip": lambda stack: stack.settings(Balancer).virtual_address,
    "plainstack_ba": lambda stack: stack.with_role("backup"),
    "plainstack_synchronous": lambda stack: len(stack.with_role("db")) > 1,
    "redis_": lambda stack: stack.with_role("cache"),
    "angie_": lambda stack: stack.settings(Balancer).engine == "angie",
    'job="probe-balancer"': lambda stack: stack.with_role("balancer"),
    'job="probe-port"': lambda stack: stack.with_role("balancer"),
    'job="probe-site"': lambda stack: stack.settings(Balancer).virtual_address,
    'job="postgres"': lambda stack: stack.with_role("db"),
}


@pytest.mark.parametrize("roles", STACKS)
def test_no_rule_reads_a_metric_that_the_stack_cannot_have(roles: str) -> None:
    """Such a rule fires never or always, and the check that all metrics exist always fails."""
    stack = STACKS[roles]
    expressions = "\n".join(
        rule["expr"]
        for file in monitoring.alerting(stack.hosts["one"], inventories.network(stack))
        for group in yaml.safe_load(file.content)["groups"]
        for rule in group["rules"]
    )
    assert [metric for metric, there in _ONLY_WITH.items() if metric in expressions and not there(stack)] == []
    # Every part that the stack has is covered by at least one rule.
    parts = {"db": "pg_up", "backup": "plainstack_backup_last", "balancer": 'job="probe-port"'}
    assert [role for role, metric in parts.items() if role in roles.split("+") and metric not in expressions] == []
