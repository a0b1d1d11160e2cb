"""What every host gets: names, time, SSH settings, security updates, a certificate, and the node exporter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from pydantic import Field

from plainstack.engine.network import Network
from plainstack.engine.observed import Observed
from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Command, Directory, File, Link, Listen, Package, Resource, Unit, Validation
from plainstack.engine.role import Finding, Leftover, Opening, Role
from plainstack.engine.watching import Job, Target, labels, on_port
from plainstack.inventory import port_numbers as ports
from plainstack.inventory.sections import Host, Model
from plainstack.inventory.stack import Stack
from plainstack.inventory.values import Url
from plainstack.paths import TLS
from plainstack.roles.shared.alerts import alerts
from plainstack.roles.shared.exporter import exporter
from plainstack.secrets.values import Vault
from plainstack.services import notifications, site, virtual
from plainstack.services.edge import Balancer

NODE_EXPORTER_PORT = ports.NODE_EXPORTER

_SSHD = "/etc/ssh/sshd_config.d/00-plainstack.conf"
_JOURNALD = "/etc/systemd/journald.conf.d/10-plainstack.conf"
_UPDATES = "/etc/apt/apt.conf.d/52plainstack-unattended-upgrades"
_SUDOERS = "/etc/sudoers.d/plainstack-operator"

# sudo removes SSH_CONNECTION from the environment; its parent processes still have it.
_OPERATOR = """\
from=${SSH_CONNECTION:-} pid=$PPID
while [ -z "$from" ] && [ "${pid:-1}" -gt 1 ]; do
    from=$(sed -zn 's/^SSH_CONNECTION=//p' "/proc/$pid/environ" 2>/dev/null | tr -d '\\0')
    pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status" 2>/dev/null || :)
done
echo "operator=${from%% *}\""""

_LEFT = tuple(
    Leftover(path, "written by Plainstack's programs", data=False)
    for path in ("/etc/plainstack", "/usr/local/lib/plainstack", "/var/lib/prometheus/node-exporter")
)

# Debian's other time daemons, as (package, unit). They conflict with systemd-timesyncd and each other; any one will do.
_CLOCKS = (("chrony", "chrony.service"), ("ntpsec", "ntpsec.service"), ("openntpd", "openntpd.service"))

# The supported Debian version, and the supported machine types of `uname -m` with their Debian names.
_DEBIAN = "13"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class Base(Model):
    """Settings of every host, whatever its roles."""

    apt_proxy: Url | None = Field(None, description="The HTTP proxy that apt fetches packages through.")


def desired(stack: Stack, host: Host, vault: Vault, network: Network) -> Iterator[Resource]:
    """Yield the resources of the role base."""
    yield from _names(stack, host)
    yield from _time()
    yield from _journal()
    yield from _certificate(host, vault)
    yield from _updates(stack)
    yield from _log_ins(stack, host)
    # for ip and ss, which are needed at the console of a host whose network fails
    yield Package(name="iproute2")
    arguments = verbatim("base", "/etc/default/prometheus-node-exporter")
    yield from exporter(network, host, "base", arguments, NODE_EXPORTER_PORT)


def opens(stack: Stack, _host: Host) -> Iterator[Opening]:
    """Open SSH to the operators, and the node exporter to the hosts that scrape it."""
    operators = tuple(str(network) for network in stack.ssh.allow_from)
    yield Opening("ssh", stack.ssh.port, "tcp", "ssh: operators", operators)
    yield Opening("metrics", NODE_EXPORTER_PORT, "tcp", "node exporter: {user}")


def scrapes(stack: Stack, _watcher: Host) -> Iterator[Job]:
    """Watch the node exporter of every host, its certificate, and whether the host answers pings."""
    hosts = list(stack.hosts.values())
    yield Job("node", on_port(hosts, NODE_EXPORTER_PORT), tls=True)
    yield Job("probe-ping", tuple(Target(str(host.address), labels(host)) for host in hosts), probe="ping")
    yield Job("probe-host", on_port(hosts, NODE_EXPORTER_PORT), probe="host_tls")


def rules(_stack: Stack, watcher: Host, interval: int) -> Iterator[File]:
    """Yield the alerts for hosts that are down, overloaded or out of space, and for failed units."""
    yield alerts("base", "host", watcher, interval=interval)


def facts(_stack: Stack, _host: Host) -> str:
    """Return the script that prints the host's system and the address that the operator connects from."""
    return (
        """\
. "${ROOT:-}/etc/os-release"
echo "os=$ID"
echo "os_version=${VERSION_ID:-$VERSION_CODENAME}"
echo "os_name=$PRETTY_NAME"
echo "machine=$(uname -m)"
[ ! -d /run/systemd/system ] || echo systemd=yes
"""
        + _OPERATOR
    )


def findings(stack: Stack, _host: Host, observed: Observed) -> Iterator[Finding]:
    """Report unsupported systems, and an `ssh.allow_from` that would lock the operator out."""
    seen = observed.facts
    if (seen.get("os"), seen.get("os_version")) != ("debian", _DEBIAN):
        yield Finding(
            f"runs {seen.get('os_name', 'an unknown system')}: Plainstack supports Debian {_DEBIAN} (trixie) and"
            " no other distribution or version. Install it, or remove the host from the inventory"
        )
    elif seen.get("systemd") != "yes":
        yield Finding("does not run systemd, which Plainstack needs. Install systemd-sysv and reboot")
    if (machine := seen.get("machine", "unknown")) not in _MACHINES:
        yield Finding(f"is a machine of type {machine}: Plainstack supports {' and '.join(_MACHINES.values())}")
    yield from _locked_out(stack, seen.get("operator", ""))


def _locked_out(stack: Stack, seen: str) -> Iterator[Finding]:
    """Report the address of the operator's connection if the firewall would block it."""
    try:
        address: IPv4Address | IPv6Address = ip_address(seen)
    except ValueError:
        return
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if not any(address in network for network in stack.ssh.allow_from):
        yield Finding(
            f"sees you at {address}, which ssh.allow_from leaves out, so the firewall would lock you out. Add {address}"
        )


def _names(stack: Stack, host: Host) -> Iterator[Resource]:
    names: list[str] = []
    if virtual.addresses(stack):
        # A server name may be a pattern such as *.example.com, which is not valid in /etc/hosts.
        names = [name for name in stack.settings(Balancer).server_names if re.fullmatch(r"[A-Za-z0-9.-]+", name)]
    yield File(path="/etc/hostname", content=f"{host.name}\n".encode(), vital=True)
    addresses = virtual.addresses(stack) if names else ()
    yield template("base", "/etc/hosts", vital=True, stack=stack, host=host, site_names=names, site_addresses=addresses)
    yield verbatim("base", "/etc/cloud/cloud.cfg.d/99-plainstack.cfg")
    yield Command(
        name="hostname",
        why="set the kernel's host name from /etc/hostname",
        run="hostname -F /etc/hostname",
        unless=f'read -r name </proc/sys/kernel/hostname; [ "$name" = {host.name} ]',
    )


def _time() -> Iterator[Resource]:
    yield Package(name="tzdata")
    yield Package(name="systemd-timesyncd", instead=tuple(name for name, _ in _CLOCKS))
    clocks = " ".join([*(unit for _, unit in _CLOCKS), "systemd-timesyncd.service"])
    yield Link(path="/etc/localtime", target="/usr/share/zoneinfo/Etc/UTC", vital=True)
    # Not a Unit: a container shares its machine's clock, and systemd does not start this service there.
    yield Command(
        name="time synchronisation",
        why="keep the clock synchronized",
        run=f"""\
            for unit in {clocks}; do
                ! systemctl cat "$unit" >/dev/null 2>&1 || exec systemctl enable --now "$unit"
            done
            echo 'no time service is installed' >&2
            exit 1""",
        unless=f"""\
            [ -e /run/systemd/container ] || {{
                systemctl is-active --quiet {clocks}
                systemctl is-enabled --quiet {clocks}
            }}""",
    )


def _journal() -> Iterator[Resource]:
    yield verbatim("base", _JOURNALD)
    yield Unit(name="systemd-journald.service", restart_on=(_JOURNALD,))


def _certificate(host: Host, vault: Vault) -> Iterator[Resource]:
    """Yield the host's certificate, which all its daemons share; members of the group ssl-cert can read the key."""
    certificate = vault.certificate(host.name)
    yield Package(name="ssl-cert")
    yield Directory(path="/etc/plainstack")
    yield Directory(path=TLS)
    yield File(path=f"{TLS}/ca.crt", content=vault.authority.encode())
    yield File(path=f"{TLS}/host.crt", content=certificate.chain.encode())
    yield template("base", f"{TLS}/host.key", mode=0o640, group="ssl-cert", host=host, certificate=certificate)


def _updates(stack: Stack) -> Iterator[Resource]:
    if stack.settings(Base).apt_proxy:
        yield template("base", "/etc/apt/apt.conf.d/10plainstack-proxy", early=True, stack=stack)
    yield Package(name="unattended-upgrades")
    yield verbatim("base", _UPDATES)
    yield Validation(name="apt-config", run="apt-config dump >/dev/null", reads=("/etc/apt/apt.conf.d/",))
    yield Unit(name="apt-daily.timer")
    yield Unit(name="apt-daily-upgrade.timer")


def _log_ins(stack: Stack, host: Host) -> Iterator[Resource]:
    yield Package(name="openssh-server")
    yield template("base", _SSHD, stack=stack, host=host)
    yield Validation(
        name="sshd",
        # sshd -T shows whether sshd_config includes sshd_config.d; without that, the file would have no effect.
        run="""\
            sshd -t
            sshd -T | grep -qx 'passwordauthentication no' || {
                echo 'sshd still lets passwords in: does sshd_config include sshd_config.d/*.conf?' >&2
                exit 1
            }""",
        reads=(_SSHD,),
    )
    yield Unit(name="ssh.service", reload_on=(_SSHD,), guarded=True, listens=(Listen(stack.ssh.port, adopted=True),))
    if stack.ssh.user != "root":
        yield Package(name="sudo")
        yield template("base", _SUDOERS, mode=0o440, stack=stack, host=host)
        yield Validation(name="visudo", run=f"visudo -cf {_SUDOERS}", reads=(_SUDOERS,))


def certificates(_stack: Stack, host: Host) -> Mapping[str, tuple[str, ...]]:
    """Return the host's certificate, which is issued for its name and addresses."""
    return {host.name: tuple(str(name) for name in (host.name, *host.addresses))}


ROLE = Role(
    name="base",
    certificates=certificates,
    settings=Base,
    # Every stack has this role, so that secrets that no host reads are declared once.
    secrets=notifications.declared,
    contradictions=notifications.contradictions,
    desired=desired,
    opens=opens,
    scrapes=scrapes,
    rules=rules,
    everywhere=True,
    provides=site.REFERENCES,
    facts=facts,
    findings=findings,
    leaves=lambda *_: _LEFT,
)
