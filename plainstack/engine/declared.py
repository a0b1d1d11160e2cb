"""The secrets that roles declare: what the store must hold, and which role reads what where."""

from __future__ import annotations

from collections.abc import Mapping

from plainstack.engine.role import Role, of_host
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.secrets.listing import CERTIFICATE
from plainstack.secrets.rotation import RotationStrategy
from plainstack.secrets.values import Needed, Vault


def needed(stack: Stack, roles: Mapping[str, Role]) -> Needed:
    """What the secret store of a stack with these roles must hold."""
    certificates: dict[str, tuple[str, ...]] = {}
    for host in stack.hosts.values():
        for role in of_host(host, roles):
            certificates |= role.certificates(stack, host)
    return Needed(tuple(names(roles)), certificates)


def names(roles: Mapping[str, Role]) -> list[str]:
    """The names of all declared passwords."""
    return [secret.name for role in roles.values() for secret in role.secrets]


def rotations(roles: Mapping[str, Role]) -> dict[str, RotationStrategy]:
    """How each declared password is replaced, by its name."""
    return {secret.name: secret.rotation for role in roles.values() for secret in role.secrets}


def vault_of(role: Role, stack: Stack, host: Host, vault: Vault) -> Vault:
    """The vault as a role sees it for a host: with what the role declares, and nothing else."""
    return vault.limited({*(secret.name for secret in role.secrets), *role.reads}, {*role.certificates(stack, host)})


def uses(stack: Stack, roles: Mapping[str, Role]) -> dict[str, dict[str, list[str]]]:
    """The hosts at which each role reads a secret, by the names of secrets and of roles."""
    found: dict[str, dict[str, list[str]]] = {}
    for host in stack.hosts.values():
        for role in of_host(host, roles):
            secrets = {*(secret.name for secret in role.secrets), *role.reads}
            secrets |= {CERTIFICATE + name for name in role.certificates(stack, host)}
            for name in secrets:
                found.setdefault(name, {}).setdefault(role.name, []).append(host.name)
    return found


def problems(roles: Mapping[str, Role]) -> list[str]:
    """Secrets that two roles declare, and secrets that one reads and none declares, in sentences."""
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
