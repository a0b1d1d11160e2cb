"""The environment variables of a service, with references resolved, quoted as systemd and sh both read them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from plainstack.dataclass import dataclass
from plainstack.engine.references import Reference
from plainstack.inventory import references
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Secret, Vault

FOLDER = "/etc/plainstack/app"


def secret_name(service: str, name: str) -> str:
    """Return the name of a service's secret in the store."""
    return f"{service}/{name}"


def secret_path(service: str, name: str) -> str:
    """Return the path, on a host, of a secret that the service gets as a file."""
    return f"{FOLDER}/{service}/secrets/{name}"


@dataclass(frozen=True)
class Scope:
    """Everything that the values of a service on a host can refer to; `release` is the id of its release."""

    stack: Stack
    host: Host
    service: str
    release: str
    vault: Vault
    provided: Mapping[str, Reference]

    def value(self, name: str) -> str:
        """Return the value of a reference; the validation of the inventory ensures that the reference exists."""
        if name.startswith(references.OWN_SECRET):
            return self.secret(name.removeprefix(references.OWN_SECRET)).reveal()
        if name in self.own:
            return self.own[name]
        return self.provided[name].value(self.stack, self.host, self.vault)

    def secret(self, name: str) -> Secret:
        """Return a secret of the service."""
        return self.vault.password(secret_name(self.service, name))

    def holds_secret(self, text: str) -> bool:
        """Return whether a text refers to a secret."""
        return any(
            name.startswith(references.OWN_SECRET) or (name in self.provided and bool(self.provided[name].secrets))
            for name in references.names(text)
        )

    @property
    def own(self) -> Mapping[str, str]:
        """The references that every service can use."""
        return {
            "service.name": self.service,
            "service.folder": f"/srv/{self.service}/current/source",
            "host.name": self.host.name,
            "host.address": str(self.host.address),
            "release": self.release,
        }


def variables(scope: Scope) -> Iterator[tuple[str, str | Secret]]:
    """Yield the name of each variable of the inventory and its quoted value."""
    settings = scope.stack.services[scope.service]
    for name, text in settings.env.items():
        value = quoted(references.resolve(text, scope.value))
        yield name, Secret(name, value) if scope.holds_secret(text) else value
    for name, wanted in settings.secrets.items():
        if wanted.file:
            yield f"{name}_FILE", quoted(secret_path(scope.service, name))
        else:
            yield name, Secret(name, quoted(scope.secret(name).reveal()))
        also = scope.vault.also_accepted(secret_name(scope.service, name))
        if wanted.fallbacks and also:
            yield wanted.fallbacks, Secret(name, quoted(",".join(each.reveal() for each in also)))


def quoted(value: str) -> str:
    r"""Return a value in double quotes, with \ " $ and ` escaped, which are special to systemd.exec(5) and to sh."""
    return '"' + re.sub(r'([\\"$`])', r"\\\1", value) + '"'


def command(text: str, value: Callable[[str], str]) -> str:
    """Return a command for ExecStart: with references resolved, and % taken literally."""
    words = references.resolve(text, value)
    # manage.py is not always executable, and its first line may name a Python outside the virtual environment.
    if re.match(r"\S+\.py(\s|$)", words):
        words = f"python {words}"
    return words.replace("%", "%%")
