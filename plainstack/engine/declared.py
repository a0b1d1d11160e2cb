"""The secrets that roles declare: what the store must hold, and where each role reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from plainstack.engine.role import Role, of_host
from plainstack.errors import InventoryError
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.secrets.declaration import DeclaredSecret, Needed
from plainstack.secrets.listing import CERTIFICATE
from plainstack.secrets.rotation import RotationStrategy
from plainstack.secrets.values import Vault
from plainstack.wording import did_you_mean


def secrets_of(role: Role, stack: Stack) -> tuple[DeclaredSecret, ...]:
    """Return the secrets that a role declares for a stack."""
    return tuple(role.secrets(stack)) if callable(role.secrets) else role.secrets


def read_by(role: Role, stack: Stack, roles: Mapping[str, Role]) -> set[str]:
    """Return the names of all secrets that a role reads: its own, those of other roles, and those in references."""
    provided = {name: one for each in roles.values() for name, one in each.provides.items()}
    referred = {secret for name in role.refers(stack) if name in provided for secret in provided[name].secrets}
    return {*(secret.name for secret in secrets_of(role, stack)), *_others(role, stack), *referred}


def _others(role: Role, stack: Stack) -> Iterable[str]:
    return role.reads(stack) if callable(role.reads) else role.reads


def needed(stack: Stack, roles: Mapping[str, Role]) -> Needed:
    """Return the secrets and certificates of a stack with these roles."""
    certificates: dict[str, tuple[str, ...]] = {}
    for host in stack.hosts.values():
        for role in of_host(host, roles):
            certificates |= role.certificates(stack, host)
    return Needed(tuple(by_name(stack, roles).values()), certificates)


def by_name(stack: Stack, roles: Mapping[str, Role]) -> dict[str, DeclaredSecret]:
    """Return all secrets that the roles declare for a stack, by name."""
    return {secret.name: secret for role in roles.values() for secret in secrets_of(role, stack)}


def rotations(stack: Stack, roles: Mapping[str, Role]) -> dict[str, RotationStrategy]:
    """Return the rotation strategy of each declared secret, by name."""
    return {name: secret.rotation for name, secret in by_name(stack, roles).items()}


def vault_of(role: Role, stack: Stack, host: Host, vault: Vault, roles: Mapping[str, Role]) -> Vault:
    """Return the vault limited to the secrets and certificates that the role reads on a host."""
    return vault.limited(read_by(role, stack, roles), {*role.certificates(stack, host)})


def uses(stack: Stack, roles: Mapping[str, Role]) -> dict[str, dict[str, list[str]]]:
    """Return the names of the hosts on which each secret or certificate is read, by its name and by role."""
    found: dict[str, dict[str, list[str]]] = {}
    for host in stack.hosts.values():
        for role in of_host(host, roles):
            for name in read_by(role, stack, roles) | {CERTIFICATE + name for name in role.certificates(stack, host)}:
                found.setdefault(name, {}).setdefault(role.name, []).append(host.name)
    return found


def check(stack: Stack, roles: Mapping[str, Role]) -> None:
    """Raise InventoryError if two roles declare the same secret, or if a role reads one that no role declares."""
    owners: dict[str, Role] = {}
    found = []
    for role in roles.values():
        for secret in secrets_of(role, stack):
            if secret.name in owners:
                other = owners[secret.name]
                found.append(
                    f"{role.origin}: the secret {secret.name} is already declared by the role {other.name}, from"
                    f" {other.origin}"
                )
            owners.setdefault(secret.name, role)
    for role in roles.values():
        for name in _others(role, stack):
            if name not in owners:
                hint = did_you_mean(name, list(owners))
                found.append(f"{role.origin}: `reads` names the secret {name}, which no role declares{hint}")
    if found:
        raise InventoryError(found)
