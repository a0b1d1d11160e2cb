"""Find the units whose journals a person means by the name of a service, a role or a unit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field

from plainstack.dataclass import dataclass
from plainstack.deploy.journal import short
from plainstack.engine.paths import STATE
from plainstack.errors import Refused
from plainstack.wording import did_you_mean

_DECLARED = f"""\
cd "${{ROOT:-}}{STATE}/manifest" 2>/dev/null && for role in *; do
    [ -f "$role" ] && cut -f 1,2 "$role" | sed -n "s/^\\(unit\\|timer\\)\t/declared\t$role\t/p"
done
"""
_KNOWN = """\
systemctl list-units --all --plain --full --no-legend --no-pager | sed -n 's/^\\([^ ]*\\).*/known\t\\1/p'
systemctl list-unit-files --full --no-legend --no-pager | sed -n 's/^\\([^ ]*\\).*/known\t\\1/p'
"""


@dataclass(frozen=True)
class Units:
    """The units of a host: `declared` holds those that each role has deployed, `known` all that systemd knows."""

    declared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    known: frozenset[str] = frozenset()


def script(*, everything: bool) -> str:
    """Return a script that prints a host's declared units and, with `everything`, all units that systemd knows."""
    return _DECLARED + (_KNOWN if everything else "")


def parse(text: str) -> Units:
    """Parse the output of `script`."""
    declared: dict[str, list[str]] = {}
    known = set()
    for line in text.splitlines():
        kind, *words = line.split("\t")
        if kind == "declared" and len(words) == 2:
            declared.setdefault(words[0], []).append(words[1])
        elif kind == "known":
            known.update(words)
    return Units({role: tuple(units) for role, units in declared.items()}, frozenset(known))


def choose(
    names: Sequence[str],
    hosts: Mapping[str, Units],
    services: Mapping[str, Mapping[str, Sequence[str]]],
    roles: Iterable[str],
    by_default: Iterable[str],
) -> dict[str, tuple[str, ...]]:
    """Return the units that `names` refer to, by host; leave out hosts without such units.

    A name is that of a service, a role or a unit. The prefix `plainstack-`, the instance and the suffix of a unit's
    name may be left out. Without names, return the units of the roles in `by_default`. `services` holds the units of
    each service by host. Raises Refused for a name that is no service, no role and no unit of any host.
    """
    roles, by_default = list(roles), list(by_default)
    found: dict[str, list[str]] = {host: [] for host in hosts}
    meant = set()
    for host, units in hosts.items():
        for role in by_default if not names else ():
            found[host] += _journals(units.declared.get(role, ()))
        for name in names:
            here = [*services.get(name, {}).get(host, ()), *units.declared.get(name, ()), *_named(name, units)]
            found[host] += _journals(here)
            if here:
                meant.add(name)
    unknown = [name for name in names if name not in meant and name not in services and name not in roles]
    if unknown:
        raise Refused("\n".join(_unknown(name, hosts.values(), services, roles) for name in unknown))
    return {host: tuple(dict.fromkeys(units)) for host, units in found.items() if units}


def _journals(units: Iterable[str]) -> Iterator[str]:
    """Yield the units and, for each timer, the service of the same name."""
    for unit in units:
        yield unit
        if unit.endswith(".timer"):
            yield f"{unit.removesuffix('.timer')}.service"


def _named(name: str, units: Units) -> list[str]:
    ours = [unit for declared in units.declared.values() for unit in declared if name in _names_of(unit)]
    others = [unit for unit in (name, f"{name}.service") if unit in units.known]
    return ours or others


def _names_of(unit: str) -> set[str]:
    """Return the names that a person may use for a unit: with or without suffix, prefix and instance."""
    whole = (unit, unit.rpartition(".")[0])
    names = {*whole, *map(short, whole)}
    return names | {name.partition("@")[0] for name in names}


def _unknown(name: str, hosts: Iterable[Units], services: Iterable[str], roles: Sequence[str]) -> str:
    declared = {short(unit) for units in hosts for some in units.declared.values() for unit in some}
    services = list(services)
    suggestion = did_you_mean(name, [*services, *roles, *sorted(declared)])
    known = [("services", services), ("roles", roles), ("units", sorted(declared))]
    listed = "; ".join(f"{kind}: {', '.join(some)}" for kind, some in known if some)
    return f"no service, role or unit is called {name!r}{suggestion}; known are\n    " + listed.replace("; ", "\n    ")
