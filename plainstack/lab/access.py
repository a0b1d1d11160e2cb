"""The operator's access: the key, the pinned host keys, and an ssh_config for plain ssh."""

from __future__ import annotations

from plainstack import state_folder
from plainstack.lab import disk
from plainstack.lab.model import Lab


def operator_key(lab: Lab) -> str:
    """Return the operator's public key; generate the key pair if it is missing."""
    private = lab.state / "id_ed25519"
    public = lab.state / "id_ed25519.pub"
    # Also for a folder that an older version made without a .gitignore.
    state_folder.make(lab.state)
    if not (private.exists() and public.exists()):
        private.unlink(missing_ok=True)
        public.unlink(missing_ok=True)
        disk.generate_key(private, f"operator of the lab {lab.name}")
    return public.read_text().strip()


def write(lab: Lab) -> None:
    """Write known_hosts and ssh_config, if they are missing or outdated."""
    disks = {host.address: disk.of(lab, host) for host in lab.hosts}
    keys = {address: place.host_key for address, place in disks.items() if place.exists}
    for name, text in (("known_hosts", known_hosts(keys)), ("ssh_config", ssh_config(lab))):
        path = lab.state / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def known_hosts(keys: dict[str, str]) -> str:
    """Return the text of known_hosts; `keys` maps each address to the line of its public key."""
    return "".join(f"{address} {' '.join(key.split()[:2])}\n" for address, key in keys.items())


def ssh_config(lab: Lab) -> str:
    """Return the text of ssh_config, in which ssh reaches every host by name through the lab's namespace."""
    state = lab.state.resolve()
    to = "TCP:%h" if lab.private.version == 4 else "TCP6:[%h]"
    hosts = "".join(f"Host {host.name}\n    HostName {host.address}\n" for host in lab.hosts)
    return f"""\
{hosts}Host *
    User {lab.user}
    IdentityFile "{state}/id_ed25519"
    IdentitiesOnly yes
    UserKnownHostsFile "{state}/known_hosts"
    GlobalKnownHostsFile none
    StrictHostKeyChecking yes
    # The default protects against future quantum computers, at four times the CPU time of a whole connection.
    KexAlgorithms curve25519-sha256
    ProxyCommand nsenter --net=/run/netns/{lab.namespace} socat - {to}:%p,nodelay
"""
