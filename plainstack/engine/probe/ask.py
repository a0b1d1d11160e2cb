"""Resources -> a POSIX sh script that reads their state.

The script writes nothing except apt's cache and starts no Python. Starting processes takes most of its time, so it
calls each tool once for all resources.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from plainstack.engine.kinds.kind import Resource
from plainstack.engine.kinds.registry import KINDS, LOOKS, kind_of
from plainstack.engine.paths import APPLY_LOCK, GUARD_UNIT, LOCK, STATE, TRANSIENT

# Above this line, a probe reads Plainstack's own state on the host; below it, the resources. Each part also runs alone.
DIVIDER = "# --- resources ---\n"

_KEPT = rf"""\
# ROOT is for tests: another directory tree, whose bin may hold stand-ins for programs.
export LC_ALL=C PATH=${{ROOT:+$ROOT/bin:}}/usr/sbin:/usr/bin:/sbin:/bin
root=${{ROOT:-}}
state=$root{STATE} lock=$root{LOCK} applying=$root{APPLY_LOCK}
lines_of() {{ # lines_of FOLDER TAG: every line of its files, behind the tag and the file's name
    cd "$1" 2>/dev/null && set -- "$2" * && [ -f "$2" ] || return 0
    tag=$1
    shift
    awk -v tag="$tag" '{{ print tag "\t" FILENAME "\t" $0 }}' "$@"
}}
echo 'probe 2'
# Keep this order: whether another run is at work, then the generation, then the rest. If the rest changes while it is
# read, the generation changes too, and the plan is not applied.
if [ -f "$lock" ] && ! flock -n -s 9 9<"$lock"; then
    sed 's/^/lock	/' "$lock"
elif [ -f "$applying" ] && ! flock -n -s 9 9<"$applying"; then
    echo "ending	$(date +%s)"
    # What the run that holds it is doing: engine/transaction/sh/frame.sh writes it.
    sed 's/^/ending-/' "$applying"
fi
guards() {{
    # Asking systemd takes longer than all the rest of this part, and without a unit file no guard can be active.
    set -- "$root{TRANSIENT}/{GUARD_UNIT}"-*
    [ ! -e "$1" ] ||
        systemctl list-units --plain --no-legend --state=active,activating '{GUARD_UNIT}-*' 2>/dev/null
}}
case $(guards) in
?*)
    until=$(cat "$state"/runs/*/until 2>/dev/null | tail -n 1)
    echo "guard-pending${{until:+	$((until - $(date +%s)))}}"
    ;;
esac
[ ! -f "$state/generation" ] || {{ read -r generation <"$state/generation" && echo "generation	$generation"; }}
lines_of "$state/manifest" manifest
lines_of "$state/units" stamp
for folder in "$state"/runs/*; do [ ! -d "$folder" ] || echo "leftover	${{folder##*/}}"; done
"""

_RESOURCES = rf"""\
root=${{ROOT:-}}
newline='
'
tagged() {{ # tagged TAG TEXT: the lines of a text that are not empty, behind the tag
    printed= IFS=$newline
    set -f
    for line in $2; do printed="$printed$1	$line$newline"; done
    set +f
    unset IFS
    printf %s "$printed"
}}
named() {{ # named (KIND PREFIX)...: the prefix and the name of what the manifest holds of these kinds, in $named
    named= IFS=$newline
    set -f
    while [ $# != 0 ]; do
        for entry in $known; do
            case $entry in "$1	"*) named=$named$2${{entry#*	}}$newline ;; esac
        done
        shift 2
    done
    set +f
    unset IFS
}}
left() {{ # left KIND: the names of what the manifest holds of it, in $left
    named "$1" ''
    left=$named
}}
known=$(cd "$root{STATE}/manifest" 2>/dev/null && cut -f 1,2 -- * 2>/dev/null)
cd /
"""


def script(resources: Iterable[Resource], facts: Sequence[str] = ()) -> str:
    """Return the probe of a host; `facts` are shell snippets that print key=value lines.

    The script also reads the resources that only the host's manifest names, so that a plan can remove them. Raises
    PlainstackError for a path that cannot be quoted safely.
    """
    items = list(resources)
    parts = [_KEPT, DIVIDER, _RESOURCES]
    for look in LOOKS:
        kinds = [kind for kind in KINDS if look in kind.looks]
        parts.append(look.ask(kinds, [item for item in items if kind_of(item) in kinds]))
    for item in items:
        parts += [_guard(name, test) for name, test in kind_of(item).guards(item).items()]
    if facts:
        commands = "\n".join(snippet.rstrip() for snippet in facts)
        parts.append(f"{{\n{commands}\n}} </dev/null 2>/dev/null | sed 's/^/fact\t/'\n")
    parts.append("echo end\n")
    return "".join(parts)


def _guard(name: str, test: str) -> str:
    # Not `( ... ) && echo`: the shell ignores set -e on the left side of &&.
    return f'( set -eu\n{test}\n) </dev/null >/dev/null 2>&1\necho "test\t$?\t{name}"\n'
