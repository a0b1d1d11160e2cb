"""Stop the running units of services on a host while the database is replaced, and start exactly these again."""

from __future__ import annotations

from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.postgresql.shell_paths import STATE
from plainstack.services import processes, running

# The units that a restore has stopped on a host. What an operator had stopped before is not among them.
HALTED = f"{STATE}/halted-by-restore"


def hosts(stack: Stack) -> list[str]:
    """Return the hosts that run processes of services."""
    found = {host.name for service in stack.services for host in running.hosts(stack, service)}
    return [name for name in stack.hosts if name in found]


def _units(stack: Stack, host: Host) -> list[str]:
    """Return the units that start work: watchdogs and timers before the processes that they would start again."""
    found: list[str] = []
    for service, started in processes.here(stack, host):
        timers = stack.services[service].timers.items()
        mine = [name for name, timer in timers if host in processes.timer_hosts(stack, service, timer)]
        found += [processes.unit(service, name).removesuffix(".service") + ".timer" for name in mine]
        found += running.watchdogs(stack, service, host)
        found += [unit for name, one in started.items() for unit in processes.units(service, name, one.count)]
    return found


def _commands(stack: Stack, host: Host) -> list[str]:
    """Return the units of the timers' commands, which may be running."""
    return [unit.replace(".timer", ".service") for unit in _units(stack, host) if unit.endswith(".timer")]


def facts(stack: Stack, host: Host) -> str:
    """Return shell code that prints how many of the units run, and whether a restore has stopped some."""
    units = " ".join([*_units(stack, host), *_commands(stack, host)])
    return f"""\
running=0
for unit in {units}; do
    case $(systemctl is-active "$unit") in active | activating | reloading) running=$((running + 1)) ;; esac
done
echo running=$running
[ ! -e {HALTED} ] || echo halted=yes
"""


def halt(stack: Stack, host: Host) -> str:
    """Return shell code that records which units run, and stops them."""
    units = " ".join(_units(stack, host))
    return f"""\
mkdir -p {STATE}
touch {HALTED}
for unit in {units}; do
    case $(systemctl is-active "$unit") in active | activating | reloading) echo "$unit" ;; esac
done | sort -u - {HALTED} >{HALTED}.new
mv {HALTED}.new {HALTED}
sync {HALTED}
systemctl stop {" ".join([units, *_commands(stack, host)])}
"""


RESUME = f"""\
[ -e {HALTED} ] || exit 0
units=$(cat {HALTED})
[ -z "$units" ] || systemctl start $units
rm {HALTED}
"""
"""Shell code that starts the units that a restore has stopped; they are recorded until all have been started."""
