"""Names that an inventory cannot use because they already mean something on the hosts, with the reasons."""

from __future__ import annotations

# Names that certificates and /etc/hosts use for something else.
HOSTS = (
    "authority",
    "site",
    "localhost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-allnodes",
    "ip6-allrouters",
)

# Barman's configuration names its server after the stack.
STACKS = {
    "all": "to Barman it means every server",
    "barman": "it is the name of the global section of Barman's configuration",
}

# A service's unit is called plainstack-NAME, and these names belong to Plainstack's own units. The name of a guard's
# unit ends in the run's number.
OWN_UNITS = (
    "acme",
    "backup-full",
    "backup-incremental",
    "backup-metrics",
    "barman-cron",
    "barman-receive-wal",
    "cache-proxy",
    "files",
    "files-snapshot",
    "files-test",
    "firewall",
    "guard",
    "responses",
    "restore-test",
    "undo",
    "upstreams",
)
OWN_UNIT_FAMILIES = ("guard-", "watchdog-")

# The accounts of Debian's base-passwd, of systemd, and of the packages that roles install.
_ACCOUNTS = """
root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc nobody sshd messagebus systemd-
network systemd-timesync systemd-resolve adm tty disk sudo shadow staff users ssl-cert nginx angie postgres barman
prometheus keepalived haproxy valkey plainstack-cache plainstack-files
"""
SYSTEM_ACCOUNTS = frozenset(_ACCOUNTS.split())


def service(name: str) -> str:
    """Return why a service cannot have this name; empty if it can."""
    if name in OWN_UNITS or name.startswith(OWN_UNIT_FAMILIES):
        return f"plainstack-{name} is a unit of Plainstack's own"
    if name in SYSTEM_ACCOUNTS:
        return "it is the name of a system account"
    return ""
