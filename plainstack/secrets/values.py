"""Secret values that never print by accident, and the vault that roles read them from."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


class Secret:
    """A text that shows only its name; `reveal()` is the one way to the value."""

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value

    def reveal(self) -> str:
        """The value itself, for a file on a host or a program's input; never for a message."""
        return self._value

    def __repr__(self) -> str:
        return f"<secret {self.name}>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


@dataclass(frozen=True)
class Certificate:
    """A certificate chain (PEM, leaf first) and its private key."""

    chain: str
    key: Secret


@dataclass(frozen=True)
class Vault:
    """The secrets of one stack, as roles read them: `passwords` by name, `certificates` by host name or "site".

    `previous` and `next` hold values that count beside the current ones while, or after, a secret is replaced; `turns`
    says how often a secret was handed over from one account to another. `versions` are the names of all states that the
    store has been in, the present one last.
    """

    passwords: Mapping[str, Secret]
    certificates: Mapping[str, Certificate]
    authority: str
    previous: Mapping[str, Secret] = field(default_factory=dict)
    next: Mapping[str, Secret] = field(default_factory=dict)
    turns: Mapping[str, int] = field(default_factory=dict)
    versions: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The name of the store's present state; "" when no secret has been changed since it was made."""
        return self.versions[-1] if self.versions else ""

    def password(self, name: str) -> Secret:
        """A generated password that a role declared in `Role.passwords`."""
        return self.passwords[name]

    def also_accepted(self, name: str) -> tuple[Secret, ...]:
        """The values of a secret that count beside the current one: the one before it, the one that comes."""
        return tuple(values[name] for values in (self.previous, self.next) if name in values)

    def everything(self) -> Iterator[Secret]:
        """Every secret there is, to be able to mask it."""
        yield from (*self.passwords.values(), *self.previous.values(), *self.next.values())
        yield from (certificate.key for certificate in self.certificates.values())

    def certificate(self, name: str) -> Certificate:
        """The certificate of a host (server and client use), or of the site."""
        return self.certificates[name]


def scram_verifier(password: Secret) -> Secret:
    """What PostgreSQL stores for a password (RFC 5803, SCRAM-SHA-256, 4096 iterations).

    The salt is derived from the password, so that the same password always gives the same verifier and a probe can
    compare digests; the passwords are random, so nothing is lost by it.
    """
    value = password.reveal().encode()
    salt = hashlib.sha256(b"plainstack-scram-salt" + value).digest()[:16]
    salted = hashlib.pbkdf2_hmac("sha256", value, salt, 4096)
    stored = hashlib.sha256(hmac.new(salted, b"Client Key", "sha256").digest()).digest()
    server = hmac.new(salted, b"Server Key", "sha256").digest()
    text = ":".join(
        [f"SCRAM-SHA-256$4096:{_b64(salt)}${_b64(stored)}", _b64(server)],
    )
    return Secret(f"{password.name}.scram", text)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
