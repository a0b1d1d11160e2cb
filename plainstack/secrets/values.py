"""Secret values that cannot be printed by accident, and the vault that roles read them from."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field, replace

from plainstack.dataclass import dataclass


class Secret:
    """A string that prints only its name; `reveal()` is the only way to its value."""

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value

    def reveal(self) -> str:
        """Return the value, for a file on a host or the input of a program; never put it into a message."""
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
        raise TypeError("a secret cannot be pickled")


@dataclass(frozen=True)
class Certificate:
    """A certificate chain (PEM, leaf first) and its private key."""

    chain: str
    key: Secret


class UndeclaredSecret(LookupError):
    """A role read a secret or a certificate that it does not declare."""


@dataclass(frozen=True)
class Vault:
    """The secrets of one stack, as roles read them: `passwords` by name, `certificates` by host name or "site".

    `previous` and `next` hold values that are valid in addition to the current ones, during or after a rotation.
    `handovers` counts how often a secret has gone from one account to the other. `versions` name all states that the
    store has had, the current one last.
    """

    passwords: Mapping[str, Secret]
    certificates: Mapping[str, Certificate]
    authority: str
    previous: Mapping[str, Secret] = field(default_factory=dict)
    next: Mapping[str, Secret] = field(default_factory=dict)
    handovers: Mapping[str, int] = field(default_factory=dict)
    versions: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The name of the store's current version; "" if no secret has been changed since the store was created."""
        return self.versions[-1] if self.versions else ""

    def password(self, name: str) -> Secret:
        """Return a password that the role declares in `secrets` or `reads`. Raises UndeclaredSecret for any other."""
        if name not in self.passwords:
            raise UndeclaredSecret(f"the secret {name} is not declared. Name it in the role's `secrets` or `reads`")
        return self.passwords[name]

    def also_accepted(self, name: str) -> tuple[Secret, ...]:
        """Return the values of a secret that are valid in addition to the current one: the previous and the next."""
        return tuple(values[name] for values in (self.previous, self.next) if name in values)

    def everything(self) -> Iterator[Secret]:
        """Yield every secret value, for masking."""
        yield from (*self.passwords.values(), *self.previous.values(), *self.next.values())
        yield from (certificate.key for certificate in self.certificates.values())

    def certificate(self, name: str) -> Certificate:
        """Return a certificate that the role declares, with its key. Raises UndeclaredSecret for any other."""
        if name not in self.certificates:
            raise UndeclaredSecret(f"the certificate {name} is not declared. Name it in the role's `certificates`")
        return self.certificates[name]

    def limited(self, passwords: Collection[str], certificates: Collection[str]) -> Vault:
        """Return a copy with only these passwords and certificates; the previous and next values stay."""
        return replace(
            self,
            passwords={name: value for name, value in self.passwords.items() if name in passwords},
            certificates={name: value for name, value in self.certificates.items() if name in certificates},
        )


def scram_verifier(password: Secret) -> Secret:
    """Return the verifier that PostgreSQL stores for a password (RFC 5803, SCRAM-SHA-256, 4096 iterations).

    The salt is derived from the password, so that the same password always gives the same verifier and a probe can
    compare digests. That is safe because the passwords are random.
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
