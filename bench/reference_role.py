"""The benchmarks' reference work as a role: 10 packages, 2 users, 3 directories, 40 templates, a sysctl, 6 units.

Templates 1-20 go to /etc/bench, 21-35 to /etc/bench/conf.d, 36-40 to /etc/bench/secret; owner, group and mode depend on
the number modulo 4. bench-svc1 restarts when one of the five files that use `tuning` changes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import only_role
from plainstack.engine.network import Network
from plainstack.engine.resources import Directory, File, Package, Resource, Sysctl, Unit, User
from plainstack.engine.role import Role
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault

HOME = Path(__file__).resolve().parent / "reference_work"
PACKAGES = ("curl", "jq", "rsync", "tmux", "less", "vim-tiny", "strace", "lsof", "htop", "tree")
USERS = ("bench-a", "bench-b")
DIRECTORIES = (
    ("/etc/bench", 0o755, "root", "root"),
    ("/etc/bench/conf.d", 0o750, "root", "bench-a"),
    ("/etc/bench/secret", 0o700, "bench-b", "bench-b"),
)
ACCESS = ((0o644, "root", "root"), (0o640, "root", "bench-a"), (0o600, "bench-b", "bench-b"), (0o444, "root", "root"))
SYSCTL = ("net.ipv4.tcp_keepalive_time", "600")
UNITS = tuple(f"bench-svc{number}.service" for number in range(1, 7))
VERBATIM = ("/etc/sysctl.d/60-bench.conf", *(f"/etc/systemd/system/{unit}" for unit in UNITS))
TUNING = "PLAINSTACK_BENCH_TUNING"


def address(number: int) -> str:
    """Return the address of the host with this number, counted from 1."""
    return f"192.168.64.{number + 10}"


def paths() -> dict[int, str]:
    """Return the path of every template on a host, by its number."""
    found = {}
    for number in range(1, 41):
        folder = "" if number <= 20 else "conf.d/" if number <= 35 else "secret/"
        found[number] = f"/etc/bench/{folder}f{number:02d}.conf"
    return found


CHANGING = tuple(paths()[number] for number in range(1, 6))


def variables(number: int, tuning: int) -> dict[str, Any]:
    """Return the variables for the templates of a host."""
    return {
        "b_host": f"h{number:02d}",
        "b_ip": address(number),
        "b_id": number,
        "b_port": 8000 + number,
        "b_workers": 2 + number % 3,
        "b_mem_mb": 256 * number,
        "b_peers": [f"h{peer:02d}:{address(peer)}" for peer in range(1, 9)],
        "b_tuning": tuning,
    }


def desired(_stack: Stack, host: Host, _vault: Vault, _network: Network) -> Iterator[Resource]:
    """Yield the resources of one host."""
    from plainstack.engine.render import template, verbatim

    values = variables(int(host.name[1:]), int(os.environ.get(TUNING, "10")))
    for package in PACKAGES:
        yield Package(name=package)
    for user in USERS:
        yield User(name=user)
    for path, mode, owner, group in DIRECTORIES:
        yield Directory(path=path, mode=mode, owner=owner, group=group)
    for number, path in paths().items():
        mode, owner, group = ACCESS[number % 4]
        made: File = template("reference", path, mode=mode, owner=owner, group=group, **values)
        yield made
    for path in VERBATIM:
        yield verbatim("reference", path)
    yield Sysctl(name=SYSCTL[0], value=SYSCTL[1])
    for unit in UNITS:
        yield Unit(name=unit, restart_on=CHANGING if unit == UNITS[0] else ())


def install() -> None:
    """Replace all roles and templates of the tool with those of the reference work, in this process."""
    from plainstack import shipped

    shipped.ROOT = HOME
    only_role.install(ROLE)


ROLE = Role(name="reference", desired=desired, everywhere=True)
