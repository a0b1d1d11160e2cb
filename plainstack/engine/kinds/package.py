"""Debian packages, and the debconf answers that are set before they are installed.

One apt transaction installs the missing packages of all roles of a host; see plainstack.engine.plan.packages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from plainstack.dataclass import dataclass
from plainstack.engine.kinds.action import Action, Cause, Rank
from plainstack.engine.kinds.kind import (
    Difference,
    Kind,
    Leaves,
    Lines,
    Look,
    Remembered,
    Resource,
    Situation,
    done_elsewhere,
    never_found,
    no_guards,
    nothing_removed,
)
from plainstack.engine.kinds.origin import gone
from plainstack.engine.observed import FOUND, Entry, Observed
from plainstack.engine.transaction.bundle import Bundle

PURGE, KEEP = "purge", "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package(Resource):
    """A Debian package that must be installed; it is removed only if `purge` was set and no role declares it any more.

    The packages in `instead` are alternatives: if one is installed already, this package is not installed. `replaces`
    names the packages that apt may remove to install this one; any other removal is refused.
    """

    name: str
    purge: bool = False
    instead: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"package {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preseed(Resource):
    """A debconf answer that is set before `package` is installed, in the format of debconf-set-selections."""

    package: str
    question: str
    kind: str
    value: str

    @property
    def key(self) -> str:
        return f"preseed {self.package} {self.question}"


class _Apt(Action):
    """A part of the host's apt transaction, as plans show it."""

    __slots__ = ()

    def steps(self, number: str, bundle: Bundle) -> None:
        """Add nothing: the apt transaction generates its own steps."""


@dataclass(frozen=True, slots=True)
class Install(_Apt):
    """Install packages in the apt transaction."""

    packages: tuple[str, ...]
    cause: Cause
    detail: str = ""

    counted: ClassVar[str] = "package"

    @property
    def count(self) -> int:
        return len(self.packages)

    def subject(self) -> str:
        return f"install {' '.join(self.packages)}"


@dataclass(frozen=True, slots=True)
class Purge(_Apt):
    """Purge, in the apt transaction, packages declared with `purge` that no role declares any more."""

    packages: tuple[str, ...]
    cause: Cause = "undeclared"
    detail: str = "no longer declared"

    counted: ClassVar[str] = "removal"

    def subject(self) -> str:
        return f"purge {' '.join(self.packages)}"


@dataclass(frozen=True, slots=True)
class Replace(_Apt):
    """Let the apt transaction remove packages that conflict with those it installs."""

    packages: tuple[str, ...]
    cause: Cause = "undeclared"
    detail: str = "conflicts with what is installed"

    counted: ClassVar[str] = "removal"

    def subject(self) -> str:
        return f"remove {' '.join(self.packages)}"


def is_served(package: Package, observed: Observed) -> bool:
    """Return whether a package or one of its alternatives is installed."""
    return any(name in observed.packages for name in (package.name, *package.instead))


_SHAPE = r"package\t${Package}\t${db:Status-Status}\t${Version}\n"

_REMOVALS = """\
# Shell builtins only: there may be a hundred packages, and a process for each would be slow.
has() {
    case "
$installed" in *"
package\t$1\tinstalled\t"*) ;; *) return 1 ;; esac
}
missing=
while read -r name others; do
    for one in $name $others; do ! has "$one" || continue 2; done
    missing="$missing${missing:+$newline}$name"
done <<'WANTED'
%s
WANTED
ask() { [ $# != 1 ] && apt-get install --no-install-recommends -q "$@" 2>/dev/null </dev/null; }
# --print-uris takes apt half as long as a simulation.
[ -z "$missing" ] || ask --print-uris --no-remove $missing >/dev/null || {
    # An unknown name makes apt fail for all names. It may come from a source that is not configured yet: leave it out.
    ask --simulate $missing || {
        known=$(apt-cache pkgnames 2>/dev/null | grep -Fx "$missing")
        # Without lists, apt knows only what is installed.
        lists=$(find "${ROOT:-}/var/lib/apt/lists" -maxdepth 1 -name '*_Packages*' 2>/dev/null | head -n 1)
        [ -z "$lists" ] || printf '%%s\n' "$missing" | grep -vFx "$known" | sed 's/^/Unknown /'
        ask --simulate $known
    }
} | sed -n -e 's/^\\(Remv\\|Purg\\) \\([^ ]*\\).*/removes\t\\2/p' -e 's/^Unknown /unknown\t/p'
"""


def _ask(_kinds: Sequence[Kind[Any]], items: Sequence[Package]) -> str:
    """Return the script, which runs apt only if a package is missing; without package lists, apt prints nothing."""
    names = dict.fromkeys(name for item in items for name in (item.name, *item.instead))
    query = (
        f"left package\nset -- {' '.join(names)} $left\n"
        f"installed=\n[ $# = 0 ] || installed=$(dpkg-query -W -f='{_SHAPE}' \"$@\" 2>/dev/null)\n"
        "printf '%s\\n' \"$installed\"\n"
    )
    if not items:
        return query
    return query + _REMOVALS % "\n".join(dict.fromkeys(" ".join((item.name, *item.instead)) for item in items))


def _read(seen: Observed, lines: Lines) -> Observed:
    rows = (line.split("\t") for line in lines.get("package", ()))
    installed = {name: version for name, status, version in rows if status == "installed"}
    return replace(
        seen, packages=installed, removes=tuple(lines.get("removes", ())), unknown=tuple(lines.get("unknown", ()))
    )


def _state(item: Package, situation: Situation) -> str | None:
    if item.name not in situation.observed.packages and is_served(item, situation.observed):
        return None
    return PURGE if item.purge else KEEP


def _before(entry: Entry, observed: Observed) -> str:
    return entry.state if entry.name in observed.packages else "absent"


def _drift(left: Sequence[Entry], wanted: Package | None, observed: Observed) -> Difference | None:
    between = len({entry.state for entry in left}) > 1
    # The administrator may remove a package that no role declares.
    if wanted is None or between or left[-1].who == FOUND or left[-1].name in observed.packages:
        return None
    return Difference("was removed")


PACKAGE = Kind[Package](
    name="package",
    resource=Package,
    folder=None,
    looks=(Look(("package", "removes", "unknown"), _ask, _read),),
    guards=no_guards,
    rank=Rank.AS_NAMED,
    compare=done_elsewhere,
    remembered=Remembered[Package](
        state=_state,
        found=never_found,
        before=_before,
        gone=gone,
        removed=nothing_removed,
        leaves=Leaves.PATHS,
        drift=_drift,
    ),
    functions="packages",
)
PRESEED = Kind[Preseed](
    name="preseed",
    resource=Preseed,
    folder=None,
    looks=(),
    guards=no_guards,
    rank=Rank.AS_NAMED,
    compare=done_elsewhere,
    remembered=None,
    functions="packages",
)
