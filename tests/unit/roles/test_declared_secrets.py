"""What roles declare of secrets is what they read, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

import pytest

from plainstack.engine import declared, desired
from plainstack.engine.resources import File, Resource
from plainstack.engine.role import DeclaredSecret, Role, of_host
from plainstack.errors import InventoryError
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.secrets.listing import CERTIFICATE
from plainstack.secrets.values import Vault
from tests import inventories

Value = TypeVar("Value")


class Seen(dict[str, Value]):
    """A mapping that remembers what was read from it."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Value:
        self.names.add(name)
        return super().__getitem__(name)


def test_every_role_reads_what_it_declares(stack: Stack, vault: Vault, registry: Mapping[str, Role]) -> None:
    read: dict[str, dict[str, list[str]]] = {}
    for host in stack.hosts.values():
        for role in of_host(host, registry):
            passwords, certificates = Seen(vault.passwords), Seen(vault.certificates)
            seen = replace(vault, passwords=passwords, certificates=certificates)
            inventories.wanted(role, stack, host.name, seen)
            for name in passwords.names | {CERTIFICATE + name for name in certificates.names}:
                read.setdefault(name, {}).setdefault(role.name, []).append(host.name)
    assert declared.uses(stack, registry) == read


def reader(name: str, **fields: object) -> Role:
    def wanted(_stack: Stack, _host: Host, vault: Vault, _network: object) -> Iterator[Resource]:
        yield File(path="/etc/own", content=vault.password("own/token").reveal().encode(), mode=0o600, secret=True)

    return replace(Role(name=name, desired=wanted, everywhere=True, origin=f"roles/{name}.py"), **fields)  # type: ignore[arg-type]


def test_a_secret_that_a_role_does_not_declare_is_not_given_to_it(stack: Stack, vault: Vault) -> None:
    whole = replace(vault, passwords={**vault.passwords, "own/token": vault.password("app/api_token")})
    roles = {"own": reader("own")}
    with pytest.raises(InventoryError) as caught:
        desired.assemble(stack, whole, roles, ["db1"])
    assert caught.value.problems == (
        "roles/own.py: the secret own/token is not declared: name it in the role's secrets or reads",
    )
    for fields in ({"secrets": (DeclaredSecret("own/token"),)}, {"reads": ("own/token",)}):
        assert desired.assemble(stack, whole, {"own": reader("own", **fields)}, ["db1"])["db1"]["own"]


def test_a_secret_has_one_owner_and_is_declared_before_it_is_read() -> None:
    owner = reader("one", secrets=(DeclaredSecret("own/token"),))
    other = reader("two", secrets=(DeclaredSecret("own/token"),))
    assert declared.problems({"one": owner, "two": other}) == [
        "roles/two.py: the secret own/token is the role one's, from roles/one.py"
    ]
    assert declared.problems({"two": reader("two", reads=("own/token",))}) == [
        "roles/two.py: reads names the secret own/token, and no role declares it"
    ]
    assert declared.problems({"one": owner, "two": reader("two", reads=("own/token",))}) == []
