"""The desired state of every host, assembled from roles; contradictions are refused before any connection."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pytest

from plainstack import shipped
from plainstack.engine import render
from plainstack.engine.desired import HostDesired, assemble, probe_script, scope
from plainstack.engine.network import Network
from plainstack.engine.resources import Absent, Command, Directory, File, Link, Package, Resource, Unit
from plainstack.engine.role import Role
from plainstack.errors import InventoryError
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault
from tests import inventories

EMPTY = Vault({}, {}, "")


def role(name: str, *resources: Resource, everywhere: bool = True, after: tuple[str, ...] = ()) -> Role:
    def wanted(_stack: Stack, _host: Host, _vault: Vault, _network: Network) -> Iterable[Resource]:
        return resources

    return Role(name=name, desired=wanted, everywhere=everywhere, after=after)


def put_together(stack: Stack, *roles: Role) -> dict[str, HostDesired]:
    return assemble(stack, EMPTY, {one.name: one for one in roles}, ["db1"])


def test_every_host_gets_its_roles_in_order(desired: Mapping[str, HostDesired]) -> None:
    assert {name: list(wanted) for name, wanted in desired.items()} == {
        "lb1": ["base", "firewall", "assets", "assets_in_use", "balancer"],
        "lb2": ["base", "firewall", "assets", "assets_in_use", "balancer"],
        "app1": ["base", "firewall", "cache_client", "app"],
        "app2": ["base", "firewall", "cache_client", "app"],
        "db1": ["base", "firewall", "db"],
        "db2": ["base", "firewall", "db"],
        "mon1": ["base", "firewall", "monitoring"],
        "bak1": ["base", "firewall", "backup"],
    }


@pytest.mark.parametrize(
    ("one", "other", "reported"),
    [
        (File(path="/x", content=b"1"), File(path="/x", content=b"2"), "/x"),
        (File(path="/x", content=b"1"), Link(path="/x", target="/y"), "/x"),
        (Directory(path="/x"), Absent(path="/x"), "/x"),
        (Unit(name="a.service"), Unit(name="a.service", enabled=False), "unit a.service"),
        (Package(name="a"), Package(name="a", purge=True), "package a"),
        (
            Command(name="a", why="w", run="1", unless="u"),
            Command(name="a", why="w", run="2", unless="u"),
            "command a",
        ),
    ],
)
def test_two_roles_that_declare_one_resource_differently_are_refused(
    stack: Stack, one: Resource, other: Resource, reported: str
) -> None:
    with pytest.raises(InventoryError) as caught:
        put_together(stack, role("a", one), role("b", other))
    assert caught.value.problems == (f"db1: roles a and b declare {reported} differently",)
    put_together(stack, role("a", one), role("b", one))


def test_a_command_and_a_unit_with_the_same_name_are_refused_because_they_share_a_guard(stack: Stack) -> None:
    command, unit = Command(name="a.service", why="w", run="r", unless="u"), Unit(name="a.service", intact="true")
    with pytest.raises(InventoryError, match="both have a guard named a"):
        put_together(stack, role("a", command), role("b", unit))


def test_the_errors_of_all_templates_are_reported_together(stack: Stack) -> None:
    def broken(name: str) -> Role:
        def wanted(_stack: Stack, _host: Host, _vault: Vault, _network: Network) -> Iterator[Resource]:
            yield render.template(name, "/etc/none")

        return Role(name=name, desired=wanted, everywhere=True)

    with pytest.raises(InventoryError) as caught:
        assemble(stack, EMPTY, {"a": broken("a"), "b": broken("b")}, ["db1", "db2"])
    assert caught.value.problems == (
        "templates/a/etc/none.j2: no such template",
        "templates/b/etc/none.j2: no such template",
    )


def test_selecting_a_role_includes_the_roles_that_it_needs_and_those_on_every_host(
    registry: Mapping[str, Role],
) -> None:
    assert scope(registry, []) is None
    assert scope(registry, ["db"]) == ("base", "firewall", "db")
    assert scope(registry, ["balancer"]) == ("base", "firewall", "balancer")
    joined = scope(registry, ["app"])
    assert joined
    assert joined[-2:] == ("app", "assets_in_use")
    assert scope(registry, ["backup"]) == ("base", "firewall", "db", "backup")


def test_the_registry_sorts_roles_by_their_order(registry: Mapping[str, Role]) -> None:
    seen: set[str] = set()
    for name, one in registry.items():
        assert set(one.after) <= seen, name
        seen.add(name)


@pytest.mark.programs
def test_every_probe_of_the_default_stack_is_valid_shell(
    stack: Stack, desired: Mapping[str, HostDesired], registry: Mapping[str, Role]
) -> None:
    for name, host in stack.hosts.items():
        text = probe_script(stack, host, desired[name], registry)
        checked = subprocess.run(["/bin/sh", "-n"], input=text, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.programs
def test_every_command_of_the_default_stack_is_valid_shell(desired: Mapping[str, HostDesired]) -> None:
    snippets = {
        text
        for wanted in desired.values()
        for resources in wanted.values()
        for item in resources
        for text in _shell(item)
        if text
    }
    for text in snippets:
        checked = subprocess.run(["/bin/sh", "-n"], input=text, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, f"{checked.stderr}\n{text}"


def _shell(item: Resource) -> Sequence[str]:
    if isinstance(item, Command):
        return (item.run, item.unless, item.undo)
    if isinstance(item, Unit):
        return (item.health, item.intact, item.snapshot, item.restore)
    return ()


def test_commands_probes_and_public_files_contain_no_secret(
    stack: Stack, vault: Vault, desired: Mapping[str, HostDesired], registry: Mapping[str, Role]
) -> None:
    secrets = [secret.reveal() for secret in vault.passwords.values()]
    secrets += [certificate.key.reveal() for certificate in vault.certificates.values()]
    for name, host in stack.hosts.items():
        public = probe_script(stack, host, desired[name], registry)
        for resources in desired[name].values():
            public += "".join(text for item in resources for text in _shell(item))
            for item in resources:
                if isinstance(item, File) and not item.secret:
                    public += item.content.decode(errors="replace")
                elif isinstance(item, File):
                    assert item.mode & 0o007 == 0, item.path
        assert [secret for secret in secrets if secret in public] == []


def test_rendering_the_same_stack_twice_gives_the_same_result(
    stack: Stack, vault: Vault, desired: Mapping[str, HostDesired], registry: Mapping[str, Role]
) -> None:
    """If rendering used the clock or random values, every deploy would find changes."""
    again = inventories.load(shipped.INVENTORY)
    assert assemble(again, vault, registry, stack.hosts) == desired
