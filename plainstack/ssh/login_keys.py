"""Logs in with keys in ssh's order: the agent's keys, then key files, and last the files that need a passphrase."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import paramiko
from paramiko.agent import AgentSSH

from plainstack.dataclass import dataclass
from plainstack.ssh.key_files import certified_key, load, public_blob
from plainstack.ssh.passphrase import ask

_AGENT_WITHIN = 5
_TRIES = 3


@dataclass(frozen=True)
class Identities:
    """The keys to offer to one machine: files, certificates for them, and the keys of the agent at the socket `agent`.

    With `only`, the agent's keys are offered only if `files` has their public or private half.
    """

    files: tuple[Path, ...] = ()
    certificates: tuple[Path, ...] = ()
    only: bool = False
    agent: str = ""

    def alone(self, key: Path) -> Identities:
        """Return a copy limited to this key."""
        return Identities((key,), self.certificates, only=True, agent=self.agent)


class LoginRefused(paramiko.AuthenticationException):
    """No key was accepted; the message says which were tried, and what would help."""


class Keyring:
    """The operator's keys, read once for all hosts; prompts for passphrases are abandoned once `ended` returns true."""

    def __init__(self, ended: Callable[[], bool]) -> None:
        self._ended = ended
        self._lock = threading.Lock()
        self._keys: dict[Path, paramiko.PKey | str] = {}

    def log_in(self, transport: paramiko.Transport, user: str, identities: Sequence[Identities]) -> None:
        """Try each key of each set in turn. Raises LoginRefused if the host accepts none."""
        tried: list[str] = []
        seen: set[tuple[bytes, bytes]] = set()
        remarks: list[str] = []
        with contextlib.ExitStack() as agents:
            for name, key in self._all(agents, identities, remarks):
                certificate = getattr(key.public_blob, "key_blob", b"")
                if (shown := (key.asbytes(), certificate)) in seen:
                    continue
                seen.add(shown)
                try:
                    further = transport.auth_publickey(user, key)
                except paramiko.BadAuthenticationType as error:
                    ways = ", ".join(error.allowed_types)
                    raise LoginRefused(f"the host does not accept keys for {user}, only: {ways}") from None
                except paramiko.AuthenticationException:
                    tried.append(name)
                    if not transport.is_active():
                        few = "set ssh.key in the inventory to the right one"
                        raise LoginRefused(
                            f"the host closed the connection after {len(tried)} keys for {user}; {few}"
                        ) from None
                    continue
                if further:
                    raise LoginRefused(f"the host asks {user} for more than a key: {', '.join(further)}")
                return
        if tried:
            remarks.insert(0, f"login as {user} was refused with {_listed(tried)}")
        raise LoginRefused(
            "; ".join(remarks)
            or f"there is no key to log in with as {user}. Add one to the agent (ssh-add), or set ssh.key"
        )

    def _all(
        self, agents: contextlib.ExitStack, identities: Sequence[Identities], remarks: list[str]
    ) -> Iterator[tuple[str, paramiko.PKey]]:
        for one in identities:
            yield from self._candidates(agents.enter_context(contextlib.closing(_Agent(one.agent))), one, remarks)

    def _candidates(
        self, agent: _Agent, identities: Identities, remarks: list[str]
    ) -> Iterator[tuple[str, paramiko.PKey]]:
        files = [path for path in dict.fromkeys(identities.files) if path.is_file()]
        wanted = {blob: path for path in reversed(files) if (blob := public_blob(path))}
        held = {key.asbytes(): key for key in agent.keys}
        for blob, path in reversed(wanted.items()):
            if blob in held:
                yield from self._certified(str(path), held[blob], identities)
        if not identities.only:
            for blob, key in held.items():
                if blob not in wanted:
                    yield f"{key.comment or key.get_name()} from the agent", key
        locked: list[Path] = []
        for path in (path for path in files if public_blob(path) not in held):
            read = self._read(path)
            if read is None:
                locked.append(path)
            elif isinstance(read, str):
                remarks.append(read)
            else:
                yield from self._certified(str(path), read, identities)
        for path in locked:
            unlocked = self._unlock(path)
            if isinstance(unlocked, str):
                remarks.append(unlocked)
            else:
                yield from self._certified(str(path), unlocked, identities)

    def _certified(self, name: str, key: paramiko.PKey, identities: Identities) -> Iterator[tuple[str, paramiko.PKey]]:
        """Yield a key with each of its certificates, and then the key alone."""
        for path in (Path(f"{name}-cert.pub"), *identities.certificates):
            with contextlib.suppress(OSError, ValueError, IndexError, paramiko.SSHException):
                certificate = paramiko.pkey.PublicBlob.from_file(str(path))
                if certified_key(certificate) == key.asbytes():
                    yield f"{name} with {path.name}", _WithCertificate(key, certificate)
        yield name, key

    def _read(self, path: Path) -> paramiko.PKey | str | None:
        """Return the key in a file, or a message why it is unusable; None if its passphrase is not known yet."""
        with self._lock:
            if path not in self._keys:
                key = load(path, None)
                if key is None:
                    return None
                self._keys[path] = key
            return self._keys[path]

    def _unlock(self, path: Path) -> paramiko.PKey | str:
        """Return the key in a file, like `_read`, but ask for its passphrase, once for all hosts."""
        with self._lock:
            if path not in self._keys:
                self._keys[path] = self._asked(path)
            return self._keys[path]

    def _asked(self, path: Path) -> paramiko.PKey | str:
        for _ in range(_TRIES):
            answer = ask(f"Passphrase of {path}: ", self._ended)
            if answer is None:
                return (
                    f"{path} has a passphrase, but there is no terminal to ask for it. Add the key to the agent:"
                    f" ssh-add {path}"
                )
            key = load(path, answer)
            if isinstance(key, paramiko.PKey):
                return key
        return f"wrong passphrase for {path}"


class _WithCertificate(paramiko.PKey):
    """A key that is offered with a certificate; the key itself signs."""

    def __init__(self, key: paramiko.PKey, certificate: paramiko.pkey.PublicBlob) -> None:
        self._key = key
        self.public_blob = certificate

    def asbytes(self) -> bytes:
        return bytes(self._key.asbytes())

    def get_name(self) -> str:
        return str(self._key.get_name())

    def sign_ssh_data(self, data: bytes, algorithm: str | None = None) -> paramiko.Message:
        return self._key.sign_ssh_data(data, algorithm)


class _Agent(AgentSSH):
    """The agent at a socket. Like ssh, it treats an agent that does not answer as one without keys."""

    def __init__(self, path: str) -> None:
        super().__init__()
        if not path:
            return
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_AGENT_WITHIN)
        try:
            connection.connect(path)
            self._connect(connection)  # type: ignore[attr-defined]  # missing from the stubs
            # The agent may ask a person before it signs.
            connection.settimeout(None)
        except (OSError, paramiko.SSHException):
            connection.close()

    @property
    def keys(self) -> tuple[paramiko.AgentKey, ...]:
        return tuple(self.get_keys())

    def close(self) -> None:
        self._close()  # type: ignore[attr-defined]  # missing from the stubs


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
