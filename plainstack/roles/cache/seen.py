"""What a probe sees of the cache hosts, and their column in `inv status`."""

from __future__ import annotations

from plainstack.engine.role import Answers, Status
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles.cache.settings import CLI


def facts(_stack: Stack, _host: Host) -> str:
    """Return shell code that prints whether a cache host is the primary or a replica, and the state of replication."""
    fields = "role|connected_slaves|master_host|master_link_status"
    return (
        f"[ ! -x {CLI} ] || timeout 5 {CLI} info replication 2>/dev/null | tr -d '\\r'"
        f" | sed -nE 's/^({fields}):/cache.\\1=/p'"
    )


def status(stack: Stack, answers: Answers, _now: float) -> Status:
    """Return what each cache host is, and problems: hosts that are down or not connected, none or several primaries."""
    cells: dict[str, str] = {}
    problems: list[tuple[str, str]] = []
    primaries: list[str] = []
    for name, seen in answers.items():
        role = (seen or {}).get("cache.role", "")
        if seen is None:
            cells[name] = "unreachable"
        elif role == "master":
            primaries.append(name)
            count = int(seen.get("cache.connected_slaves", "0"))
            cells[name] = f"primary, {count} replica{'' if count == 1 else 's'}" if len(answers) > 1 else "up"
        elif role == "slave":
            cells[name] = f"replica of {seen.get('cache.master_host', '?')}"
            if seen.get("cache.master_link_status") != "up":
                cells[name] += ", not connected"
                problems.append((name, "this replica of the cache is not connected to its primary"))
        else:
            cells[name] = "down"
            problems.append((name, "Valkey does not answer"))
    everywhere = len(answers) == len(stack.with_role("cache")) and all(seen is not None for seen in answers.values())
    if everywhere and len(primaries) > 1:
        problems.append((primaries[0], f"the cache has {len(primaries)} primaries"))
    if everywhere and not primaries and "slave" in {seen.get("cache.role") for seen in answers.values() if seen}:
        problems.append((next(iter(answers)), "the cache has no primary"))
    return Status(cells, problems)
