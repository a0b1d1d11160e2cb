"""What a host records of the time before Plainstack, and which data is there now: one script, and its answer."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import field

from plainstack.dataclass import dataclass
from plainstack.engine.paths import STATE
from plainstack.engine.sayings import Leftover
from plainstack.paths import AUDIT

AUDIT_LOG = Leftover(AUDIT.rpartition("/")[0], "the record of what Plainstack changed (inv log)")
"""What every host has, whatever its roles."""

_ASK = """\
export LC_ALL=C PATH=${{ROOT:+$ROOT/bin:}}/usr/sbin:/usr/bin:/sbin:/bin
root=${{ROOT:-}}
state=$root{state}
echo asked
[ ! -d "$state/manifest" ] || echo deployed
[ ! -e "$state/made/complete" ] || echo complete
[ ! -f "$state/made/list" ] || sort -u "$state/made/list" | sed 's/^/made /'
[ ! -d "$state/before" ] || (cd "$state/before" && find . ! -type d | sed 's/^\\./original /')
dpkg-query -W -f='${{Status}} ${{Package}}\\n' 2>/dev/null |
    awk '$(NF - 1) != "not-installed" {{ print "package", $(NF - 1), $NF }}'
for path in {paths}; do
    [ -e "$root$path" ] || continue
    printf 'size %s %s\\n' "$(timeout 10 du -sk -- "$root$path" 2>/dev/null | cut -f 1)" "$path"
done
"""


@dataclass(frozen=True, slots=True)
class Before:
    """What a host says about the time before Plainstack.

    `deployed` is false once a teardown has ended. `complete` is false if the host was first deployed by a version that
    did not record what it installed. `made` are the lines of that record: "package NAME", "user NAME", "group NAME",
    "folder PATH", and "data PATH" for what the last teardown has kept. `originals` are the paths whose content from
    before is kept. `packages` maps the packages that dpkg knows to whether they are installed; of others only the
    configuration is left. `sizes` are in KiB, by path; -1 if unknown.
    """

    deployed: bool = False
    complete: bool = False
    made: tuple[str, ...] = ()
    originals: frozenset[str] = frozenset()
    packages: dict[str, bool] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def names(self, what: str) -> tuple[str, ...]:
        """Return what Plainstack made of this sort: package, user, group, folder or data."""
        return tuple(line.partition(" ")[2] for line in self.made if line.startswith(f"{what} "))


def question(leftovers: Iterable[Leftover]) -> str:
    """Return the script that a host answers."""
    paths = " ".join(shlex.quote(one.path) for one in leftovers)
    return _ASK.format(state=STATE, paths=paths or "''")


def answered(lines: Sequence[str]) -> bool:
    """Return whether this is the output of the script."""
    return lines[:1] == ["asked"]


def parse(lines: Sequence[str]) -> Before:
    """Parse the output of the script."""
    found: dict[str, list[str]] = {}
    for line in lines:
        tag, _, rest = line.partition(" ")
        found.setdefault(tag, []).append(rest)
    sizes = {}
    for line in found.get("size", ()):
        size, _, path = line.partition(" ")
        sizes[path] = int(size) if size.isdigit() else -1
    known = (line.partition(" ") for line in found.get("package", ()))
    return Before(
        deployed="deployed" in found,
        complete="complete" in found,
        made=tuple(found.get("made", ())),
        originals=frozenset(found.get("original", ())),
        packages={name: status != "config-files" for status, _, name in known},
        sizes=sizes,
    )
