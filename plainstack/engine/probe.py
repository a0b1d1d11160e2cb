"""Resources -> one POSIX sh script that reads all their state; its output -> Observed.

The script writes nothing but apt's own cache, starts no Python, and asks each tool once for everything: processes are
what it costs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from plainstack.engine import ports, probe_packages
from plainstack.engine.observed import Entry, Listener, Observed, PathState, UnitState, UserState
from plainstack.engine.paths import APPLY_LOCK, GUARD_UNIT, LOCK, STATE
from plainstack.engine.resources import Absent, Command, Directory, File, Link, Package, Resource, Sysctl, Unit, User
from plainstack.errors import PlainstackError

_SAFE_PATH = re.compile(r"/[A-Za-z0-9@%+=:,./_ -]*")

_PREAMBLE = f"""\
# ROOT is for tests: another tree, that may bring stand-ins for programs in its bin.
export LC_ALL=C PATH=${{ROOT:+$ROOT/bin:}}/usr/sbin:/usr/bin:/sbin:/bin
state=${{ROOT:-}}{STATE} lock=${{ROOT:-}}{LOCK} applying=${{ROOT:-}}{APPLY_LOCK}
echo 'probe 2'
# In this order: whether something goes on, what it has come to by now, and then the rest. What changes later makes
# another generation.
if [ -f "$lock" ] && ! flock -n -s "$lock" true; then
    sed 's/^/lock	/' "$lock"
elif [ -f "$applying" ] && ! flock -n -s "$applying" true; then
    echo ending
fi
case $(systemctl list-units --plain --no-legend --state=active,activating '{GUARD_UNIT}-*' 2>/dev/null) in
?*)
    until=$(cat "$state"/runs/*/until 2>/dev/null | tail -n 1)
    echo "guard-pending${{until:+	$((until - $(date +%s)))}}"
    ;;
esac
[ -f "$state/generation" ] && sed 's/^/generation	/' "$state/generation"
cd "$state/manifest" 2>/dev/null && for f in *; do [ -f "$f" ] && sed "s/^/manifest	$f	/" "$f"; done
cd "$state/units" 2>/dev/null && for f in *; do [ -f "$f" ] && sed "s/^/stamp	$f	/" "$f"; done
cd "$state/runs" 2>/dev/null && for f in *; do [ -d "$f" ] && echo "leftover	$f"; done
cd /
known=$(cat "$state/manifest"/* 2>/dev/null | cut -f 1,2)
known() {{ printf '%s\n' "$known" | sed -n "s/^$1	//p"; }}
"""

_PATHS = """\
paths=$(
{ cat <<'PATHS'
%s
PATHS
known '\\(file\\|directory\\|link\\)'
} | sort -u)
stats=$(printf '%%s\\n' "$paths" | sed "/./!d; s|^|${ROOT:-}|" | \\
    xargs -r -d '\\n' stat -c 'path	%%n	%%F	%%a	%%U	%%G	%%N' 2>/dev/null)
printf '%%s\\n' "$stats"
printf '%%s\\n' "$stats" | grep -E '	regular( empty)? file	' | cut -f2 | \\
    xargs -r -d '\\n' sha256sum 2>/dev/null | sed 's/^/hash	/'
"""


def script(resources: Iterable[Resource], facts: Sequence[str] = ()) -> str:
    """The probe of a host; `facts` are shell snippets that print key=value lines.

    What is no longer declared is read too, by the names in the host's manifest, so that it can be removed.
    Raises PlainstackError for a path or name that could not be quoted safely.
    """
    known = list(resources)
    parts = [_PREAMBLE]
    paths = sorted({item.path for item in known if isinstance(item, File | Directory | Link | Absent)})
    for path in paths:
        if not _SAFE_PATH.fullmatch(path):
            raise PlainstackError(f"{path}: a managed path may hold only letters, digits, spaces and @%+=:,._-/")
    parts.append(_PATHS % "\n".join(paths))
    parts.append(probe_packages.script([item for item in known if isinstance(item, Package)]))
    users = [item for item in known if isinstance(item, User)]
    parts.append(f"set -- {' '.join(user.name for user in users)} $(known user)\n")
    parts.append("[ $# = 0 ] || getent passwd \"$@\" | sed 's/^/user\t/'\n")
    if users:
        grouped = " ".join(user.name for user in users if user.groups)
        if grouped:
            parts.append(f'for u in {grouped}; do echo "groups\t$u\t$(id -nG "$u" 2>/dev/null)"; done\n')
    parts.append(_sysctls([item.name for item in known if isinstance(item, Sysctl)]))
    units = [item for item in known if isinstance(item, Unit)]
    parts.append(_units(units))
    parts.append(ports.probe(units))
    for item in known:
        if isinstance(item, Command):
            parts.append(_guard(item.name, item.unless))
        elif isinstance(item, Unit) and item.intact:
            parts.append(_guard(item.name, item.intact))
        elif isinstance(item, Directory) and item.layout:
            parts.append(_guard(item.key, _holds_only(item)))
    if facts:
        told = "\n".join(snippet.rstrip() for snippet in facts)
        parts.append(f"{{\n{told}\n}} </dev/null 2>/dev/null | sed 's/^/fact\t/'\n")
    parts.append("echo end\n")
    return "".join(parts)


def _sysctls(names: Sequence[str]) -> str:
    return (
        f"for key in {' '.join(names)} $(known sysctl); do\n"
        # cat: the shell's own read takes a byte at a time, and a numeric parameter gives its first byte only.
        'value=$(cat "${ROOT:-}/proc/sys/$(echo "$key" | tr . /)") && echo "sysctl\t$key\t$value"\ndone 2>/dev/null\n'
    )


def _units(units: Sequence[Unit]) -> str:
    return (
        f"set -- $({{ printf '%s\\n' {' '.join(unit.name for unit in units)}; known unit; }} | grep . | sort -u)\n"
        '[ $# = 0 ] || { for u in "$@"; do echo "unit\t$u"; done; '
        '{ read -r up _ <"${ROOT:-}/proc/uptime"; } 2>/dev/null && echo "uptime\t$up"; '
        "systemctl show -p LoadState -p ActiveState -p SubState -p UnitFileState -p ActiveEnterTimestampMonotonic -- "
        "\"$@\" | sed 's/^/show\t/'; }\n"
    )


def _holds_only(item: Directory) -> str:
    names = " ".join(f"! -name {name}" for name in item.layout)
    return f'[ -z "$(find "${{ROOT:-}}{item.path}" -mindepth 1 -maxdepth 1 {names} -print -quit)" ]'


def _guard(name: str, test: str) -> str:
    # Not `( ... ) && echo`: in that position the shell ignores set -e within.
    return f'( set -eu\n{test}\n) </dev/null >/dev/null 2>&1\necho "test\t$?\t{name}"\n'


def parse(text: str, root: str = "") -> Observed:
    """The Observed of a probe's output; raises PlainstackError when it is cut short or not a probe's."""
    lines = text.splitlines()
    if lines[:1] != ["probe 2"] or lines[-1] != "end":
        raise PlainstackError("the probe's answer is cut short: " + " / ".join(lines[-3:]))
    paths: dict[str, PathState] = {}
    hashes: dict[str, str] = {}
    packages: dict[str, str] = {}
    users: dict[str, UserState] = {}
    groups: dict[str, tuple[str, ...]] = {}
    names: list[str] = []
    shown: list[dict[str, str]] = [{}]
    stamps: dict[str, str] = {}
    sysctls: dict[str, str] = {}
    guards: dict[str, bool] = {}
    manifest: dict[str, list[Entry]] = {}
    facts: dict[str, str] = {}
    listeners: list[Listener] = []
    removes: list[str] = []
    leftovers: list[str] = []
    generation = lock = ""
    uptime = 0.0
    pending = ending = False
    left: int | None = None
    for line in lines:
        tag, _, rest = line.partition("\t")
        words = rest.split("\t")
        if tag == "path" and len(words) == 6:
            path, kind, mode, owner, group, quoted = words
            target = quoted.rpartition("' -> '")[2].rstrip("'") if kind == "symbolic link" else ""
            paths[path.removeprefix(root)] = PathState(_kind(kind), int(mode, 8), owner, group, "", target)
        elif tag == "hash":
            digest, _, path = rest.partition("  ")
            hashes[path.removeprefix(root)] = digest
        elif tag == "package" and words[1] == "installed":
            packages[words[0]] = words[2]
        elif tag == "removes":
            removes.append(rest)
        elif tag == "listen":
            listeners.append(ports.parse(words))
        elif tag == "user":
            fields = rest.split(":")
            users[fields[0]] = UserState(home=fields[5], shell=fields[6])
        elif tag == "groups":
            groups[words[0]] = tuple(words[1].split())
        elif tag == "unit":
            names.append(rest)
        elif tag == "show":
            if not rest:
                shown.append({})
            else:
                key, _, value = rest.partition("=")
                shown[-1][key] = value
        elif tag == "sysctl":
            sysctls[words[0]] = words[1]
        elif tag == "stamp":
            stamps[words[0]] = words[1]
        elif tag == "test":
            guards[words[1]] = words[0] == "0"
        elif tag == "manifest" and len(words) >= 4:
            manifest.setdefault(words[0], []).append(Entry(*words[1:8]))
        elif tag == "fact":
            key, _, value = rest.partition("=")
            facts[key] = value
        elif tag == "leftover":
            leftovers.append(rest)
        elif tag == "uptime":
            uptime = float(rest)
        elif tag == "generation":
            generation = rest
        elif tag == "lock":
            lock = rest
        elif tag == "guard-pending":
            pending = True
            left = int(rest) if rest else None
        elif tag == "ending":
            ending = True
    for path, digest in hashes.items():
        if path in paths:
            state = paths[path]
            paths[path] = PathState(state.kind, state.mode, state.owner, state.group, digest, state.target)
    for name, member in groups.items():
        if name in users:
            users[name] = UserState(users[name].home, users[name].shell, member)
    blocks = [block for block in shown if block]
    if len(blocks) != len(names):
        raise PlainstackError(f"the probe's answer is cut short: systemd told of {len(blocks)} of {len(names)} units")
    units = {
        name: UnitState(
            show.get("LoadState", "not-found"),
            show.get("ActiveState", "inactive"),
            show.get("SubState", "dead"),
            show.get("UnitFileState", ""),
        )
        for name, show in zip(names, blocks, strict=True)
    }
    entered = {
        name: int(show.get("ActiveEnterTimestampMonotonic") or 0) for name, show in zip(names, blocks, strict=True)
    }
    return Observed(
        up_for={
            name: max(0.0, uptime - entered[name] / 1e6)
            for name, unit in units.items()
            if unit.active == "active" and uptime
        },
        paths=paths,
        packages=packages,
        users=users,
        units=units,
        sysctls=sysctls,
        stamps=stamps,
        guards=guards,
        manifest={role: tuple(entries) for role, entries in manifest.items()},
        facts=facts,
        listeners=tuple(listeners),
        removes=tuple(removes),
        leftovers=tuple(leftovers),
        generation=generation,
        lock=lock,
        guard_pending=pending,
        guard_left=left,
        ending=ending,
    )


def _kind(described: str) -> str:
    if described.startswith("regular"):
        return "file"
    return {"directory": "directory", "symbolic link": "link"}.get(described, "special file")
