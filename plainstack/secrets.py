"""Generated passwords and keys: made on first use, stored outside git, and never printable by accident."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets as random_source
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from plainstack.errors import Refused
from plainstack.stack import Stack

STORE = "secrets.yaml"


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
    """The secrets of one stack, as roles read them: `passwords` by name, `certificates` by host name or "site"."""

    passwords: Mapping[str, Secret]
    certificates: Mapping[str, Certificate]
    authority: str

    def password(self, name: str) -> Secret:
        """A generated password that a role declared in `Role.passwords`."""
        return self.passwords[name]

    def certificate(self, name: str) -> Certificate:
        """The certificate of a host (server and client use), or of the site."""
        return self.certificates[name]


def load(stack: Stack, names: Iterable[str], now: datetime) -> Vault:
    """The stack's secrets; what is missing is generated and what expires within 30 days is renewed, then saved.

    Raises Refused when the store is readable by others or damaged.
    """
    from plainstack import pki

    path = stack.state / STORE
    stored = _read(path)
    passwords: dict[str, str] = dict(stored.get("passwords", {}))
    for name in names:
        passwords.setdefault(name, random_source.token_urlsafe(24))
    keys = pki.ensure(stack, dict(stored.get("pki", {})), now)
    wanted = {"passwords": passwords, "pki": keys}
    if wanted != stored:
        _write(path, wanted)
    return Vault(
        passwords={name: Secret(name, value) for name, value in passwords.items()},
        certificates={
            name: Certificate(chain=pair["chain"], key=Secret(f"{name}.key", pair["key"]))
            for name, pair in keys.items()
            if name != pki.AUTHORITY
        },
        authority=keys[pki.AUTHORITY]["chain"],
    )


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


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            if mode & 0o077:
                raise Refused(f"{path}: mode {mode:04o} lets others read the secrets; run: chmod 600 {path}")
            data = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError):
        # The parser's own message would quote the damaged line, which may be a secret.
        raise Refused(f"{path}: is damaged (not YAML); bring it back from a backup") from None
    if not _is_store(data):
        raise Refused(f"{path}: is damaged (not a store of passwords and keys); bring it back from a backup")
    return dict(data)


def _is_store(data: Any) -> bool:
    def texts(pairs: Any) -> bool:
        return isinstance(pairs, dict) and all(isinstance(part, str) for pair in pairs.items() for part in pair)

    return (
        isinstance(data, dict)
        and texts(data.get("passwords"))
        and isinstance(data.get("pki"), dict)
        and all(texts(pair) and pair.keys() >= {"chain", "key", "names", "expires"} for pair in data["pki"].values())
    )


def _write(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    ignore = path.parent.parent / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    # mkstemp makes the file 0600; the rename makes the new content appear whole or not at all.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".secrets-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("# The secrets of this stack. Keep a copy in a safe place; never commit it.\n")
        yaml.safe_dump(data, file, default_flow_style=False)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).rename(path)
