"""Faults: how a drill causes them, how it repairs what a host does not repair by itself, and what they may cost."""

from __future__ import annotations

import math
import shlex

from plainstack.dataclass import dataclass
from plainstack.drill import cached, sickness
from plainstack.drill.measures import Budgets
from plainstack.drill.sickness import Patient
from plainstack.errors import Refused
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.postgresql.layout import UNIT
from plainstack.services import site, virtual
from plainstack.services.edge import Balancer
from plainstack.services.processes import Served, served
from plainstack.services.stops import units_on

CACHE = "cache"
TARGETS = ("db", "app", "balancer", CACHE)
FAULTS = ("kill", "stop", "cut")
SICK = "sick"
# The faults that --fault=all means, and those that have to be named.
ALL = {"db": FAULTS, "app": (*FAULTS, SICK), "balancer": FAULTS, CACHE: FAULTS}
NAMED = {"db": ("switchover", "kill-behind"), "balancer": ("kill-keepalived",)}
# Seconds without writes after the primary of the cache is lost: docs/valkey.md.
CACHE_GAP = 12
KEEPALIVED = "keepalived.service"
_SELECTION = {
    "db": "the primary",
    "app": "the first app host",
    "balancer": "the holder of the virtual address",
    CACHE: "the primary of the cache",
}
BEHIND = 2.0
# Seconds of load before and after the time in which a watchdog has to act.
AROUND = 15.0


@dataclass(frozen=True)
class Fault:
    """A fault of one service: `units` are the units that are killed or stopped, `patient` is what becomes sick."""

    target: str
    name: str
    units: tuple[str, ...] = ()
    patient: Patient | None = None

    @property
    def reserved(self) -> float:
        """Seconds that the repair by the stack itself may take; 0 if it does not count."""
        return self.patient.budget if self.patient else 0

    @property
    def needs(self) -> int:
        """The shortest load that shows the fault's whole course, in seconds; 0 if any does."""
        return math.ceil(self.reserved + AROUND) if self.reserved else 0

    @property
    def selection(self) -> str:
        """How the victim is chosen among the hosts that the fault can hit."""
        return f"the first host of {self.patient.served.name}" if self.patient else _SELECTION[self.target]

    def hosts(self, stack: Stack) -> tuple[str, ...]:
        """Return the hosts that the fault can hit."""
        return self.patient.hosts if self.patient else tuple(host.name for host in stack.with_role(self.target))

    @property
    def cut(self) -> bool:
        """Whether the host loses its network."""
        return self.name == "cut"

    @property
    def behind(self) -> bool:
        """Whether the standbys lose their network first, so that the primary dies with writes that only it has."""
        return self.name == "kill-behind"

    @property
    def planned(self) -> bool:
        """Whether nothing breaks: the primary hands over as planned."""
        return self.name == "switchover"

    def says(self, victim: str) -> str:
        """Return what the fault does to the victim, in words."""
        what = ", ".join(name.removesuffix(".service") for name in self.units)
        if self.planned:
            return f"switch over from {victim}"
        if self.patient:
            unit = self.patient.unit.removesuffix(".service")
            return f"let {unit} on {victim} answer 500 to every request until it is restarted"
        if self.cut:
            return f"pull the network cables of {victim}"
        if self.behind:
            return f"cut the replicas off for {BEHIND:g} s, then kill -9 all of {what} on {victim}"
        return f"kill -9 all of {what} on {victim}" if self.name.startswith("kill") else f"stop {what} on {victim}"

    def script(self) -> str:
        """Return shell code that causes the fault on the host, by killing or stopping `units`."""
        units = shlex.join(self.units)
        if self.name == "stop":
            return f"systemctl stop {units}"
        return f"systemctl kill --kill-whom=all --signal=KILL {units}"

    def heal_script(self) -> str:
        """Return shell code that starts what the host did not restart by itself."""
        units = shlex.join(self.units)
        return f"systemctl reset-failed {units} 2>/dev/null; systemctl start {units}" if units else ":"

    def healthy_script(self, stack: Stack, host: Host) -> str:
        """Return shell code that succeeds if the host's service works."""
        if self.target == CACHE:
            return cached.HEALTHY
        if self.target == "balancer":
            return f"systemctl is-active {stack.settings(Balancer).engine}.service {KEEPALIVED}"
        return " && ".join(_answers(stack, host, one) for one in served(stack) if host in one.hosts)


def _answers(stack: Stack, host: Host, one: Served) -> str:
    known_as = site.health_host(stack, one.service, one.process)
    request = site.of_service(stack, host, one.port, one.health.path, known_as).curl()
    ask = shlex.join(["curl", "-sS", "--max-time", "3", "-o", "/dev/null", "-w", "%{http_code}", *request])
    return f"case $({ask}) in {' | '.join(one.health.statuses)}) ;; *) false ;; esac"


def find(stack: Stack, target: str, name: str) -> Fault:
    """Return a fault by name. Raises Refused if it is unknown or impossible with this stack."""
    if target not in TARGETS:
        raise Refused(f"unknown target {target!r}; known: {', '.join(TARGETS)}, all")
    known = (*ALL[target], *NAMED.get(target, ()))
    if name not in known:
        raise Refused(f"unknown fault {name!r} of target {target}; known: {', '.join(known)}, all")
    if not stack.with_role("balancer"):
        instead = ". To practise without a site: fab failover switchover" if len(stack.with_role("db")) > 1 else ""
        raise Refused(
            "no host has the role balancer. A drill measures what visitors of the site get, so there is nothing"
            f" to drill{instead}"
        )
    if not served(stack):
        raise Refused("no service serves the site, so there is nothing that a drill could measure")
    if name == SICK:
        return Fault(target, name, patient=sickness.patient(stack))
    hosts = stack.with_role(target)
    if len(hosts) < 2:
        if not hosts:
            raise Refused(f"no host has the role {target}, so there is nothing to drill")
        raise Refused(
            f"only {hosts[0].name} has the role {target}, so no other host could take over: there is nothing to drill"
        )
    if name in ("cut", "kill-behind") and not stack.in_lab:
        raise Refused(
            "cutting a host's network is only possible in the lab, because a real host could not be reconnected"
            " from here"
        )
    if target == "balancer" and not virtual.addresses(stack):
        raise Refused("the stack has no balancer.virtual_address that could move. Set it in the inventory first")
    if name in ("cut", "switchover"):
        return Fault(target, name)
    return Fault(target, name, _units(stack, target, name))


def writing_hosts(stack: Stack, fault: Fault, victim: str) -> list[str]:
    """Return the app hosts from which a drill's clients can write during the fault, the victim last."""
    names = [host.name for host in stack.with_role("app")]
    # If only a service dies, the host can still run the clients.
    return [*(name for name in names if name != victim), *(name for name in names if name == victim and not fault.cut)]


def refuse_where_clients_would_die(stack: Stack, fault: Fault, victim: str) -> None:
    """Raise Refused if the fault would cut off the only app host, where the drill's clients run."""
    if not writing_hosts(stack, fault, victim):
        raise Refused(
            f"{victim} is the only app host, so cutting it off would take the whole site down. Choose another"
            " fault (--fault=kill), or give another host the role app"
        )


def refuse_two_at_once(fault: Fault, victim: str, primary: str) -> None:
    """Raise Refused if cutting the victim off would also cut off the primary of the database."""
    if fault.cut and fault.target != "db" and victim == primary:
        raise Refused(
            f"{victim} is also the primary of the database, so cutting it off would break both. Choose another fault"
            " (--fault=kill), or first run fab failover switchover"
        )


def _units(stack: Stack, target: str, name: str) -> tuple[str, ...]:
    if target == "db":
        return (UNIT,)
    if target == CACHE:
        return (cached.UNIT,)
    if target == "app":
        return tuple(units_on(stack, stack.with_role("app")[0]))
    if name == "kill-keepalived":
        return (KEEPALIVED,)
    return (f"{stack.settings(Balancer).engine}.service",)


def budgets(fault: Fault, *, synchronous: bool) -> Budgets:
    """Return the default limits for what a fault may cost."""
    lost = 0 if synchronous or fault.target != "db" or fault.planned else None
    if fault.planned:
        return Budgets(lost=0, write_gap=2, read_gap=2, failed_gets=0)
    if fault.target == "db":
        gap = 10 if fault.cut else 5
        return Budgets(lost=lost, write_gap=gap, read_gap=gap)
    if fault.target == CACHE:
        return Budgets(write_gap=CACHE_GAP, read_gap=2, failed_gets=0)
    # Every second request may fail until the balancers stop using a sick process.
    if fault.patient:
        return Budgets(lost=lost, write_gap=5, read_gap=5, failed_gets=0)
    # A fault of a balancer loses the requests in flight. After a fault of an app host, the balancer retries them at
    # another one.
    return Budgets(lost=lost, write_gap=2, read_gap=2, failed_gets=0 if fault.target == "app" else None)
