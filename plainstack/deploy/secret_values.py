"""The values of secrets in a run: from the store, from commands, or placeholders where no value is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from plainstack.dataclass import dataclass
from plainstack.engine.declared import by_name, uses
from plainstack.engine.role import Role
from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.secrets.declaration import FromCommand
from plainstack.secrets.values import Secret, Vault


@dataclass(frozen=True)
class Elsewhere:
    """The secrets that are not in the store.

    `unset` are the names of those that have no value yet; `lines` maps the names of the others to the commands that
    print their values.
    """

    unset: tuple[str, ...]
    lines: Mapping[str, str]

    @classmethod
    def of(cls, stack: Stack, roles: Mapping[str, Role], hosts: Iterable[str], vault: Vault) -> Elsewhere:
        """Find those that the roles of these hosts read."""
        chosen = set(hosts)
        read = {name for name, by in uses(stack, roles).items() if any(chosen & {*names} for names in by.values())}
        here = [secret for name, secret in by_name(stack, roles).items() if name in read]
        lines = {secret.name: secret.origin.line for secret in here if isinstance(secret.origin, FromCommand)}
        stored = vault.passwords.keys() | lines.keys()
        return cls(tuple(secret.name for secret in here if secret.name not in stored), lines)

    def added_to(self, vault: Vault, stack: Stack) -> Vault:
        """Return a vault with all values. Raises Refused if secrets are not set, or if a command fails."""
        if self.unset:
            raise Refused("\n".join(map(not_set, self.unset)))
        if not self.lines:
            return vault
        # Imported here because most stacks have no such secret.
        from plainstack.secrets import command

        return _with(vault, command.values(self.lines, stack.folder))

    def stood_in(self, vault: Vault) -> Vault:
        """Return a vault with placeholder values, for a run that needs the names only."""
        return _with(vault, {name: Secret(name, "stand-in") for name in (*self.unset, *self.lines)})


def not_set(name: str) -> str:
    """Return an error message for a secret that has no value yet."""
    return f"the secret {name} is not set; set it: inv secrets.set {name}"


def _with(vault: Vault, values: Mapping[str, Secret]) -> Vault:
    return replace(vault, passwords={**vault.passwords, **values})
