"""Names that an inventory cannot give away, because they mean something else on the hosts, with the reason."""

from __future__ import annotations

# What certificates and /etc/hosts call other things.
HOSTS = (
    "authority",
    "site",
    "localhost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-allnodes",
    "ip6-allrouters",
)

# Barman's configuration calls its cluster as the stack is called.
STACKS = {
    "all": "Barman reads it as every cluster",
    "barman": "it is the name of the global section of Barman's configuration",
}

# A service's unit is plainstack-NAME, and so are these of Plainstack's own; the guard's have a run's number behind it.
OWN_UNITS = (
    "backup",
    "backup-metrics",
    "barman-cron",
    "barman-receive-wal",
    "firewall",
    "guard",
    "undo",
    "upstreams",
)
OWN_UNIT_FAMILIES = ("guard-",)

# Debian's base-passwd and systemd, and the accounts of the packages that roles install.
_ACCOUNTS = """
root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc nobody sshd messagebus systemd-
network systemd-timesync systemd-resolve adm tty disk sudo shadow staff users ssl-cert nginx angie postgres barman
prometheus keepalived haproxy
"""
SYSTEM_ACCOUNTS = frozenset(_ACCOUNTS.split())


def service(name: str) -> str:
    """Why a service cannot have this name; empty when it can."""
    if name in OWN_UNITS or name.startswith(OWN_UNIT_FAMILIES):
        return f"plainstack-{name} is a unit of Plainstack's own"
    if name in SYSTEM_ACCOUNTS:
        return "it is the name of a system account"
    return ""
