"""The way to every host: which jump hosts it passes and which keys are offered, decided before anything is sent.

The inventory decides a host's address, user and port, and the gateway if it names one. The operator's SSH configuration
(~/.ssh/config) adds what the inventory leaves open: identity files and agent, jump hosts, a proxy command and the local
address. Every machine on a way is checked against the stack's own pins; the known_hosts files and the
StrictHostKeyChecking of the SSH configuration are not used. So:

- ProxyJump is honored, and `inv trust` pins each jump host like a host.
- ProxyCommand is honored if it only carries bytes (nc, a cloud's tunnel): the host behind it is checked against its
  pin, end to end. A command that runs ssh, directly or in a script, is refused: it would log in to a machine that this
  stack has not pinned.
- The agent is never forwarded.
- A setting that would change the connection but is not supported is refused with its line; one that merely has no
  effect is reported.

For lab hosts, the configuration is not read at all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from plainstack.dataclass import dataclass
from plainstack.errors import InventoryError, Refused
from plainstack.inventory.destination import Destination
from plainstack.ssh.config import Resolved, resolve
from plainstack.ssh.login_keys import Identities
from plainstack.ssh.proxy_command import runs_ssh
from plainstack.ssh.reach import Machine, Reach

GATEWAY = "ssh.gateway"
_MOST_JUMPS = 8


@dataclass(frozen=True)
class Way:
    """How to reach one machine and log in to it: `name` is the host's name, or the jump host as the operator wrote it.

    `source` is the place that names the jump host. `command` is a proxy command, ready for a shell.
    """

    name: str
    address: str
    port: int
    user: str
    identities: tuple[Identities, ...]
    jump: Way | None = None
    command: str = ""
    bind: str = ""
    source: str = ""

    @property
    def called(self) -> str:
        """The jump host's name in messages."""
        return f"gateway {self.name}" if self.source == GATEWAY else f"jump host {self.name} of {self.source}"

    @property
    def jumps(self) -> tuple[Way, ...]:
        """The jump hosts, in the order in which they are passed."""
        return () if self.jump is None else (*self.jump.jumps, self.jump)


def operator_key(stack: Reach) -> Path | None:
    """Return the private key to log in with; None means the agent and ~/.ssh.

    Raises InventoryError if the file is missing.
    """
    if stack.ssh.key is not None:
        path = stack.folder / stack.ssh.key.expanduser()
        if not path.is_file():
            raise InventoryError([f"ssh.key: there is no key at {path}. Make one: ssh-keygen -t ed25519 -f {path}"])
        return path
    return stack.state / "lab" / "id_ed25519" if stack.in_lab else None


class Ways:
    """The ways to the hosts of a stack; `note` is called once for each setting that has no effect."""

    def __init__(self, stack: Reach, note: Callable[[str], None] = lambda _: None) -> None:
        self._stack = stack
        self._note = note
        self._noted: set[str] = set()
        self._lock = threading.RLock()
        self._known: dict[str, Way] = {}
        self._chains: dict[str, Way | Refused] = {}

    def to(self, host: Machine) -> Way:
        """Return the way to a host. Raises Refused if the configuration cannot be followed."""
        if host.name not in self._known:
            self._known[host.name] = self._decide(host)
        return self._known[host.name]

    def _decide(self, host: Machine) -> Way:
        ssh, address = self._stack.ssh, str(host.address)
        key = operator_key(self._stack)
        if self._stack.in_lab:
            return Way(host.name, address, ssh.port, ssh.user, (Identities((key,) if key else (), only=True),))
        config = resolve(address, ssh.user, ssh.port)
        own = _identities(config)
        identities = (own.alone(key),) if key else (own,)
        if config.get("hostname") not in ("", address):
            self._once(f"{config.where('hostname')}: HostName has no effect: the inventory sets the host's address")
        self._remark(config)
        if ssh.gateway == "none":
            return Way(host.name, address, ssh.port, ssh.user, identities, bind=config.get("bindaddress"))
        if ssh.gateway:
            return Way(host.name, address, ssh.port, ssh.user, identities, self._chain(ssh.gateway, GATEWAY))
        jump, command = self._before(config)
        return Way(host.name, address, ssh.port, ssh.user, identities, jump, command, config.get("bindaddress"))

    def _chain(self, text: str, source: str, depth: int = 0) -> Way:
        """Return the last jump host of a comma-separated list, reached through the ones before it. Raises Refused."""
        with self._lock:
            if text not in self._chains:
                try:
                    self._chains[text] = self._jump(text, source, depth)
                except Refused as error:
                    self._chains[text] = error
            known = self._chains[text]
        if isinstance(known, Refused):
            raise Refused(str(known))
        return known

    def _jump(self, text: str, source: str, depth: int) -> Way:
        if depth >= _MOST_JUMPS:
            raise Refused(f"{source}: more than {_MOST_JUMPS} jump hosts in a chain; is it a loop?")
        before, _, last = text.rpartition(",")
        try:
            there = Destination.parse(last)
            config = resolve(there.host, there.user, there.port)
        except Refused as error:
            raise Refused(f"{source}: {error}") from None
        self._remark(config)
        address = config.get("hostname") or there.host
        port = int(config.get("port") or 22)
        own, key = _identities(config), operator_key(self._stack)
        identities = (own.alone(key), own) if key else (own,)
        nearer = (self._chain(before, source, depth + 1), "") if before else self._before(config, depth + 1)
        name = str(there) if there.host == address else f"{there} ({address}:{port})"
        return Way(name, address, port, config.get("user"), identities, *nearer, config.get("bindaddress"), source)

    def _before(self, config: Resolved, depth: int = 0) -> tuple[Way | None, str]:
        """Return the jump host or the proxy command that the configuration sets for a machine. Raises Refused."""
        if jumps := config.get("proxyjump"):
            return self._chain(jumps, config.where("proxyjump"), depth), ""
        for keyword in ("proxyusefdpass", "bindinterface"):
            if config.yes(keyword):
                raise Refused(
                    f"{config.where(keyword)}: {keyword} is not supported here. Name a jump host in ssh.gateway"
                )
        command = config.expanded(config.get("proxycommand"), "proxycommand")
        if place := runs_ssh(command):
            inside = "" if place == "here" else f" (at {place})"
            raise Refused(
                f"{config.where('proxycommand')}: ProxyCommand runs ssh{inside}, which would log in to a jump"
                " host whose key is not pinned. Write it as ProxyJump, or name the jump host in ssh.gateway"
            )
        return None, command

    def _remark(self, config: Resolved) -> None:
        if config.yes("forwardagent"):
            self._once(f"{config.where('forwardagent')}: ForwardAgent has no effect: the agent is never forwarded")
        if provider := config.get("pkcs11provider"):
            self._once(
                f"{config.where('pkcs11provider')}: PKCS11Provider has no effect. Add its keys to the agent:"
                f" ssh-add -s {provider}"
            )

    def _once(self, text: str) -> None:
        with self._lock:
            if text in self._noted:
                return
            self._noted.add(text)
        self._note(text)


def _identities(config: Resolved) -> Identities:
    if not config.yes("pubkeyauthentication") and config.get("pubkeyauthentication"):
        where = config.where("pubkeyauthentication")
        raise Refused(
            f"{where}: PubkeyAuthentication is off for {config.get('host')}, but Plainstack logs in only with keys"
        )
    agent = config.get("identityagent") if "identityagent" in config.values else "SSH_AUTH_SOCK"
    if agent == "SSH_AUTH_SOCK":
        agent = os.environ.get("SSH_AUTH_SOCK", "")
    elif agent.startswith("$"):
        agent = os.environ.get(agent[1:].strip("{}"), "")
    elif agent:
        agent = str(Path(config.expanded(agent, "identityagent")).expanduser())
    files, certificates = config.paths("identityfile"), config.paths("certificatefile")
    return Identities(files, certificates, config.yes("identitiesonly"), agent)
