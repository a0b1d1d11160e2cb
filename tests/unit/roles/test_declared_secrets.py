"""Roles read exactly the secrets that they declare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest

from plainstack.engine import declared, desired
from plainstack.engine.resources import File, Resource
from plainstack.engine.role import DeclaredSecret, Generated, Given, Role, of_host
from plainstack.errors import InventoryError
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.secrets import store
from plainstack.secrets.declaration import Origin, unfit
from plainstack.secrets.listing import CERTIFICATE
from plainstack.secrets.values import Vault
from tests import inventories

Value = TypeVar("Value")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Seen(dict[str, Value]):
    """A mapping that records the names that were read from it."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Value:
        self.names.add(name)
        return super().__getitem__(name)


def test_every_role_can_read_the_secrets_that_it_declares(
    stack: Stack, vault: Vault, registry: Mapping[str, Role]
) -> None:
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

    return replace(Role(name=name, desired=wanted, everywhere=True, origin=f"roles/{name}.py"), **fields)  # type: ignore[arg-type]  # any


def test_a_role_gets_no_secret_that_it_does_not_declare(stack: Stack, vault: Vault) -> None:
    whole = replace(vault, passwords={**vault.passwords, "own/token": vault.password("web/API_TOKEN")})
    roles = {"own": reader("own")}
    with pytest.raises(InventoryError) as caught:
        desired.assemble(stack, whole, roles, ["db1"])
    assert caught.value.problems == (
        "roles/own.py: the secret own/token is not declared. Name it in the role's `secrets` or `reads`",
    )
    for fields in ({"secrets": (DeclaredSecret("own/token"),)}, {"reads": ("own/token",)}):
        assert desired.assemble(stack, whole, {"own": reader("own", **fields)}, ["db1"])["db1"]["own"]


def problems(stack: Stack, *roles: Role) -> tuple[str, ...]:
    with pytest.raises(InventoryError) as caught:
        declared.check(stack, {role.name: role for role in roles})
    return caught.value.problems


def test_a_secret_has_one_owner_and_is_declared_before_it_is_read(stack: Stack) -> None:
    owner = reader("one", secrets=(DeclaredSecret("own/token"),))
    other = reader("two", secrets=lambda _: [DeclaredSecret("own/token")])
    assert problems(stack, owner, other) == (
        "roles/two.py: the secret own/token is already declared by the role one, from roles/one.py",
    )
    assert problems(stack, owner, reader("two", reads=("own/tokn",))) == (
        "roles/two.py: `reads` names the secret own/tokn, which no role declares, did you mean 'own/token'?",
    )
    declared.check(stack, {"one": owner, "two": reader("two", reads=lambda _: iter(["own/token"]))})


def per_host(stack: Stack) -> Iterator[DeclaredSecret]:
    for name in stack.hosts:
        yield DeclaredSecret(f"{name}/API_KEY", "grace", Generated(40))


def test_declared_secrets_can_depend_on_the_stack(stack: Stack, tmp_path: Path) -> None:
    # In the folder of the default inventory, `make demo` leaves a store with values.
    stack = stack.model_copy(update={"folder": tmp_path})
    roles = {
        "one": Role(name="one", desired=lambda *_: (), everywhere=True, secrets=per_host),
        "two": Role(
            name="two", desired=lambda *_: (), everywhere=True, reads=lambda stack: [f"{min(stack.hosts)}/API_KEY"]
        ),
    }
    declared.check(stack, roles)
    assert [*declared.by_name(stack, roles)] == [f"{name}/API_KEY" for name in stack.hosts]
    assert declared.uses(stack, roles)["app1/API_KEY"] == {"one": [*stack.hosts], "two": [*stack.hosts]}
    assert declared.uses(stack, roles)["db1/API_KEY"] == {"one": [*stack.hosts]}
    generated = store.look(stack, declared.needed(stack, roles), NOW).vault.passwords
    assert {len(secret.reveal()) for secret in generated.values()} == {40}


@pytest.mark.parametrize("name", ["web/EMAIL_HOST_PASSWORD", "web-2/_x", "cache/password", "a_b/c-d", "plain"])
def test_a_secret_name_is_lower_case_or_like_a_variable(name: str) -> None:
    assert DeclaredSecret(name).name == name


@pytest.mark.parametrize(
    "name", ["", "/x", "web/", "web/2FA", "Web/KEY", "web/A-B", "web/a b", "../x", "web/K\n", "web/KÄY"]
)
def test_another_name_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="a secret cannot be called"):
        DeclaredSecret(name)


@pytest.mark.parametrize("length", [0, 15, 513])
def test_the_length_of_a_generated_secret_has_a_minimum_and_a_maximum(length: int) -> None:
    with pytest.raises(ValueError, match=f"16 to 512 characters, not {length}"):
        Generated(length)


@pytest.mark.parametrize(
    ("value", "origin", "problem"),
    [
        ("", Given(), "must not be empty"),
        ("a\0b", Given(), "must not contain a NUL character"),
        ("ä" * 32769, Given(), "must not have more than 65,536 bytes"),
        ("ä" * 32768, Given(), ""),
        ("x", Given(), ""),
        ("-----BEGIN\n'\"$(\t", Generated(any_text=True), ""),
        ("$" * 40, Generated(), "must have 20 to 128 characters of A-Z a-z 0-9 . _ ~ + / = - and no others"),
        ("x" * 20, Generated(), ""),
    ],
)
def test_unfit_values_are_described(value: str, origin: Origin, problem: str) -> None:
    assert unfit(value, origin) == problem
