"""The part of the probe that reads units, with one systemctl call for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from plainstack.engine import listeners
from plainstack.engine.kinds.kind import Kind, Lines, Look
from plainstack.engine.observed import Observed, UnitState
from plainstack.errors import PlainstackError


def _ask(kinds: Sequence[Kind[Any]], items: Sequence[Any]) -> str:
    names = " ".join(item.name for item in items)
    left = " ".join(f"{kind.name} ''" for kind in kinds)
    return (
        f"set -- $({{ printf '%s\\n' {names}; known {left}; }} | grep . | sort -u)\n"
        '[ $# = 0 ] || { for u in "$@"; do echo "unit\t$u"; done; '
        '{ read -r up _ <"${ROOT:-}/proc/uptime"; } 2>/dev/null && echo "uptime\t$up"; '
        "systemctl show -p LoadState -p ActiveState -p SubState -p UnitFileState -p ActiveEnterTimestampMonotonic -- "
        "\"$@\" | sed 's/^/show\t/'; }\n"
    )


def _read(seen: Observed, lines: Lines) -> Observed:
    names = lines.get("unit", ())
    blocks: list[dict[str, str]] = [{}]
    for line in lines.get("show", ()):
        key, _, value = line.partition("=")
        if key:
            blocks[-1][key] = value
        else:
            blocks.append({})
    shown = [block for block in blocks if block]
    if len(shown) != len(names):
        raise PlainstackError(f"the probe's answer is cut short: systemd told of {len(shown)} of {len(names)} units")
    units, up_for = {}, {}
    uptime = float((*lines.get("uptime", ()), "0")[0])
    for name, show in zip(names, shown, strict=True):
        units[name] = UnitState(
            show.get("LoadState", "not-found"),
            show.get("ActiveState", "inactive"),
            show.get("SubState", "dead"),
            show.get("UnitFileState", ""),
        )
        if units[name].active == "active" and uptime:
            entered = int(show.get("ActiveEnterTimestampMonotonic") or 0)
            up_for[name] = max(0.0, uptime - entered / 1e6)
    return replace(seen, units=units, up_for=up_for)


def _ask_ports(kinds: Sequence[Kind[Any]], items: Sequence[Any]) -> str:  # noqa: ARG001
    return listeners.probe(listen for unit in items for listen in unit.listens)


def _read_ports(seen: Observed, lines: Lines) -> Observed:
    return replace(seen, listeners=tuple(listeners.parse(line.split("\t")) for line in lines.get("listen", ())))


UNITS = Look(("unit", "uptime", "show"), _ask, _read)
PORTS = Look(("listen",), _ask_ports, _read_ports)
