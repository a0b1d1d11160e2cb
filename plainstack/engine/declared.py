"""The secrets that roles declare: what the store must hold, and where each role reads them."""

from __future__ import annotations

from collections.abc import Mapping

from plainstack.engine.role import Role, of_host
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.secrets.listing import CERTIFICATE
from plainstack.secrets.rotation import RotationStrategy
from plainstack.secrets.values import Needed, Vault


def needed(stack: Stack, roles: Mapping[str, Role]) -> Needed:
    """Return the passwords and certificates that the secret store of a stack with these roles must hold."""
    certificates: dict[str, tuple[str, ...]] = {}
    for host in stack.hosts.values():
        for role in of_host(host, roles):
            certificates |= role.certificates(stack, host)
    return Needed(tuple(names(roles)), certificates)


def names(roles: Mapping[str, Role]) -> list[str]:
    """Return the names of all declared passwords."""
    return [secret.name for role in roles.values() for secret in role.secrets]


def rotations(roles: Mapping[str, Role]) -> dict[str, RotationStrategy]:
    """Return the rotation strategy of each declared password, by name."""
    return {secret.name: secret.rotation for role in roles.values() for secret in role.secrets}


def vault_of(role: Role, stack: Stack, host: Host, vault: Vault) -> Vault:
    """Return the vault limited to what the role declares for a host."""
    return vault.limited({*(secret.name for secret in role.secrets), *role.reads}, {*role.certificates(stack, host)})


def uses(stack: Stack, roles: Mapping[str, Role]) -> dict[str, dict[str, list[str]]]:
    """Return, for each secret and each role that reads it, the names of the hosts where it does."""
    found: dict[str, dict[str, list[str]]] = {}
    for host in stack.hosts.values():
        for role in of_host(host, roles):
            secrets = {*(secret.name for secret in role.secrets), *role.reads}
            secrets |= {CERTIFICATE + name for name in role.certificates(stack, host)}
            for name in secrets:
                found.setdefault(name, {}).setdefault(role.name, []).append(host.name)
    return found


def problems(roles: Mapping[str, Role]) -> list[str]:
    """Return a sentence for each secret that two roles declare, or that a role reads and no role declares."""
    owners: dict[str, Role] = {}
    found = []
    for role in roles.values():
        for secret in role.secrets:
            if secret.name in owners:
                other = owners[secret.name]
                found.append(f"{role.origin}: the secret {secret.name} is the role {other.name}'s, from {other.origin}")
            owners.setdefault(secret.name, role)
    for role in roles.values():
        missing = [name for name in role.reads if name not in owners]
        found += [f"{role.origin}: reads names the secret {name}, and no role declares it" for name in missing]
    return found
