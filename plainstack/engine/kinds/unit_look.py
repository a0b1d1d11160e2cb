"""The part of the probe that reads units, with one systemctl call for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from plainstack.engine import listeners
from plainstack.engine.kinds.kind import Kind, Lines, Look
from plainstack.engine.observed import Observed, UnitState
from plainstack.errors import PlainstackError

_SCRIPT = r"""
set -- {names}
named {left}
units=$named
# How the last run of a timer ended is the state of what it starts.
named timer ''
for timer in $named; do units="$units $timer ${{timer%.timer}}.service"; done
for unit in $units; do
    case " $* " in *" $unit "*) ;; *) set -- "$@" "$unit" ;; esac
done
[ $# = 0 ] || {{
    for unit in "$@"; do echo "unit	$unit"; done
    {{ read -r up _ <"$root/proc/uptime"; }} 2>/dev/null && echo "uptime	$up"
    tagged show "$(systemctl show -p LoadState -p ActiveState -p SubState -p UnitFileState \
        -p ActiveEnterTimestampMonotonic -- "$@")"
}}
"""


_RUNNING = frozenset({"active", "reloading", "refreshing"})
"""The states of a unit that runs: a reload does not stop it, and is over before anything could be done about it."""


def _ask(kinds: Sequence[Kind[Any]], items: Sequence[Any]) -> str:
    names = " ".join(sorted({item.name for item in items}))
    left = " ".join(f"{kind.name} ''" for kind in kinds)
    return _SCRIPT.format(names=names, left=left)


def _read(seen: Observed, lines: Lines) -> Observed:
    names = lines.get("unit", ())
    shown: list[dict[str, str]] = []
    for line in lines.get("show", ()):
        key, _, value = line.partition("=")
        # systemd prints the same properties for every unit, so a repeated key begins the next unit.
        if not shown or key in shown[-1]:
            shown.append({})
        shown[-1][key] = value
    if len(shown) != len(names):
        raise PlainstackError(f"the probe's answer is cut short: systemd reported {len(shown)} of {len(names)} units")
    units, up_for = {}, {}
    uptime = float((*lines.get("uptime", ()), "0")[0])
    for name, show in sorted(zip(names, shown, strict=True), key=itemgetter(0)):
        active = show.get("ActiveState", "inactive")
        units[name] = UnitState(
            show.get("LoadState", "not-found"),
            "active" if active in _RUNNING else active,
            show.get("SubState", "dead"),
            show.get("UnitFileState", ""),
        )
        if units[name].active == "active" and uptime:
            entered = int(show.get("ActiveEnterTimestampMonotonic") or 0)
            up_for[name] = max(0.0, uptime - entered / 1e6)
    return replace(seen, units=units, up_for=up_for)


def _ask_ports(_kinds: Sequence[Kind[Any]], items: Sequence[Any]) -> str:
    return listeners.probe(listen for unit in items for listen in unit.listens)


def _read_ports(seen: Observed, lines: Lines) -> Observed:
    return replace(seen, listeners=tuple(listeners.parse(line.split("\t")) for line in lines.get("listen", ())))


UNITS = Look(("unit", "uptime", "show"), _ask, _read)
PORTS = Look(("listen",), _ask_ports, _read_ports)
